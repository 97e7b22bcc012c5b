"""Phase 5 on validation: when a text counts as broken, the candidate layers and strengths, and the point chosen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.plots import figures
from emolib.report.ja.names import emotion_name, metric_name
from emolib.report.ja.phase5_words import families_of, of_family, together
from emolib.report.markup import number, show, tidy
from emolib.scoring.fluency import nll_limit
from emolib.steering.candidates import pooled
from emolib.steering.comparisons import decimals
from emolib.steering.operating_point import OperatingPoint
from emolib.study.run import Run

Points = Mapping[str, OperatingPoint]


def table_reference(reference: pd.DataFrame) -> pd.DataFrame:
    """NLL of the reference texts by the label of their prompt, and the limit."""
    shown = reference.assign(emotion=reference["emotion"].map(emotion_name))
    table = shown.groupby("emotion", sort=False)["nll"].agg(["mean", "std", "max", "size"])
    table.loc["全体"] = [*reference["nll"].agg(["mean", "std", "max"]), len(reference)]
    table["size"] = table["size"].astype(int)
    table["limit"] = [number(nll_limit(reference)) if label == "全体" else "" for label in table.index]
    names = {
        "mean": "平均 NLL",
        "std": "標準偏差",
        "max": "最大",
        "size": "テキスト数",
        "limit": "破綻の境界（95 パーセンタイル）",
    }
    return tidy(table.rename_axis("プロンプト"), digits=2, names=names)


def table_candidates(points: Points, ceilings: pd.DataFrame) -> Markdown:
    """Every candidate, and the point that was chosen of them.

    Args:
        ceilings: see `emolib.steering.candidates.ceilings`.
    """
    return together(candidate_rows(points).map(_shown), choice_sentence(points, ceilings))


def _shown(cell: object) -> str:
    return number(cell) if isinstance(cell, float) else str(cell)


def candidate_rows(points: Points) -> pd.DataFrame:
    """Every validated layer and alpha with the criterion and the broken share; means over the parts, where several."""
    table = pooled(points)
    names = {"layer": "層", "alpha": "α", "score": "選択基準", "broken": "破綻率（最大）", "eligible": "候補"}
    shifts = [column for column in table if column.startswith("shift/")]
    names |= {column: Name("S（") + emotion_name(column.removeprefix("shift/")) + "）" for column in shifts}
    differences = [column for column in table if column.startswith("difference/")]
    names |= {column: metric_name(column.removeprefix("difference/")) for column in differences}
    by_texts = ["text_score"] if "text_score" in table else []
    names |= {"text_score": "生成文による基準（参考）"}
    table[shifts] = table[shifts].map(lambda value: number(value, 3, signed=True))
    if len(points) > 1:
        table["eligible"] = [f"{kept} / {tried}" for kept, tried in zip(table["kept"], table["tried"], strict=True)]
    else:
        table["eligible"] = np.where(table["kept"] > 0, "○", "—")
    table = table[["layer", "alpha", "score", "broken", "eligible", *shifts, *by_texts, *differences]]
    return tidy(table, digits=2, names=names).set_index(["層", "α"])


def choice_sentence(points: Points, ceilings: pd.DataFrame) -> str:
    """The operating point, or every part's, and what the rule on broken texts did to the choice.

    Args:
        ceilings: see `emolib.steering.candidates.ceilings`.
    """
    rows = ceilings.to_dict("records")
    lines = [f"{row['part'] + ': ' if row['part'] else ''}{_chosen(points[row['part']], row)}" for row in rows]
    if len(points) == 1:
        return lines[0]
    start = (
        f"動作点は {len(points)} 分割のそれぞれで選ぶ。上の表とヒートマップは分割にわたる平均"
        "（破綻率は最大、「候補」は条件を満たした分割の数）、層ごとの図と表は全分割のシナリオを合わせたものである。"
        "破綻の基準の表は最初の分割のものであり、他の分割もそれぞれの訓練テキストから基準を作る。"
    )
    return "\n".join([start, "", *(f"- {line}" for line in lines)])


def _chosen(point: OperatingPoint, row: dict) -> str:
    start = f"動作点は **層 {point.layer}、α = {point.alpha:g}** である（選択基準 {number(point.score)}）。"
    limit = f"パッチなしの破綻率 {row['baseline']:.0%} から定まる上限 {row['ceiling']:.0%}"
    if not point.eligible:
        return start + (
            f"**破綻率の条件（{limit}）を満たす点はなかった。** "
            "破綻率が最小の点を用いる。以下の結果は、この点を割り引いて読む必要がある。"
        )
    return (
        start
        + f"破綻率の条件（{limit}）を満たす点のうち選択基準が最大であり、破綻率は最大 {row['broken']:.0%} である。"
        + rule(row)
    )


def rule(row: dict) -> str:
    """How far the rule on broken texts narrowed the candidates."""
    every = row["kept"] == row["tried"]
    which = f"{row['tried']} 候補のすべて" if every else f"{row['tried']} 候補のうち {row['kept']} 候補"
    text = f"{which}がこの条件を満たした。"
    if not row["narrows"]:
        text += f"条件は候補を{'' if every else 'ほとんど'}絞っておらず、文の質を保証するものではない。"
    if row["allows_most"]:
        text += "上限は半数を超える破綻を許す。"
    return text


def table_layers(means: pd.DataFrame) -> Markdown:
    """Means ± standard errors of every kind of measure; emotions and layers down, unpatched and alphas across.

    Args:
        means: see `emolib.steering.candidates.layer_means`.
    """
    titles = {"keywords": "当該感情の語の数", "target": "当該感情の確率"}
    return together(*((titles[family], _layer_rows(of_family(means, family))) for family in families_of(means)))


def _layer_rows(means: pd.DataFrame) -> pd.DataFrame:
    rows: dict[tuple, dict[str, str]] = {}
    for row in means.to_dict("records"):
        cells = rows.setdefault((emotion_name(row["emotion"]), row["layer"]), {})
        digits = decimals(row["metric"])
        cells["パッチなし"] = _with_error(row["baseline"], row["baseline_se"], digits)
        cells[f"α = {row['alpha']:g}"] = _with_error(row["mean"], row["se"], digits)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["感情", "層"])


def _with_error(mean: float, se: float, digits: int) -> str:
    return f"{number(mean, digits)} ± {number(se, digits)}"


def figure_choice(run: Run, points: Points) -> None:
    """The criterion by layer and strength; empty where broken texts rule a candidate out before S is measured."""
    show(run, figures.heatmap(_scores(points), figures.Axes("選択基準（検証）", z="基準")), "selection")


def figure_layers(run: Run, means: pd.DataFrame, points: Points) -> None:
    """Means by layer at the strength that was chosen most often, words and probabilities.

    Bands are ± one standard error, the dotted line of a colour is the unpatched mean.
    """
    alpha = pd.Series([point.alpha for point in points.values()]).mode().iloc[0]
    own = means[means["alpha"] == alpha]
    own = own.assign(low=own["mean"] - own["se"], high=own["mean"] + own["se"])
    names = {"keywords": ("当該感情の語の数", "語数", "layers"), "target": ("当該感情の確率", "確率", "layers_targets")}
    for family in families_of(own):
        what, unit, file = names[family]
        axes = figures.Axes(f"層ごとの{what}（検証、α = {alpha:g}、帯は ± 標準誤差）", y=unit)
        around = {"band": figures.Band("low", "high"), "null": figures.Null("baseline", "パッチなし")}
        fig = figures.lines_by_layer(of_family(own, family), "mean", "emotion", axes, **around)
        show(run, fig, file)


def _scores(points: Points) -> pd.DataFrame:
    """The criterion (mean over parts), layers down, alphas across."""
    grid = pooled(points).pivot(index="layer", columns="alpha", values="score")
    return grid.rename(index=lambda v: f"層 {v}", columns=lambda v: f"α = {v:g}")
