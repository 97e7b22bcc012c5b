"""Phase 8's figures: OV gains, circuits as drawings, faithfulness over sizes; attention of the circuits' heads."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.plots import heatmaps, lines
from emolib.plots.axes import Axes
from emolib.plots.circuit_diagrams import circuit_diagram
from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase6a_figures import figure_attention
from emolib.report.ja.phase8_words import EFFECTS, ROLES, RULES, spelled_node
from emolib.report.markup import number, show
from emolib.study.run import Run

__all__ = ["figure_attention", "figure_circuit", "figure_ov", "figure_sizes"]


def figure_ov(run: Run, table: pd.DataFrame, emotion: str) -> None:
    """Every head's gain on an emotion's own direction, less the mean of draws of the covariance over their spread."""
    own = table[(table["emotion"] == emotion) & (table["target"] == "self")]
    matrix = own.pivot(index="layer", columns="head", values="z_gain_covariance")
    title = "読んだ方向をどれだけ写すか（" + emotion_name(emotion) + "）"
    axes = Axes(title, x="ヘッド", y="層", z="利得の z（対照: 残差の共分散）")
    show(run, heatmaps.heatmap(matrix, axes, text_format="{:.1f}"), "ov_gain")


def figure_circuit(run: Run, roles: pd.DataFrame, edges: pd.DataFrame, effect: str) -> Markdown | None:
    """The circuit of an effect as a drawing."""
    nodes = roles[roles["effect"] == effect]
    if nodes.empty:
        return Markdown(f"{EFFECTS[effect]}の回路は選ばれていない。")
    told = [
        f"{spelled_node(row['node'])}: 損失 {number(row['loss'])}、直接 {number(row['direct'])}、"
        f"受ける {number(row['received'])}、渡す {number(row['sent'])}"
        for row in nodes.to_dict("records")
    ]
    drawn = nodes.assign(name=[spelled_node(name) for name in nodes["node"]], told=told)
    between = edges[(edges["effect"] == effect) & (edges["receiver"] != "")]
    axes = Axes(f"{EFFECTS[effect]}の回路", x="ヘッド", y="層")
    show(run, circuit_diagram(drawn, between, axes, n_heads=run.lm.n_heads, kinds=ROLES), f"circuit_{effect}")
    return None


def figure_sizes(run: Run, curves: pd.DataFrame) -> Markdown | None:
    """Faithfulness over the share of nodes, by effect and sign rule."""
    if curves.empty:
        return Markdown("選ばれた回路がないため、大きさの曲線はない。")
    table = curves.assign(
        alpha=100 * curves["share"], effect=curves["effect"].map(EFFECTS), rule=curves["rule"].map(RULES)
    )
    axes = Axes("大きさごとの忠実度（テスト）", x="残すノードの割合（%）", y="忠実度")
    show(run, lines.lines_by_strength(table, "faithfulness", "effect", axes, dash="rule"), "circuit_sizes")
    return None
