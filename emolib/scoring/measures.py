"""What phases read from a table of scores: how strongly each text expresses each emotion, and whether scorers agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from emolib.base.errors import UserError, shown
from emolib.base.labels import spelled
from emolib.data.keywords import load_keywords
from emolib.scoring import evaluation, goemotions

SINGLES = ("lexical", "encoder")
LOW_KAPPA = 0.4
FEWEST_PRESENT = 10  # below it κ is about a handful of texts


def with_targets(scores: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """The table with `target/<emotion>`, the highest probability of the emotion's GoEmotions labels (and, where the
    backend gives each model's, `target_lexical/…` and `target_encoder/…`), and `valence`, P(POSITIVE) − P(NEGATIVE).
    The counts of the emotions' words, and `expressed/…`, are named as the emotions are spelled here."""
    added = {"valence": scores["sentiment/POSITIVE"] - scores["sentiment/NEGATIVE"]}
    named = {
        name: f"{family}/{emotion}"
        for emotion in emotions
        for family in ("keywords", "expressed")
        if (name := _column_of(scores, family, emotion))
    }
    for emotion in emotions:
        if goemotions.matching_labels(emotion):
            for suffix in ("", *(f"_{way}" for way in SINGLES if f"goemotions_{way}/neutral" in scores)):
                added[f"target{suffix}/{emotion}"] = goemotions.on_target(scores, emotion, f"goemotions{suffix}")
    return pd.concat([scores.rename(columns=named), pd.DataFrame(added).astype(float)], axis=1)


def _column_of(scores: pd.DataFrame, family: str, emotion: str) -> str | None:
    """The family's column for an emotion, which is named as the family spells it."""
    known = [str(name).removeprefix(f"{family}/") for name in scores if str(name).startswith(f"{family}/")]
    found = spelled(emotion, known)
    return None if found is None else f"{family}/{found}"


def expressed_columns(scores: pd.DataFrame, emotions: Sequence[str]) -> list[str]:
    """The columns that tell whether a text's writer expresses these emotions as his own stance; a secondary measure,
    which takes part in no verdict."""
    return [name for emotion in emotions if (name := f"expressed/{emotion}") in scores]


def expected_measures(emotions: Iterable[str]) -> dict[str, list[str]]:
    """Per emotion the columns that will measure it, by any backend of the table: known before anything is scored.

    >>> expected_measures(["Anger", "joy", "boredom"])
    {'Anger': ['keywords/Anger', 'target/Anger'], 'joy': ['target/joy'], 'boredom': []}
    """
    lists, found = load_keywords(), {}
    for emotion in emotions:
        has = {"keywords": lists.label_of(emotion) is not None, "target": bool(goemotions.matching_labels(emotion))}
        found[emotion] = [f"{family}/{emotion}" for family, there in has.items() if there]
    return found


def require_measures(emotions: Iterable[str]) -> None:
    """Told before anything is computed.

    Raises:
        UserError: nothing measures one of the emotions.
    """
    silent = [emotion for emotion, names in expected_measures(emotions).items() if not names]
    if silent:
        named = ", ".join(shown(emotion, 40) for emotion in silent[:5]) + (" and more" if len(silent) > 5 else "")
        raise UserError(
            f"nothing measures {named}, which Phase 5 needs: there are neither words under labels in "
            f"params/keywords/en.yaml nor a GoEmotions label of that name; add words there, rename the label, or run "
            f"what needs no measure: --phase phase1 --phase phase2 --phase phase3"
        )


def measures(scores: pd.DataFrame, emotions: Sequence[str]) -> dict[str, list[str]]:
    """Per emotion the columns that tell whether a text expresses it: its words, and its GoEmotions labels.

    Raises:
        UserError: nothing measures an emotion.
    """
    found = {e: [name for name in (f"keywords/{e}", f"target/{e}") if name in scores] for e in emotions}
    for emotion, names in found.items():
        if not names:
            raise UserError(
                f"nothing measures {shown(emotion)}: expected words in params/keywords/ or a GoEmotions "
                f"label of that name"
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


def agreement_codes(table: pd.DataFrame) -> pd.DataFrame:
    """`agreement` with what it says about each emotion in the column `code`.

    `few`: fewer than `FEWEST_PRESENT` texts hold the emotion by either model, or κ is not defined; `one_sided`: κ is
    below `LOW_KAPPA` since one model never finds the emotion; `low`: below it all the same; `agree`: else.
    """
    unknown = (table["n_present"] < FEWEST_PRESENT) | table["kappa"].isna()
    never = table[["share_a", "share_b"]].min(axis=1) == 0
    below = np.where(never, "one_sided", "low")
    return table.assign(code=np.where(unknown, "few", np.where(table["kappa"] < LOW_KAPPA, below, "agree")))
