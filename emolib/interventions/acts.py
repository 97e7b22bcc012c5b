"""What may stand on a row: an act of any kind, a tuple of several, or None; and whether it fits the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emolib.base import arguments, store
from emolib.base.errors import UserError, shown
from emolib.base.parameters import check_layers
from emolib.data.activations import LayerVector
from emolib.interventions.ablations import AblateDirection, AblateHead
from emolib.interventions.bridge_sites import check_sites
from emolib.interventions.coordinate_limits import Cap, Clamp
from emolib.interventions.edge_cuts import CutEdge
from emolib.interventions.head_patches import PatchHead
from emolib.interventions.steers import Steer, SubspaceSteer
from emolib.models.language_model import LanguageModel

StreamAct = Steer | SubspaceSteer | AblateDirection | Clamp | Cap
HeadAct = AblateHead | PatchHead | CutEdge
Act = StreamAct | HeadAct
Intervention = Act | tuple[Act, ...] | None


def head_of(act: Act) -> int | None:
    """The head whose output an act changes; None for one of the residual stream."""
    return act.head if isinstance(act, HeadAct | Steer) else None


def acts_of(intervention: Intervention) -> tuple[Act, ...]:
    """The acts of one row, in the order in which they apply at one place."""
    if intervention is None:
        return ()
    acts = intervention if isinstance(intervention, tuple | list) else (intervention,)
    for act in acts:
        if not isinstance(act, Act):
            raise UserError(f"expected interventions (Steer, AblateHead, …), tuples of them or None, got {shown(act)}")
    return tuple(acts)


def one_per_row(interventions: Iterable[Intervention] | None, n_rows: int) -> list[Intervention]:
    """The interventions as a list with one per row; None for the whole list leaves every row unpatched.

    Raises:
        UserError: a single act in place of a list, or another number of them than of rows.
    """
    if interventions is None:
        return [None] * n_rows
    if isinstance(interventions, Act):
        raise UserError(
            f"expected interventions as a list with one per prompt ({n_rows}), got one {type(interventions).__name__}; "
            "for all prompts write [act] * len(prompts)"
        )
    acts = arguments.listed("interventions", interventions, "interventions, one per prompt")
    if len(acts) != n_rows:
        raise UserError(f"expected one intervention per prompt ({n_rows}), got {len(acts)}")
    return acts


def fingerprint_of(intervention: Intervention) -> str:
    """The fingerprint of what one row gets: of its act, or of all its acts in their order."""
    found = [act.fingerprint() for act in acts_of(intervention)]
    return found[0] if len(found) == 1 else store.digest(found)


def check_interventions(lm: LanguageModel, interventions: Sequence[Intervention]) -> None:
    """Raises `UserError` for an intervention that does not fit the model: its layer, its width, whose vector it is."""
    checked: set[int] = set()
    for intervention in interventions:
        for act in acts_of(intervention):
            if id(act) not in checked:  # a sweep repeats the same act on many rows
                checked.add(id(act))
                _check_fit(lm, act)


def _check_fit(lm: LanguageModel, act: Act) -> None:
    check_layers((act.layer,), lm.n_layers)
    head = head_of(act)
    final = isinstance(act, StreamAct) and act.site == "resid_pre"
    if act.layer == lm.n_layers and not final:
        raise UserError(f"expected a layer of 0-{lm.n_layers - 1} for {type(act).__name__} here, got {act.layer}")
    if head is not None and not 0 <= head < lm.n_heads:
        raise UserError(f"expected a head of 0-{lm.n_heads - 1}, got {head}")
    if isinstance(act, HeadAct):
        if isinstance(act, CutEdge):
            act.read_instead(lm.d_head)
        elif act.source is not None:
            _check_owner(lm, "heads", act.source.model, act.source.revision)
        elif isinstance(act, AblateHead) and act.mean is not None and len(act.mean) != lm.d_head:
            raise UserError(f"expected a mean of d_head {lm.d_head}, got {len(act.mean)}")
        reads_values = isinstance(act, CutEdge) or (isinstance(act, PatchHead) and act.mode == "v_only")
        sites = ("z", "v", "pattern") if reads_values else ("z",)
        check_sites(lm, [(site, act.layer) for site in sites], pattern_first=reads_values)
        return
    check_sites(lm, [(act.site, act.layer)])
    name, width = ("d_model", lm.d_model) if head is None else ("d_head", lm.d_head)
    if act.width != width:
        raise UserError(f"expected vectors of {name} {width}, got {act.width}")
    vector = getattr(act, "vector", getattr(act, "direction", None))  # a subspace does not know its owner
    if isinstance(vector, LayerVector):
        _check_owner(lm, "a vector", vector.model, vector.revision)


def _check_owner(lm: LanguageModel, what: str, model: str, revision: str) -> None:
    if (model, revision) != (lm.spec.name, lm.revision):
        raise UserError(
            f"expected {what} of {lm.spec.name} {lm.revision[:12]}, got one of {model} {revision[:12]}; "
            "map it first, or pass its bare values"
        )
