"""Whether a label's vector is common to two models: the verdict of an alignment, as a code with its reason.

*common* is said of a label whose mapped vector lies nearer to its own native vector than to others' by more than the
95th percentile of every null, with an interval above 0. *not_shown* needs an interval whose upper end stays below that
bar. What lies between, and what no design of this size could have shown, is *underpowered*. Where B's or A's own vector
is not found again in the other half of its scenarios, nothing could be matched: *not_measurable*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from emolib.steering.claims import NOT_MEASURABLE
from emolib.steering.findings import UNDERPOWERED
from emolib.steering.shift_tables import check_columns
from emolib.steering.text_claims import FEWEST_SCENARIOS

COMMON, NOT_SHOWN = "common", "not_shown"
ALIGNMENT_VERDICTS = (COMMON, NOT_SHOWN, UNDERPOWERED, NOT_MEASURABLE)
ALIGNMENT_REASONS = (
    *("few_scenarios", "own_vector_not_found", "above_every_null", "below_the_bar", "ceiling_below_the_bar"),
    "interval_holds_the_bar",
)
MARGIN = ["margin", "low", "high", "ceiling", "ceiling_low", "n_scenarios"]


def alignment_verdicts(margins: pd.DataFrame, nulls: pd.DataFrame) -> pd.DataFrame:
    """One row per style and label.

    Args:
        margins: style, label, and of each `MARGIN`: matched minus mismatched with its interval over scenarios; ceiling,
            what two models that are the same would reach, with the lower end of the worse model's interval; scenarios.
        nulls: style, label, null, null_95 (95th percentile of what maps that know nothing reach).

    Returns:
        The margins' columns, hardest_null and bar (its null_95), verdict (of `ALIGNMENT_VERDICTS`), reason.

    Raises:
        UserError: missing columns.

    >>> margins = pd.DataFrame({"style": "all", "label": ["joy"], "margin": 0.5, "low": 0.3, "high": 0.7})
    >>> margins = margins.assign(ceiling=0.8, ceiling_low=0.6, n_scenarios=30)
    >>> nulls = pd.DataFrame({"style": "all", "label": "joy", "null": ["permuted", "words"], "null_95": [0.1, 0.4]})
    >>> alignment_verdicts(margins, nulls)[["hardest_null", "verdict"]].values.tolist()
    [['words', 'common']]
    """
    check_columns(margins, ["style", "label", *MARGIN], "margins")
    check_columns(nulls, ["style", "label", "null", "null_95"], "nulls")
    hardest = nulls.sort_values("null_95", ascending=False, kind="stable").drop_duplicates(["style", "label"])
    hardest = hardest[["style", "label", "null", "null_95"]].rename(columns={"null": "hardest_null", "null_95": "bar"})
    found = margins.merge(hardest, on=["style", "label"], how="left", validate="one_to_one")
    judged = [alignment_verdict(row) for row in found.to_dict("records")]
    return found.assign(verdict=[code for code, _ in judged], reason=[reason for _, reason in judged])


def alignment_verdict(row: Mapping[str, Any]) -> tuple[str, str]:
    """The verdict and its reason, for a row with `MARGIN` and bar."""
    if row["n_scenarios"] < FEWEST_SCENARIOS:
        return UNDERPOWERED, "few_scenarios"
    if not row["ceiling_low"] > 0:
        return NOT_MEASURABLE, "own_vector_not_found"
    bar = float(row["bar"])
    assert np.isfinite(bar), "every label has its nulls"
    if row["margin"] > bar and row["low"] > 0:
        return COMMON, "above_every_null"
    if row["high"] <= bar:
        return NOT_SHOWN, "below_the_bar"
    if row["ceiling"] <= bar:
        return UNDERPOWERED, "ceiling_below_the_bar"
    return UNDERPOWERED, "interval_holds_the_bar"
