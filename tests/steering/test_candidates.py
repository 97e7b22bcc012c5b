"""What is said of the candidate layers and strengths: the rule on broken texts, means by layer, several parts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from emolib.steering.candidates import ceilings, edges, layer_means, pooled, silent_measures
from emolib.steering.operating_point import OperatingPoint

GRID = [(layer, alpha) for layer in (10, 14, 18) for alpha in (0.2, 0.3, 0.4)]
MEASURES = {"anger": ["keywords/anger", "target/anger"]}


def point_of(layer: int = 14, alpha: float = 0.3, *, kept: int = 9, score: float = 3.0) -> OperatingPoint:
    table = pd.DataFrame(GRID, columns=["layer", "alpha"])
    table = table.assign(score=score, broken=0.2, eligible=np.arange(len(GRID)) < kept)
    return OperatingPoint(layer, alpha, score, kept > 0, table.assign(**{"difference/keywords/anger": -0.001}))


def validation_of(**broken: float) -> pd.DataFrame:
    """Ten unpatched texts per part, and as many of anger at every candidate."""
    parts = []
    for name, share in broken.items():
        rows = pd.DataFrame({"scenario": [f"{name}{i}" for i in range(10)], "part": name})
        rows = rows.assign(**{"fluency/broken": False, "keywords/anger": np.arange(10) % 2, "target/anger": 0.1})
        base = rows.assign(kind="baseline", emotion="none", layer=-1, alpha=0.0)
        parts.append(base.assign(**{"fluency/broken": np.arange(10) < 10 * share}))
        for layer, alpha in GRID:
            own = {"kind": "emotion", "emotion": "anger", "layer": layer, "alpha": alpha}
            parts.append(rows.assign(**own, **{"target/anger": 0.1 + layer / 100}))
    return pd.concat(parts, ignore_index=True)


def test_the_ceiling_is_that_of_validation():
    (row,) = ceilings({"one": point_of(kept=8)}, validation_of(one=0.7), 0.1).to_dict("records")
    assert (row["baseline"], row["ceiling"]) == pytest.approx((0.7, 0.8))
    assert (row["kept"], row["tried"], row["broken"]) == (8, 9, 0.2)


def test_every_part_has_its_own_ceiling_which_is_at_most_all():
    points = {"fold0": point_of(14, 0.3), "fold1": point_of(18, 0.2, kept=4)}
    validation = validation_of(fold0=0.0, fold1=1.0)
    table = ceilings(points, validation, 0.1).set_index("part")
    assert table["ceiling"].to_dict() == {"fold0": 0.1, "fold1": 1.0} and table["kept"].tolist() == [9, 4]


def test_several_parts_are_pooled():
    points = {"fold0": point_of(score=1.0), "fold1": point_of(score=4.0, kept=1)}
    table = pooled(points).set_index(["layer", "alpha"])
    assert (table["score"] == 2.5).all() and (table["tried"] == 2).all()
    assert table["kept"].tolist() == [2] + [1] * 8


def test_means_by_layer_are_over_scenarios_of_all_parts_with_broken_texts_as_zero():
    validation = validation_of(fold0=0.0, fold1=0.0)
    table = layer_means(validation, MEASURES).set_index(["metric", "layer", "alpha"])
    words = table.loc[("keywords/anger", 14, 0.3)]
    values = np.tile([0.0, 1.0], 10)
    assert words["mean"] == words["baseline"] == 0.5
    assert words["se"] == pytest.approx(values.std(ddof=1) / np.sqrt(20))
    np.testing.assert_allclose(table.loc["target/anger", "mean"].unstack("alpha").mean(axis=1), [0.2, 0.24, 0.28])
    broken = validation.assign(**{"fluency/broken": validation["layer"] == 14})
    table = layer_means(broken, MEASURES).set_index(["metric", "layer", "alpha"])
    assert table.loc[("keywords/anger", 14, 0.3), "mean"] == 0 and table.loc[("keywords/anger", 10, 0.3), "mean"] == 0.5


def test_the_rule_on_broken_texts_narrows_or_allows_most():
    points = {"one": point_of(kept=8), "two": point_of(kept=7)}
    table = ceilings(points, validation_of(one=0.7, two=0.2), 0.1).set_index("part")
    assert table["narrows"].to_dict() == {"one": False, "two": True}
    assert table["allows_most"].to_dict() == {"one": True, "two": False}


def test_a_choice_at_the_end_of_what_was_tried_is_told():
    points = {"a": point_of(14, 0.3), "b": point_of(18, 0.4), "c": point_of(10, 0.2)}
    table = edges(points).set_index("part")
    assert table["layer_at_edge"].to_dict() == {"a": False, "b": True, "c": True}
    assert table["alpha_at"].to_dict() == {"a": "inside", "b": "top", "c": "bottom"}


def test_a_measure_that_differs_nowhere_had_no_say_in_the_choice():
    point = point_of()
    told = point.table.assign(**{"difference/target/anger": np.linspace(0, 0.1, len(GRID))})
    assert silent_measures({"": dataclasses.replace(point, table=told)}) == ["keywords/anger"]
