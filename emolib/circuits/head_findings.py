"""What a head patching comes to, as codes: the report words them and decides nothing again.

Explored, not claimed: nothing here is corrected for how many heads, modes and sources there are.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.circuits.head_conditions import PATCHES

CARRIED, NOTHING, OPEN, NOT_MEASURABLE = "carried", "nothing", "open", "not_measurable"
SMALL = 0.2  # share of the whole below which an upper limit says that nothing is there
CHEAPER, NO_CHEAPER, WEAKER, STRONGER = "cheaper", "no_cheaper", "weaker", "stronger"
UNIFORM, NOT_UNIFORM, FEW = "uniform", "not_uniform", "few"
FEWEST_P = 8  # p values below which nothing is said of their distribution


def share_code(share: float, low: float, high: float) -> str:
    """What a share of an effect says.

    `carried`: its interval lies above 0; `nothing`: its upper limit lies below 20 %; `not_measurable`: there is no
    share, for the whole is not told from 0; else `open`.

    >>> share_code(0.5, 0.3, 0.7), share_code(0.0, -0.1, 0.1), share_code(0.3, -0.1, 0.7)
    ('carried', 'nothing', 'open')
    """
    if not np.isfinite([share, low, high]).all():
        return NOT_MEASURABLE
    if low > 0:
        return CARRIED
    return NOTHING if high < SMALL else OPEN


def with_codes(table: pd.DataFrame) -> pd.DataFrame:
    """A table of shares (columns share, share_low, share_high) with the code of each."""
    shares = table[["share", "share_low", "share_high"]].to_numpy(float)
    return table.assign(code=[share_code(*row) for row in shares])


def main_effects(effects: pd.DataFrame) -> pd.DataFrame:
    """The three modes beside each other: same scenario, context and text, with their codes.

    Args:
        effects: as `emolib.circuits.head_effects.patch_effects` gives them.
    """
    chosen = (effects["source"] == "same") & (effects["extent"] == "whole") & effects["mode"].isin(PATCHES)
    return with_codes(effects[chosen].reset_index(drop=True))


def uniformity_code(found: dict[str, float]) -> str:
    """Whether A/A's p values are uniform: `few` below eight of them."""
    if found["n"] < FEWEST_P:
        return FEW
    return UNIFORM if found["p_ks"] > 0.05 else NOT_UNIFORM


def interaction_code(row: pd.Series) -> str:
    """What a pair's interaction says: beyond 0 by its interval and beyond random pairs, or not."""
    if bool(row["degenerate"]) or not np.isfinite([row["ci_low"], row["ci_high"]]).all():
        return NOT_MEASURABLE
    if row["ci_low"] <= 0 <= row["ci_high"] or not row["p_null"] <= 0.05:
        return OPEN
    return "more" if row["mean"] > 0 else "less"


def steering_code(way: pd.Series, damage: pd.Series) -> str:
    """The published claim, equal effect with less loss of coherence, of one emotion.

    `weaker` or `stronger`: S by heads lies below or above the residual steer's by its interval. Otherwise, where the
    interval lies within 20 % of the residual steer's S: `cheaper` if the broken share or the likelihood's loss is
    smaller by its interval, `no_cheaper` if one of them is not smaller by its interval. Else `open`.

    >>> way = pd.Series({"s_residual": 1.0, "ci_low": -0.1, "ci_high": 0.1})
    >>> damage = pd.Series({"broken_low": -0.4, "broken_high": -0.1, "nll_low": -1.0, "nll_high": 0.2})
    >>> steering_code(way, damage)
    'cheaper'
    """
    low, high = float(way["ci_low"]), float(way["ci_high"])
    if not np.isfinite([low, high]).all():
        return NOT_MEASURABLE
    if high < 0 or low > 0:
        return WEAKER if high < 0 else STRONGER
    margin = SMALL * abs(float(way["s_residual"]))
    if not -margin <= low <= high <= margin:
        return OPEN
    if damage["broken_high"] < 0 or damage["nll_high"] < 0:
        return CHEAPER
    return NO_CHEAPER if damage["broken_low"] >= 0 or damage["nll_low"] >= 0 else OPEN
