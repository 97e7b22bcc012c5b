"""Steering: a vector added to the residual stream (`Steer`), or a move within a subspace (`SubspaceSteer`).

Every kind of act is a frozen description that is checked where it is written. All share when they act: `window` prompt
tokens at the prefill, then `steps` generated tokens, with a factor per step from `schedule`. What an act does where the
factor is 1 is its own; a factor between 0 and 1 does part of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.base.strength import DEFAULT_UNIT, UNITS, Unit
from emolib.data.activations import LayerVector
from emolib.interventions.act_arguments import (
    STREAM_SITES,
    Site,
    SiteOrHead,
    Values,
    bare_values,
    check_change,
    check_place,
    checked_alpha,
    checked_array,
)
from emolib.interventions.fingerprints import act_fingerprint
from emolib.interventions.schedules import Schedule

# unit → what a bare array gives it by, and a `LayerVector` holds it as
_MEASURED = {
    "resid": ("resid_norm", "neutral_norm"),
    "bulk": ("bulk_norm", "neutral_bulk_norm"),
    "kl": ("kl_length", "kl_length"),
}
_MAKERS = {"resid": "fit_emotion_vectors", "bulk": "fit_emotion_vectors", "kl": "with_kl_lengths"}
_SPOKEN = {"resid": "residual norm", "bulk": "bulk norm", "kl": "KL length"}


@told
@dataclass(frozen=True, eq=False)
class Steer:
    """Adds a vector at one layer while the text is generated: h ← h + factor · Δ.

    At the prefill the last `window` prompt tokens get `schedule[0]`; position 0 is never patched unless it is the
    only token. The j-th generated token, when it is fed back, gets `schedule[j]`.

    Attributes:
        layer: block whose input is patched; n_layers is the final residual (the direct-path control).
        vector: a `LayerVector` of that layer, or a bare `[d_model]` array.
        alpha: the strength; negative suppresses.
        unit: `bulk`: alpha times the median bulk norm of neutral tokens (`emolib.data.bulk_norms`), along the unit
            vector; `resid`: the same with their median L2 norm, which a few huge dimensions may make up; `vector`:
            alpha times the vector as it is; `kl`: alpha times the length at which the emotions' vectors of the layer
            change the next token by 0.1 nat (`emolib.with_kl_lengths` measures it), along the unit vector.
        site: `resid_pre`, or what the block's attention (`attn_out`) or MLP (`mlp_out`) adds to the residual stream; or
            `z`, the output of the one head that `head` names, before W_O: then the vector is a bare `[d_head]` array
            and other heads are left alone (inference-time intervention, Li et al. 2023).
        schedule: `constant`, `Decay(rate)`, or factors per step (steps beyond its end get 0).
        steps: how many generated tokens are patched; None patches all.
        resid_norm, bulk_norm, kl_length: the units of those names for a bare array.

    Raises:
        UserError: alpha not finite, or beyond ±1000 in another unit than `vector`; a zero or non-finite vector, one
            of another layer, a unit without its norm, `site="z"` without `head` or the other way round.

    >>> import numpy as np
    >>> act = Steer(2, np.array([3.0, 4.0]), 0.5, unit="bulk", bulk_norm=10)  # half a norm, along the unit vector
    >>> act.delta().round(1).tolist()
    [3.0, 4.0]
    >>> Steer(2, np.array([3.0, 4.0]), -1, unit="vector").delta().tolist()  # suppresses
    [-3.0, -4.0]
    >>> Steer(2, np.array([3.0, 4.0]), 2, unit="vector", site="z", head=5).delta().tolist()  # of head 2:5 alone
    [6.0, 8.0]
    """

    layer: int
    vector: LayerVector | Values
    alpha: float
    unit: Unit = DEFAULT_UNIT
    site: SiteOrHead = "resid_pre"
    window: int = 3
    schedule: Schedule = "constant"
    steps: int | None = None
    resid_norm: float | None = None
    bulk_norm: float | None = None
    kl_length: float | None = None
    head: int | None = None

    def __post_init__(self) -> None:
        arguments.one_of("unit", self.unit, UNITS)
        object.__setattr__(self, "alpha", checked_alpha(self.alpha, relative=self.unit != "vector"))
        check_place(self, (*STREAM_SITES, "z"))
        self._check_head()
        if isinstance(self.vector, LayerVector) and self.vector.layer != self.layer:
            raise UserError(f"the vector belongs to layer {self.vector.layer}, the steer to layer {self.layer}")
        self.delta()

    def _check_head(self) -> None:
        """Site `z` goes with a head and that head's own numbers, and only it does."""
        if (self.site == "z") != (self.head is not None):
            raise UserError(f"expected head= together with site='z', and only then, got {self.site!r}, {self.head}")
        if self.site == "z" and isinstance(self.vector, LayerVector):
            raise UserError(
                "expected a bare vector [d_head] for site 'z', got one of the residual stream; `head_steers` makes them"
            )

    def _unit_norm(self) -> float:
        """A unit other than `vector`, in activation units."""
        given, held = _MEASURED[self.unit]
        norm = getattr(self, given)
        if norm is None and isinstance(self.vector, LayerVector):
            norm = getattr(self.vector, held)
        if norm is None:
            raise UserError(
                f"unit {self.unit!r} needs a LayerVector with {held}, as {_MAKERS[self.unit]} makes them, "
                f"or {given}=…; for a vector without it use unit='vector'"
            )
        return arguments.number(f"{_SPOKEN[self.unit]} for unit {self.unit!r}", norm, above=0)

    @property
    def width(self) -> int:
        return len(bare_values(self.vector))

    def delta(self) -> Float[np.ndarray, " d_model"]:
        """What is added where the schedule's factor is 1, in activation units."""
        unit = 1.0 if self.unit == "vector" else self._unit_norm()
        values = bare_values(self.vector)
        norm = float(np.linalg.norm(values.astype(np.float64)))
        if values.ndim != 1 or not math.isfinite(norm) or norm == 0:
            raise UserError(f"expected a finite, non-zero vector [d_model], got shape {values.shape} with norm {norm}")
        factor = self.alpha if self.unit == "vector" else self.alpha * unit / norm
        check_change(factor * norm)
        scaled: np.ndarray = values * np.float32(factor)
        return scaled

    def fingerprint(self) -> str:
        """A hash of what is added, where and when."""
        unit = "vector" if self.unit == "vector" else self._unit_norm()
        values, place = bare_values(self.vector), self.site if self.head is None else self.head
        return act_fingerprint(self, "steer", place, vector=values, alpha=self.alpha, unit=unit)


