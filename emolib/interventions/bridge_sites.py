"""What the bridge of an architecture that the engine does not know gives at its hook points, seen before anything runs.

A hook point may be missing, may never fire, or may give another shape than its name says; which of these an
architecture does is found out by one pass over a few tokens, once per model in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from emolib.base.errors import UserError, one_line
from emolib.interventions.hooks import hook_name, hooked
from emolib.models.language_model import LanguageModel

Place = tuple[str, int]
STREAM = ("resid_pre", "resid_post", "attn_out", "mlp_out")
HEADS = ("z", "v", "pattern")
ROWS, COLUMNS = 2, 3  # of the pass


def bridge_sites(lm: LanguageModel) -> dict[Place, tuple[int, ...]]:
    """The shape of what every (site, layer) gives for a batch `[ROWS, COLUMNS]`, in the order in which they come.

    Raises:
        UserError: the bridge cannot run this model.
    """
    if lm.worked_out.bridge_sites is None:
        places = [(site, layer) for layer in range(lm.n_layers) for site in (*STREAM, *HEADS)]
        places.append(("resid_pre", lm.n_layers))
        points = lm.bridge.hook_dict
        there = [place for place in places if hook_name(lm, *place) in points]
        lm.worked_out.bridge_sites = _seen(lm, there)
    return lm.worked_out.bridge_sites


@torch.inference_mode()
def _seen(lm: LanguageModel, places: Sequence[Place]) -> dict[Place, tuple[int, ...]]:
    shapes: dict[Place, tuple[int, ...]] = {}

    def look(place: Place) -> Callable[[Tensor], None]:
        def function(value: Tensor) -> None:
            shapes[place] = tuple(value.shape)

        return function

    ids = torch.arange(ROWS * COLUMNS, device=lm.device).view(ROWS, COLUMNS) % lm.limits.vocabulary
    try:
        with hooked(lm, [(*place, look(place)) for place in places], may_stay_silent=True):
            lm.network(input_ids=ids, use_cache=False)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(
            f"expected a model that TransformerLens' bridge can run, {lm.spec.name} ({type(lm.network).__name__}) "
            f"stops with {type(error).__name__}: {one_line(error)[:200]}; choose another model"
        ) from error
    return shapes


def check_sites(lm: LanguageModel, places: Iterable[Place], *, pattern_first: bool = False) -> None:
    """Raises `UserError` for a (site, layer) that the model's bridge does not give, or gives in another shape.

    A model that the engine knows has them all.

    Args:
        pattern_first: whether the layers' attention patterns have to come before their heads' outputs.
    """
    if lm.blueprint is not None:
        return
    seen = bridge_sites(lm)
    kind, order = type(lm.network).__name__, list(seen)
    for site, layer in places:
        if (site, layer) not in seen:
            has = sorted({name for name, at in seen if at == layer}) or ["none"]
            raise UserError(
                f"expected site {site} at layer {layer}, the bridge of {kind} does not give it there; it gives "
                f"{', '.join(has)}: choose among these"
            )
        shape = seen[site, layer]
        if not _fits(lm, site, shape):
            raise UserError(
                f"expected {_wanted(lm, site)} at site {site} of layer {layer}, the bridge of {kind} gives "
                f"{list(shape)} for {ROWS} rows of {COLUMNS} tokens; leave this site out"
            )
        if pattern_first and site == "pattern" and order.index(("z", layer)) < order.index((site, layer)):
            raise UserError(
                f"{kind} shows its attention patterns only after its heads' outputs, so mode v_only and a cut "
                "edge are not possible through the bridge; use mode pattern_v or result"
            )


def _wanted(lm: LanguageModel, site: str) -> str:
    if site == "pattern":
        return f"[row, head, query, key] for {lm.n_heads} heads"
    if site in HEADS:
        return f"[row, pos, head × {lm.d_head}]"
    return f"[row, pos, {lm.d_model}]"


def _fits(lm: LanguageModel, site: str, shape: tuple[int, ...]) -> bool:
    """Whether a shape is the site's; rows and positions may be flattened into one."""
    if site == "pattern":
        return shape == (ROWS, lm.n_heads, COLUMNS, COLUMNS)
    if shape[:2] == (ROWS, COLUMNS):
        width = shape[2:]
    elif shape[:1] == (ROWS * COLUMNS,):
        width = shape[1:]
    else:
        return False
    size = math.prod(width)
    if site == "v":
        return size % lm.d_head == 0 and size > 0 and lm.n_heads % (size // lm.d_head) == 0
    return size == (lm.n_heads * lm.d_head if site == "z" else lm.d_model)
