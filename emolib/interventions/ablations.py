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
from emolib.interventions.act_arguments import (
    Site,
    Values,
    bare_values,
    check_direction_layer,
    check_place,
    checked_array,
    unit_direction,
)
from emolib.interventions.fingerprints import act_fingerprint
from emolib.interventions.head_records import HeadActivations
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
    """Replaces one head's output z (before W_O): by zero, by its mean over reference texts, or by what it was in one.

    Resampling is matched by the distance from the prompt's end: the source's first `source_prompt` tokens stand for the
    prompt, its later ones for what follows. A prompt's i-th token from the end takes what the source had at the i-th
    token from the end of its part, and the j-th token after the prompt what it had at the j-th after it. So two prompts
    of unequal length are followed by the same values. Where the source begins later than the prompt, its second token
    stands in (the first is an attention sink); where it ends earlier, its last one does.

    Attributes:
        head: query head, from 0.
        how: `zero`, `mean` with `mean` given, or `resample` with `source` given.
        mean: `[d_head]`, from `mean_head_output`.
        window: None patches every prompt token but the first.
        source: from `record_heads`, for example a neutral text of another scenario; holds this layer and head.
        source_prompt: how many of its tokens stand for the prompt; None: all of them.

    Raises:
        UserError: an unknown `how`, a mean or source that is missing or not wanted, a source without this head, more
            tokens for the prompt than it has.

    >>> import numpy as np
    >>> AblateHead(5, head=3).target(d_head=2).tolist()
    [0.0, 0.0]
    >>> AblateHead(5, head=3, how="mean", mean=np.array([1.0, 2.0])).target(d_head=2).tolist()
    [1.0, 2.0]
    """

    layer: int
    head: int
    how: Literal["zero", "mean", "resample"] = "zero"
    mean: Values | None = None
    window: int | None = None
    schedule: Schedule = "constant"
    steps: int | None = None
    source: HeadActivations | None = None
    source_prompt: int | None = None

    def __post_init__(self) -> None:
        check_place(self)
        arguments.one_of("ablation", self.how, ("zero", "mean", "resample"))
        if (self.how == "mean") != (self.mean is not None):
            raise UserError("expected mean=[d_head] together with how='mean', and only then")
        if (self.how == "resample") != (self.source is not None):
            raise UserError("expected source= (from record_heads) together with how='resample', and only then")
        if self.mean is not None:
            checked_array(self.mean, "a mean [d_head]", 1)
        if self.source is not None:
            arguments.instance("a source", self.source, HeadActivations, "record_heads (one of its list)")
            self.source.check(self.layer, self.head)
        if self.source_prompt is not None:
            most = 0 if self.source is None else len(self.source.prompt_ids)
            given = arguments.whole_number("source_prompt", self.source_prompt, least=1, most=most)
            object.__setattr__(self, "source_prompt", given)

    def target(self, d_head: int) -> Float[np.ndarray, " d_head"]:
        """What the head's output becomes at every token; of `zero` and `mean`, which are the same everywhere."""
        return np.zeros(d_head, np.float32) if self.mean is None else checked_array(self.mean, "a mean [d_head]", 1)

    def targets(self, width: int, n_columns: int, d_head: int) -> Float[np.ndarray, "column d_head"]:
        """What the head's output becomes at every column: prompts end before column `width`, what follows is after."""
        if self.source is None:
            return np.tile(self.target(d_head), (n_columns, 1))
        held = self.source.z[self.layer, self.head]
        n_prompt = len(held) if self.source_prompt is None else self.source_prompt
        places = np.arange(n_columns) - width + n_prompt
        return held[np.clip(places, min(1, len(held) - 1), len(held) - 1)]

    def fingerprint(self) -> str:
        """A hash of the head, what its output becomes, and when."""
        if self.source is not None:
            held = self.source.z[self.layer, self.head]
            n_prompt = len(held) if self.source_prompt is None else self.source_prompt
            return act_fingerprint(self, "ablate", self.head, target=held, source_prompt=n_prompt)
        target = "zero" if self.mean is None else bare_values(self.mean)
        return act_fingerprint(self, "ablate", self.head, target=target)
