"""The point at which a sweep is reported: chosen on validation, on tables with a known answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.steering.effects import specific_difference, success
from emolib.steering.operating_point import choose_operating_point

EMOTIONS = ("gratitude", "apology")
MEASURES = {emotion: [f"keywords/{emotion}"] for emotion in EMOTIONS}


def table_with(effect: dict[tuple[int, float], float], broken: dict[tuple[int, float], float], split="validation"):
    """A validation table in which each point moves the own keywords of every emotion by a known amount."""
    rng, rows = np.random.default_rng(0), []
    for scenario in range(20):
        base = {"scenario": f"s{scenario}", "split": split, "fluency/broken": False}
        rows.append({**base, "kind": "baseline", "emotion": "none", "layer": -1, "alpha": 0.0, **_counts("", 0, rng)})
        for (layer, alpha), size in effect.items():
            for emotion in EMOTIONS:
                cell = {"kind": "emotion", "emotion": emotion, "layer": layer, "alpha": alpha}
                is_bad = scenario < 20 * broken.get((layer, alpha), 0)
                rows.append({**base, **cell, **_counts(emotion, size, rng), "fluency/broken": is_bad})
    return pd.DataFrame(rows)


def _counts(emotion: str, size: float, rng: np.random.Generator) -> dict[str, float]:
    return {f"keywords/{e}": float(rng.random() < 0.1) + (size if e == emotion else 0) for e in EMOTIONS}


def test_the_point_with_the_largest_specific_effect_is_chosen_unless_it_breaks_the_text():
    effect = {(4, 0.2): 0.1, (6, 0.2): 0.5, (6, 0.4): 2.0}
    point = choose_operating_point(table_with(effect, {(6, 0.4): 0.2}), MEASURES)
    assert (point.layer, point.alpha, point.eligible) == (6, 0.2, True)
    tolerant = choose_operating_point(table_with(effect, {(6, 0.4): 0.2}), MEASURES, broken_margin=0.5)
    assert (tolerant.layer, tolerant.alpha) == (6, 0.4)


def test_without_an_eligible_point_the_least_broken_is_taken_and_said_so():
    broken = {(4, 0.2): 0.5, (6, 0.2): 0.4}
    point = choose_operating_point(table_with({(4, 0.2): 3.0, (6, 0.2): 0.1}, broken), MEASURES)
    assert (point.layer, point.eligible) == (6, False)


def test_every_measure_has_a_say_in_the_choice():
    """One measure prefers one point, a second measure, of another unit, strongly prefers the other."""
    table = table_with({(4, 0.2): 0.3, (6, 0.2): 0.5}, {})
    rng = np.random.default_rng(1)
    for emotion in EMOTIONS:
        moved = (table["emotion"] == emotion) & (table["layer"] == 4)
        table[f"target/{emotion}"] = rng.uniform(0, 0.01, len(table)) + 0.05 * moved
    both = {emotion: [f"keywords/{emotion}", f"target/{emotion}"] for emotion in EMOTIONS}
    assert choose_operating_point(table, MEASURES).layer == 6
    point = choose_operating_point(table, both)
    assert point.layer == 4
    assert {f"difference/{name}" for names in both.values() for name in names} <= set(point.table)


def test_choosing_on_test_rows_is_refused():
    with pytest.raises(UserError, match="validation rows only"):
        choose_operating_point(table_with({(4, 0.2): 1.0}, {}, split="test"), MEASURES)


def test_broken_texts_are_no_success_but_stay_in_the_table():
    table = table_with({(4, 0.2): 2.0}, {(4, 0.2): 1.0})
    steered = table[table["kind"] == "emotion"]
    assert success(steered, "keywords/apology").sum() == 0
    assert steered["keywords/apology"].sum() > 0
    difference = specific_difference(steered, "apology", "keywords/apology", EMOTIONS)
    assert len(difference) == 20 and (difference == 0).all()
