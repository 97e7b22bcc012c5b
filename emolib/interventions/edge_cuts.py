"""Cutting one edge of attention: a head no longer reads one token of the prompt, and reads all others as before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.interventions.act_arguments import Values, bare_values, check_place, checked_array
from emolib.interventions.fingerprints import act_fingerprint
from emolib.interventions.schedules import Schedule


@told
@dataclass(frozen=True, eq=False)
class CutEdge:
    """Takes out of one head's output what it reads at one token: z ← z + factor · pattern[·, key] (value − v_key).

    The pattern stays as it is (the other weights do not grow), and other heads of the same KV head are untouched.

    Attributes:
        head: query head, from 0.
        key: the prompt's token that is no longer read, counted from its first.
        value: `[d_head]`, read in its place, for example what the token's KV head has in another text; None: nothing.
        window: prompt tokens that look, counted from the end; None takes all but the first.
        steps: as of every act; None: generated (and fed) tokens no longer read it either.

    Raises:
        UserError: a key below 0, a value of more than one dimension.

    >>> act = CutEdge(5, head=3, key=2)
    >>> act.read_instead(d_head=2).tolist()
    [0.0, 0.0]
    """

    layer: int
    head: int
    key: int
    value: Values | None = None
    window: int | None = None
    schedule: Schedule = "constant"
    steps: int | None = None

    def __post_init__(self) -> None:
        check_place(self)
        object.__setattr__(self, "key", arguments.whole_number("key", self.key, least=0))
        if self.value is not None:
            checked_array(self.value, "a value [d_head]", 1)

    def read_instead(self, d_head: int) -> Float[np.ndarray, " d_head"]:
        """What stands in the value's place."""
        if self.value is None:
            return np.zeros(d_head, np.float32)
        found = checked_array(self.value, "a value [d_head]", 1)
        if len(found) != d_head:
            raise UserError(f"expected a value of d_head {d_head}, got {len(found)}")
        return found

    def fingerprint(self) -> str:
        """A hash of the edge, what is read in its place, and when."""
        value = "zero" if self.value is None else bare_values(self.value)
        return act_fingerprint(self, "cut", self.head, key=float(self.key), value=value)
