"""What an intervention is: frozen descriptions that are checked where they are written.

Every kind shares when it acts: `window` prompt tokens at the prefill, then `steps` generated tokens, with a factor per
step from `schedule`. What it does where the factor is 1 is its own; a factor between 0 and 1 does part of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from emolib.base import store
from emolib.base.errors import UserError
from emolib.base.parameters import check_layers
from emolib.data.activations import LayerVector
from emolib.interventions.fingerprints import act_fingerprint
from emolib.interventions.records import HeadActivations
from emolib.interventions.schedules import Schedule, check_timing
from emolib.models.language_model import LanguageModel

STREAM_SITES = ("resid_pre", "attn_out", "mlp_out")
READ_FROM_SOURCE = {"v_only": ("values",), "pattern_v": ("patterns", "values"), "result": ("z",)}
PATCH_MODES = tuple(READ_FROM_SOURCE)
Site = Literal["resid_pre", "attn_out", "mlp_out"]
Values = np.ndarray | Tensor


def _check_site(site: str, kind: str) -> None:
    if site not in STREAM_SITES:
        raise UserError(f"unknown site {site!r} for {kind}: expected {', '.join(STREAM_SITES)}")


def _values(given: LayerVector | Values) -> np.ndarray:
    """The bare float32 numbers of a vector or array, wherever they lie."""
    values = given.values if isinstance(given, LayerVector) else given
    return np.asarray(values.detach().cpu().float() if isinstance(values, Tensor) else values, dtype=np.float32)


def _array(values: LayerVector | Values, name: str, n_dimensions: int) -> np.ndarray:
    """A float32 copy; finite, and of the expected number of dimensions."""
    array = _values(values)
    if array.ndim != n_dimensions or not np.isfinite(array).all():
        raise UserError(f"expected {name}: finite numbers of {n_dimensions} dimension(s), got shape {array.shape}")
    return array


@dataclass(frozen=True, eq=False)
class Steer:
    """Adds a vector at one layer while the text is generated: h ← h + factor · Δ.

    At the prefill the last `window` prompt tokens get `schedule[0]`; position 0 is never patched unless it is the
    only token. The j-th generated token, when it is fed back, gets `schedule[j]`.

    Attributes:
        layer: block whose input is patched; n_layers is the final residual (the direct-path control).
        vector: a `LayerVector` of that layer, or a bare `[d_model]` array.
        alpha: the strength; negative suppresses.
        unit: `resid`: alpha times the median residual norm of neutral tokens, along the unit vector;
            `vector`: alpha times the vector as it is.
        site: `resid_pre`, or what the block's attention (`attn_out`) or MLP (`mlp_out`) adds to the residual stream.
        schedule: `constant`, `Decay(rate)`, or factors per step (steps beyond its end get 0).
        steps: how many generated tokens are patched; None patches all.
        resid_norm: the unit `resid` for a bare array.

    Raises:
        UserError: alpha not finite, a zero or non-finite vector, a vector of another layer, a unit without its norm.
    """

    layer: int
    vector: LayerVector | Values
    alpha: float
    unit: Literal["resid", "vector"] = "resid"
    site: Site = "resid_pre"
    window: int = 3
    schedule: Schedule = "constant"
    steps: int | None = None
    resid_norm: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.alpha):
            raise UserError(f"expected a finite alpha, got {self.alpha}")
        if self.unit not in ("resid", "vector"):
            raise UserError(f"unknown unit {self.unit!r}: expected resid or vector")
        _check_site(self.site, "Steer")
        check_timing(self.window, self.schedule, self.steps)
        if isinstance(self.vector, LayerVector) and self.vector.layer != self.layer:
            raise UserError(f"the vector belongs to layer {self.vector.layer}, the steer to layer {self.layer}")
        if self.unit == "resid":
            norm = self._unit_norm()
            if norm is None:
                raise UserError("unit 'resid' needs a LayerVector or resid_norm=…; for a bare array use unit='vector'")
            if not (math.isfinite(norm) and norm > 0):
                raise UserError(f"expected a finite, positive residual norm for unit 'resid', got {norm}")
        self.delta()

    def _unit_norm(self) -> float | None:
        if self.resid_norm is not None:
            return self.resid_norm
        return self.vector.neutral_norm if isinstance(self.vector, LayerVector) else None

    @property
    def width(self) -> int:
        return len(_values(self.vector))

    def delta(self) -> Float[np.ndarray, "d_model"]:
        """What is added where the schedule's factor is 1, in activation units."""
        values = _values(self.vector)
        norm = float(np.linalg.norm(values))
        if values.ndim != 1 or not math.isfinite(norm) or norm == 0:
            raise UserError(f"expected a finite, non-zero vector [d_model], got shape {values.shape} with norm {norm}")
        if self.unit == "vector":
            return values * np.float32(self.alpha)
        return values * np.float32(self.alpha * self._unit_norm() / norm)

    def fingerprint(self) -> str:
        """A hash of what is added, where and when."""
        unit = "vector" if self.unit == "vector" else float(self._unit_norm())
        values = _values(self.vector)
        return act_fingerprint(self, "steer", self.site, vector=values, alpha=self.alpha, unit=unit)


