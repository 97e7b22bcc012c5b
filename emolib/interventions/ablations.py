"""Ablation: a direction's component taken out of the residual stream, or one head's output replaced.

What the acts share is told in `steers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.data.activations import LayerVector
from emolib.interventions.checks import (
    Site,
    Values,
    bare_values,
    check_direction_layer,
    check_place,
    checked_array,
    unit_direction,
)
from emolib.interventions.fingerprints import act_fingerprint
from emolib.interventions.schedules import Schedule


@told
@dataclass(frozen=True, eq=False)
class AblateDirection:
    """Removes the component along a direction, centred at a neutral mean: h ← h − factor · ((h − c)·d̂) d̂.

    Attributes:
        direction: `[d_model]`, scaled to unit norm.
        center: c `[d_model]`, for example the mean residual of neutral texts; None removes the component altogether.
        window: None patches every prompt token but the first.

    Raises:
        UserError: a zero or non-finite direction, a centre of another length.

    >>> import numpy as np
    >>> act = AblateDirection(2, direction=np.array([0.0, 2.0]), center=np.array([7.0, 3.0]))
    >>> basis, left = act.coordinates()  # the unit direction, and the coordinate that is left of it
    >>> basis[:, 0].tolist(), left.tolist()
    ([0.0, 1.0], [3.0])
    """

    layer: int
    direction: LayerVector | Values
    center: Values | None = None
    site: Site = "resid_pre"
    window: int | None = None
    schedule: Schedule = "constant"
    steps: int | None = None

    def __post_init__(self) -> None:
        check_place(self)
        check_direction_layer(self.direction, self.layer, "the ablation")
        self.coordinates()

    @property
    def alpha(self) -> float:
        return 1.0

    @property
    def width(self) -> int:
        return len(bare_values(self.direction))

    def coordinates(self) -> tuple[Float[np.ndarray, "d_model 1"], Float[np.ndarray, "1"]]:
        """The unit direction as a basis of one column, and the coordinate that is left."""
        unit = unit_direction(self.direction)
        if self.center is None:
            return unit[:, None], np.zeros(1, np.float32)
        center = checked_array(self.center, "a center [d_model]", 1)
        if center.shape != unit.shape:
            raise UserError(f"expected a center of the direction's length {len(unit)}, got {len(center)}")
        return unit[:, None], np.array([center @ unit], np.float32)

    def fingerprint(self) -> str:
        """A hash of what is removed, where and when."""
        center = "none" if self.center is None else bare_values(self.center)
        return act_fingerprint(self, "ablate", self.site, direction=bare_values(self.direction), center=center)


@told
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

    >>> import numpy as np
    >>> AblateHead(5, head=3).target(d_head=2).tolist()
    [0.0, 0.0]
    >>> AblateHead(5, head=3, how="mean", mean=np.array([1.0, 2.0])).target(d_head=2).tolist()
    [1.0, 2.0]
    """

    layer: int
    head: int
    how: Literal["zero", "mean"] = "zero"
    mean: Values | None = None
    window: int | None = None
    schedule: Schedule = "constant"
    steps: int | None = None

    def __post_init__(self) -> None:
        check_place(self)
        arguments.one_of("ablation", self.how, ("zero", "mean"))
        if (self.how == "mean") != (self.mean is not None):
            raise UserError("expected mean=[d_head] together with how='mean', and only then")
        if self.mean is not None:
            checked_array(self.mean, "a mean [d_head]", 1)

    def target(self, d_head: int) -> Float[np.ndarray, " d_head"]:
        """What the head's output becomes."""
        return np.zeros(d_head, np.float32) if self.mean is None else checked_array(self.mean, "a mean [d_head]", 1)

    def fingerprint(self) -> str:
        """A hash of the head, what its output becomes, and when."""
        target = "zero" if self.mean is None else bare_values(self.mean)
        return act_fingerprint(self, "ablate", self.head, target=target)
