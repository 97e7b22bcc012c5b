"""What every scorer of a table of scores decides: is an emotion there or not?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.scoring import goemotions
from emolib.scoring.expressed import PRESENT

FAMILIES = {"lexical": "goemotions_lexical", "encoder": "goemotions_encoder", "bundled": "goemotions"}


def decisions(scores: pd.DataFrame, emotion: str) -> dict[str, np.ndarray]:
    """Whether an emotion is there, by every scorer that says so in a table of `emolib.score_texts`.

    Returns:
        `[text]` of bool each: `keywords` (at least one word of the label's list); where all three are in the table,
        `goemotions lexical`, `goemotions encoder` and `goemotions bundled` (their labels reach their thresholds);
        `expressed` (the probability reaches one half).

    >>> import emolib
    >>> found = decisions(emolib.score_texts(["I am so angry with you!", "The shop is closed."]), "anger")
    >>> found["keywords"].tolist(), found["expressed"].tolist()
    ([True, False], [True, False])
    """
    found = {"keywords": scores[f"keywords/{emotion}"].to_numpy() > 0}
    if all(f"{family}/neutral" in scores for family in FAMILIES.values()):
        for way in goemotions.WAYS:
            found[f"goemotions {way}"] = goemotions.is_present(scores, emotion, way).to_numpy()
    if f"expressed/{emotion}" in scores:
        found["expressed"] = scores[f"expressed/{emotion}"].to_numpy() >= PRESENT
    return found
