"""What is said of the candidate layers and strengths: the rule on broken texts, means by layer, several parts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from emolib.report.ja import phase5_candidates as choosing
from emolib.steering.candidates import best_candidates, ceilings, edges, layer_means, pooled, silent_measures
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


def said(points: dict[str, OperatingPoint], validation: pd.DataFrame) -> list[str]:
    return choosing.chosen_points(points, validation, 0.1).data.splitlines()


def test_the_ceiling_is_that_of_validation_and_a_rule_that_leaves_nearly_all_is_called_so():
    (line,) = said({"one": point_of(kept=8)}, validation_of(one=0.7))
    assert "破綻率 70% + 10 ポイント = 上限 80%" in line and "9 候補のうち 8 がこの条件を満たした" in line
    assert "ほとんど絞っておらず" in line and "半数を超える破綻を許す" in line
    (line,) = said({"one": point_of(kept=3)}, validation_of(one=0.2))
    assert "9 候補のうち 3" in line and "絞っておらず" not in line and "半数" not in line
    assert "層 14、α = 0.3" in line and "最大 20%" in line


def test_a_point_chosen_though_none_kept_to_the_rule_is_to_be_read_with_care():
    (line,) = said({"one": point_of(kept=0, score=-0.001)}, validation_of(one=0.2))
    assert "満たす点はなかった" in line and "割り引いて読む" in line and "選択基準 0.00" in line
    assert "候補のうち" not in line


def test_every_part_has_its_own_ceiling_which_is_at_most_all():
    points = {"fold0": point_of(14, 0.3), "fold1": point_of(18, 0.2, kept=4)}
    validation = validation_of(fold0=0.0, fold1=1.0)
    table = ceilings(points, validation, 0.1).set_index("part")
    assert table["ceiling"].to_dict() == {"fold0": 0.1, "fold1": 1.0} and table["kept"].tolist() == [9, 4]
    lines = said(points, validation)
    assert [line[:9] for line in lines] == ["- fold0: ", "- fold1: "] and "層 18、α = 0.2" in lines[1]


def test_several_parts_are_pooled_and_the_text_says_so():
    points = {"fold0": point_of(score=1.0), "fold1": point_of(score=4.0, kept=1)}
    table = pooled(points).set_index(["layer", "alpha"])
    assert (table["score"] == 2.5).all() and (table["tried"] == 2).all()
    assert table["kept"].tolist() == [2] + [1] * 8
    shown = choosing.candidates(points)
    assert shown["候補"].tolist()[:2] == ["2 / 2", "1 / 2"] and (choosing.score_grid(points) == 2.5).all(axis=None)
    assert "2 分割" in choosing.parts_sentence(points).data and "平均" in choosing.parts_sentence(points).data
    alone = {"": points["fold1"]}
    assert choosing.candidates(alone)["候補"].tolist()[:2] == ["○", "—"]
    assert "分割" not in choosing.parts_sentence(alone).data


def test_candidates_are_tidy():
    shown = choosing.candidates({"": point_of()})
    assert shown.index.tolist()[:2] == [(10, 0.2), (10, 0.3)]
    assert shown["怒りの語数（自分 − 他感情）"].tolist() == [0.0] * 9 and "-0" not in shown.to_html()
    assert list(choosing.score_grid({"": point_of()}).columns) == ["α = 0.2", "α = 0.3", "α = 0.4"]


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


@pytest.mark.parametrize(("family", "cell"), [("keywords", "0.50 ± 0.17"), ("target", "0.240 ± 0.000")])
def test_layers_have_a_table_and_a_figure_with_errors_and_the_unpatched_mean(family, cell):
    table = layer_means(validation_of(one=0.0), MEASURES)
    shown = choosing.layer_rows(table, family)
    assert shown.loc[("怒り", 14), "α = 0.3"] == cell and shown.columns[0] == "パッチなし"
    fig = choosing.layer_figure(table, {"": point_of(alpha=0.3)}, family)
    assert "α = 0.3" in fig.layout.title.text
    part = table[table["metric"].str.startswith(family) & (table["alpha"] == 0.3)]
    upper, lower, line, dotted = (trace.y for trace in fig.data if trace.x[0] is not None)
    np.testing.assert_allclose(np.subtract(upper, lower), 2 * part["se"], atol=1e-12)
    np.testing.assert_allclose(line, part["mean"])
    np.testing.assert_allclose(dotted, part["baseline"])


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


def test_the_best_candidate_is_the_one_with_the_largest_effect_of_its_emotion():
    table = pd.DataFrame({"emotion": ["a", "a", "b"], "effect": [0.1, 0.3, -0.2], "layer": [1, 2, 1]})
    assert best_candidates(table)["layer"].tolist() == [2, 1]
