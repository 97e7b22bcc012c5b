"""What phases read from a table of scores: how strongly each text expresses each emotion, and whether scorers agree."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from emolib.base.errors import UserError
from emolib.scoring import evaluation, goemotions

SINGLES = ("lexical", "encoder")


def with_targets(scores: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """The table with `target/<emotion>`, the highest probability of the emotion's GoEmotions labels (and, where the
    backend gives each model's, `target_lexical/…` and `target_encoder/…`), and `valence`, P(POSITIVE) − P(NEGATIVE)."""
    added = {"valence": scores["sentiment/POSITIVE"] - scores["sentiment/NEGATIVE"]}
    for emotion in emotions:
        if goemotions.matching_labels(emotion):
            for suffix in ("", *(f"_{way}" for way in SINGLES if f"goemotions_{way}/neutral" in scores)):
                added[f"target{suffix}/{emotion}"] = goemotions.on_target(scores, emotion, f"goemotions{suffix}")
    return pd.concat([scores, pd.DataFrame(added).astype(float)], axis=1)


def measures(scores: pd.DataFrame, emotions: Sequence[str]) -> dict[str, list[str]]:
    """Per emotion the columns that tell whether a text expresses it: its words, and its GoEmotions labels.

    Raises:
        UserError: nothing measures an emotion.
    """
    found = {e: [name for name in (f"keywords/{e}", f"target/{e}") if name in scores] for e in emotions}
    for emotion, names in found.items():
        if not names:
            raise UserError(
                f"nothing measures {emotion!r}: expected words in params/keywords/ or a GoEmotions label of that name"
            )
    return found


def agreement(scores: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """How far n-grams and sentence features agree, one row per emotion; empty where the backend has one model alone.

    A text that occurs several times counts once.
    """
    rows = []
    texts = scores.drop_duplicates("text")
    for emotion in emotions:
        if all(f"target_{way}/{emotion}" in texts for way in SINGLES):
            values = [texts[f"target_{way}/{emotion}"].to_numpy() for way in SINGLES]
            says = [goemotions.is_present(texts, emotion, way).to_numpy() for way in SINGLES]
            rows.append({"emotion": emotion, **evaluation.agreement(*values, *says)})
    return pd.DataFrame(rows, columns=["emotion", "kappa", "rank_correlation", "share_a", "share_b", "n_present", "n"])
