"""Scorers on texts that a word list gets wrong: `data/scorer_sanity.jsonl`, written before any scorer was tuned."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.base.paths import data_file
from emolib.data.keywords import load_keywords
from emolib.scoring import score_texts
from emolib.scoring.cache import ScoreCache
from emolib.scoring.decisions import decisions
from emolib.scoring.sentiment import CLASSES

HARD, BALANCED = "all but control", "the same, balanced"
ABSENT = "always absent"  # a constant answer, for comparison


def load_sanity_set() -> pd.DataFrame:
    """Columns id, kind, label, present, sentiment, text; see docs/scorers.md."""
    return pd.read_json(data_file("scorer_sanity.jsonl"), lines=True)


def sanity_decisions(texts: pd.DataFrame, *, backend: str = "bundled", cache: ScoreCache | None = None) -> pd.DataFrame:
    """One row per text and scorer: kind, label, scorer, expected, found, correct."""
    scores = score_texts(texts["text"].tolist(), backend=backend, cache=cache)
    said = scores[[f"sentiment/{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
    parts = []
    for label, part in texts.groupby("label"):
        own = scores.iloc[texts.index.get_indexer(part.index)]
        parts += [_rows(part, name, part["present"], found) for name, found in _answers(own, str(label), part).items()]
    parts.append(_rows(texts, "sentiment", texts["sentiment"], np.array(CLASSES)[said]))
    return pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)


def _answers(scores: pd.DataFrame, label: str, texts: pd.DataFrame) -> dict[str, np.ndarray]:
    """Per scorer whether the label is there, `[text]`."""
    if label == "politeness":
        return {"politeness": scores["politeness/score"].to_numpy() > 0}
    pattern = load_keywords().patterns[label]
    return {
        ABSENT: np.zeros(len(texts), bool),
        "word list without rules": np.array([pattern.search(text) is not None for text in texts["text"]]),
        **decisions(scores, label),
    }


def _rows(texts: pd.DataFrame, scorer: str, expected: pd.Series, found: np.ndarray) -> pd.DataFrame:
    table = texts[["kind", "label"]].assign(scorer=scorer, expected=expected.astype(object))
    table["found"] = np.asarray(found, object)
    return table.assign(correct=table["expected"] == table["found"])


def sanity_accuracy(*, backend: str = "bundled", cache: ScoreCache | None = None) -> pd.DataFrame:
    """Accuracy per kind of text and scorer (columns), and over all but the controls: plain, and balanced.

    The last row is the mean of the shares that are right among texts with the emotion and among those without, where
    a constant answer (`ABSENT`) has 0.5. NaN where a scorer has no say, or answers another question than present or
    absent.
    """
    table = sanity_decisions(load_sanity_set(), backend=backend, cache=cache)
    by_kind = table.pivot_table(index="kind", columns="scorer", values="correct", aggfunc="mean", sort=False)
    hard = table[table["kind"] != "control"]
    plain = hard.groupby("scorer")["correct"].mean().rename(HARD)
    two_sided = hard[hard["scorer"] != "sentiment"]
    sides = two_sided.groupby(["scorer", two_sided["expected"].astype(bool)])["correct"].mean()
    balanced = sides.groupby("scorer").mean().rename(BALANCED)
    return pd.concat([by_kind, plain.to_frame().T, balanced.to_frame().T])[list(dict.fromkeys(table["scorer"]))]
