"""Which is ahead by S, the emotions' vectors or another way of moving a model, on the same prompts and texts.

Nothing here is corrected for how many are compared, and nothing changes a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from emolib.base.errors import UserError
from emolib.scoring.measures import measures
from emolib.statistics import intervals
from emolib.steering.alternatives import ahead_of
from emolib.steering.comparisons import ASKING, VECTOR
from emolib.steering.effects import effects, value_of
from emolib.steering.shift_tables import CELL, check_columns
from emolib.steering.specific_shift import crossed_mean

TRAINED = "trained"
METHODS = (VECTOR, TRAINED, ASKING)
EVERY = "all"  # in place of an emotion: the mean over all of them
LEVEL = 0.05
AHEAD, BEHIND, UNDECIDED = VECTOR, "rival", "undecided"
LEAD_COLUMNS = [
    *("style", "measure", "emotion", "method", "mean", "ahead", "se", "df", "low", "high", "p", "n_texts", "larger"),
]


def shift_leads(cells: pd.DataFrame) -> pd.DataFrame:
    """S of every method, and how far the vectors are ahead of it in the same cells.

    Args:
        cells: method (of `METHODS`), measure, prompt, text, style, emotion, other, specific; every method in the same
            cells.

    Returns:
        `LEAD_COLUMNS`, a row per style, measure, emotion (and `all`: their mean) and method: mean (S against the mean
        of the others, nat per token), ahead (the vectors' minus the method's) with the standard error where texts and
        prompts are both random, df, low and high (95 %), p (two-sided, by t), n_texts; larger: `emotion` (the interval
        of the lead lies above 0), `rival` or `undecided`. NaN and an empty `larger` for the vectors themselves. Styles
        with fewer than two texts are left out.

    Raises:
        UserError: missing columns, a method that lacks cells of the vectors'.

    >>> cells = pd.DataFrame({"prompt": list("abab"), "text": list("ccdd"), "style": "implicit", "measure": "raw"})
    >>> cells = cells.assign(emotion="joy", other="anger")
    >>> ours = cells.assign(method=VECTOR, specific=[1.0, 1, 2, 2])
    >>> theirs = cells.assign(method=ASKING, specific=[4.0, 5, 6, 5])
    >>> found = shift_leads(pd.concat([ours, theirs])).query("emotion == 'joy'").set_index("method")
    >>> found["mean"].tolist(), float(found["ahead"][ASKING])
    ([1.5, 5.0], -3.5)
    """
    check_columns(cells, ["method", "measure", *CELL, "emotion", "other", "specific"], "cells")
    enough = cells.groupby("style")["text"].transform("nunique") >= 2
    own = cells[enough].groupby(["style", "measure", "emotion", *CELL[:2], "method"], sort=False)["specific"].mean()
    every = own.groupby(["style", "measure", *CELL[:2], "method"], sort=False).mean()
    joined = pd.concat([own.reset_index(), every.reset_index().assign(emotion=EVERY)], ignore_index=True)
    rows = []
    for (style, measure, emotion), part in joined.groupby(["style", "measure", "emotion"], sort=False):
        wide = part.set_index([*CELL[:2], "method"])["specific"].unstack("method")
        if wide.isna().any(axis=None) or VECTOR not in wide:
            raise UserError(f"expected every method in the same cells, some are missing in {measure} of {emotion}")
        key = {"style": style, "measure": measure, "emotion": emotion}
        rows += [{**key, **_lead(wide, name)} for name in METHODS if name in wide]
    return pd.DataFrame(rows, columns=LEAD_COLUMNS)


def _lead(wide: pd.DataFrame, method: str) -> dict[str, Any]:
    """One method beside the vectors."""
    found: dict[str, Any] = {"method": method, "mean": float(wide[method].mean())}
    found |= {"n_texts": wide.index.get_level_values("text").nunique(), "larger": ""}
    if method == VECTOR:
        return found
    at = crossed_mean((wide[VECTOR] - wide[method]).rename("specific").reset_index())
    flat = not at["se"] > intervals.ROUNDING * abs(at["mean"])
    reach = 0.0 if flat else float(stats.t.ppf(1 - LEVEL / 2, at["df"]) * at["se"])
    p = min(1.0, 2 * 0.5 ** at["n_texts"]) if flat else float(2 * stats.t.sf(abs(at["t"]), at["df"]))
    low, high = at["mean"] - reach, at["mean"] + reach
    larger = AHEAD if low > 0 else BEHIND if high < 0 else UNDECIDED
    found |= {"ahead": at["mean"], "se": at["se"], "df": at["df"], "low": low, "high": high}
    return found | {"p": 1.0 if flat and not at["mean"] else p, "larger": larger}


def text_leads(
    test: pd.DataFrame, others: pd.DataFrame, emotions: Sequence[str], *, margin: float, **given: Any
) -> pd.DataFrame:
    """The same of what is generated: each method's effect on an emotion's measures, with its broken texts beside.

    Every method starts from the same unpatched texts.

    Args:
        test: the unpatched rows and those of the vectors.
        others: rows of the other methods on the same prompts.
        margin: how far apart broken shares may lie for two methods to be compared.
        given: n_resamples and seed of the bootstrap.

    Returns:
        emotion, metric (words, the probability and, where it was scored, `expressed`), method, effect (mean over
        scenarios, broken texts as 0), ahead (the vectors' minus the method's) with ahead_low, ahead_high (95 % BCa) and
        ahead_degenerate, broken, n, larger: as of `shift_leads`, `no_interval`, or `not_compared` (broken shares
        further apart than the margin); empty for the vectors themselves.
    """
    rows = []
    base = test[test["kind"] == "baseline"]
    for emotion, names in measures(test, emotions).items():
        expressed = [name for name in (f"expressed/{emotion}",) if name in test and name not in names]
        for metric in (*names, *expressed):
            table = pd.concat([base, test[test["kind"] == VECTOR], others], ignore_index=True)
            ours = effects(table, VECTOR, emotion, metric)
            for method in METHODS:
                mine = table[(table["kind"] == method) & (table["emotion"] == emotion)]
                if len(mine):
                    theirs = effects(table, method, emotion, metric)
                    row = {"emotion": emotion, "metric": metric, "method": method, "effect": float(theirs.mean())}
                    row |= {"broken": float(broken_share(mine)), "n": len(theirs), "larger": ""}
                    if method != VECTOR:
                        row |= ahead_of(ours, theirs, value_of(base, metric), **given)
                    rows.append(row)
    found = pd.DataFrame(rows)
    own = found[found["method"] == VECTOR].drop_duplicates("emotion").set_index("emotion")["broken"]
    gaps = (found["broken"] - found["emotion"].map(own)).abs()
    for place in found.index[found["method"] != VECTOR]:
        row = found.loc[place].to_dict()
        found.at[place, "larger"] = _text_larger(row, comparable=bool(gaps[place] <= margin + intervals.ROUNDING))
    return found


def broken_share(rows: pd.DataFrame) -> float:
    """The share of broken texts; 0 where it was not judged."""
    return float(rows["fluency/broken"].mean()) if "fluency/broken" in rows else 0.0


def _text_larger(row: Mapping[str, Any], *, comparable: bool) -> str:
    if not comparable:
        return "not_compared"
    if row["ahead_degenerate"] or not np.isfinite(row["ahead_low"]):
        return "no_interval"
    if row["ahead_low"] > 0:
        return AHEAD
    return BEHIND if row["ahead_high"] < 0 else UNDECIDED
