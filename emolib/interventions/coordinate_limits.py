"""Setting or bounding a coordinate: where a stream stands along one direction, whatever it stood at before.

`Steer` adds and thereby depends on what was there; `Clamp` leaves the same coordinate behind in every text, and `Cap`
touches only what lies outside its bounds (activation clamping and capping, as of sparse features in Templeton et al.
2024 and of persona directions in Chen et al. 2025). What the acts share is told in `steers`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.data.activations import LayerVector
from emolib.interventions.act_arguments import (
    Site,
    Values,
    bare_values,
    check_change,
    check_direction_layer,
    check_place,
    unit_direction,
)
from emolib.interventions.fingerprints import act_fingerprint
from emolib.interventions.schedules import Schedule


@told
@dataclass(frozen=True, eq=False)
class Clamp:
    """Sets the coordinate along a direction: h ← h + factor · (value − h·d̂) d̂.

    Attributes:
        direction: `[d_model]`, scaled to unit norm.
        value: the coordinate that is left, in activation units (of d̂, not of the direction as given).
        site: `resid_pre`, or what the block's attention (`attn_out`) or MLP (`mlp_out`) adds to the residual stream.
        window: None patches every prompt token but the first.

    Raises:
        UserError: a zero or non-finite direction, one of another layer, a value that is not finite.

    >>> import numpy as np
    >>> basis, target = Clamp(2, np.array([0.0, 2.0]), value=3.0).coordinates()
    >>> basis[:, 0].tolist(), target.tolist()
    ([0.0, 1.0], [3.0])
    """

    layer: int
    direction: LayerVector | Values
    value: float
    site: Site = "resid_pre"
    window: int | None = None
    schedule: Schedule = "constant"
    steps: int | None = None

    def __post_init__(self) -> None:
        check_place(self)
        check_direction_layer(self.direction, self.layer, "the clamp")
        object.__setattr__(self, "value", arguments.number("value", self.value))
        check_change(self.value)
        self.coordinates()

    @property
    def alpha(self) -> float:
        return 1.0

    @property
    def width(self) -> int:
        return len(bare_values(self.direction))

    def coordinates(self) -> tuple[Float[np.ndarray, "d_model 1"], Float[np.ndarray, "1"]]:
        """The unit direction as a basis of one column, and the coordinate that is left."""
        return unit_direction(self.direction)[:, None], np.array([self.value], np.float32)

    def fingerprint(self) -> str:
        """A hash of what is set to what, where and when."""
        return act_fingerprint(self, "clamp", self.site, direction=bare_values(self.direction), value=self.value)


@told
@dataclass(frozen=True, eq=False)
class Cap:
    """Bounds the coordinate along a direction: h ← h + factor · (min(max(h·d̂, low), high) − h·d̂) d̂.

    Tokens whose coordinate lies within the bounds are left as they are, to the last bit.

    Attributes:
        direction: `[d_model]`, scaled to unit norm.
        low, high: bounds of the coordinate in activation units; None leaves that side open.
        site: `resid_pre`, or what the block's attention (`attn_out`) or MLP (`mlp_out`) adds to the residual stream.
        window: None patches every prompt token but the first.

    Raises:
        UserError: no bound at all, `low` above `high`, a zero or non-finite direction, one of another layer.

    >>> import numpy as np
    >>> Cap(2, np.array([0.0, 2.0]), high=3.0).bounds()
    (-inf, 3.0)
    """

    layer: int
    direction: LayerVector | Values
    low: float | None = None
    high: float | None = None
    site: Site = "resid_pre"
    window: int | None = None
    schedule: Schedule = "constant"
    steps: int | None = None

    def __post_init__(self) -> None:
        check_place(self)
        check_direction_layer(self.direction, self.layer, "the cap")
        for name in ("low", "high"):
            bound = getattr(self, name)
            if bound is not None:
                object.__setattr__(self, name, arguments.number(name, bound))
                check_change(getattr(self, name))
        if self.low is None and self.high is None:
            raise UserError("expected low=, high= or both, got neither; a cap without a bound does nothing")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise UserError(f"expected low at most high, got low {self.low:g} and high {self.high:g}")
        unit_direction(self.direction)

    @property
    def width(self) -> int:
        return len(bare_values(self.direction))

    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound; an open side is infinite."""
        return -np.inf if self.low is None else self.low, np.inf if self.high is None else self.high

    def fingerprint(self) -> str:
        """A hash of what is kept within what, where and when."""
        low, high = ("open" if bound is None else bound for bound in (self.low, self.high))
        return act_fingerprint(self, "cap", self.site, direction=bare_values(self.direction), low=low, high=high)
