"""When an intervention acts: the factor at each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from emolib.base.errors import UserError, shown


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
        if not 0 < self.rate <= 1:
            raise UserError(f"expected a decay rate above 0 and at most 1, got {self.rate}")


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


def check_timing(window: int | None, schedule: Schedule, steps: int | None) -> None:
    """Raises `UserError` for a window, schedule or number of steps that means nothing."""
    if window is not None and not (isinstance(window, int) and window >= 1):
        raise UserError(f"expected a window of at least 1 token, got {shown(window)}")
    if steps is not None and not (isinstance(steps, int) and steps >= 0):
        raise UserError(f"expected steps of at least 0, got {shown(steps)}")
    if schedule == "constant" or isinstance(schedule, Decay):
        return
    try:
        factors = None if isinstance(schedule, str) else np.asarray(schedule, dtype=float)
    except (TypeError, ValueError):
        factors = None
    if factors is None or factors.ndim != 1 or not np.isfinite(factors).all():
        raise UserError(
            f"expected schedule 'constant', Decay(rate) or a sequence of finite factors, got {shown(schedule)}"
        )
