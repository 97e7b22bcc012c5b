"""Which opening of sealed texts leaves a later one without force, and how vectors of two machines are compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from emolib.base.errors import UserError
from emolib.directions.vectors import EmotionVectors
from emolib.study.confirmation.frozen_vectors import TOLERANCE, vector_distance, vector_hashes
from emolib.study.confirmation.openings import Opening, earlier, note_opening, read_openings

FIRST = Opening("2026-12-02T00:00:00Z", "m", "file", "choice", "layer 3", False, "asked")
FROZEN: Any = SimpleNamespace(frozen_at="2026-12-01T00:00:00Z")


def test_the_same_choice_and_other_models_frozen_before_are_no_second_opening() -> None:
    now = replace(FIRST, opened_at="2026-12-03T00:00:00Z")
    assert earlier(now, FROZEN, []) is None and earlier(now, FROZEN, [FIRST]) is None
    assert earlier(replace(now, model="n", choice="its own"), FROZEN, [FIRST]) is None


@pytest.mark.parametrize("changed", [{"choice": "another"}, {"sealed": "another"}, {"choice": "x", "sealed": "y"}])
def test_another_choice_or_other_texts_for_a_model_are_told(changed: dict[str, str]) -> None:
    assert earlier(replace(FIRST, **changed), FROZEN, [FIRST]) is FIRST


def test_a_choice_that_was_frozen_after_anybody_opened_the_texts_is_told() -> None:
    late: Any = SimpleNamespace(frozen_at="2026-12-02T00:00:01Z")
    assert earlier(replace(FIRST, model="n", choice="its own"), late, [FIRST]) is FIRST
    assert earlier(replace(FIRST, model="n", choice="its own", sealed="new"), late, [FIRST]) is None


def test_what_came_after_an_opening_takes_nothing_from_it() -> None:
    other = replace(FIRST, choice="another", opened_at="2026-12-05T00:00:00Z")
    assert earlier(FIRST, FROZEN, [FIRST, other]) is None and earlier(other, FROZEN, [FIRST, other]) is FIRST


def test_rehearsals_count_among_themselves_alone() -> None:
    mock = replace(FIRST, rehearsal=True, choice="another")
    assert earlier(mock, FROZEN, [FIRST]) is None and earlier(FIRST, FROZEN, [mock]) is None
    assert earlier(replace(mock, choice="third"), FROZEN, [FIRST, mock]) is mock
    assert earlier(replace(mock, sealed="another mock"), FROZEN, [mock]) is None


def test_an_opening_is_noted_once_and_a_damaged_log_is_told(tmp_path: Path) -> None:
    log = tmp_path / "openings.jsonl"
    assert read_openings(log) == [] and note_opening(log, FIRST, []) == FIRST
    later = replace(FIRST, opened_at="2026-12-09T00:00:00Z")
    assert note_opening(log, later, read_openings(log)) == FIRST and read_openings(log) == [FIRST]
    other = replace(later, choice="another")
    assert note_opening(log, other, read_openings(log)) == other and read_openings(log) == [FIRST, other]
    log.write_text(log.read_text() + '{"opened_at": 3}\n')
    with pytest.raises(UserError, match="expected an opening in line 3"):
        read_openings(log)


def vectors(values: dict[str, np.ndarray]) -> EmotionVectors:
    stacked = {name: np.stack([np.zeros_like(row), row]).astype(np.float32) for name, row in values.items()}
    norms = np.ones(2, dtype=np.float32)
    return EmotionVectors(stacked, norms, norms, "m", "r", "mean")


def test_rounding_is_told_from_another_vector() -> None:
    rng = np.random.default_rng(0)
    plain = {"joy": rng.standard_normal(576), "fear": rng.standard_normal(576)}
    frozen = vector_hashes(vectors(plain), 1)
    assert vector_distance(frozen, vector_hashes(vectors(plain), 1)) == 0
    rounded = {name: row * (1 + 1e-4 * rng.standard_normal(576)) for name, row in plain.items()}
    turned = {**plain, "fear": plain["fear"] + 0.05 * rng.standard_normal(576)}
    longer = {**plain, "fear": 1.05 * plain["fear"]}
    assert 0 < vector_distance(frozen, vector_hashes(vectors(rounded), 1)) < TOLERANCE / 10
    for other in (turned, longer, {"joy": plain["joy"]}):
        assert vector_distance(frozen, vector_hashes(vectors(other), 1)) > 2 * TOLERANCE
