"""Sentiment by VADER (Hutto and Gilbert 2014): a lexicon with rules for negation, emphasis and punctuation.

VADER gives one number, `compound`. Probabilities follow from it by a multinomial logistic regression on its positive
and its negative part, fitted on GoEmotions' comments, whose labels the authors group into positive, negative, ambiguous
and neutral (comments with labels of several groups, or ambiguous ones, are left out).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from emolib.base.errors import UserError, shown
from emolib.base.files import read_json
from emolib.base.paths import display, params_folder
from emolib.base.store import digest
from emolib.scoring.ngrams import RETRAIN
from emolib.scoring.scorer import Scorer

COMPUTATION = 1  # raised when the same mapping would give other numbers
CLASSES = ("POSITIVE", "NEUTRAL", "NEGATIVE")


@lru_cache(maxsize=1)
def _analyzer() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()


def compound_scores(texts: Sequence[str]) -> np.ndarray:
    """VADER's normalised valence, `[text]`, -1 (negative) to 1 (positive)."""
    return np.array([_analyzer().polarity_scores(text)["compound"] for text in texts])


def class_features(compound: np.ndarray) -> np.ndarray:
    """`[text, 2]`: the positive and the negative part."""
    return np.stack([np.maximum(compound, 0), np.maximum(-compound, 0)], axis=1)


@lru_cache(maxsize=1)
def _mapping() -> dict[str, list]:
    path = params_folder("scorers") / "sentiment.json"
    found = read_json(path, kind=dict, name=f"the fitted mapping {display(path)}", advice=RETRAIN)
    try:
        shapes = {name: np.array(found[name], float).shape for name in ("weights", "bias")}
    except (KeyError, TypeError, ValueError):
        shapes = {}
    if shapes != {"weights": (len(CLASSES), 2), "bias": (len(CLASSES),)}:
        raise UserError(f"expected weights [3, 2] and bias [3] in {display(path)}, got {shown(found)}; {RETRAIN}")
    return found


def vader(device: torch.device) -> Scorer:
    """`sentiment/{POSITIVE,NEUTRAL,NEGATIVE}` (they sum to 1) and `sentiment/compound`."""
    mapping = _mapping()

    def score(texts: Sequence[str]) -> pd.DataFrame:
        compound = compound_scores(texts)
        logits = class_features(compound) @ np.array(mapping["weights"]).T + np.array(mapping["bias"])
        table = pd.DataFrame(softmax(logits, axis=1), columns=[f"sentiment/{name}" for name in CLASSES])
        return table.assign(**{"sentiment/compound": compound})

    return Scorer("sentiment_vader", digest([COMPUTATION, version("vaderSentiment"), mapping]), score)
