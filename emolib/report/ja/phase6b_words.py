"""Phase 6b: what heads, modes, runs and sources are called in Japanese."""

from __future__ import annotations

from emolib.base.escaping import Name
from emolib.report.ja.names import emotion_name

ALL = "all"
MODES = {
    "v_only": "値だけ（v_only）",
    "pattern_v": "注意と値（pattern_v）",
    "result": "出力（result）",
    "zero": "零アブレーション",
    "mean": "平均アブレーション",
    "resample": "再標本アブレーション（主）",
}
TARGETS = {"neutral": "感情 → 中立", "emotional": "中立 → 感情"}
SOURCES = {
    "same": "同じシナリオの反対側の文",
    "same_emotion": "別のシナリオの同じ感情",
    "other_emotion": "同じシナリオの別の感情",
    "neutral": "別のシナリオの中立",
    "neutral_again": "さらに別のシナリオの中立",
}
EXTENTS = {
    "whole": "文脈と続く文のすべて",
    "prompt": "文脈のトークンだけ",
    "one_token": "1 トークン（文脈の最後）",
    "thirty_tokens": "30 トークン（文脈の最後と続く 29）",
}
CODES = {"carried": "担う", "nothing": "担わない", "open": "検出力不足", "not_measurable": "測定不能"}
INTERACTIONS = {
    "more": "相乗（和より大きい）",
    "less": "重複（和より小さい）",
    "open": "加法と区別できない",
    "not_measurable": "測定不能",
}
STEERING = {
    "cheaper": "同じ効果で崩れが少ない",
    "no_cheaper": "同じ効果で崩れは減らない",
    "weaker": "効果が小さい",
    "stronger": "効果が大きい",
    "open": "検出力不足",
    "not_measurable": "測定不能",
}
UNIFORMITY = {
    "uniform": "一様分布と区別できない",
    "not_uniform": "一様分布ではない",
    "few": "数が少なく判定しない",
}
CONTRASTS = {
    "emotion": "別のシナリオの感情 − 別のシナリオの中立",
    "kind": "別のシナリオの同じ感情 − 同じシナリオの別の感情",
}
WAYS = {"residual": "残差の操作", "heads": "ヘッドの操作"}
SETS = {"all": "すべて", "random": "ランダムなヘッド"}
KINDS = {"resample": "再標本、主", "mean": "平均", "zero": "零"}


def emotion_word(emotion: str) -> Name:
    """An emotion's name; of all of them together `全感情`."""
    return Name("全感情") if emotion == ALL else emotion_name(emotion)


def ablation_word(name: str) -> Name:
    """The heads that are ablated under a steer, and how."""
    heads, _, kind = name.rpartition(" ")
    return Name(f"{SETS.get(heads, heads)}（{KINDS[kind]}）")
