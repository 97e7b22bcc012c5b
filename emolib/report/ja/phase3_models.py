"""Phase 3's words, tables and figures about the models of one profile: which pairs compare, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import code_span
from emolib.base.paths import name_part
from emolib.plots import figures
from emolib.plots.figures import Axes
from emolib.report.ja.names import MOST_DRAWN, emotion_name
from emolib.report.markup import NOTHING, number, p_value, show, tidy
from emolib.study.phase3_vectors.cross_model import cosines_of, pairs_of
from emolib.study.phase3_vectors.geometry_answers import RELIABLE
from emolib.study.run import Run

_COMPARABLE = {
    "same_model": "比較できる（同じ重み）",
    "other_model": "比較できない（別のモデルの座標）",
    "other_width": "計算できない（幅が違う）",
    "no_shared_label": "計算できない（共通の感情がない）",
}
_WHY = {
    "same_model": "同じ重みで座標も同じである。コサインは比較できる",
    "other_model": "幅は同じ {d_model_a} だが別のモデルで、座標は別々に決まっている。生のコサインは比較にならない",
    "other_width": "残差ストリームの幅が違う（{d_model_a} と {d_model_b}）。ベクトルどうしのコサインは存在しない",
    "no_shared_label": "ベクトルに共通の感情がない。コサインは計算していない",
}


def table_cross_model(table: pd.DataFrame) -> pd.DataFrame | None:
    """Whether each pair's raw cosines compare, and per emotion their mean and largest (the CSV file has all); None for
    one model alone."""
    if table.empty:
        return None
    keys, cosines = ["model_a", "model_b"], cosines_of(table)
    named = cosines.assign(emotion=cosines["emotion"].map(emotion_name))
    groups = named.groupby([*keys, "emotion"], sort=False)
    found = groups.agg(mean=("cosine", "mean"), largest=("cosine", lambda c: c.abs().max()), chance=("chance", "first"))
    shown = pairs_of(table)[[*keys, "comparable"]].merge(found.reset_index(), on=keys, how="left")
    shown["comparable"] = shown["comparable"].map(_COMPARABLE)
    shown["emotion"] = shown["emotion"].fillna(NOTHING)
    names = {"comparable": "生のコサイン", "mean": "層平均コサイン", "largest": "絶対値の最大"}
    names["chance"] = "ランダム方向の 95 % が下回る値"
    rounded = tidy(shown.set_index([*keys, "emotion"]), digits=3, names=names).rename_axis(
        ["モデル A", "モデル B", "感情"]
    )
    return rounded.astype(object).where(rounded.notna(), NOTHING)


def figure_cross_model(run: Run, table: pd.DataFrame) -> None:
    """A figure for each of the first few emotions; none where no two models are of one width."""
    cosines = cosines_of(table)
    pairs = cosines.assign(pair=cosines["model_a"] + " – " + cosines["model_b"], layer=cosines["layer_a"].astype(int))
    for emotion in list(dict.fromkeys(pairs["emotion"]))[:MOST_DRAWN]:
        part = pairs[pairs["emotion"] == emotion]
        axes = Axes(f"モデルどうしの生のコサイン（{emotion_name(emotion)}、座標をそろえていない）", y="コサイン")
        show(run, figures.lines_by_layer(part, "cosine", "pair", axes), f"cross_model_{name_part(emotion)}")


def sentence_cross_model(table: pd.DataFrame) -> Markdown:
    """Of every pair whether its coordinates compare, and what can be said without them; with the warning that goes with
    raw cosines between models."""
    if table.empty:
        return Markdown("このプロファイルには、ベクトルを作ったモデルが他にない。比較は行っていない。")
    pairs = pairs_of(table).to_dict("records")
    lines = [
        f"- {code_span(row['model_a'])} と {code_span(row['model_b'])}: {_WHY[row['comparable']].format_map(row)}。"
        f"{_labels(row)}"
        for row in pairs
    ]
    if any(row["labels"] == "alike" for row in pairs):
        lines.append(
            "\n非類似度の一致は、ラベルの並べ替えより似ているというだけで、感情の表現が共通であることの証拠ではない。"
            "同じ文を読む以上、語の違いだけでも一致しうる。埋め込みどうしの値をその目安として添えるが、差は検定していない。"
        )
    if any(row["comparable"] == "other_model" for row in pairs):
        lines.append(
            "\n**警告**: 二つのモデルの座標は別々に決まっており、生のコサインは比較にならない。"
            "値が 0 に近くても「共通の方向がない」ことにはならず（回転した同じモデルでも 0 になる）、"
            "座標をそろえる Phase 4 だけがこの問いに答える。"
        )
    return Markdown("\n".join(lines))


def _labels(row: Mapping[str, Any]) -> str:
    if row["labels"] == "no_table":
        return "ラベルどうしの非類似度の表が両方には揃っていないため、それによる比較もない。"
    if row["labels"] == "other_texts":
        return "ラベルどうしの非類似度の表は別の文によるため、比べていない。"
    of = f"同じ文での {row['n_labels']} ラベルの非類似度（層 {row['layer_a']} と層 {row['layer_b']}）"
    if row["labels"] == "unmeasurable":
        reliability = number(row["label_reliability"])
        return f"{of}は、低いほうの信頼性が {reliability} で基準 {number(RELIABLE)} に届かず、一致の度合いは**測定できない**。"
    p = p_value(row["label_p"])
    found = (
        f"（順位相関 {number(row['label_correlation'])}、ラベルの並べ替えで p {p if p.startswith('<') else f'= {p}'}、"
        f"信頼性による上限 {number(row['label_ceiling'])}、埋め込みどうしでは {number(row['embedding_correlation'])}）"
    )
    return f"{of}は、{_FOUND[row['labels']]}{found}。"


_FOUND = {
    "alike": "並べ替えたラベルより似ている",
    "not_told": "並べ替えたラベルの一致と区別できない",
}