@told
@dataclass(frozen=True, eq=False)
class SubspaceSteer:
    """Moves the coordinates in a subspace to a target: h ← h + factor · α U (μ − Uᵀh).

    Unlike `Steer` it moves *to* a place: at α = 1 the coordinates become the target whatever they were.

    Attributes:
        basis: U `[d_model, k]` with orthonormal columns.
        target: μ `[k]`, for example the mean coordinates of an emotion's texts.

    Raises:
        UserError: a basis that is not orthonormal, a target of another length, alpha not finite or beyond ±1000.

    >>> import numpy as np
    >>> act = SubspaceSteer(2, basis=np.eye(4)[:, :2], target=np.array([5.0, -1.0]))
    >>> basis, target = act.coordinates()
    >>> basis.shape, target.tolist()
    ((4, 2), [5.0, -1.0])
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
        object.__setattr__(self, "alpha", checked_alpha(self.alpha, relative=True))
        check_place(self)
        basis, target = self.coordinates()
        if target.shape[0] != basis.shape[1]:
            raise UserError(f"expected a target of k = {basis.shape[1]} coordinates, got {target.shape[0]}")
        check_change(self.alpha * float(np.linalg.norm(target.astype(np.float64))))
        if not np.allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-3):
            raise UserError("expected a basis [d_model, k] with orthonormal columns; orthonormalise it first (QR)")

    @property
    def width(self) -> int:
        return len(self.basis)

    def coordinates(self) -> tuple[Float[np.ndarray, "d_model k"], Float[np.ndarray, " k"]]:
        """The basis and the target as float32 arrays."""
        return checked_array(self.basis, "a basis [d_model, k]", 2), checked_array(self.target, "a target [k]", 1)

    def fingerprint(self) -> str:
        """A hash of what is moved whereto, where and when."""
        basis, target = self.coordinates()
        return act_fingerprint(self, "move", self.site, basis=basis, target=target, alpha=self.alpha)
