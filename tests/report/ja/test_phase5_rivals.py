"""Phase 5's vector beside other methods in words: every code, and a dash where a method has nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from phase5_rows import clean

from emolib.report.ja import phase5_rivals as beside
from emolib.report.ja.phase5_words import KINDS
from emolib.steering.comparisons import rival_findings

NO_LEAD = {"ahead": np.nan, "ahead_low": np.nan, "ahead_high": np.nan, "ahead_degenerate": np.nan}
FLAT = {"degenerate": True, "low": np.nan, "high": np.nan}
FLAT_LEAD = {"ahead_degenerate": True, "ahead_low": np.nan, "ahead_high": np.nan}


def rival(kind: str, effect: float, **given: Any) -> dict[str, Any]:
    """A method's row; the vector that it is compared with moves the measure by 0.5 and breaks no text."""
    row = {"kind": kind, "emotion": "anger", "metric": "keywords/anger", "alpha": 0.3, "effect": effect, "base": 0.125}
    row |= {"low": effect - 0.2, "high": effect + 0.2, "degenerate": False, "vs_others": -0.001, "broken": 0.0}
    row |= {"delta_ratio": 0.3, "n": 24, "validation_gap": np.nan if kind in ("emotion", "prompting") else -0.04}
    lead = {"ahead": 0.5 - effect, "ahead_low": 0.3 - effect, "ahead_high": 0.7 - effect, "ahead_degenerate": False}
    row |= NO_LEAD if kind in ("emotion", "prompting") else lead
    row |= given
    return {"level": row["base"] + row["effect"], "broken_gap": row["broken"], **row}


def judged(*rows: dict[str, Any], margin: float = 0.1) -> pd.DataFrame:
    return rival_findings(pd.DataFrame(rows), margin=margin)


def said(*rows: dict[str, Any], margin: float = 0.1) -> str:
    return clean(beside.rival_sentence(judged(*rows, margin=margin), margin))


def test_methods_stand_side_by_side_with_a_dash_where_prompting_has_nothing():
    table = judged(
        rival("emotion", 0.5),
        rival("pca", -0.001, **FLAT, broken=0.125),
        rival("prompting", 4.0, **FLAT, delta_ratio=np.nan, base=0.75),
        rival("emotion", 0.0125, metric="target/anger"),
    )
    levels = beside.table_rivals(table)
    clean(levels)
    assert levels["語数: 差 [95 % BCa]"].tolist() == ["+0.50 [0.30, 0.70]", "+0.00（区間なし）", "+4.00（区間なし）"]
    assert levels["語数: なし"].tolist() == ["0.12", "0.12", "0.75"]
    assert levels["語数: あり"].tolist() == ["0.62", "0.12", "4.75"]
    assert levels["確率: 差 [95 % BCa]"].tolist() == ["+0.013 [-0.188, 0.213]", "—", "—"]
    strength = beside.strength_rows(table)
    clean(strength)
    assert strength["α"].tolist() == ["0.3", "0.3", "—"] and strength["‖Δh‖/‖h‖"].tolist() == ["0.30", "0.30", "—"]
    assert strength["破綻率"].tolist() == ["0%", "12%", "0%"]
    assert strength["ベクトルとの差（ポイント）"].tolist() == ["—", "+12", "+0"]
    assert strength["同、検証"].tolist() == ["—", "-4", "—"]
    lead = beside.lead_rows(table)
    clean(lead)
    shown = lead["語数: ベクトル − 方法 [95 % BCa]"].to_dict()
    assert shown == {("怒り", "主成分方向"): "+0.50 [0.30, 0.70]", ("怒り", "指示（プロンプト）"): "—"}


def test_emotions_are_not_mixed_up_in_a_table_of_methods():
    other = {"emotion": "apology", "metric": "keywords/apology"}
    table = pd.DataFrame(
        [rival("emotion", 0.5), rival("emotion", 0.7, **other), rival("pca", 0.1), rival("pca", 0.2, **other)]
    )
    shown = beside.table_rivals(table)
    assert [index[0] for index in shown.index] == ["怒り", "怒り", "謝罪", "謝罪"]
    assert [cell[:5] for cell in shown["語数: 差 [95 % BCa]"]] == ["+0.50", "+0.10", "+0.70", "+0.20"]


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (rival("pca", 0.1), "感情ベクトルの方が大きい"),
        (rival("pca", 0.9), "方法の方が大きい"),
        (rival("pca", 0.4), "大小は決まらない"),
        (rival("pca", 0.1, **FLAT_LEAD), "区間なし"),
        (rival("pca", 0.1, broken=0.125), "比べない（破綻率の差 +12 ポイント）"),
        (rival("prompting", 2.0), "方法の方が大きい"),
        (rival("prompting", 2.0, base=0.75), "書式だけで水準が高い"),
    ],
)
def test_the_table_says_which_of_two_is_larger(row, word):
    shown = beside.lead_rows(judged(rival("emotion", 0.5), row))
    clean(shown)
    assert shown["語数: 大小"].tolist() == [word]