@dataclass(frozen=True, eq=False)
class SubspaceSteer:
    """Moves the coordinates in a subspace to a target: h ← h + factor · α U (μ − Uᵀh).

    Unlike `Steer` it moves *to* a place: at α = 1 the coordinates become the target whatever they were.

    Attributes:
        basis: U `[d_model, k]` with orthonormal columns.
        target: μ `[k]`, for example the mean coordinates of an emotion's texts.

    Raises:
        UserError: a basis that is not orthonormal, a target of another length, alpha not finite.
    """

    layer: int
    basis: Values
    target: Values
    alpha: float = 1.0
    site: Site = "resid_pre"
    window: int = 3
    schedule: Schedule = "constant"
    steps: int | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.alpha):
            raise UserError(f"expected a finite alpha, got {self.alpha}")
        _check_site(self.site, "SubspaceSteer")
        check_timing(self.window, self.schedule, self.steps)
        basis, target = self.coordinates()
        if target.shape[0] != basis.shape[1]:
            raise UserError(f"expected a target of k = {basis.shape[1]} coordinates, got {target.shape[0]}")
        if not np.allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-3):
            raise UserError("expected a basis [d_model, k] with orthonormal columns; orthonormalise it first (QR)")

    @property
    def width(self) -> int:
        return len(self.basis)

    def coordinates(self) -> tuple[Float[np.ndarray, "d_model k"], Float[np.ndarray, "k"]]:
        """The basis and the target as float32 arrays."""
        return _array(self.basis, "a basis [d_model, k]", 2), _array(self.target, "a target [k]", 1)

    def fingerprint(self) -> str:
        """A hash of what is moved whereto, where and when."""
        basis, target = self.coordinates()
        return act_fingerprint(self, "move", self.site, basis=basis, target=target, alpha=self.alpha)


@dataclass(frozen=True, eq=False)
class AblateDirection:
    """Removes the component along a direction, centred at a neutral mean: h ← h − factor · ((h − c)·d̂) d̂.

    Attributes:
        direction: `[d_model]`, scaled to unit norm.
        center: c `[d_model]`, for example the mean residual of neutral texts; None removes the component altogether.
        window: None patches every prompt token but the first.

    Raises:
        UserError: a zero or non-finite direction, a centre of another length.
    """

    layer: int
    direction: LayerVector | Values
    center: Values | None = None
    site: Site = "resid_pre"
    window: int | None = None
    schedule: Schedule = "constant"
    steps: int | None = None

    def __post_init__(self) -> None:
        _check_site(self.site, "AblateDirection")
        check_timing(self.window, self.schedule, self.steps)
        if isinstance(self.direction, LayerVector) and self.direction.layer != self.layer:
            raise UserError(f"the direction belongs to layer {self.direction.layer}, the ablation to {self.layer}")
        self.coordinates()

    @property
    def alpha(self) -> float:
        return 1.0

    @property
    def vector(self) -> LayerVector | Values:
        return self.direction

    @property
    def width(self) -> int:
        return len(_values(self.direction))

    def coordinates(self) -> tuple[Float[np.ndarray, "d_model 1"], Float[np.ndarray, "1"]]:
        """The unit direction as a basis of one column, and the coordinate that is left."""
        values = _array(self.direction, "a direction [d_model]", 1)
        norm = float(np.linalg.norm(values))
        if norm == 0:
            raise UserError("expected a non-zero direction [d_model], got norm 0")
        unit = values / np.float32(norm)
        if self.center is None:
            return unit[:, None], np.zeros(1, np.float32)
        center = _array(self.center, "a center [d_model]", 1)
        if center.shape != unit.shape:
            raise UserError(f"expected a center of the direction's length {len(unit)}, got {len(center)}")
        return unit[:, None], np.array([center @ unit], np.float32)

    def fingerprint(self) -> str:
        """A hash of what is removed, where and when."""
        center = "none" if self.center is None else _values(self.center)
        return act_fingerprint(self, "ablate", self.site, direction=_values(self.direction), center=center)


