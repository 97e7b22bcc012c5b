"""What the report says of the labels' geometry, for every finding."""

from __future__ import annotations

import pandas as pd
import pytest

from emolib.plots import figures
from emolib.report.ja import phase3_labels as say

NAN = float("nan")
ROW = {"layer": 2, "pearson": 0.81, "low": 0.6, "high": 0.9, "spearman": 0.7, "p": 0.001, "reliability": 0.93}
ROW |= {"pearson_2": 0.2, "pearson_3": 0.1, "share_1": 0.4, "share_2": 0.2, "share_3": 0.1, "n_labels": 20}
ROW |= {"embedding_pearson": 0.52, "embedding_low": 0.3, "embedding_high": 0.7, "embedding_p": 0.02}
ROW |= {"embedding_reliability": 0.88, "difference": 0.29, "difference_low": 0.11, "difference_high": 0.44}
ROW |= {"n_scenarios": 30}
VALENCE = {"joy": 2.8, "fear": -2.2, "approval": NAN}


def said(**changed: float) -> str:
    return say.sentence_valence(pd.DataFrame([{**ROW, **changed}]), 2, VALENCE).data


@pytest.mark.parametrize(
    ("changed", "words", "absent"),
    [
        ({}, ["r = 0.81 [0.60, 0.90]", "p = 0.001", "0.52 [0.30, 0.70]", "+0.29 [+0.11, +0.44]", "作っている"], []),
        ({"difference_low": -0.1}, ["語の時点ですでにあり", "加えたとは言えない"], ["作っている"]),
        ({"difference_low": -0.5, "difference_high": -0.1}, ["埋め込みの方が強い"], ["作っている"]),
        ({"embedding_reliability": 0.4}, ["測定できない", "0.40"], ["作っている"]),
        ({"p": 0.2, "low": -0.1}, ["沿うとは言えない"], ["シナリオについてだけ"]),
        (
            {"p": 0.2},
            ["沿うとは言えない", "シナリオについてだけ", "0.44", "弱い関係がないとは言えない"],
            ["作っている", "測定できない"],
        ),
        ({"reliability": 0.3}, ["測定できない", "信頼性 0.30、基準 0.70", "30 では足りない"], ["沿う"]),
    ],
)
def test_every_finding_has_its_words_and_numbers(changed: dict, words: list[str], absent: list[str]) -> None:
    text = said(**changed)
    assert all(word in text for word in words), text
    assert not any(word in text for word in absent), text
    assert "賛同" in text and "喜び" not in text  # the label that nobody rated


def test_without_companions_the_section_says_so_and_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "show", lambda *_: pytest.fail("drawn"))
    for sentence in (say.sentence_valence(None, 2, None), say.sentence_dissimilarities(None, 2)):
        assert sentence.data.startswith("対象外")
    assert say.sentence_likeness(None, 2).data.startswith("対象外")
    assert say.table_valence(None) is say.table_labels(None) is say.table_likeness(None, 2) is None
    say.figure_valence(None, None)
    say.figure_labels(None, None)


def test_a_table_that_is_not_reliable_is_called_so() -> None:
    table = pd.DataFrame({"layer": [-1, 1, 2], "reliability": [0.9, 0.5, 0.8]})
    assert "上限として読む" in say.sentence_dissimilarities(table, 2).data
    low = say.sentence_dissimilarities(table, 1).data
    assert "測定できない" in low and "0.50" in low and "2 層のうち 1 層" in low


def test_pairs_are_named_by_what_is_known_of_them() -> None:
    rows = [("gratitude", "joy", 0.8, 0.7, 0.9, 0.9), ("gratitude", "admiration", 0.95, 0.8, 1.1, 0.9)]
    rows += [("anger", "fear", 0.8, 0.7, 0.9, 0.2)]
    columns = ["emotion", "companion", "corrected", "low", "high", "reliability"]
    table = pd.DataFrame(rows, columns=columns).assign(layer=2, plain=0.7)
    lines = say.sentence_likeness(table, 2).data.splitlines()
    assert [line.split(": ")[-1] for line in lines] == ["感謝（喜び）。", "感謝（感嘆）。", "怒り（恐れ）。"]
    assert "1 より下" in lines[0] and "同じ方向でないとは言えない" in lines[1] and "測定できない" in lines[2]
    assert say.table_likeness(table, 2)["判定"].tolist() == ["異なる", "区別できない", "測定できない"]


def test_tables_and_figures_hold_the_embedding_and_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    monkeypatch.setattr(say, "show", lambda run, fig, name: drawn.update({name: fig}))
    table = pd.DataFrame([{**ROW, "layer": layer} for layer in (-1, 0, 1, 2)])
    shown = say.table_valence(table)
    assert shown.index.tolist() == ["埋め込み", "層 0", "層 1", "層 2"] and shown.iloc[0]["埋め込みとの差"] == "—"
    say.figure_valence(None, table)
    places = [
        (layer, label, value, i, -i, 0.5, 0.2) for layer in (-1, 2) for i, (label, value) in enumerate(VALENCE.items())
    ]
    places = pd.DataFrame(places, columns=["layer", "label", "valence", "pc1", "pc2", "share_1", "share_2"])
    assert say.table_labels(places).index.tolist() == ["喜び", "恐れ", "賛同"]
    say.figure_labels(None, places)
    assert set(drawn) == {"valence_axis", "label_geometry"}
    assert [trace.text for trace in drawn["label_geometry"].data] == [("喜び", "恐れ"), ("賛同",)]
