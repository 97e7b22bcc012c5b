"""Phase 5's verdicts in words: every code has its word, and what is not defined is a dash."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from phase5_rows import FLAT, REACHED, REFUSED, UNCLEAN, WIDE, claim, clean, found, scorers

from emolib.report.ja import phase5_claims as told
from emolib.report.ja import phase5_words as words


def test_the_check_for_unclean_numbers_finds_them():
    for text in ("-0.00", "（-0.000 〜", "−0.0", "NaN", "= nan。", "-0", "inf"):
        assert UNCLEAN.search(text), text
    for text in ("-0.01", "1-0.5", "0.00", "+0.00", "-0.5 nat", "2026-01-02", "自−他", "financial", "-10.0"):
        assert not UNCLEAN.search(text), text


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "条件を満たす"),
        (REFUSED | {"ci_low": -0.5, "ci_high": -0.1, "vs_others": -0.3}, "条件を満たさない"),
        (REACHED, "条件を満たさない"),
        (FLAT, "条件を満たさない（0 でない差が少ない）"),
        (WIDE | {"n": 24}, "検出力不足"),
    ],
)
def test_the_word_of_a_measure(given, word):
    assert words.verdict_word(found(claim(**given)).iloc[0]) == word


@pytest.mark.parametrize(
    ("second", "word"),
    [
        ({}, "条件を満たす"),
        (WIDE | {"n": 24}, "検出力不足"),
        (REACHED, "条件を満たさない"),
        (FLAT, "条件を満たさない"),
    ],
)
def test_an_emotion_s_word_stands_over_all_of_its_measures(second, word):
    shown = told.table_claims(found(claim(n=24), claim(**{"n": 24, "metric": "target/gratitude", **second})))
    assert shown.loc["総合判定（感情ごと）"].tolist() == [word, word]
    assert shown.loc["判定（指標ごと）", "感謝の語数"] == "条件を満たす"


def test_claims_are_listed_with_a_dash_for_what_is_not_defined():
    shown = told.table_claims(found(claim(), claim(metric="target/gratitude", own_effect=-0.0001, **FLAT)))
    clean(shown)
    assert shown.loc["同 95 % BCa 区間"].tolist() == ["[0.400, 1.100]", "区間なし"]
    assert shown.loc[words.OWN].tolist() == ["0.800", "0.000"]
    assert shown.loc[words.OTHERS, "感謝の確率"] == "-0.001"
    assert shown.loc["テストシナリオ数"].tolist() == ["45", "45"]
    assert shown.loc["当該感情の語を含むテキスト: パッチ"].tolist() == ["50%", "—"]


def test_both_ways_of_counting_broken_texts_stand_one_below_the_other():
    table = found(claim(**REACHED, unfiltered_rank_p=1 / 60, unfiltered_supported=True))
    shown = told.unfiltered_rows(table)
    clean(shown)
    assert shown.loc["判定（0）"].tolist() == ["条件を満たさない"]
    assert shown.loc["判定（そのまま）"].tolist() == ["条件を満たす"]
    assert shown.loc["片側順位 p（最も厳しい対照群）（そのまま）"].tolist() == ["0.017"]
    assert shown.loc[f"{words.OWN}（そのまま）"].tolist() == ["0.900"]
    both = clean(told.table_unfiltered(table, pd.DataFrame({"keywords/anger": [-0.001]}, index=["anger"])))
    assert "| 怒り | 0.00 |" in both and "**特異性行列（そのまま）**" in both


def test_families_and_norms_are_named_and_strength_zero_is_counted():
    row = {"emotion": "anger", "metric": "keywords/anger", "own": -0.0001, "largest": 0.1, "p": 0.5, "cosine": 0.2}
    row |= {"n_directions": 59, "effective": 18.04}
    ranks = pd.DataFrame([{**row, "family": family} for family in words.SHORT])
    shown = told.family_rows(ranks)
    clean(shown)
    assert [index[2] for index in shown.index] == ["等方", "共分散", "シャッフル"]
    norms = pd.DataFrame({"kind": list(words.KINDS)[1:6], "mean": 0.3, "min": -0.0, "max": 0.31, "size": 9})
    assert set(told.norm_rows(norms).index) == {words.KINDS[kind] for kind in norms["kind"]}
    texts = [{"scenario": f"s{i}", "sample": 0, "text": str(i)} for i in (1, 2)]
    sweep = pd.DataFrame([{**text, "kind": kind} for kind in ("baseline", "zero") for text in texts])
    said = clean(told.table_controls(ranks, norms, sweep))
    assert "2 件のテキストのうち、パッチなしと一致したのは 2 件である" in said and "原因" not in said
    sweep.loc[3, "text"] = "another"
    assert "一致したのは 1 件である。一致しないテキストがあるため" in told.zero_sentence(sweep)


def test_each_scorer_alone_has_its_verdict():
    shown = told.scorer_rows(scorers(target_lexical=REACHED, target_encoder=FLAT | {"own": -0.0001}))
    clean(shown)
    assert shown["これだけでの判定"].tolist() == [
        *("条件を満たさない", "条件を満たさない（0 でない差が少ない）", "条件を満たす"),
    ]
    assert shown["95 % BCa 区間"].tolist() == ["[0.400, 1.100]", "区間なし", "[0.400, 1.100]"]


def test_one_scorer_alone_has_no_agreement():
    said = told.table_scorers(scorers().iloc[:0], pd.DataFrame()).data
    assert "一致は計算できない" in said and "|" not in said


def test_effects_are_grouped_by_emotion_and_family_of_controls():
    row = {"emotion": "anger", "metric": "keywords/anger", "own": 0.5, "control": 0.1}
    table = pd.DataFrame([{**row, "family": family} for family in words.SHORT for _ in range(3)])
    own, nulls = told.effects_and_nulls(table, "keywords")
    assert list(own) == ["怒り<br>等方", "怒り<br>共分散", "怒り<br>シャッフル"] and set(own.values()) == {0.5}
    np.testing.assert_array_equal(nulls["怒り<br>等方"], [0.1] * 3)
    assert told.effects_and_nulls(table, "target") == ({}, {})


def test_tables_stand_in_one_output_under_their_captions_with_an_index_said_once():
    index = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "x")], names=["一", "二"])
    table = pd.DataFrame({"値": ["1", "2", "3"]}, index=index)
    said = words.together(("題", table), "文。").data
    assert said.splitlines() == [
        *("**題**", "", "| 一 | 二 | 値 |", "|---|---|---|", "| a | x | 1 |", "|  | y | 2 |", "| b | x | 3 |"),
        *("", "文。"),
    ]