@dataclass(frozen=True, eq=False)
class AblateHead:
    """Replaces one head's output z (before W_O): by zero, or by its mean over reference texts.

    Attributes:
        head: query head, from 0.
        how: `zero`, or `mean` with `mean` given.
        mean: `[d_head]`, from `mean_head_output`.
        window: None patches every prompt token but the first.

    Raises:
        UserError: an unknown `how`, a mean that is missing or not wanted.
    """

    layer: int
    head: int
    how: Literal["zero", "mean"] = "zero"
    mean: Values | None = None
    window: int | None = None
    schedule: Schedule = "constant"
    steps: int | None = None

    def __post_init__(self) -> None:
        check_timing(self.window, self.schedule, self.steps)
        if self.how not in ("zero", "mean"):
            raise UserError(f"unknown ablation {self.how!r}: expected zero or mean")
        if (self.how == "mean") != (self.mean is not None):
            raise UserError("expected mean=[d_head] together with how='mean', and only then")
        if self.mean is not None:
            _array(self.mean, "a mean [d_head]", 1)

    def target(self, d_head: int) -> Float[np.ndarray, "d_head"]:
        """What the head's output becomes."""
        return np.zeros(d_head, np.float32) if self.mean is None else _array(self.mean, "a mean [d_head]", 1)

    def fingerprint(self) -> str:
        """A hash of the head, what its output becomes, and when."""
        target = "zero" if self.mean is None else _values(self.mean)
        return act_fingerprint(self, "ablate", self.head, target=target)


@dataclass(frozen=True, eq=False)
class PatchHead:
    """Gives one head what it had in another text; token i from the end takes what token i from the source's end had.

    Attributes:
        source: from `record_heads`; must hold this layer and head of the same model.
        mode: `v_only`: the head reads the source's values at the matched prompt tokens, under its own attention
            pattern (other heads of the same KV head are untouched);
            `pattern_v`: its output is recomputed from the source's pattern and values;
            `result`: its output is the source's.
            At the prefill the last two agree in exact arithmetic.
        window: None patches every matched prompt token but the first; under `v_only` it also bounds whose values are
            taken from the source.
        steps: 0 patches the prefill alone; otherwise that many generated tokens too: under `v_only` they read the
            source's values at the prompt tokens, under the others they take the source's last output.

    Raises:
        UserError: an unknown mode, a source without this head.
    """

    layer: int
    head: int
    source: HeadActivations
    mode: Literal["v_only", "pattern_v", "result"] = "v_only"
    window: int | None = None
    schedule: Schedule = "constant"
    steps: int | None = 0

    def __post_init__(self) -> None:
        check_timing(self.window, self.schedule, self.steps)
        if self.mode not in PATCH_MODES:
            raise UserError(f"unknown patch mode {self.mode!r}: expected {', '.join(PATCH_MODES)}")
        if not isinstance(self.source, HeadActivations):
            raise UserError(f"expected a source from record_heads, got {type(self.source).__name__}")
        self.source.check(self.layer, self.head)

    def outputs(self) -> Float[np.ndarray, "pos d_head"]:
        """The head's output at every source token."""
        key = (self.layer, self.head)
        if self.mode == "pattern_v":
            return self.source.patterns[key] @ self.source.values[key]
        return self.source.z[key]

    def fingerprint(self) -> str:
        """A hash of the head, what it takes from the source, and when."""
        key = (self.layer, self.head)
        parts = {name: getattr(self.source, name)[key] for name in READ_FROM_SOURCE[self.mode]}
        return act_fingerprint(self, "patch", self.head, mode=self.mode, **parts)


StreamAct = Steer | SubspaceSteer | AblateDirection
HeadAct = AblateHead | PatchHead
Act = StreamAct | HeadAct
Intervention = Act | tuple[Act, ...] | None


def acts_of(intervention: Intervention) -> tuple[Act, ...]:
    """The acts of one row, in the order in which they apply at one place."""
    if intervention is None:
        return ()
    acts = intervention if isinstance(intervention, tuple | list) else (intervention,)
    for act in acts:
        if not isinstance(act, Act):
            raise UserError(f"expected interventions (Steer, AblateHead, …), tuples of them or None, got {act!r:.80}")
    return tuple(acts)


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
    final = isinstance(act, StreamAct) and act.site == "resid_pre"
    if act.layer == lm.n_layers and not final:
        raise UserError(f"expected a layer of 0-{lm.n_layers - 1} for {type(act).__name__} here, got {act.layer}")
    if isinstance(act, HeadAct):
        if not 0 <= act.head < lm.n_heads:
            raise UserError(f"expected a head of 0-{lm.n_heads - 1}, got {act.head}")
        if isinstance(act, PatchHead):
            _check_owner(lm, "heads", act.source.model, act.source.revision)
        elif act.mean is not None and len(act.mean) != lm.d_head:
            raise UserError(f"expected a mean of d_head {lm.d_head}, got {len(act.mean)}")
        return
    if act.width != lm.d_model:
        raise UserError(f"expected vectors of d_model {lm.d_model}, got {act.width}")
    vector = getattr(act, "vector", None)
    if isinstance(vector, LayerVector):
        _check_owner(lm, "a vector", vector.model, vector.revision)


def _check_owner(lm: LanguageModel, what: str, model: str, revision: str) -> None:
    if (model, revision) != (lm.spec.name, lm.revision):
        raise UserError(
            f"expected {what} of {lm.spec.name} {lm.revision[:12]}, got one of {model} {revision[:12]}; "
            "map it first, or pass its bare values"
        )
