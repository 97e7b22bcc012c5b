"""Counts of emotion words per text."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from emolib.keywords import load_keywords


def score_keywords(texts: Sequence[str]) -> pd.DataFrame:
    """`keywords/<label>`: how many of the label's words a text holds, negated ones left out."""
    lists = load_keywords()
    return pd.DataFrame({f"keywords/{label}": [lists.count(text, label) for text in texts] for label in lists.labels})
