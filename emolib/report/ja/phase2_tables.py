"""Phase 2's tables and figures: what is stored, where emotion words stand, how large activations are."""

from __future__ import annotations

import pandas as pd

from emolib.plots import figures
from emolib.plots.figures import Axes
from emolib.report.ja.names import POSITION_NAMES, emotion_name, metric_name, style_name
from emolib.report.markup import layers_shown, number, show, tidy
from emolib.study.run import Run

SCORES = {"n_tokens": "トークン数"}
LARGEST = {f"top{count}_share": f"最大 {count} 次元" for count in (1, 3, 10)}
NORMS = {"median_norm": "中央値（先頭以外）", "bulk_norm": "バルク（先頭以外）", "first_token_norm": "先頭トークン"}


def table_storage(table: pd.DataFrame) -> pd.DataFrame:
    """What lies on disk."""
    names = {
        "position": "位置",
        "site": "部位",
        "layers": "層",
        "texts": "テキスト",
        "rows": "行",
        "shape": "1 行の形",
        "type": "型",
        "MiB": "容量 (MiB)",
    }
    shown = table.assign(position=table["position"].map(POSITION_NAMES))
    return tidy(shown, digits=1, names=names).set_index(["位置", "部位"])


def table_triggers(table: pd.DataFrame) -> pd.DataFrame:
    """Texts with an emotion word, per label and style."""
    shown = table.assign(
        emotion=table["emotion"].map(emotion_name),
        style=table["style"].map(style_name),
        place=[number(value) for value in table["place"]],
    )
    names = {"emotion": "ラベル", "style": "表現", "texts": "テキスト数", "found": "感情語あり"}
    names["place"] = "感情語の位置（文頭 0、文末 1）"
    return shown.rename(columns=names).set_index(["ラベル", "表現"])


def table_norms(table: pd.DataFrame) -> pd.DataFrame:
    """Norms and the share of the largest dimensions, of about ten layers."""
    names = {
        "layer": "層",
        "median_norm": "ノルム中央値",
        "bulk_norm": "バルクノルム中央値",
        "bulk_share": "バルク / ノルム",
        "first_token_norm": "先頭トークンのノルム",
        **{column: f"{name}の割合" for column, name in LARGEST.items()},
    }
    return tidy(table.iloc[:: max(1, len(table) // 10)], digits=3, names=names).set_index("層")


def figure_norms(run: Run, table: pd.DataFrame) -> None:
    """Median residual norm, median bulk norm, and the residual norm of first tokens, over layers."""
    axes = Axes("残差ノルム", y="ノルム（対数）", log_y=True)
    show(run, figures.lines_by_layer(_long(table, NORMS), "value", "kind", axes), "layer_norms")


def figure_shares(run: Run, table: pd.DataFrame) -> None:
    """Share of ‖h‖² in the largest dimensions, over layers."""
    axes = Axes("最大の次元が占めるエネルギー", y="割合")
    show(run, figures.lines_by_layer(_long(table, LARGEST), "value", "kind", axes), "dimension_shares")


def _long(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    return table.rename(columns=names).melt("layer", list(names.values()), var_name="kind", value_name="value")


def table_dimensions(table: pd.DataFrame) -> pd.DataFrame:
    """The dimensions with the largest mean absolute value: number, and how many times the median dimension's."""
    shown = table[table["layer"].isin(layers_shown(int(table["layer"].max())))]
    cells = [f"{int(row.dimension)}（{number(row.ratio, 0)} 倍）" for row in shown.itertuples()]
    wide = shown.assign(cell=cells).pivot(index="layer", columns="rank", values="cell")
    wide.columns = [f"{rank} 位" for rank in wide.columns]
    return wide.rename_axis("層")


def table_correlations(table: pd.DataFrame) -> pd.DataFrame:
    """How the norm goes with each score."""
    shown = table.assign(score=[SCORES.get(name) or metric_name(name) for name in table["score"]])
    names = {
        "score": "得点",
        "n": "テキスト数",
        "layer": "|順位相関| が最大の層",
        "strongest": "その層の順位相関",
        "null": "最大値の帰無の 97.5 % 点",
        "median": "順位相関の全層の中央値",
    }
    return tidy(shown, digits=2, names=names).set_index("得点")


def table_cost(table: pd.DataFrame) -> pd.DataFrame:
    """Time of the pass that made the files."""
    names = {
        "texts": "テキスト",
        "tokens": "トークン",
        "seconds": "秒",
        "device": "デバイス",
        "texts_per_s": "テキスト / 秒",
    }
    return tidy(table, digits=1, names=names)
