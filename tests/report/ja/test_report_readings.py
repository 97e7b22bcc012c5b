"""What Phase 1 says of blind readings, companions and pairs follows from the files; another data set has none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.data.dataset import load_dataset
from emolib.report.ja import phase1 as say
from emolib.study import text_answers as study

OWN = SimpleNamespace(data=load_dataset(), kept_values={})
ANOTHER = SimpleNamespace(
    kept_values={},
    data=pd.DataFrame(
        [
            {"id": f"s{i}-{e}", "scenario": f"s{i}", "emotion": e, "split": s, "style": "a", "text": f"{e} {i}"}
            for i, s in enumerate(("train", "validation", "test"))
            for e in ("joy", "flat")
        ]
    ).assign(lang="en", topic="general"),
)


def readings(share: float, cue: float = 0.1) -> study.Readings:
    agreement = pd.DataFrame(
        {"n_texts": [10], "n_read": [8], "agreed": [share], "low": [0.4], "high": [0.9], "remarks": [2]},
        index=pd.Index(["anger"], name="emotion"),
    )
    wrong = pd.DataFrame([{"emotion": "anger", "label": "neutral", "n": 2}])
    cues = pd.DataFrame(
        {"n_read": [5], "with_cue": [1], "share": [cue], "share_with_weak": [cue]},
        index=pd.Index(["anger"], name="emotion"),
    )
    return study.Readings(agreement, wrong, cues, 10, 8, share, 4, share >= 0.9)


def test_the_share_is_held_against_the_bar_and_confusions_are_named() -> None:
    text = say.sentence_readings(readings(0.75)).data
    assert "10 テキストのうち" in text and "8 テキスト" in text and "75.0 %" in text and "達しない" in text
    assert "怒りを中立と読んだもの 2" in text and "言語モデル" in text
    assert "に達する" in say.sentence_readings(readings(0.95)).data
    assert say.table_readings(readings(0.75)).loc["怒り", "一致"] == "0.75 [0.40, 0.90]"


@pytest.mark.parametrize(("share", "word"), [(0.15, "どの感情でも達している"), (0.16, "怒りでは達していない")])
def test_cues_are_held_against_their_bar(share: float, word: str) -> None:
    assert word in say.sentence_cues(readings(0.9, share)).data


def test_the_own_readings_reach_their_bars() -> None:
    for found, bar in ((study.dataset_readings(OWN), 0.9), (study.companion_readings(OWN), 0.8)):
        assert found is not None and found.passes and found.share >= bar
        assert found.n_read / found.n_texts >= 0.6  # a text that was rewritten counts once it is read again


def test_another_data_set_has_no_readings_and_nothing_beside_it() -> None:
    assert study.dataset_readings(ANOTHER) is None and study.companion_readings(ANOTHER) is None
    assert study.beside(ANOTHER) is study.minimal_pairs(ANOTHER) is study.placebo_differences(ANOTHER) is None
    for shown in (say.table_readings(None), say.table_beside(None), say.table_placebo(None)):
        assert "対象外" in shown.data
    assert say.sentence_readings(None).data == say.sentence_cues(None).data == ""
    assert "記していない" in say.table_minimal_pairs(None).data


def test_what_lies_beside_is_counted() -> None:
    table = study.beside(OWN).set_index("kind")
    assert table["n"].sum() == 1050 + 480 + 400
    assert table.loc["lexical: with", "holds"] == 1 and table.loc["lexical: without", "holds"] == 0
    assert table.loc[["five", "fifteen"], "holds"].max() == 0
    assert not say.table_beside(study.beside(OWN)).reset_index()["内訳"].isna().any()


def test_placebo_pairs_differ_in_their_own_thing_most() -> None:
    table = study.placebo_differences(OWN).set_index("kind")
    assert table["characters"].idxmax() == table["words"].idxmax() == "length"
    assert table["calendar"].idxmax() == "calendar" and (table["calendar"].drop("calendar") == 0).all()
    assert table["shared"].idxmax() == "punctuation" and table.loc["punctuation", "words"] == 0
    assert set(say.table_placebo(table.reset_index())["対の数"]) == {30, 40}


def test_minimal_pairs_and_idioms_are_counted() -> None:
    table = study.minimal_pairs(OWN)
    first = OWN.data.drop_duplicates("scenario")
    assert table["minimal"].sum() == first["minimal_pair"].sum() and table["scenarios"].sum() == len(first)


def test_stock_phrases_of_the_lists_are_counted_in_implicit_texts() -> None:
    table = study.listed_cues(OWN).set_index("emotion")
    assert set(table["n"]) == {112} and (table["share"] <= study.CUE_BAR).all()
    one = OWN.data[(OWN.data["style"] == "implicit") & (OWN.data["emotion"] == "anger")]
    planted = SimpleNamespace(kept_values={}, data=one.assign(text="The nerve of " + one["text"], idiomatic=True))
    assert study.listed_cues(planted)[["share", "flagged"]].to_numpy().tolist() == [[1.0, 112]]
    assert "対象外" in say.table_listed(study.listed_cues(ANOTHER)).data


def test_a_broken_file_of_the_own_readings_is_told_and_not_called_another_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, own = tmp_path / "r.tsv", study.paths.data_file
    broken.write_text("id\treader\tlabel\tcue\tremark\nnobody-01-anger\tA\tanger\t\t\n", encoding="utf-8")
    monkeypatch.setattr(study.paths, "data_file", lambda *name: broken if "readings" in str(name) else own(*name))
    with pytest.raises(UserError, match="nobody-01-anger"):
        study.dataset_readings(OWN)
    assert study.dataset_readings(ANOTHER) is None
