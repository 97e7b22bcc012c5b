"""Counts of emotion words per text."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from emolib.base.store import digest
from emolib.data.keywords import load_keywords
from emolib.scoring.scorer import Scorer


def lists(device: torch.device) -> Scorer:
    """`keywords/<label>`: how many of the label's words a text holds, negated ones left out."""
    words = load_keywords()

    def score(texts: Sequence[str]) -> pd.DataFrame:
        counts = {f"keywords/{label}": [words.count(text, label) for text in texts] for label in words.labels}
        return pd.DataFrame(counts)

    return Scorer("keywords", digest([1, words.digest()]), score)
