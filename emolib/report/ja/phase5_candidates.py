"""Phase 5's tables and sentences about the candidate layers and strengths, and the point that was chosen of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from emolib.plots import figures
from emolib.report.ja.every_report import emotion_name, metric_name, none_at_hand, number, tidy
from emolib.steering.candidates import ceilings, pooled
from emolib.steering.operating_point import OperatingPoint

Points = Mapping[str, OperatingPoint]

FEW_LEFT_OUT = 0.8  # a rule that leaves at least this share of the candidates has hardly narrowed them
HALF = 0.5


def score_grid(points: Points) -> pd.DataFrame:
    """The criterion (mean over parts), layers down, alphas across."""
    grid = pooled(points).pivot(index="layer", columns="alpha", values="score")
    return grid.rename(index=lambda v: f"層 {v}", columns=lambda v: f"α = {v:g}")


def candidates(points: Points) -> pd.DataFrame:
    """Every validated layer and alpha with the criterion and the broken share; means over the parts, where several."""
    table = pooled(points)
    names = {"layer": "層", "alpha": "α", "score": "選択基準", "broken": "破綻率（最大）", "eligible": "候補"}
    differences = [column for column in table if column.startswith("difference/")]
    names |= {c: f"{metric_name(c.removeprefix('difference/'))}（自分 − 他感情）" for c in differences}
    if len(points) > 1:
        table["eligible"] = [f"{kept} / {tried}" for kept, tried in zip(table["kept"], table["tried"], strict=True)]
    else:
        table["eligible"] = np.where(table["kept"] > 0, "○", "—")
    table = table[["layer", "alpha", "score", "broken", "eligible", *differences]]
    return tidy(table, digits=2, names=names).set_index(["層", "α"])


def parts_sentence(points: Points) -> Markdown:
    """Whether the table and figures are of one choice or of several."""
    if len(points) == 1:
        return Markdown("上の表と下の図は、一つの動作点を選ぶための候補のすべてである。")
    return Markdown(
        f"動作点は {len(points)} 分割のそれぞれで選ぶ。上の表とヒートマップは分割にわたる平均"
        "（破綻率は最大、「候補」は条件を満たした分割の数）、層ごとの図と表は全分割のシナリオを合わせたものである。"
        "破綻の基準の表は最初の分割のものであり、他の分割もそれぞれの訓練テキストから基準を作る。"
    )


def chosen_points(points: Points, validation: pd.DataFrame, margin: float) -> Markdown:
    """The operating point, or every part's."""
    lines = []
    for row in ceilings(points, validation, margin).to_dict("records"):
        text = chosen_point(points[row["part"]], row, margin)
        lines.append(f"- {row['part']}: {text}" if row["part"] else text)
    return Markdown("\n".join(lines))


def chosen_point(point: OperatingPoint, row: dict, margin: float) -> str:
    """One part's point, and what the rule on broken texts did to the choice.

    Args:
        row: the part's row of `emolib.steering.candidates.ceilings`.
    """
    start = f"動作点: **層 {point.layer}、α = {point.alpha:g}**（選択基準 {number(point.score)}）。"
    limit = (
        f"検証でのパッチなしの破綻率 {row['baseline']:.0%} + {100 * margin:.0f} ポイント = 上限 {row['ceiling']:.0%}"
    )
    if not point.eligible:
        return start + (
            f"**破綻率の条件（{limit}）を満たす点はなかった。** "
            "破綻率が最小の点を用いる。以下の結果はこの点を割り引いて読む必要がある。"
        )
    return start + (
        f"破綻率の条件（{limit}）を満たす点のうち、選択基準が最大の点である。"
        f"この点での破綻率は最大 {row['broken']:.0%} である。{rule_sentence(row)}"
    )


def rule_sentence(row: dict) -> str:
    """How far the rule on broken texts narrowed the candidates."""
    text = f"{row['tried']} 候補のうち {row['kept']} がこの条件を満たした。"
    if row["kept"] / row["tried"] >= FEW_LEFT_OUT:
        text += "条件は候補をほとんど絞っておらず、文の質を保証するものではない。"
    if row["ceiling"] > HALF:
        text += "上限は半数を超える破綻を許す。"
    return text


def layer_rows(table: pd.DataFrame, family: str) -> pd.DataFrame:
    """Means ± standard errors of `keywords` or `target`; emotions and layers down, unpatched and alphas across."""
    digits, rows = 2 if family == "keywords" else 3, {}
    for row in table[table["metric"].str.startswith(f"{family}/")].to_dict("records"):
        cells = rows.setdefault((emotion_name(row["emotion"]), row["layer"]), {})
        cells["パッチなし"] = _with_error(row["baseline"], row["baseline_se"], digits)
        cells[f"α = {row['alpha']:g}"] = _with_error(row["mean"], row["se"], digits)
    if not rows:  # labels with one kind of measure alone
        return none_at_hand()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["感情", "層"])


def _with_error(mean: float, se: float, digits: int) -> str:
    return f"{number(mean, digits)} ± {number(se, digits)}"


def layer_figure(table: pd.DataFrame, points: Points, family: str) -> go.Figure:
    """Means of own words (`keywords`) or probability (`target`) by layer at the strength that was chosen most often.

    Bands are ± one standard error, the dotted line of a colour is the unpatched mean.
    """
    alpha = pd.Series([point.alpha for point in points.values()]).mode().iloc[0]
    own = table[table["metric"].str.startswith(f"{family}/") & (table["alpha"] == alpha)]
    own = own.assign(low=own["mean"] - own["se"], high=own["mean"] + own["se"])
    what, unit = {"keywords": ("自分の語の数", "語数"), "target": ("自分の感情の確率", "確率")}[family]
    return figures.lines_by_layer(
        own,
        "mean",
        "emotion",
        figures.Axes(f"層ごとの{what}（検証、α = {alpha:g}、帯は ± 標準誤差）", y=unit),
        band=figures.Band("low", "high"),
        null=figures.Null("baseline", "パッチなし"),
    )
