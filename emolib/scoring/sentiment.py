"""Sentiment by VADER (Hutto and Gilbert 2014): a lexicon with rules for negation, emphasis and punctuation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import pandas as pd
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer


@lru_cache(maxsize=1)
def _analyzer() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()


def score_sentiment(texts: Sequence[str]) -> pd.DataFrame:
    """`sentiment/compound`: VADER's normalised valence, -1 (negative) to 1 (positive)."""
    return pd.DataFrame({"sentiment/compound": [_analyzer().polarity_scores(text)["compound"] for text in texts]})
