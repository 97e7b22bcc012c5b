"""Phase 5's candidates and its choice in words: one part or several, and what the rule on broken texts left."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from phase5_rows import clean, point_of

from emolib.report.ja import phase5_choice as choosing
from emolib.steering.candidates import layer_means
from emolib.steering.operating_point import OperatingPoint

ROW = {"part": "", "baseline": 0.7, "ceiling": 0.8, "kept": 8, "tried": 9, "broken": 0.2}


def ceilings(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([{"narrows": False, "allows_most": True, **ROW, **row} for row in rows])


def test_a_rule_that_leaves_nearly_all_is_called_so():
    text = choosing.choice_sentence({"": point_of(kept=8)}, ceilings({}))
    assert "破綻率 70% から定まる上限 80%" in text and "9 候補のうち 8 候補がこの条件を満たした" in text
    assert "ほとんど絞っておらず" in text and "半数を超える破綻を許す" in text
    whole = choosing.choice_sentence({"": point_of(kept=9)}, ceilings({"kept": 9}))
    assert "9 候補のすべてがこの条件を満たした。条件は候補を絞っておらず" in whole and "ほとんど" not in whole
    strict = choosing.choice_sentence({"": point_of(kept=3)}, ceilings({"narrows": True, "allows_most": False}))
    assert "層 14、α = 0.3" in strict and "最大 20%" in strict
    assert "絞っておらず" not in strict and "半数" not in strict


def test_a_point_chosen_though_none_kept_to_the_rule_is_to_be_read_with_care():
    text = choosing.choice_sentence({"": point_of(kept=0, score=-0.001)}, ceilings({"kept": 0}))
    assert "満たす点はなかった" in text and "割り引いて読む" in text and "選択基準 0.00" in text


def test_several_parts_have_a_line_each_and_are_told_what_is_pooled():
    points = {"fold0": point_of(kept=1), "fold1": point_of(18)}
    text = choosing.choice_sentence(points, ceilings({"part": "fold0"}, {"part": "fold1"}))
    assert "2 分割" in text and "平均" in text and "- fold0: 動作点" in text and "- fold1: 動作点は **層 18" in text
    alone = choosing.choice_sentence({"": points["fold1"]}, ceilings({}))
    assert "分割" not in alone and not alone.startswith("-")
    assert choosing.candidate_rows(points)["候補"].tolist()[:2] == ["2 / 2", "1 / 2"]
    assert choosing.candidate_rows({"": points["fold0"]})["候補"].tolist()[:2] == ["○", "—"]


def test_candidates_are_tidy():
    shown = choosing.candidate_rows({"": point_of()})
    assert shown.index.tolist()[:2] == [(10, 0.2), (10, 0.3)]
    assert shown["怒りの語数"].tolist() == [0.0] * 9 and "-0" not in shown.to_html()
    text = clean(choosing.table_candidates({"": point_of()}, ceilings({})))
    assert "| 10 | 0.2 | 3.00 | 0.20 | ○ | 0.00 |" in text and text.rstrip().endswith("許す。")


def validation() -> pd.DataFrame:
    rows = [("none", -1, 0.0, "baseline")]
    rows += [("anger", layer, alpha, "emotion") for layer in (10, 14) for alpha in (0.2, 0.3)]
    table = pd.DataFrame([(*row, f"s{i}", i % 2) for row in rows for i in range(10)])
    table.columns = ["emotion", "layer", "alpha", "kind", "scenario", "keywords/anger"]
    return table.assign(**{"target/anger": 0.02 * table["layer"], "fluency/broken": False})


MEASURES = {"anger": ["keywords/anger", "target/anger"]}


@pytest.mark.parametrize(("kept", "cell"), [("keywords", "0.50 ± 0.17"), ("target", "0.280 ± 0.000")])
def test_layers_have_a_table_and_a_figure_of_every_kind_of_measure(kept, cell, monkeypatch):
    names = [name for name in MEASURES["anger"] if name.startswith(kept)]
    means = layer_means(validation(), {"anger": names})
    text = choosing.table_layers(means).data
    assert cell in text and text.count("**当該感情") == 1  # none of the kind that there is not
    drawn: dict = {}
    monkeypatch.setattr(choosing, "show", lambda run, fig, name: drawn.update({name: fig}))
    choosing.figure_layers(None, means, {"": point_of(alpha=0.3)})
    ((name, fig),) = drawn.items()
    assert name == {"keywords": "layers", "target": "layers_targets"}[kept] and "α = 0.3" in fig.layout.title.text
    part = means[means["alpha"] == 0.3]
    upper, lower, line, dotted = (trace.y for trace in fig.data if trace.x[0] is not None)
    np.testing.assert_allclose(np.subtract(upper, lower), 2 * part["se"], atol=1e-12)
    np.testing.assert_allclose(line, part["mean"])
    np.testing.assert_allclose(dotted, part["baseline"])


def by_shift() -> OperatingPoint:
    """A point chosen by S, which was not measured where texts break too often."""
    point = point_of(kept=6)
    table = point.table.assign(text_score=1.5, **{"shift/anger": -0.0001})
    table.loc[~table["eligible"], ["score", "shift/anger"]] = np.nan
    return dataclasses.replace(point, table=table)


def test_the_criterion_by_s_stands_beside_that_of_the_texts_and_is_a_dash_where_s_was_not_measured(monkeypatch):
    text = clean(choosing.table_candidates({"": by_shift()}, ceilings({"kept": 6})))
    assert "S（怒り）" in text and "生成文による基準（参考）" in text
    assert "| 10 | 0.2 | 3.00 | 0.20 | ○ | +0.000 | 1.50 | 0.00 |" in text
    assert "|  | 0.4 | — | 0.20 | — | — | 1.50 | 0.00 |" in text
    assert "S（" not in choosing.table_candidates({"": point_of()}, ceilings({})).data, "control: one emotion"
    drawn: dict = {}
    monkeypatch.setattr(choosing, "show", lambda run, fig, name: drawn.update({name: fig}))
    choosing.figure_choice(None, {"": by_shift()})
    assert list(drawn) == ["selection"]


def test_the_reference_has_one_limit():
    reference = pd.DataFrame({"emotion": ["anger", "neutral"] * 10, "nll": np.linspace(1, 3, 20)})
    shown = choosing.table_reference(reference)
    clean(shown)
    limits = shown["破綻の境界（95 パーセンタイル）"].tolist()
    assert limits[:-1] == ["", ""] and limits[-1] == "2.90" and shown["テキスト数"].tolist() == [10, 10, 20]
