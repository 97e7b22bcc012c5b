"""What Phase 5's kinds, verdicts, measures and rules are called, and several tables as one output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import cell
from emolib.report.ja.names import emotion_names, metric_name, named
from emolib.report.markup import markdown_table, number
from emolib.steering.comparisons import decimals

VERDICTS = {  # of generated texts: no instrument has judged their measures, so nothing of them is called supported
    **{"supported": "条件を満たす", "not_supported": "条件を満たさない", "underpowered": "検出力不足"},
}
REASONS = {
    "bar_reached": "二つの条件を満たす",
    "few_scenarios": "シナリオが少なすぎる",
    "few_controls": "対照方向が少なく、順位 p が基準に届きえない",
    "few_nonzero": "0 でない差が少ない",
    "flat": "差にばらつきがほとんどなく、符号検定が水準に届かない",
    "too_small_to_detect": "関心のある最小の効果を検出できないシナリオ数である",
    "controls_reach_it": "対照方向の中に、同じかそれ以上動かすものがある",
    "at_ceiling": "誤りのない得点でも区別できない",
    "permutation_missed": "区間は条件を満たすが、符号反転の並べ替えが水準に届かない",
    "bar_missed": "当該 − 他の感情の平均の区間が条件を満たさない",
}
KINDS = {
    "baseline": "パッチなし",
    "emotion": "感情ベクトル",
    "isotropic": "等方的なランダム方向",
    "covariance": "共分散に合わせたランダム方向",
    "shuffled": "シャッフル方向",
    "direct_path": "直接経路",
    "zero": "強さ 0（確認）",
    "other_style": "もう一方の表現のベクトル",
    "pca": "主成分方向",
    "probe": "プローブ方向",
    "subspace": "部分空間への移動",
    "prompting": "指示（プロンプト）",
    "trained": "学習した方向",
    "prompting_baseline": "指示なし（同じ書式）",
}
SHORT = {"isotropic": "等方", "covariance": "共分散", "shuffled": "シャッフル"}
MEASURES = {"keywords": "語数", "target": "確率"}
OWN, OTHERS = "当該感情のベクトルによる変化", "当該 − 他の感情の平均"
NO_INTERVAL = "区間なし"


def verdict_word(row: Mapping[str, Any]) -> str:
    """A row's verdict in words; what has no interval is named, since it is no evidence against the effect."""
    word = VERDICTS[row["verdict"]]
    return f"{word}（{REASONS[row['reason']]}）" if row["reason"] in ("few_nonzero", "flat") else word


def sized(metric: str, value: float, *, signed: bool = True) -> str:
    """A value of a measure with its unit: `+0.80 語` or `+0.230`."""
    text = number(value, decimals(metric), signed=signed)
    return f"{text} 語" if metric.startswith("keywords/") else text


def between(metric: str, value: float, low: float, high: float, *, missing: bool, signed: bool = True) -> str:
    """A value of a measure with its interval, or with the word that there is none."""
    digits = decimals(metric)
    text = number(value, digits, signed=signed)
    if missing:
        return f"{text}（{NO_INTERVAL}）"
    return f"{text} [{number(low, digits)}, {number(high, digits)}]"


def share(value: float) -> str:
    """A share as a percentage; a dash where there is none."""
    return "—" if pd.isna(value) else f"{value + 0.0:.0%}"


def points(gap: float) -> str:
    """A difference of shares in percentage points; a dash where there is none."""
    return number(100 * gap, 0, signed=True)


def metric_names(metrics: Iterable[str]) -> str:
    """Several measures in one breath."""
    return named(map(metric_name, metrics))


def per_verdict(verdicts: pd.Series) -> str:
    """Emotions by their overall verdict: `「条件を満たす」のは感謝・謝罪、「条件を満たさない」のは怒り`."""
    found = {word: [str(emotion) for emotion, own in verdicts.items() if own == word] for word in VERDICTS}
    return "、".join(
        f"「{VERDICTS[word]}」{'なの' if word == 'underpowered' else 'の'}は{emotion_names(listed)}"
        for word, listed in found.items()
        if listed
    )


def of_family(table: pd.DataFrame, family: str) -> pd.DataFrame:
    """The rows of one kind of measure: `keywords` or `target`."""
    return table[table["metric"].str.startswith(f"{family}/")]


def families_of(table: pd.DataFrame) -> list[str]:
    """Which kinds of measure the rows have; labels without a list of words have one alone."""
    return [family for family in MEASURES if len(of_family(table, family))]


def as_markdown(table: pd.DataFrame) -> str:
    """A finished table (its cells are text or rounded) as Markdown, its index as the first columns."""
    index = [name or "" for name in table.index.names]
    rows, before = [], [None] * len(index)
    for key, values in zip(table.index, table.to_numpy(dtype=object), strict=True):
        keys = list(key) if isinstance(key, tuple) else [key]
        last = len(keys) - 1
        rows.append(
            ["" if i < last and keys[: i + 1] == before[: i + 1] else k for i, k in enumerate(keys)] + [*values]
        )
        before = keys
    return markdown_table([[cell(value) for value in row] for row in rows], [*map(cell, [*index, *table.columns])])


def together(*parts: str | Markdown | pd.DataFrame | tuple[str, pd.DataFrame]) -> Markdown:
    """Tables, each under a caption of its own where it has one, and sentences as one output, in this order."""
    found = []
    for part in parts:
        if isinstance(part, tuple):
            found.append(f"**{part[0]}**\n\n{as_markdown(part[1])}")
        elif isinstance(part, pd.DataFrame):
            found.append(as_markdown(part))
        else:
            found.append(part.data if isinstance(part, Markdown) else part)
    return Markdown("\n\n".join(found))
