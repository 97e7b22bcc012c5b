"""What Phase 8's effects, roles, measures and verdicts are called."""

from __future__ import annotations

EFFECTS = {"context": "(A) 文脈の効果", "steer": "(B) 操作の効果"}
SPLITS = {"validation": "検証", "test": "テスト"}
ROLES = {"write": "書き込み", "pass": "伝搬", "read": "読み出し", "act": "出力影響", "open": "未定"}
VERDICTS = {"supported": "支持", "not_supported": "不支持", "underpowered": "検出力不足", "not_measurable": "測定不能"}
REASONS = {
    "no_effect": "効果そのものが確かめられない",
    "none_small": "ノード数の上限までに基準へ届く集合がない",
    "below_bar": "テストの忠実度の区間が基準に届かない",
    "no_random_sets": "比べる無作為な集合を作れない",
    "not_beyond_random": "無作為な集合を超えると言えない",
    "incomplete": "回路を止めても効果が失われると言えない",
    "all_hold": "すべての条件が成り立つ",
}
MEASURES = {
    "faithfulness": "忠実度",
    "completeness": "完全性（回路だけを止めて失われる割合）",
    "residual_path": "残差の経路 f(∅)",
}
ABLATIONS = {
    "resample": "resample（別シナリオの中立文の後で同じ文を読んだ値）",
    "own": "効果なし（同じシナリオで、文脈または操作がないときの値）",
    "mean": "mean（resample の値の平均）",
    "zero": "zero（ゼロ）",
}
SETS = {"circuit": "回路", "nothing": "空集合", "half": "回路の上位半分", "twice": "回路と次点"}
MATCHINGS = {"layer_norm": "層・種類・ノルム", "attribution": "層・種類・ノルムと帰属の和"}
RULES = {"signed": "符号付き（signed）", "absolute": "絶対値（absolute）"}
AREAS = {"cpr": "CPR", "cmd": "CMD"}
TARGETS = {"self": "読んだ方向そのもの", "next": "次の層の感情ベクトル"}
FAMILIES = {
    "isotropic": "等方",
    "covariance": "残差の共分散",
    "shuffled": "ラベルの入れ替え",
    "topic": "話題",
}
FORMS = {"cut": "読まない（cut）", "frozen": "別の内容語の値を読む（frozen）"}
KINDS = {"value": "V", "key": "K", "query": "Q"}
SELECTED = {"top": "選択", "random": "対照（同じ層の無作為）"}
CLAIMS = {"core": "核", "rest": "残り"}
CHECKS = {
    "pattern": "注意パターン",
    "z": "ヘッドの出力 z",
    "attn_out": "attention の出力",
    "token": "最も見るトークンの寄与",
}


def spelled_node(name: str) -> str:
    """A node as the reports print it.

    >>> spelled_node("h3.5"), spelled_node("m12")
    ('3:5', 'MLP 12')
    """
    return name[1:].replace(".", ":") if name.startswith("h") else f"MLP {name[1:]}"
