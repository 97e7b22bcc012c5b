"""Phase 5's vectors of the other style of texts: both conditions, and whether a supported effect survives."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.names import emotion_name, emotion_names, metric_name
from emolib.report.ja.phase5_words import OTHERS, between, share, together
from emolib.report.markup import number
from emolib.steering.comparisons import decimals
from emolib.steering.findings import SUPPORTED, emotions_with, overall

TEXTS = {"explicit": "明示表現の文（感情語を含む）", "implicit": "暗示表現の文（感情語を含まない）"}
BOTH = "両方の表現の文"


def table_other_style(other: pd.DataFrame | None, found: pd.DataFrame, *, vector_style: str) -> Markdown:
    """Both conditions for those vectors beside the effect of the sweep's own, and what they amount to.

    Args:
        other: `emolib.steering.findings.findings` of the other style's claims; None without such vectors.
        found: the same of the sweep's own claims.
        vector_style: of the sweep's own vectors.
    """
    sentence = "\n".join(f"- {line}" for line in other_style_lines(other, found, vector_style=vector_style))
    return Markdown(sentence) if other is None else together(other_style_rows(other, found), sentence)


def other_style_rows(other: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """One row per emotion and measure."""
    rows = {
        "感情": other["emotion"].map(emotion_name),
        "指標": other["metric"].map(metric_name),
        "このベクトルによる変化": _effects(other),
        "本判定のベクトルによる変化": _effects(found),
        f"{OTHERS} [95 % BCa]": [
            between(r.metric, r.vs_others, r.ci_low, r.ci_high, missing=bool(r.degenerate)) for r in other.itertuples()
        ],
        "最も厳しい順位 p": [number(v, 3) for v in other["rank_p"]],
        "二つの条件": ["満たす" if met else "満たさない" for met in other["met"]],
        "破綻率": [share(value) for value in other["broken"]],
        "二つのベクトルのコサイン": [number(v) for v in other["cosine"]],
    }
    return pd.DataFrame(rows).set_index(["感情", "指標"])


def _effects(table: pd.DataFrame) -> list[str]:
    pairs = zip(table["metric"], table["own_effect"], strict=True)
    return [number(value, decimals(metric), signed=True) for metric, value in pairs]


def other_style_lines(other: pd.DataFrame | None, found: pd.DataFrame, *, vector_style: str) -> list[str]:
    """Whether what the sweep's own vectors do is done by those of the other style too."""
    name = TEXTS["explicit" if vector_style == "implicit" else "implicit"]
    if other is None:
        return [f"{name}の訓練シナリオが足りず、それだけから作ったベクトルとは比べていない。"]
    counts = "・".join(str(n) for n in sorted(set(other["n_fitted"])))
    start = f"{name}だけ（訓練 {counts} シナリオ）から作り、同じ層に同じノルムで加えたベクトル"
    held = emotions_with(overall(found), SUPPORTED)
    if not held:
        return [
            f"すべての条件を満たした感情がないため、{start}との比較から、効果が表現の種類に依るかどうかは論じない。"
        ]
    met = other.groupby("emotion", sort=False)["met"].all()
    kept, lost = ([emotion for emotion in held if bool(met[emotion]) is whole] for whole in (True, False))
    lines = []
    if kept:
        lines.append(
            f"{emotion_names(kept)}では、{start}でも、すべての指標が二つの条件を満たし、この設定では効果は表現の種類に依らない。"
        )
    if lost:
        own = TEXTS.get(vector_style, BOTH)
        lines.append(
            f"{emotion_names(lost)}では、{start}では、二つの条件を満たさない指標がある（{_missed(other, lost)}）。"
            f"満たした条件は、{own}から作ったベクトルについてのものである。"
        )
    return lines


def _missed(other: pd.DataFrame, emotions: list[str]) -> str:
    rows = other[other["emotion"].isin(emotions) & ~other["met"].astype(bool)]
    return "、".join(
        f"{metric_name(row['metric'])} {number(row['own_effect'], decimals(row['metric']), signed=True)}、順位 p = {number(row['rank_p'], 3)}"
        for row in rows.to_dict("records")
    )
