"""Phase 2's sentences and tables."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.activations import Activations
from emolib.report.common import metric_name, tidy

SCORES = {"n_tokens": "トークン数"}


def shapes(table: pd.DataFrame) -> pd.DataFrame:
    names = {"site": "部位", "layers": "層", "texts": "テキスト", "MiB": "容量 (MiB)"}
    return tidy(table, digits=1, names=names)


def norm_rows(table: pd.DataFrame) -> pd.DataFrame:
    names = {
        "layer": "層",
        "median_norm": "ノルム中央値",
        "first_token_norm": "先頭トークンのノルム",
        "top1_share": "最大 1 次元の割合",
        "top3_share": "最大 3 次元の割合",
        "top10_share": "最大 10 次元の割合",
    }
    return tidy(table[table["layer"] % 3 == 0], digits=3, names=names).set_index("層")


def norm_curves(table: pd.DataFrame) -> pd.DataFrame:
    """Long form for the figure: layer, kind, value."""
    names = {"median_norm": "中央値（先頭以外）", "first_token_norm": "先頭トークン"}
    return table.rename(columns=names).melt("layer", list(names.values()), var_name="kind", value_name="value")


def correlation_rows(table: pd.DataFrame) -> pd.DataFrame:
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


def share_curves(table: pd.DataFrame) -> pd.DataFrame:
    names = {f"top{count}_share": f"最大 {count} 次元" for count in (1, 3, 10)}
    return table.rename(columns=names).melt("layer", list(names.values()), var_name="kind", value_name="value")


def _correlation_sentence(table: pd.DataFrame) -> str:
    """Whether the norm follows an emotion's score, over the maximum that chance gives."""
    lengths, others = table[table["score"] == "n_tokens"].iloc[0], table[table["score"] != "n_tokens"]
    beyond = others[others["strongest"].abs() > others["null"]]
    text = (
        f"- ノルムと採点器の得点との順位相関は、層を選んだ後でも絶対値 {others['strongest'].abs().max():.2f} 以下、"
        f"全層の中央値は絶対値 {others['median'].abs().max():.2f} 以下である（トークン数とは最大 {lengths['strongest']:+.2f}）。"
    )
    if beyond.empty:
        return text + "どれも、得点を入れ替えたときの最大値の範囲にあり、ノルムは感情の指標にならない。"
    names = "・".join(metric_name(name) for name in beyond["score"])
    return (
        text + f"{names}は入れ替えたときの最大値の 97.5 % 点を超えるが、相関は弱く、ノルムを感情の指標とはみなさない。"
    )


def discussion(acts: Activations, table: pd.DataFrame, correlations: pd.DataFrame) -> Markdown:
    """考察, computed from the norm table."""
    ratio = table["first_token_norm"] / table["median_norm"]
    peak = int(ratio.idxmax())
    inner = table.iloc[1:-1]
    dominated = inner[inner["top3_share"] > 0.5]
    growth = float(table["median_norm"].iloc[-2] / table["median_norm"].iloc[0])
    lines = [
        f"- 残差ノルムの中央値は層 0 から層 {acts.n_layers - 1} までに {growth:.1f} 倍になる。"
        "したがって α を生のベクトルの倍数で揃えると、層どうしの強さは比較できない。層をまたぐ掃引では `resid` 単位を用いる。",
        f"- 先頭トークンのノルムは層 {peak} で他のトークンの {float(ratio.iloc[peak]):.0f} 倍に達する。"
        "先頭トークンは平均にもパッチにも含めない。",
    ]
    if len(dominated):
        layers = dominated["layer"]
        lines.append(
            f"- 最大 3 次元がエネルギー ‖h‖² の半分を超える層が {len(dominated)} 層ある（層 {layers.min()}–{layers.max()} の範囲）。"
            "生のコサイン類似度はこの少数の次元に支配されるため、Phase 3 では標準化後と除去後の値を並べて示す。"
        )
    else:
        share = float(inner["top3_share"].max())
        lines.append(
            f"- 最大 3 次元が占めるエネルギーの割合は最大でも {share:.0%} であり、少数の次元による支配は見られない。"
        )
    lines.append(_correlation_sentence(correlations))
    return Markdown("\n".join(lines))