@pytest.mark.parametrize(
    ("rows", "says", "says_not"),
    [
        (
            [rival("emotion", 0.01), rival("pca", -0.015)],
            ["どの方法でも変化が目安の 0.02（語数なら 1 テキストあたり 0.02 語", "怒りの語数（最大 0.015）"],
            ["大きい", "決まらない", "半分を超えて"],
        ),
        (
            [rival("emotion", 0.01, broken=0.6, broken_gap=0.0), rival("pca", 0.0)],
            ["に届かない", "半分を超えて破綻しており、効かないのか"],
            [],
        ),
        (
            [rival("emotion", 0.5), rival("pca", 0.1)],
            ["感情ベクトルの方が大きい: 怒りの語数（主成分方向 +0.40 [0.20, 0.60]）"],
            ["決まらない", "比べない"],
        ),
        ([rival("emotion", 0.5), rival("pca", 0.9)], ["方法の方が大きい: 怒りの語数（主成分"], ["感情ベクトルの方"]),
        ([rival("emotion", 0.5), rival("pca", 0.4)], ["大小が決まらない: 怒りの語数（主成分方向）"], ["大きい"]),
        (
            [rival("emotion", 0.5), rival("pca", 0.1, **FLAT_LEAD)],
            ["0 でない差が少なく、区間がない: 怒りの語数（主成分方向）"],
            ["大きい"],
        ),
        (
            [rival("emotion", 0.5), rival("pca", 0.1, broken=0.1), rival("subspace", 0.0, broken=0.125)],
            ["大きい: 怒りの語数（主成分方向", "離れているため比べない", "怒り（部分空間への移動 +12）"],
            ["部分空間への移動 +0.50"],
        ),
    ],
)
def test_the_vector_is_compared_only_with_methods_that_break_about_as_many_texts(rows, says, says_not):
    text = said(*rows)
    assert all(part in text for part in says) and not any(part in text for part in says_not), text
    assert "24 シナリオでは、破綻率そのものに最大 10 ポイントの標準誤差がある" in text


def test_a_wider_margin_compares_more_methods():
    rows = [rival("emotion", 0.5), rival("pca", 0.1, broken=0.25)]
    assert "比べない" in said(*rows) and "大きい" not in said(*rows)
    wide = said(*rows, margin=0.3)
    assert "感情ベクトルの方が大きい: 怒りの語数（主成分方向" in wide and "30 ポイント以内" in wide


@pytest.mark.parametrize(
    ("asked", "vector", "says"),
    [
        (rival("prompting", 2.0), {}, "区間が重ならず、指示の方が大きい"),
        (rival("prompting", -1.0), {}, "区間が重ならず、感情ベクトルの方が大きい"),
        (rival("prompting", 0.6), {}, "大小は決まらないのは怒りの語数（指示 0.12 → 0.72、ベクトル 0.12 → 0.62）"),
        (rival("prompting", 2.0, **FLAT), {}, "一方に区間がなく、比べない"),
        (rival("prompting", 0.03, base=0.47), {"base": 0.03}, "水準が高く、出発点が違うため比べないのは怒りの語数"),
    ],
)
def test_asking_is_compared_unless_the_format_alone_says_it_already(asked, vector, says):
    text = said(rival("emotion", 0.5, **vector), asked)
    assert says in text and text.count("のは怒りの語数") == 1, text


def at_equal_strength(*leads: tuple[float, float, float]) -> pd.DataFrame:
    row = {"kind": "probe", "emotion": "anger", "metric": "keywords/anger", "alpha": 0.2, "own": -0.001, "rival": 0.4}
    row |= {"own_broken": 0.25, "rival_broken": 0.5, "n": 24}
    cells = [{"ahead": lead, "ahead_low": low, "ahead_high": high} for lead, low, high in leads]
    return pd.DataFrame([{**row, **cell, "ahead_degenerate": bool(np.isnan(cell["ahead_low"]))} for cell in cells])


def test_at_an_equal_strength_the_larger_of_two_is_named_only_where_the_interval_says_so():
    probe = KINDS["probe"]
    shown = beside.equal_rows(at_equal_strength((-0.4, -0.6, -0.2)))
    clean(shown)
    assert shown.iloc[0].tolist() == ["0.2", "25% / 50%", "+0.00 / +0.40", "-0.40 [-0.60, -0.20]"]
    behind = clean(beside.equal_sentence(at_equal_strength((-0.4, -0.6, -0.2), (-0.1, -0.3, 0.1))))
    assert f"方法の方が大きいのは怒りの語数の{probe}（α = 0.2、差 -0.40 語）である" in behind
    assert "感情ベクトルの方が大きい" not in behind and "残る 1 組は" in behind and "2 組のうち 2 組" in behind
    ahead = clean(beside.equal_sentence(at_equal_strength((0.4, 0.2, 0.6), (-0.4, np.nan, np.nan))))
    assert f"感情ベクトルの方が大きいのは怒りの語数の{probe}" in ahead and "残る 1 組は" in ahead
    none = clean(beside.equal_sentence(at_equal_strength((0.1, -0.2, 0.6))))
    assert "1 組のうち、1 組は区間が 0 を含むか" in none
    assert "組がない" in beside.equal_sentence(pd.DataFrame())


def test_without_pairs_of_equal_strength_there_is_a_sentence_and_no_empty_table():
    text = clean(beside.table_rival_strengths(judged(rival("emotion", 0.5), rival("pca", 0.1)), pd.DataFrame()))
    assert "組がない" in text and "同じ α（" not in text and text.count("|---|") > 0
