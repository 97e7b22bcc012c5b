"""Strengths at which other directions move the next token as far as a steer does.

At equal norm a random direction often changes less than the steer: it is a control of direction at another damage. The
strength is sought by steps in logarithms, the KL growing about as the square of it, within a bracket that every step
narrows (bisection where a step leaves it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError

TOLERANCE = 0.05  # of the KL that is wanted
FARTHEST = 4.0  # times the steer's strength
MOST_STEPS = 10
SLOPE = 2.0  # of log KL over log strength, before a second value is known
FLATTEST, STEEPEST = 0.8, 3.0
Measure = Callable[[Sequence[int], Float[np.ndarray, " search"]], Float[np.ndarray, " search"]]


@dataclass
class _Search:
    """One direction and the KL that it has to reach, in logarithms of strength."""

    at: float
    wanted: float
    farthest: float
    low: float = -np.inf
    high: float = np.inf
    before: tuple[float, float] | None = None
    kl: float = float("nan")

    def held(self, kl: float) -> bool:
        """Takes the KL at the strength; whether the search has ended."""
        self.kl = kl
        found = float(np.log(max(kl, 1e-12)))
        if abs(kl / self.wanted - 1) <= TOLERANCE:
            return True
        if kl < self.wanted:
            self.low = self.at
            if self.at >= self.farthest - 1e-9:
                return True
        else:
            self.high = self.at
        slope = SLOPE
        if self.before is not None and abs(self.at - self.before[0]) > 1e-9:
            slope = float(np.clip((found - self.before[1]) / (self.at - self.before[0]), FLATTEST, STEEPEST))
        self.before = (self.at, found)
        step = min(self.at + (float(np.log(self.wanted)) - found) / slope, self.farthest)
        inside = self.low < step < self.high
        self.at = step if inside else (self.low + min(self.high, self.farthest)) / 2
        return False


def equal_kl_strengths(
    measure: Measure, start: Sequence[float], wanted: Sequence[float], *, farthest: float = FARTHEST
) -> pd.DataFrame:
    """The strength of every search at which its KL is the one wanted.

    Args:
        measure: gives the KL (nat) of the searches with these numbers, at these strengths.
        start: strengths, above 0, at which the searches begin.
        wanted: KL per search, above 0.
        farthest: times the start; a direction that has not reached its KL there is counted as one that does not.

    Returns:
        alpha, kl (at it), wanted, reached (within 5 %), steps (how often it was measured); one row per search.

    Raises:
        UserError: starts or KLs that are not above 0, or of different number.

    >>> table = equal_kl_strengths(lambda which, alphas: 0.1 * alphas**1.5, [1.0, 1.0], [0.2, 5.0])
    >>> table["reached"].tolist(), bool(abs(table["kl"][0] / 0.2 - 1) < 0.05), float(table["alpha"][1])
    ([True, False], True, 4.0)
    """
    begin, goals = (arguments.float_array(name, given) for name, given in (("start", start), ("wanted", wanted)))
    if begin.shape != goals.shape or begin.ndim != 1 or not ((begin > 0) & (goals > 0)).all():
        raise UserError(f"expected a start and a KL above 0 per search, got {begin.tolist()} and {goals.tolist()}")
    searches = [
        _Search(float(np.log(a)), float(kl), float(np.log(a * farthest))) for a, kl in zip(begin, goals, strict=True)
    ]
    alphas, steps = begin.copy(), np.zeros(len(begin), int)
    open_ = list(range(len(searches)))
    for _ in range(MOST_STEPS):
        if not open_:
            break
        alphas[open_] = np.exp([searches[i].at for i in open_])
        steps[open_] += 1
        values = measure(open_, alphas[open_])
        open_ = [i for i, value in zip(open_, values, strict=True) if not searches[i].held(float(value))]
    table = pd.DataFrame({"alpha": alphas, "kl": [search.kl for search in searches], "wanted": goals})
    return table.assign(reached=(table["kl"] / table["wanted"] - 1).abs() <= TOLERANCE, steps=steps)
