"""When an intervention acts: the factor at each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.base.signatures import told


@told
@dataclass(frozen=True)
class Decay:
    """An exponentially falling schedule: the factor at step j is `rate ** j`.

    Raises:
        UserError: a rate outside (0, 1].

    >>> schedule_factors(Decay(0.5), steps=2, n_steps=4).tolist()  # the prefill, then each generated token
    [1.0, 0.5, 0.25, 0.0]
    """

    rate: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", arguments.number("decay rate", self.rate, above=0, most=1))


Schedule = Literal["constant"] | Decay | tuple[float, ...]


def schedule_factors(schedule: Schedule, steps: int | None, n_steps: int) -> Float[np.ndarray, " step"]:
    """The factor at the prefill (index 0) and at each generated token that is fed back (index j: the j-th)."""
    factors = np.zeros(n_steps, dtype=np.float32)
    if isinstance(schedule, Decay):
        factors[:] = schedule.rate ** np.arange(n_steps)
    elif isinstance(schedule, str):
        factors[:] = 1
    else:
        given = np.asarray(schedule, dtype=np.float32)[:n_steps]
        factors[: len(given)] = given
    if steps is not None:
        factors[steps + 1 :] = 0
    return factors


def schedule_key(schedule: Schedule) -> str | list:
    """The schedule as a JSON-like value; equal for schedules that give equal factors as written."""
    if isinstance(schedule, Decay):
        return ["decay", float(schedule.rate)]
    return schedule if isinstance(schedule, str) else np.asarray(schedule, dtype=np.float32).tolist()


def checked_timing(
    window: int | None, schedule: Schedule, steps: int | None
) -> tuple[int | None, Schedule, int | None]:
    """The window, the schedule and the number of steps as plain numbers.

    Raises:
        UserError: one that means nothing.
    """
    if window is not None:
        window = arguments.whole_number("window", window, least=1)
    if steps is not None:
        steps = arguments.whole_number("steps", steps, least=0)
    return window, checked_schedule(schedule), steps


def checked_schedule(schedule: Schedule) -> Schedule:
    """`constant`, a `Decay`, or a tuple of finite factors.

    Raises:
        UserError: anything else.
    """
    if isinstance(schedule, Decay) or (isinstance(schedule, str) and schedule == "constant"):
        return schedule
    try:
        return tuple(arguments.finite_numbers("schedule", schedule))
    except UserError as error:
        raise UserError(
            f"expected schedule 'constant', Decay(rate) or a sequence of finite factors, got {shown(schedule)}"
        ) from error
