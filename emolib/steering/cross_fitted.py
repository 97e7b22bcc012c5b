"""Adjusted shifts without training texts: each half of the scenarios is predicted from the other half's third labels.

`emolib.steering.shift_parts.adjusted_shifts` fits its prediction under the same act on texts of other labels and other
scenarios. Where a design holds a third label's texts, such texts stand in its other half.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from emolib.base.errors import UserError
from emolib.steering.shift_parts import TOKENS_PER_COVARIATE, adjusted_shifts, covariates
from emolib.steering.shift_tables import ACT, KEYS, check_columns


def cross_fitted_shifts(tokens: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Mean shift of every row of two labels' texts, less what is predicted under its act from the other half.

    Args:
        tokens: as `shift_parts.token_table` gives them, with texts of at least one further label under every act.
        labels: those that are compared; the prediction never sees their texts.

    Returns:
        `KEYS` and `shift` (nat per token), one row per row of these labels.

    Raises:
        UserError: as `shift_parts.adjusted_shifts`; fewer than two scenarios, no texts of these labels.
    """
    check_columns(tokens, ["row", *KEYS, "shift", "log_frequency", "mark"], "tokens")
    second = tokens["text"].isin(_second_half(tokens))
    found = []
    for held in (~second, second):
        mine = tokens[held & tokens["label"].isin(list(labels))]
        found.append(adjusted_shifts(mine, tokens[~held], labels))
    return pd.concat(found, ignore_index=True)


def can_cross_fit(tokens: pd.DataFrame, labels: Sequence[str]) -> bool:
    """Whether either half has, under every act, further labels' tokens enough to predict from."""
    others = tokens[~tokens["label"].isin(list(labels))]
    second = others["text"].isin(_second_half(tokens)) if tokens["text"].nunique() > 1 else None
    if second is None or others.empty:
        return False
    fewest = TOKENS_PER_COVARIATE * covariates(others.head(1)).shape[1]
    counts = others.groupby([*(others[name] for name in ACT), second]).size()
    return len(counts) == 2 * len(tokens.drop_duplicates(ACT)) and bool((counts >= fewest).all())


def _second_half(tokens: pd.DataFrame) -> set[str]:
    """Every other scenario of each style."""
    once = tokens[["text", "style"]].drop_duplicates("text").sort_values(["style", "text"], kind="stable")
    if len(once) < 2:
        raise UserError(f"expected texts of at least two scenarios to fit on one half each, got {len(once)}")
    return set(once["text"].iloc[1::2])
