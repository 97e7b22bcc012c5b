"""What the conditions, ranks and doses of the continuation shift come to beside its verdicts, as codes and numbers.

Nothing here is corrected for how many there are, and nothing changes a verdict (`emolib.steering.claims`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from emolib.steering.shift_measures import MEASURES
from emolib.steering.shift_tables import check_columns
from emolib.steering.text_claims import LEVEL


def measures_above(conditions: pd.DataFrame) -> pd.DataFrame:
    """By which measures an emotion's S is above 0 against every other label.

    Args:
        conditions: as `emolib.steering.claims.shift_conditions` gives them.

    Returns:
        style, emotion, measure, mean (over the other labels, nat per token), p (of the label that holds least), other
        (that label), above (p at most 0.05).

    Raises:
        UserError: missing columns.

    >>> rows = pd.DataFrame({"style": "implicit", "emotion": "joy", "measure": "raw", "other": ["anger", "fear"]})
    >>> measures_above(rows.assign(mean=[0.2, 0.4], p=[0.2, 0.01]))[["mean", "other", "above"]].round(3).values.tolist()
    [[0.3, 'anger', False]]
    """
    check_columns(conditions, ["style", "emotion", "other", "measure", "mean", "p"], "conditions")
    rows = []
    for (style, emotion), part in conditions.groupby(["style", "emotion"], sort=False):
        for measure in (name for name in MEASURES if name in set(part["measure"])):
            mine = part[part["measure"] == measure]
            worst = mine.loc[mine["p"].idxmax()]
            row = {"style": style, "emotion": emotion, "measure": measure, "mean": float(mine["mean"].mean())}
            rows.append({**row, "p": float(worst["p"]), "other": worst["other"], "above": bool(worst["p"] <= LEVEL)})
    return pd.DataFrame(rows, columns=["style", "emotion", "measure", "mean", "p", "other", "above"])


def dose_courses(doses: pd.DataFrame) -> pd.DataFrame:
    """What S does as a steer grows from 0, and with the opposite sign.

    Args:
        doses: as `emolib.study.phase5_steering.shift_results.shift_doses` gives them; S is 0 at strength 0.

    Returns:
        style, emotion, course (`rises`, `falls` or `not_monotone` over the strengths from 0 on), last_alpha, last_mean,
        last_kl (of the strongest), opposite_alpha and opposite_mean (of the strength below 0; NaN without one) and
        opposite: `below` or `above` 0 by the 95 % interval, `open`, or `none` without one.

    Raises:
        UserError: missing columns.
    """
    check_columns(doses, ["style", "emotion", "alpha", "mean", "se", "df", "kl"], "doses")
    rows = []
    for (style, emotion), part in doses.groupby(["style", "emotion"], sort=False):
        ordered = part[part["alpha"] > 0].sort_values("alpha")
        if ordered.empty:
            continue
        steps = np.diff([0.0, *ordered["mean"]])
        course = "rises" if (steps >= 0).all() else "falls" if (steps <= 0).all() else "not_monotone"
        last = ordered.iloc[-1]
        row = {"style": style, "emotion": emotion, "course": course, "last_alpha": float(last["alpha"])}
        row |= {"last_mean": float(last["mean"]), "last_kl": float(last["kl"])}
        rows.append({**row, **_opposite(part[part["alpha"] < 0])})
    columns = ["style", "emotion", "course", "last_alpha", "last_mean", "last_kl"]
    return pd.DataFrame(rows, columns=[*columns, "opposite_alpha", "opposite_mean", "opposite"])


def _opposite(below: pd.DataFrame) -> dict[str, Any]:
    """The strongest steer of the opposite sign."""
    if below.empty:
        return {"opposite_alpha": float("nan"), "opposite_mean": float("nan"), "opposite": "none"}
    at = below.sort_values("alpha").iloc[0]
    reach = float(stats.t.ppf(1 - LEVEL / 2, at["df"]) * at["se"])
    low, high = at["mean"] - reach, at["mean"] + reach
    code = "below" if high < 0 else "above" if low > 0 else "open"
    return {"opposite_alpha": float(at["alpha"]), "opposite_mean": float(at["mean"]), "opposite": code}


def written_effects(found: pd.DataFrame, emotion: str) -> bool:
    """Whether an emotion's generated texts meet both conditions in every measure.

    Args:
        found: see `emolib.steering.findings.findings`.
    """
    mine = found[found["emotion"] == emotion]
    return bool(len(mine) and mine["met"].astype(bool).all())
