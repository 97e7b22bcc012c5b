"""What labels, styles, splits, metrics and scorers are called in Japanese, the same in every report.

These are `Name`s: plain text in a table's cell and in a figure (put together by `+`), escaped in a sentence (an f-string).
"""

from __future__ import annotations

from collections.abc import Iterable

from emolib.base import language
from emolib.base.escaping import Name

STYLE_NAMES = language.names("labels", "styles", "style_choices")
SPLIT_NAMES = language.names("splits")
UNIT_NAMES = {  # of a steer's α
    "kl": "KL 長",
    "bulk": "バルクノルム",
    "resid": "残差ノルム",
    "vector": "感情ベクトル自身の長さ",
}
POSITION_NAMES = {"last": "最終トークン", "mean": "平均", "trigger": "感情語", "all": "全トークン"}
FAMILIES = {
    "keywords": "感情語の一覧",
    "target_lexical": "n-gram",
    "target_encoder": "エンコーダ",
    "target": "結合（判定に使う値）",
    "expressed": "書き手の表明（expressed、二次的な値）",
}
BACKEND_NAMES = {
    "bundled": "同梱（感情価: VADER、丁寧さ: n-gram 回帰、GoEmotions: n-gram とエンコーダの結合、感情語: 語の一覧、書き手の表明: expressed）",
    "lexical": "同梱（感情価: VADER、丁寧さ: n-gram 回帰、GoEmotions: n-gram のみ、感情語: 語の一覧）",
    "encoder": "同梱（感情価: VADER、丁寧さ: n-gram 回帰、GoEmotions: エンコーダのみ、感情語: 語の一覧）",
    "huggingface": "Hugging Face（公開の分類器 3 種、感情語: 語の一覧）",
}
MOST_DRAWN = 6  # lines that a figure can hold, and figures that a page can hold, and still be read


def emotion_name(label: str) -> Name:
    """A label's Japanese name; other labels keep their own."""
    return Name(language.name(label))


def companion_name(label: str) -> Name:
    """The Japanese name of a label of the data set or its companions; other labels keep their own."""
    return Name(language.names("labels", "companions").get(label, label))


def emotion_names(labels: Iterable[str]) -> str:
    """Several labels in one breath."""
    return named(map(emotion_name, labels))


def named(names: Iterable[object]) -> str:
    """Names from outside in one breath, as part of a sentence."""
    return "・".join(f"{Name(name)}" for name in names)


def style_name(style: str) -> Name:
    """A style's Japanese name; styles of a user's own keep theirs."""
    return Name(STYLE_NAMES.get(style, style))


def metric_name(metric: str) -> Name:
    """A metric column's name in Japanese."""
    family, _, name = metric.partition("/")
    if family == "keywords":
        return Name(language.name(name) + "の語数")
    if family == "target":
        return Name(language.name(name) + "の確率")
    if family == "expressed":
        return Name(language.name(name) + "の表明")
    return Name({"valence": "感情価", "politeness/score": "丁寧さ"}.get(metric, metric))
