"""Phase 5's 結論: three lines, each of what was found, on what it hangs and what was not measurable."""

from __future__ import annotations

from typing import Any

import pandas as pd
from phase5_rows import REACHED, WIDE, broken_table, claim, clean, found, outcome_of, phrase, point_of, scorers

from emolib.report.ja.names import UNIT_NAMES
from emolib.report.ja.phase5_conclusion import conclusion


def lines(*rows: dict[str, Any], **given: Any) -> list[str]:
    told = clean(conclusion(outcome_of(*rows, **given))).splitlines()
    starts = ("- **分かったこと**: ", "- **何に依るか**: ", "- **測れなかったこと**: ")
    assert len(told) == 3 and all(line.startswith(start) for line, start in zip(told, starts, strict=True))
    return told


def test_what_was_found_names_every_verdict_the_point_and_the_supported_changes():
    anger = claim(**REACHED, emotion="anger", metric="keywords/anger")
    first, *_ = lines(claim(), claim(metric="target/gratitude", own_effect=0.25), anger)
    assert "総合判定が「条件を満たす」のは感謝、「条件を満たさない」のは怒りである" in first
    assert "（層 14・α = 0.3、α の単位は「" in first
    assert "感謝の語数 +0.80 語、感謝の確率 +0.250である" in first
    for unit, name in UNIT_NAMES.items():
        told, *_ = lines(claim(), changed={"unit": unit})
        assert f"（層 14・α = 0.3、α の単位は「{name}」、テスト 45 シナリオ）" in told
    nothing, *_ = lines(claim(**REACHED))
    assert "二つの条件をともに満たした指標はない" in nothing and "条件を満たした指標の" not in nothing
    several, *_ = lines(claim(), points={"fold0": point_of(), "fold1": point_of(18)})
    assert "fold0: 層 14・α = 0.3、fold1: 層 18" in several


def test_what_the_claims_hang_on_is_told_and_that_they_hang_on_nothing():
    _, nothing, _ = lines(claim())
    assert "いずれにも、条件を満たすことは依らない" in nothing
    _, rule, _ = lines(
        claim(), claim(**REACHED, metric="target/gratitude", unfiltered_rank_p=1 / 60, unfiltered_supported=True)
    )
    assert "0 とするかどうかで判定が変わるのは感謝の確率" in rule
    _, few, _ = lines(claim(median=0.001))
    assert "感謝の語数は、変化の中央値がほぼ 0 で" in few
    _, one, _ = lines(claim(), scorers=scorers(target_encoder=REACHED))
    assert "感謝の確率は、分類器をエンコーダだけにすると条件を満たさない" in one
    _, stock, _ = lines(claim(), phrases=pd.DataFrame([phrase(own_share=0.75)]))
    assert "一つの定型句を含む（感謝 75%）" in stock
    _, style, _ = lines(claim(), other_style=found(claim(**REACHED)))
    assert "暗示表現の文（感情語を含まない）から作ったベクトルでは感謝の条件が満たされない" in style
    _, kept, _ = lines(claim(), other_style=found(claim()))
    assert "条件を満たすことは依らない" in kept


def test_where_nothing_is_supported_only_the_rule_on_broken_texts_is_told():
    _, same, _ = lines(claim(**REACHED), phrases=pd.DataFrame([phrase(own_share=0.75)]))
    assert "判定は変わらない" in same and "定型句" not in same
    _, rule, _ = lines(claim(**REACHED, unfiltered_rank_p=1 / 60, unfiltered_supported=True))
    assert "判定が変わるのは感謝の語数" in rule


def test_what_was_not_measurable_has_its_reasons():
    *_, weak = lines(claim(), claim(**WIDE, n=24, emotion="anger", metric="target/anger"))
    assert "怒りの確率は検出力不足である（関心のある最小の効果を検出できないシナリオ数である）" in weak
    *_, all_weak = lines(claim(n=9), claim(n=9, metric="target/gratitude"))
    assert "どの指標も検出力不足である（シナリオが少なすぎる）" in all_weak
    *_, whole = lines(claim())
    assert (
        "検出力不足" not in whole
        and "d_z（差の平均 / 差の標準偏差）が 0.43 に満たない効果" in whole
        and "破綻が" not in whole
    )
    *_, lost = lines(claim(), broken=broken_table(gratitude=0.5))
    assert "感謝では破綻が許容幅を超えて増え" in lost
