"""Phase 5's 考察 and 次のアクション on made-up results: every outcome of every sentence."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from phase5_rows import (
    FLAT,
    REACHED,
    REFUSED,
    ROOM,
    WIDE,
    broken_table,
    claim,
    clean,
    found,
    outcome_of,
    phrase,
    point_of,
    scorers,
)

from emolib.report.ja import phase5_discussion as closing
from emolib.report.ja.phase5_next import next_actions
from emolib.steering.comparisons import other_labels


def sentence(**given: Any) -> str:
    return clean(closing.claim_sentence(found(claim(**given)).iloc[0].to_dict()))


@pytest.mark.parametrize(
    ("given", "says", "says_not"),
    [
        (
            {},
            [
                "感謝の語数: 条件を満たす。変化は平均 +0.80 語（プロンプトの中央値 +0.50 語）",
                "95 % BCa 区間 +0.40 〜 +1.10",
                "0.0167（基準 0.0167 以下）",
                "12%（破綻もそのまま数えると 0%）",
                "テキストは 50%（パッチなし 0%、対照方向の最大 10%）",
            ],
            ["区間なし", "半数以下"],
        ),
        (WIDE, ["条件を満たさない", "-0.20 〜 +0.40", "+0.10"], ["半数以下"]),
        (FLAT, ["+0.00 語（区間なし）", "条件を満たさない（0 でない差が少ない）"], ["95 % BCa"]),
        ({"median": 0.001}, ["中央値 +0.00 語", "半数以下のプロンプトによる"], []),
        (
            {"metric": "target/anger", "own_effect": -0.0004, "random_max": -0.0001},
            ["変化は平均 +0.000（", "対照方向の最大は +0.000、"],
            [" 語", "テキストは"],
        ),
    ],
)
def test_the_sentence_of_a_claim(given, says, says_not):
    text = sentence(**given)
    assert all(part in text for part in says) and not any(part in text for part in says_not), text


def test_the_discussion_of_any_outcome_is_clean_and_has_every_part():
    rows = [claim(), claim(metric="target/gratitude"), claim(**FLAT, emotion="anger", metric="keywords/anger")]
    text = clean(closing.discussion(outcome_of(*rows)))
    assert "- **感謝: 条件を満たす**" in text and "- **怒り: 条件を満たさない**" in text
    for part in (
        "d_z ≈",
        "訓練シナリオが足りず",
        "感謝の語数・感謝の確率はすべての条件を満たす",
        "破綻率は",
        "4 語の並び",
        "直接経路",
    ):
        assert part in text, part
    assert "感情価の変化は、感謝 +0.00、怒り +0.00（等方的なランダム方向の平均 +0.10）" in text
    assert "どちらだけで測っても条件を満たす" in text and "ほとんど差がなく" in text


# broken texts


def test_without_broken_texts_both_verdicts_are_one():
    (line,) = closing.unfiltered_lines(outcome_of(claim(), claim(metric="target/gratitude")))
    assert "そのまま数えても、感謝の語数・感謝の確率はすべての条件を満たす" in line


def test_a_verdict_that_hangs_on_the_rule_is_told_with_what_the_other_says():
    hangs = claim(**REACHED, unfiltered_rank_p=1 / 60, unfiltered_supported=True)
    lines = closing.unfiltered_lines(outcome_of(hangs, claim(emotion="anger", metric="keywords/anger")))
    assert "感謝の語数の判定は破綻の数え方に依る" in lines[0]
    assert "「条件を満たさない」、そのまま数えれば「条件を満たす」" in lines[0]
    assert "感謝の総合判定は「条件を満たす」になる" in lines[1]
    assert "怒りの語数はすべての条件を満たす" in lines[2]
    assert "一つのプロンプト" not in lines[0]
    one = closing.unfiltered_lines(outcome_of({**hangs, "unfiltered_largest": 0.54}))
    assert "54% は一つのプロンプトによる" in one[0]


def test_broken_texts_on_test_are_held_against_the_unpatched_texts_there():
    within = clean(closing.broken_sentence(outcome_of(broken=broken_table(gratitude=0.15, anger=0.0))))
    assert (
        "感謝 15%、怒り 0%" in within and "パッチなし + 10 ポイント（15%）に収まる" in within and "超える" not in within
    )
    over = clean(closing.broken_sentence(outcome_of(broken=broken_table(gratitude=0.16, anger=0.0))))
    assert "感謝はテストのパッチなし + 10 ポイント（15%）を超える" in over and "収まる" not in over


# scorers, phrases, labels


def test_a_scorer_whose_verdict_is_another_is_told():
    (line,) = closing.scorer_lines(scorers(target_lexical=REACHED))
    assert line.startswith("- 感謝の確率は、結合した値で「条件を満たす」だが、n-gramだけでは「条件を満たさない」である")
    (line,) = closing.scorer_lines(scorers(target=REACHED, target_lexical=REACHED))
    assert "「条件を満たさない」だが、エンコーダだけでは「条件を満たす」" in line
    (line,) = closing.scorer_lines(scorers())
    assert "感謝の確率は、二つの分類器のどちらだけで測っても条件を満たす" in line
    refused = dict.fromkeys(("target", "target_lexical", "target_encoder"), REACHED)
    assert closing.scorer_lines(scorers(**refused)) == []


def test_the_model_on_which_a_large_change_rests_is_named():
    lines = closing.scorer_lines(scorers(target_lexical={"own": 0.02}, target_encoder={"own": 0.3}))
    assert any("n-gram +0.02、エンコーダ +0.30であり、この指標の値はエンコーダに大きく依る" in line for line in lines)
    assert not any("大きく依る" in line for line in closing.scorer_lines(scorers()))


def test_success_that_is_mostly_one_phrase_cannot_be_told_from_the_phrase():
    lines = "\n".join(closing.phrase_lines(pd.DataFrame([phrase(own_share=0.75)])))
    assert (
        "感謝「thank you so much」 50%（パッチなし 25%、成功した 8 テキスト中 75%）" in lines
        and "区別できない" in lines
    )
    assert "区別できない" not in "\n".join(closing.phrase_lines(pd.DataFrame([phrase(own_share=0.25)])))
    assert closing.phrase_lines(pd.DataFrame([phrase(phrase="")])) == []
    (line,) = closing.phrase_lines(pd.DataFrame([phrase(n_own=0, own_share=float("nan"))]))
    assert "パッチなし 25%、成功したテキストなし）" in line and "テキスト中" not in line
    assert "a&#95;b" in closing.phrase_lines(pd.DataFrame([phrase(phrase="a_b c d e")]))[0]


def test_a_label_that_rises_more_than_the_emotions_own_is_named():
    changes = pd.DataFrame({"annoyance": [0.2], "anger": [-0.002], "joy": [0.3]}, index=["anger"])
    (line,) = closing.label_lines(other_labels(changes, {"anger": ("anger", "annoyance")}))
    assert closing.label_lines(pd.DataFrame()) == []
    told = "怒りベクトル（joy +0.30、当該感情の annoyance は +0.20）"
    assert line == f"- 最も増えたラベルが当該感情のものでないのは、{told}である。"


# the direct path


def direct(*rows: dict[str, Any]) -> str:
    return clean(closing.direct_sentence(outcome_of(*rows, broken=broken_table(gratitude=0.1, anger=0.1))))


def test_the_direct_path_is_small_or_not_by_a_share_that_is_told():
    less = direct(claim(direct_path=-0.001), claim(**WIDE, emotion="anger", metric="target/anger", direct_path=0.02))
    assert "最終残差である層 30" in less and "別のベクトルである" in less and "破綻率は、感謝 50%、怒り 50%" in less
    assert "1/3（便宜上の目安であり、検定ではない）に満たない" in less and "経路の割合は分からない" in less
    much = direct(claim(direct_path=0.31))
    assert "感謝の語数では選んだ層での変化の 1/3" in much and "無視できない" in much and "満たない" not in much
    none = direct(claim(**WIDE, direct_path=-0.004))
    assert "条件を満たす指標がない" in none and "1/3" not in none


def test_a_direct_path_that_does_more_than_the_vector_is_named_like_with_like():
    row = {"metric": "target/anger", "emotion": "anger", "own_effect": 0.015, "own_effect_unfiltered": 0.056}
    more = direct(claim(**REFUSED, **row, direct_path=0.02, direct_path_counted=0.018))
    assert "直接経路の方が大きいのは怒りの確率（破綻を 0 として +0.018 対 +0.015）である" in more
    assert "破綻もそのまま +0.020" not in more
    both = direct(claim(**REFUSED, **row, direct_path=0.06, direct_path_counted=0.018))
    assert "怒りの確率（破綻もそのまま +0.060 対 +0.056）" in both
    less = direct(claim(**REFUSED, **row, direct_path=0.02, direct_path_counted=0.01))
    assert "直接経路の方が大きい指標はない" in less


# what comes next


@pytest.mark.parametrize(
    ("row", "changed", "where", "shares", "says", "says_not"),
    [
        ({}, {}, (14, 0.3), ROOM, ["条件を満たした感謝について", "vector_style=implicit"], ["端にある", "届かない"]),
        ({}, {"vector_style": "implicit"}, (14, 0.3), ROOM, [], ["確かめる", "端にある"]),
        (WIDE, {}, (14, 0.3), ROOM, ["感謝は条件を満たさなかった", "より強い α で"], ["implicit", "端にある"]),
        (WIDE, {}, (14, 0.3), {"gratitude": 0.3}, ["α は強めず"], ["より強い α で"]),
        ({}, {}, (18, 0.3), ROOM, ["層 18 は試した範囲の端"], ["α ="]),
        ({}, {}, (14, 0.2), ROOM, ["α = 0.2 は試した範囲の下端", "より弱い α"], ["層 14 は", "上端"]),
        ({}, {}, (14, 0.4), ROOM, ["α = 0.4 は試した範囲の上端", "より強い α も確かめる"], ["下端", "限って"]),
        ({}, {}, (14, 0.4), ROOM | {"anger": 0.3}, ["余裕があるのは感謝だけ"], ["より強い α も"]),
        ({}, {}, (14, 0.4), {"gratitude": 0.3}, ["α は広げない"], ["より強い α"]),
        (WIDE, {"n_controls": 5}, (14, 0.3), ROOM, ["判定基準に届かない"], ["条件を満たさなかった"]),
    ],
)
def test_what_comes_next_follows_from_the_results(row, changed, where, shares, says, says_not):
    points = {"": point_of(*where)}
    outcome = outcome_of(claim(**row), points=points, broken=broken_table(**shares), changed=changed)
    text = clean(next_actions(outcome))
    assert all(part in text for part in says) and not any(part in text for part in says_not) and "Phase 7" in text


def test_every_parts_choice_at_the_end_of_what_was_tried_is_named():
    text = clean(next_actions(outcome_of(points={"fold0": point_of(14, 0.3), "fold1": point_of(18, 0.2)})))
    assert "fold1: 選ばれた層 18" in text and "fold1: 選ばれた α = 0.2" in text and "fold0" not in text
