"""The ratio of two means that are correlated, with its interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats


class Ratio(NamedTuple):
    """x / y and the ends of its interval; all NaN where y is not told from 0, and the ends where no interval ends."""

    value: float
    low: float
    high: float


def fieller(
    x: float, y: float, *, var_x: float, var_y: float, covariance: float, df: float, confidence: float = 0.95
) -> Ratio:
    """Fieller's interval (Fieller 1954, "Some problems in interval estimation", JRSS B 16): all ratios θ for which
    x − θy lies within t standard errors of 0.

    Where y itself is within t standard errors of 0, every ratio could be, and none is given.

    >>> found = fieller(1.0, 2.0, var_x=0.01, var_y=0.01, covariance=0.0, df=100)
    >>> round(found.value, 2), round(found.low, 2), round(found.high, 2)
    (0.5, 0.39, 0.62)
    >>> fieller(1.0, 0.1, var_x=0.01, var_y=0.01, covariance=0.0, df=100).value
    nan
    """
    t2 = float(stats.t.ppf((1 + confidence) / 2, df)) ** 2
    squared, mixed, constant = y**2 - t2 * var_y, x * y - t2 * covariance, x**2 - t2 * var_x
    if not squared > 0:
        return Ratio(float("nan"), float("nan"), float("nan"))
    root = float(np.sqrt(max(mixed**2 - squared * constant, 0.0)))
    return Ratio(x / y, (mixed - root) / squared, (mixed + root) / squared)
