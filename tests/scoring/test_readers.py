"""Agreement of scorers with readers: κ by hand, majorities, bad files, and the project's own readings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from emolib.base.errors import UserError
from emolib.scoring import score_texts
from emolib.scoring.decisions import decisions
from emolib.scoring.expressed import EMOTIONS
from emolib.scoring.readers import READERS, load_generated_readings, majority, reader_agreement
from tests.contrast_rows import write_rows


def rows(n: int = 40) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    table = []
    for i in range(n):
        truth = rng.random(3) < 0.4
        row: dict[str, Any] = {"id": f"g{i}", "kind": "steered", "emotion": "anger", "layer": 10, "alpha": 0.3}
        row |= {"sampled": True, "prompt": "p", "text": f"text {i}"}
        for place, reader in enumerate(READERS):
            noise = rng.random(3) < (0.0, 0.1, 0.2)[place]
            row[reader] = {e: int(t ^ f) for e, t, f in zip(EMOTIONS, truth, noise, strict=True)} | {"toward": "you"}
        table.append(row)
    return table


def scores_of(readings: pd.DataFrame) -> pd.DataFrame:
    """Words that follow the first reader, stances that follow the majority."""
    table = {f"keywords/{e}": readings[f"A/{e}"].astype(int) for e in EMOTIONS}
    table |= {f"expressed/{e}": np.where(majority(readings, e), 0.9, 0.1) for e in EMOTIONS}
    return pd.DataFrame(table)


def test_kappa_is_that_of_the_library_and_its_interval_holds_it(tmp_path: Path):
    readings = load_generated_readings(write_rows(tmp_path / "r.jsonl", rows()))
    table = reader_agreement(readings, scores_of(readings)).set_index(["emotion", "scorer"])
    for emotion in EMOTIONS:
        votes = [readings[f"{reader}/{emotion}"] for reader in READERS]
        pairs = [cohen_kappa_score(votes[a], votes[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        between = table.loc[(emotion, "readers")]
        assert between["kappa"] == pytest.approx(np.mean(pairs)) and between["low"] < between["kappa"] < between["high"]
        assert table.loc[(emotion, "expressed"), "kappa"] == 1
        words = table.loc[(emotion, "keywords")]
        assert words["kappa"] == pytest.approx(cohen_kappa_score(votes[0], majority(readings, emotion)))
        assert words["n_present"] == majority(readings, emotion).sum() and 0.5 < words["balanced_accuracy"] <= 1


def test_a_majority_is_two_of_three():
    table = pd.DataFrame({f"{r}/anger": v for r, v in zip(READERS, ([1, 1, 0], [1, 0, 0], [0, 0, 1]), strict=True)})
    assert majority(table.astype(bool), "anger").tolist() == [True, False, False]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "reading": ({"B": {"gratitude": 1, "anger": 2, "apology": 0}}, "expected 0 or 1 for anger by reader B, got 2"),
    "no reading": ({"C": None}, "expected 0 or 1 for gratitude by reader C"),
    "kind": ({"kind": "dreamt"}, "kind 'dreamt' is not one of unpatched"),
    "text": ({"text": "text 0"}, "expected a text that stands nowhere else"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_told_in_one_line(tmp_path: Path, name: str):
    given = rows()
    change, told = BAD[name]
    given[3] |= change
    with pytest.raises(UserError) as caught:
        load_generated_readings(write_rows(tmp_path / "r.jsonl", given))
    assert told in str(caught.value) and "r.jsonl" in str(caught.value)


def test_a_missing_field_is_told(tmp_path: Path):
    with pytest.raises(UserError, match="found no B"):
        load_generated_readings(
            write_rows(tmp_path / "r.jsonl", [{k: v for k, v in row.items() if k != "B"} for row in rows()])
        )


def test_the_projects_readings_cover_every_way_a_text_came_about_and_every_scorer():
    readings = load_generated_readings()
    assert len(readings) == 200 and readings["kind"].value_counts().min() >= 10
    scores = score_texts(readings["text"].tolist())
    assert list(decisions(scores, "anger")) == [
        *("keywords", "goemotions lexical", "goemotions encoder", "goemotions bundled", "expressed")
    ]
    table = reader_agreement(readings, scores).set_index(["emotion", "scorer"])
    assert (table["n"] == 200).all() and table["kappa"].between(-1, 1).all()
