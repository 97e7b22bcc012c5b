"""Phase 3's sentences, tables and figures about the emotions' subspaces."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown

from emolib.plots import figures
from emolib.plots.figures import Axes
from emolib.report.ja.names import emotion_name, emotion_names
from emolib.report.ja.phase3_geometry import drawn
from emolib.report.markup import layers_shown, number, show, tidy
from emolib.study.phase3_vectors.answers import subspace_codes, topics_nearer
from emolib.study.run import Run

SIZES = (1, 2, 4, 8)


def table_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Share of the squared paired differences in the first k directions; layers across."""
    table = drawn(table)
    sizes = [k for k in SIZES if k in set(table["k"])]
    shown = table[table["k"].isin(sizes)].assign(emotion=table["emotion"].map(emotion_name))
    wide = shown[shown["layer"].isin(layers_shown(int(table["layer"].max())))]
    wide = wide.pivot(index=["emotion", "k"], columns="layer", values="share")
    wide.columns = [f"層 {layer}" for layer in wide.columns]
    order = pd.MultiIndex.from_product([dict.fromkeys(shown["emotion"]), sizes], names=["感情", "k"])
    return tidy(wide.reindex(order), digits=2)


def table_overlap(table: pd.DataFrame, layers: Mapping[str, int]) -> pd.DataFrame:
    """Split-half overlap at each emotion's layer, beside shuffled labels."""
    shown = _at(table, layers)
    shown = shown[shown["k"].isin(SIZES)].assign(emotion=shown["emotion"].map(emotion_name))
    names = {
        "emotion": "感情",
        "layer": "層",
        "mean": "分割半の重なり",
        "low": "分割の 2.5 % 点",
        "high": "分割の 97.5 % 点",
    }
    names |= {"null": "シャッフル平均", "null_high": "シャッフルの 97.5 % 点"}
    return tidy(shown, digits=2, names=names).set_index(["感情", "k"])


def figure_overlap(run: Run, table: pd.DataFrame, layers: Mapping[str, int]) -> None:
    """The same over k."""
    axes = Axes("分割半の部分空間の重なり", x="k", y="重なり")
    show(run, figures.bars_by_label(_at(table, layers), "k", "mean", "emotion", axes), "subspace_overlap")


def _at(table: pd.DataFrame, layers: Mapping[str, int]) -> pd.DataFrame:
    table = drawn(table)
    return table[table["layer"] == table["emotion"].map(layers)]


def table_k(table: pd.DataFrame) -> pd.DataFrame | None:
    """The chosen k, its excess on validation, and the overlap on test; None where no k is chosen."""
    if table.empty:
        return None
    names = {
        "emotion": "感情",
        "layer": "層",
        "k": "選んだ k",
        "excess": "検証の超過",
        "best_excess": "最良の超過",
        "null_max": "超過の帰無（最大値の 97.5 % 点）",
        "test_overlap": "テストの重なり",
        "test_null": "シャッフル平均",
        "test_null_high": "シャッフルの 97.5 % 点",
    }
    shown = table[list(names)].assign(emotion=table["emotion"].map(emotion_name))
    return tidy(shown, digits=2, names=names).set_index("感情")


def sentence_subspaces(table: pd.DataFrame, topics: pd.DataFrame) -> Markdown:
    """What the subspaces hold, from the chosen k and from plain PCA."""
    lines = [_no_k(topics)] if table.empty else []
    coded = subspace_codes(table)
    none = coded[coded["code"] == "no_subspace"]
    if len(none):
        lines.append(
            f"- {emotion_names(none['emotion'])}: 検証シナリオとの重なりは、入れ替えたラベルの範囲を出ない。"
            "ラベルに固有の部分空間があるとは言えず、k に意味はない。"
        )
    for row in coded[coded["code"] != "no_subspace"].to_dict("records"):
        name = emotion_name(row["emotion"])
        if row["code"] == "unknown":
            lines.append(f"- {name}: 規則が選ぶ k は {row['k']}。テストでの重なりは計算できないため、判定しない。")
            continue
        lines.append(
            f"- {name}: 規則が選ぶ k は {row['k']}。テストシナリオの部分空間との重なりは {number(row['test_overlap'])} で、"
            f"シャッフルの 97.5 % 点 {number(row['test_null_high'])} を{'上回る' if row['code'] == 'above' else '上回らない'}。"
        )
    if (overlaps := topics_nearer(topics)) is not None:
        shared, own = overlaps
        lines.append(
            f"- 参考: ラベルごとの素の主成分（第 1 成分）は、中立文の第 1 成分と平均 {number(shared)}、差の第 1 方向と平均 {number(own)} 重なる。"
            + (
                "素の主成分は、感情による差よりも、中立文にもある変動に近い（帰無とは比べていない）。"
                if shared > own
                else ""
            )
        )
    return Markdown("\n".join(lines))


def _no_k(topics: pd.DataFrame) -> str:
    if topics["emotion"].nunique() > 1:
        return "- 検証またはテストのシナリオが少なく、そこから部分空間を作れないため、k は選ばない。"
    return (
        "- 中立のほかに感情が一つしかない。二つのラベルの入れ替えは差の符号を変えるだけで、"
        "部分空間の帰無にならないため、k は選ばない。"
    )
