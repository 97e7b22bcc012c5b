"""What the continuation shift's measures, verdicts and reasons are called in Phase 5 and Phase 7."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emolib.base.escaping import Name
from emolib.report.ja.names import companion_name, emotion_name, style_name
from emolib.steering.claims import INSTRUMENTS_MISSING
from emolib.steering.findings import SUPPORTED
from emolib.steering.further_conditions import CONCEPTS, EQUAL_KL, LIKE_VALENT
from emolib.steering.text_claims import FEWEST_SCENARIOS

MEASURES = {"raw": "S（未補正）", "adjusted": "S（補正後）", "contextual": "S（文脈部分）", "own": "自ベクトル対比"}
VERDICTS = {
    "supported": "支持",
    "not_supported": "不支持",
    "underpowered": "検出力不足",
    "not_measurable": "測定不能",
    "instruments_missing": "計器の判定なし",
}
REASONS = {
    "bar_reached": "すべての条件を満たす",
    "few_scenarios": f"文のシナリオが {FEWEST_SCENARIOS} 未満",
    "few_controls": "対照方向が少なく、順位 p が基準に届きえない",
    "below_gold": "効果の上限が正例の 20 % に満たない",
    "controls_reach_it": "対照方向の中に、同じかそれ以上のものがある",
    "not_above_zero": "0 を上回らない条件がある",
    "conditions_missing": "測っていない条件がある",
    "concepts_reach_it": "感情でない概念のベクトルに、同じかそれ以上のものがある",
    "equal_kl_reaches_it": "KL をそろえた対照方向の中に、同じかそれ以上のものがある",
    "not_judged": "計器を判定していない",
    "instrument_failed": "計器が不合格",
    "instrument_underpowered": "計器の合否が定まらない",
}
CONDITIONS = {
    LIKE_VALENT: "感情価の近い感情に対する S",
    CONCEPTS: "感情でない概念のベクトルとの比較",
    EQUAL_KL: "KL をそろえた対照",
}
STYLES = {"idiomatic": "定型句を含む暗示表現", "mixed": "表現の混在"}
WHY_NOT = {
    "one_emotion": "感情のラベルが一つしかないため、特異シフト S（他の感情との差の差）は定義できない。層と α は生成したテキストで選び、"
    "以下の結果はすべて生成したテキストによる。",
    "few_scenarios": "すべてのラベルの文がそろうシナリオが足りないため、特異シフト S は測れない。層と α は生成したテキストで選び、"
    "以下の結果はすべて生成したテキストによる。",
}


def text_style(style: str) -> Name:
    """A style of texts as the continuation shift counts them."""
    return Name(STYLES[style]) if style in STYLES else style_name(style)


def shift_verdict(row: Mapping[str, Any]) -> str:
    """A verdict in words, called exploration wherever it is no more than that."""
    word = VERDICTS[row["verdict"]]
    if row["verdict"] == INSTRUMENTS_MISSING:
        return f"{word}（探索: {numbers_say(row)}）"
    return f"{word}（探索）" if row["verdict"] == SUPPORTED and row["exploratory"] else word


def numbers_say(row: Mapping[str, Any]) -> str:
    """What the numbers alone come to, whatever the instruments."""
    if row["by_numbers"] == SUPPORTED:
        return "数値は条件を満たす"
    if row["by_numbers_reason"] in ("few_scenarios", "few_controls"):
        return "この設計では条件に届きえない"
    return "数値は条件を満たさない"


def measure_with_other(measure: str, other: str) -> Name:
    """A condition in one breath: the measure and the label that it is against."""
    return Name(Name(f"{MEASURES[measure]}、相手 ") + companion_name(other))


def missing_names(codes: str) -> str:
    """Conditions that were not measured, from their codes by commas."""
    return "・".join(CONDITIONS[code] for code in codes.split(","))


def concept_name(act: str) -> Name:
    """The vector of another concept: `topic:work`, `lexical:joy` or `denied:joy`."""
    kind, _, about = act.partition(":")
    told = {"topic": f"話題 {about}", "lexical": Name("語（") + emotion_name(about) + Name("）")}
    return Name(told.get(kind, Name("否定（") + emotion_name(about) + Name("）")))
