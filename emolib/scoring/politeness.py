"""Politeness of a text: ridge regression on weighted word n-grams, trained on TyDiP's English part (Srinivasan and Choi
2022; the Stanford Politeness Corpus of Danescu-Niculescu-Mizil et al. 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import pandas as pd
import torch

from emolib.base.paths import params_folder
from emolib.scoring.ngrams import NgramModel
from emolib.scoring.scorer import Scorer


@lru_cache(maxsize=1)
def load_model() -> NgramModel:
    """The trained model; `UserError` where a file is missing."""
    return NgramModel.read(params_folder("scorers"), "politeness")


def ngrams(device: torch.device) -> Scorer:
    """`politeness/score`: about -2 (rude) to 2 (polite), 0 the average request of the training data."""
    model = load_model()

    def score(texts: Sequence[str]) -> pd.DataFrame:
        return pd.DataFrame({"politeness/score": model(texts)[:, 0]})

    return Scorer("politeness_ngrams", model.version, score)
