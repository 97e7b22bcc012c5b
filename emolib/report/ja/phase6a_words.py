"""What Phase 6a's roads, verdicts and reasons are called."""

from __future__ import annotations

from emolib.circuits.screening import Head

ROADS = {
    "exact": "(iii) 厳密な除去（resample）",
    "direct": "(i) 直接の書き込み（負号付き）",
    "atp": "(ii) AtP（一次）",
    "integrated": "(ii) 積分勾配",
    "dropped": "(ii) AtP*（GradDrop、大きさ）",
    "query": "(ii) AtP* query（softmax 補正）",
    "key": "(ii) AtP* key（softmax 補正）",
    "value": "(ii) value",
    "query_linear": "(ii) query（一次）",
    "key_linear": "(ii) key（一次）",
}
MAIN_ROADS = ("exact", "direct", "atp", "integrated", "dropped")
KINDS = {
    "resample": "resample（別シナリオの中立文）",
    "mean": "mean（中立文の平均）",
    "zero": "zero（ゼロ）",
    "context": "context（同じシナリオの中立の文脈）",
}
ROLES = {"top": "選択", "random": "対照（同じ層・近いノルム）", "none": "除去なし"}
VERDICTS = {"supported": "支持", "not_supported": "不支持", "underpowered": "検出力不足", "not_measurable": "測定不能"}
REASONS = {
    "no_effect": "文脈の効果そのものが確かめられない",
    "small_effect": "上限が文脈の効果の 20 % に届かない",
    "not_confirmed": "テストで確かめられない",
    "not_against_labels": "ほかの感情に対して特異でない",
    "not_beyond_topics": "話題の効果より多くを担うと言えない",
    "not_beyond_control": "同じ層・近いノルムの対照より多くを担うと言えない",
    "all_hold": "すべての条件が成り立つ",
}
JOINT = {
    "more": "和より多く失われる（単独では他が補うときの形）",
    "less": "和ほどは失われない（同じものを担うときの形）",
    "open": "和と区別できない",
    "not_measurable": "効果そのものが確かめられず、割合は測定不能",
}
CAUSES = {
    "agrees": "一次の推定の大きさは合う",
    "scale": "正規化が割る長さの変化（ブロック内）",
    "block": "ブロック内の、長さの変化以外",
    "behind": "後の層",
    "both": "ブロック内と後の層の、どちらだけでも",
    "together": "一つの部分だけでは説明できない",
}
POSITIONS = {"mean": "平均", "without_keywords": "平均（感情語を除く）", "last": "最終トークン"}


def spelled_head(head: Head) -> str:
    """`layer:head`."""
    return f"{head[0]}:{head[1]}"
