"""Power of the paired t test: how many scenarios an effect needs, and what the present number can detect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from emolib.base.errors import UserError
from emolib.statistics.intervals import minimum_detectable_effect


def power_table(
    ds: Sequence[float] = (0.2, 0.3, 0.5),
    powers: Sequence[float] = (0.8, 0.85),
    *,
    n: int,
    alpha: float = 0.05,
    observed: float | None = None,
) -> pd.DataFrame:
    """Scenarios needed for assumed effects, and the smallest effect that the present number of scenarios detects.

    Args:
        ds: assumed effects d_z.
        n: scenarios there are.
        observed: an effect that was found, for the descriptive column alone.

    Returns:
        One row per d and power: d, power, alpha, n_required (whole scenarios), n, detectable_d (at n and this power),
        power_at_n (for the assumed d), underpowered (n below n_required), and post_hoc_power, that of the observed
        effect. It only restates the p value (Hoenig & Heisey 2001) and decides nothing.

    Raises:
        UserError: d that is 0, power or alpha outside (0, 1), or fewer than 2 scenarios.
    """
    if n < 2 or not all(0 < value < 1 for value in (*powers, alpha)) or 0 in ds:
        raise UserError(f"expected n >= 2, d other than 0, power and alpha within 0 to 1, got {n}, {ds}, {powers}")
    rows = []
    for d in ds:
        for power in powers:
            needed = required_scenarios(d, power=power, alpha=alpha)
            row = {"d": d, "power": power, "alpha": alpha, "n_required": needed, "n": n}
            row["detectable_d"] = minimum_detectable_effect(n, power=power, alpha=alpha)
            row |= {"power_at_n": float(achieved_power(d, n, alpha=alpha)), "underpowered": n < needed}
            rows.append(row)
    post_hoc = float("nan") if observed is None else float(achieved_power(observed, n, alpha=alpha))
    return pd.DataFrame(rows).assign(post_hoc_power=post_hoc)


def required_scenarios(d: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Fewest scenarios at which a two-sided paired t test finds d_z with the given power."""
    from pingouin import power_ttest

    n = power_ttest(d=abs(d), power=power, alpha=alpha, contrast="paired", alternative="two-sided")
    return int(np.ceil(n))


def achieved_power(d: np.ndarray | float, n: np.ndarray | int, *, alpha: float = 0.05) -> np.ndarray:
    """Power of a two-sided paired t test for d_z at n scenarios, element by element (noncentral t)."""
    df, shift = np.asarray(n) - 1, np.abs(d) * np.sqrt(n)
    critical = stats.t.isf(alpha / 2, df)
    # far from 0 scipy has no number for the tail on the other side, which is 0 there
    return stats.nct.sf(critical, df, shift) + np.nan_to_num(stats.nct.cdf(-critical, df, shift))
