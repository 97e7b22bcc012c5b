"""Scorers on texts that a word list gets wrong: `data/scorer_sanity.jsonl`, written before any scorer was tuned."""

from __future__ import annotations

import pandas as pd

from emolib.base.paths import data_file
from emolib.data.keywords import load_keywords
from emolib.scoring import goemotions, score_texts
from emolib.scoring.expressed import PRESENT
from emolib.scoring.sentiment import CLASSES

HARD, BALANCED = "all but control", "the same, balanced"
ABSENT = "always absent"  # a constant answer, for comparison


def load_sanity_set() -> pd.DataFrame:
    """Columns id, kind, label, present, sentiment, text; see docs/scorers.md."""
    return pd.read_json(data_file("scorer_sanity.jsonl"), lines=True)


def sanity_decisions(texts: pd.DataFrame, *, backend: str = "bundled") -> pd.DataFrame:
    """One row per text and scorer: kind, label, scorer, expected, found, correct."""
    scores = score_texts(texts["text"].tolist(), backend=backend)
    words = load_keywords()
    rows = []
    for place, text in enumerate(texts.to_dict("records")):
        one, label = scores.iloc[[place]], text["label"]
        if label == "politeness":
            found = {"politeness": bool(one["politeness/score"].iloc[0] > 0)}
        else:
            found = {
                ABSENT: False,
                "word list without rules": words.patterns[label].search(text["text"]) is not None,
                "keywords": bool(one[f"keywords/{label}"].iloc[0] > 0),
            }
            if f"expressed/{label}" in one:
                found["expressed"] = bool(one[f"expressed/{label}"].iloc[0] >= PRESENT)
            for way in goemotions.WAYS if backend == "bundled" else ():
                found[f"goemotions {way}"] = bool(goemotions.is_present(one, label, way).iloc[0])
        given = {"kind": text["kind"], "label": label}
        rows += [
            {**given, "scorer": name, "expected": text["present"], "found": value} for name, value in found.items()
        ]
        said = max(CLASSES, key=lambda name: one[f"sentiment/{name}"].iloc[0])
        rows.append({**given, "scorer": "sentiment", "expected": text["sentiment"], "found": said})
    table = pd.DataFrame(rows)
    return table.assign(correct=table["expected"] == table["found"])


def sanity_accuracy(*, backend: str = "bundled") -> pd.DataFrame:
    """Accuracy per kind of text and scorer (columns), and over all but the controls: plain, and balanced.

    The last row is the mean of the shares that are right among texts with the emotion and among those without, where
    a constant answer (`ABSENT`) has 0.5. NaN where a scorer has no say, or answers another question than present or
    absent.
    """
    table = sanity_decisions(load_sanity_set(), backend=backend)
    by_kind = table.pivot_table(index="kind", columns="scorer", values="correct", aggfunc="mean", sort=False)
    hard = table[table["kind"] != "control"]
    plain = hard.groupby("scorer")["correct"].mean().rename(HARD)
    two_sided = hard[hard["scorer"] != "sentiment"]
    sides = two_sided.groupby(["scorer", two_sided["expected"].astype(bool)])["correct"].mean()
    balanced = sides.groupby("scorer").mean().rename(BALANCED)
    return pd.concat([by_kind, plain.to_frame().T, balanced.to_frame().T])[list(dict.fromkeys(table["scorer"]))]
