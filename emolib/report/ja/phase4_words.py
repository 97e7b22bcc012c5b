"""What Phase 4's codes are called."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from emolib.base.escaping import Name
from emolib.report.ja.names import companion_name, style_name
from emolib.steering.alignment_verdicts import COMMON, NOT_SHOWN
from emolib.steering.claims import NOT_MEASURABLE
from emolib.steering.findings import UNDERPOWERED

VERDICTS = {COMMON: "共通", NOT_SHOWN: "示されない", UNDERPOWERED: "検出力不足", NOT_MEASURABLE: "測定不能"}
REASONS = {
    "few_scenarios": "シナリオが 10 未満",
    "own_vector_not_found": "自身のベクトルが残り半分のシナリオで再現しない",
    "above_every_null": "すべての帰無の 95 % 点を超える",
    "below_the_bar": "区間の上限も基準値に届かない",
    "ceiling_below_the_bar": "同じモデルどうしでも基準値に届かない",
    "interval_holds_the_bar": "区間が基準値を含む",
}
NULLS = {
    "permuted": "組をランダムに入れ替えたアンカー",
    "random": "ランダムに回した写像",
    "untrained": "未学習の B",
    "embeddings": "学習済み埋め込みどうし（語だけ）",
}
METHODS = {"ridge": "リッジ", "procrustes": "プロクラステス", "cca": "正準相関"}
SPACES = {"raw": "生", "standardised": "標準化"}
SOURCES = {"own": "データの中立文", "given": "与えたファイル", "plain": "感情のない文（expressed）"}
GIVEN = {
    "nothing": "なし",
    "valence": "感情価",
    "words": "語（bag of words）",
    "embeddings": "学習済み埋め込み",
    "all": "上のすべて",
}
COMPARED = {"layers": "選んだ層", "embeddings": "学習済み埋め込み"}
ALL = "all"


def style_words(style: str) -> Name:
    """All texts, or one style's."""
    return Name("全体") if style == ALL else style_name(style)


def candidate_name(name: str) -> Name:
    """A label, or a topic."""
    return Name("話題 " + name.removeprefix("topic ")) if name.startswith("topic ") else companion_name(name)


def labels_named(labels: Sequence[str]) -> str:
    """Labels in one breath."""
    return "・".join(f"{companion_name(label)}" for label in labels)


def emotions_first(table: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """The rows with the data set's own emotions before the others."""
    own = table["label"].isin(list(emotions))
    return pd.concat([table[own], table[~own]], ignore_index=True)
