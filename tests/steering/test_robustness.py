"""What claims hang on, on made-up sweeps: broken texts, single prompts, one scorer, one phrase."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from emolib.base.parameters import resolve
from emolib.report.ja import phase5_robustness as hanging
from emolib.report.ja.phase5 import unfiltered
from emolib.steering.claims import claims_table
from emolib.steering.robustness import BESIDE, single_scorers, stock_phrases, with_robustness

EMOTIONS = ("gratitude", "anger")
FAMILIES = ("isotropic", "covariance", "shuffled")
KINDS = ("keywords", "target", "target_lexical", "target_encoder")
MEASURES = {emotion: [f"keywords/{emotion}", f"target/{emotion}"] for emotion in EMOTIONS}
GIVEN = {"families": FAMILIES, "n_resamples": 300}
N = 24
WAVE = 0.1 * np.cos(np.arange(N))
PARAMS = resolve("quick", "smollm2_135m", "phase5", {})


def rows(kind: str, emotion: str, index: int = 0, *, plus: float = 0.0, text: str = "") -> pd.DataFrame:
    """One text per scenario; `plus` is added to all measures of the emotion."""
    table = pd.DataFrame({"scenario": [f"s{i:02d}" for i in range(N)], "kind": kind, "emotion": emotion})
    values = {
        f"{family}/{e}": 0.5 + WAVE + (plus * (1 + WAVE) if e == emotion else 0) for family in KINDS for e in EMOTIONS
    }
    return table.assign(index=index, text=text, **{"fluency/broken": False}, **values)


def sweep_of() -> pd.DataFrame:
    parts = [rows("baseline", "none"), *(rows("emotion", emotion, plus=1.0) for emotion in EMOTIONS)]
    parts += [rows(family, "any", i) for family in FAMILIES for i in range(59)]
    return pd.concat(parts, ignore_index=True)


def judged(sweep: pd.DataFrame) -> pd.DataFrame:
    return with_robustness(claims_table(sweep, MEASURES, **GIVEN), sweep, MEASURES, **GIVEN)


def own(sweep: pd.DataFrame, emotion: str = "gratitude") -> pd.Series:
    return (sweep["kind"] == "emotion") & (sweep["emotion"] == emotion)


def row_of(table: pd.DataFrame, metric: str) -> dict[str, Any]:
    return table.set_index("metric", drop=False).loc[metric].to_dict()


# the rule on broken texts


def test_without_broken_texts_both_verdicts_are_one():
    table = judged(sweep_of())
    for name in BESIDE:
        assert (table[name] == table[f"unfiltered_{name}"]).all()
    (line,) = hanging.unfiltered_lines(table, PARAMS)
    assert "支持は変わらない" in line and line.count("順位 p = 0.0167") == 4


def test_a_verdict_that_hangs_on_the_rule_is_told_with_what_the_other_says():
    sweep = sweep_of()
    sweep.loc[sweep.index[own(sweep)][:23], "fluency/broken"] = True
    table = judged(sweep)
    row = row_of(table, "keywords/gratitude")
    assert not row["supported"] and row["unfiltered_supported"] and unfiltered(row)["supported"]
    assert row["unfiltered_vs_others"] == pytest.approx(row_of(judged(sweep_of()), "keywords/gratitude")["vs_others"])
    lines = "\n".join(hanging.unfiltered_lines(table, PARAMS))
    assert "感謝の語数の判定は破綻の規則に依る" in lines and "そのまま数えれば「支持」" in lines
    assert "感謝の総合判定は、破綻したテキストもそのまま数えると「支持」になる" in lines
    assert "怒りの語数の判定は" not in lines and "支持は変わらない: 怒りの語数" in lines
    assert "一つのプロンプトによる" not in lines


def test_one_prompt_that_supplies_most_of_the_difference_is_told():
    row = row_of(judged(sweep_of()), "keywords/gratitude")
    assert row["unfiltered_largest"] == pytest.approx(1 / N, rel=0.2)
    hangs = {**row, "supported": False, "beats_others": False, "ci_low": -0.5, "ci_high": -0.1}
    for largest, tells in ((0.54, True), (0.3, False)):
        table = pd.DataFrame([{**hangs, "unfiltered_largest": largest}])
        lines = "\n".join(hanging.unfiltered_lines(table, PARAMS))
        assert "破綻の規則に依る" in lines and ("54% は一つのプロンプトによる" in lines) is tells


# typical texts


def test_shares_count_texts_that_hold_a_word_and_are_whole():
    sweep = sweep_of()
    words = "keywords/gratitude"
    sweep[words] = 0.0
    at = sweep.index[own(sweep)]
    sweep.loc[at[:12], words] = 3.0
    sweep.loc[at[:6], "fluency/broken"] = True
    sweep.loc[sweep.index[sweep["kind"] == "baseline"][:1], words] = 1.0
    best = (sweep["kind"] == "shuffled") & (sweep["index"] == 7)
    sweep.loc[sweep.index[best][:3], words] = 1.0
    row = row_of(judged(sweep), words)
    assert (row["share"], row["share_baseline"], row["share_control"]) == (0.25, 1 / N, 3 / N)
    assert row["median"] == 0 and row["own_effect"] > 0.5
    text = hanging.typical_sentence(row | {"supported": True})
    assert "中央値は +0.00 語" in text and "25%（パッチなし 4%、対照方向の最大 12%）" in text and "半数以下" in text
    assert "半数以下" not in hanging.typical_sentence(row | {"supported": False})
    assert "半数以下" not in hanging.typical_sentence(row | {"supported": True, "median": 1.0})


def test_shares_are_of_words_alone():
    table = judged(sweep_of())
    shown = hanging.typical_rows(table)
    assert shown.loc["感謝の確率"].tolist()[2:] == ["—"] * 3 and shown.loc["感謝の語数"].tolist()[2:] == ["100%"] * 3
    assert "テキストは" not in hanging.typical_sentence(row_of(table, "target/gratitude"))


# scorers


def scorers(**changed: float) -> pd.DataFrame:
    sweep = sweep_of()
    for name, plus in changed.items():
        sweep.loc[own(sweep), f"{name}/gratitude"] = 0.5 + WAVE + plus * (1 + WAVE)
    return single_scorers(sweep, MEASURES, **GIVEN)


def test_each_scorer_alone_is_held_to_both_conditions_and_the_claims_bar():
    table = scorers(target_lexical=0.0)
    verdicts = hanging.scorer_effect_rows(table, PARAMS)["これだけでの判定"]
    assert verdicts["感謝", "エンコーダ"] == verdicts["感謝", "結合（判定に使う値）"] == "支持"
    assert verdicts["感謝", "n-gram"].startswith("不支持") and (verdicts["怒り"] == "支持").all()
    assert (table["bar"] == claims_table(sweep_of(), MEASURES, **GIVEN)["bar"].iloc[0]).all()
    lines = hanging.scorer_lines(table, PARAMS)
    assert lines[0].startswith("- 感謝の確率は結合した値で「支持」だが、n-gramだけでは「不支持」である")
    assert any(line.startswith("- 怒りの確率は") and "どちらだけでも支持" in line for line in lines)


def test_a_scorer_that_alone_would_support_what_is_not_supported_is_told_too():
    lines = hanging.scorer_lines(scorers(target=0.0, target_lexical=0.0), PARAMS)
    assert "「不支持」だが、エンコーダだけでは「支持」" in lines[0]
    nothing = hanging.scorer_lines(scorers(target=0.0, target_lexical=0.0, target_encoder=0.0), PARAMS)
    assert not any(line.startswith("- 感謝の確率は結合") for line in nothing)


@pytest.mark.parametrize(
    ("lexical", "encoder", "which"),
    [
        (0.02, 0.3, "エンコーダ"),
        (0.3, -0.001, "n-gram"),
        (0.2, 0.3, None),
        (0.001, 0.09, None),
        (-0.1, -0.5, "エンコーダ"),
    ],
)
def test_models_whose_sizes_differ_much_are_named(lexical, encoder, which):
    lines = hanging.scorer_lines(scorers(target_lexical=lexical, target_encoder=encoder), PARAMS)
    named = [line for line in lines if "感謝の確率の変化は" in line]
    assert len(named) == (which is not None) and all(f"この指標の値は{which}に大きく依る" in line for line in named)


def test_one_scorer_alone_has_nothing_to_be_compared_with():
    sweep = sweep_of()
    table = single_scorers(sweep.drop(columns=[c for c in sweep if c.startswith("target_")]), MEASURES, **GIVEN)
    assert set(table["family"]) == {"target"} and hanging.scorer_lines(table, PARAMS) == []
    none = single_scorers(sweep.drop(columns=[c for c in sweep if c.startswith("target")]), MEASURES, **GIVEN)
    assert hanging.scorer_effect_rows(none, PARAMS)["結果"].tolist() == ["該当なし"]
    assert hanging.scorer_lines(none, PARAMS) == []


# stock phrases


def texts_of(steered: list[str], unpatched: list[str], words: list[int], broken: int = 0) -> pd.DataFrame:
    base = pd.DataFrame({"kind": "baseline", "emotion": "none", "text": unpatched, "keywords/anger": 0})
    own = pd.DataFrame({"kind": "emotion", "emotion": "anger", "text": steered, "keywords/anger": words})
    own["fluency/broken"] = np.arange(len(own)) < broken
    return pd.concat([base.assign(**{"fluency/broken": False}), own], ignore_index=True)


STOCK = ["I’m so angry at you. I'm so angry at you.", "i'm SO angry at *them*", "What a nice day it is", "I am furious"]
PLAIN = ["What a nice day it is", "What a nice day, again", "no", "I'm so angry at this"]


def test_a_phrase_counts_once_per_text_whatever_its_case_and_marks():
    (row,) = stock_phrases(texts_of(STOCK, PLAIN, [2, 1, 0, 1]), ["anger"]).to_dict("records")
    assert row["phrase"] == "i'm so angry at" and row["share"] == 0.5 and row["baseline"] == 0.25
    assert row["baseline_phrase"] == "what a nice day" and row["baseline_share"] == 0.5
    assert (row["openings"], row["baseline_openings"], row["n"]) == (3, 3, 4)
    assert row["n_own"] == 3 and row["own_share"] == pytest.approx(2 / 3)


def test_broken_texts_are_no_success_of_a_phrase():
    (row,) = stock_phrases(texts_of(STOCK, PLAIN, [2, 1, 0, 1], broken=2), ["anger"]).to_dict("records")
    assert row["share"] == 0.5 and row["n_own"] == 1 and row["own_share"] == 0


DISTINCT = ["one two three four", "five six seven eight", "no", "yes"]


@pytest.mark.parametrize(
    ("words", "unpatched", "stock"),
    [
        ([2, 1, 0, 1], PLAIN, True),
        ([0, 1, 1, 1], DISTINCT, False),  # a third of the successes, though more than of the unpatched texts
        ([2, 1, 1, 1], PLAIN, False),  # half of them, as of the unpatched texts
        ([0, 0, 0, 0], PLAIN, False),
    ],
)
def test_success_that_is_mostly_one_phrase_cannot_be_told_from_the_phrase(words, unpatched, stock):
    table = stock_phrases(texts_of(STOCK, unpatched, words), ["anger"])
    lines = "\n".join(hanging.phrase_lines(table))
    assert ("区別できない" in lines) is stock and "50% は同じ 4 語の並び「i'm so angry at」" in lines
    shown = hanging.phrase_rows(table).data
    assert "3 / 4" in shown and "nan" not in (shown + lines) and ("—（0）" in shown) is (sum(words) == 0)


def test_phrases_of_a_model_are_escaped_and_texts_without_any_are_passed_over():
    table = stock_phrases(texts_of(["a_b_ c_d e f"] * 2, ["no"] * 2, [1, 1]), ["anger"])
    shown = hanging.phrase_rows(table).data + "".join(hanging.phrase_lines(table))
    assert "a_b_" not in shown and "a&#95;b&#95;" in shown
    short = stock_phrases(texts_of(["no"], ["yes"], [0]), ["anger"])
    assert hanging.phrase_lines(short) == [] and "| — | 0% |" in hanging.phrase_rows(short).data
