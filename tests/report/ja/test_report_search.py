"""What Phase 1 says about its gates and its search follows from the tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.readout.leak_search import COLUMNS
from emolib.report.ja import phase1 as say
from emolib.study.phase1_dataset import gate_findings


def gates(surface: float, calendar: float) -> pd.DataFrame:
    rows = []
    for style in ("all", "implicit"):
        for texts in ("every", "minimal"):
            for features, auc in (("surface", surface), ("calendar", calendar)):
                value = auc if texts == "every" and style == "implicit" else 0.5
                shared = {"emotion": "anger", "style": style, "texts": texts, "features": features, "n": 40}
                rows.append({**shared, "auc": value, "low": value - 0.1, "high": value + 0.1})
    return pd.DataFrame(rows)


def found(*features: tuple[str, bool, bool]) -> pd.DataFrame:
    rows = [
        {
            **dict.fromkeys(COLUMNS, 0.25),
            **{"emotion": "anger", "kind": "word", "feature": name, "own_word": own, "confirmed": confirmed},
        }
        for name, own, confirmed in features
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_the_gates_pass_only_where_every_pair_does() -> None:
    assert gate_findings(gates(0.61, 0.41)).surface_passes and gate_findings(gates(0.61, 0.41)).calendar_passes
    text = say.sentence_gates(gates(0.61, 0.41)).data
    assert "どの組でも基準 0.62 以下" in text and "0.41" in text and "に収まる" in text
    text = say.sentence_gates(gates(0.63, 0.39)).data
    assert "最大 0.63" in text and "基準 0.62 を超える" in text and "収まらない" in text
    assert "測定できない" in say.sentence_gates(gates(0.5, 0.5).assign(auc=np.nan)).data


def test_the_gates_table_has_a_row_per_style_kind_of_scenario_and_label() -> None:
    table = say.table_gates(gates(0.61, 0.41))
    assert table.loc[("暗示表現", "すべて", "怒り"), "(a) 表層"] == "0.61 [0.51, 0.71]"
    assert len(table) == 4 and table.index.names == ["表現", "シナリオ", "感情（対 中立）"]


def test_the_search_names_what_is_no_emotion_word() -> None:
    text = say.sentence_search(found(("monday", False, True), ("furious", True, True), ("fog", False, False))).data
    assert "合わせて 3 個を調べ、2 組" in text and "monday" in text and "furious" not in text and "fog" not in text
    assert "そのうち、感情語を含まないものはない" in say.sentence_search(found(("furious", True, True))).data
    assert "測定できない" in say.sentence_search(found()).data
    shown = say.table_search(found(("monday", False, True), ("fog", False, False)))
    assert shown.index.tolist() == [("怒り", "monday")] and shown["感情語を含む"].tolist() == ["いいえ"]


def test_without_a_confirmed_feature_there_is_a_sentence_in_place_of_the_table() -> None:
    for table in (found(), found(("fog", False, False))):
        assert "手がかりはない" in say.table_search(table).data


def test_a_feature_that_is_markup_is_shown_as_text() -> None:
    text = say.sentence_search(found(("<weekdays>", False, True))).data
    assert "<weekdays>" not in text and "weekdays" in text
