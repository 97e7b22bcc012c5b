"""Phase 4: whether A's mapped vectors do in B what B's own do."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase4_words import ALL, style_words
from emolib.report.markup import NOTHING, number, p_value, with_interval

KINDS = {
    "own": "B 自身のベクトル",
    "mapped": "A から写したベクトル",
    "topic": "A から写した話題のベクトル",
    "permuted": "入れ替えたアンカーで写したベクトル",
}
NO_OTHER = "感情が一つしかないため、操作の転移（S）は測れない。"


def table_lengths(table: pd.DataFrame) -> pd.DataFrame:
    """How long the acts are at which B's next token changes by the given amount, and how many never do."""
    groups = table.groupby("kind", sort=False)["length"]
    found = groups.agg(["count", "median", "min", "max"]).rename(index=KINDS)
    found["never"] = [int(values.isna().sum()) for _, values in groups]
    for name in ("median", "min", "max"):
        found[name] = [number(value) for value in found[name]]
    names = {"count": "届いた数", "median": "長さの中央値", "min": "最小", "max": "最大", "never": "届かない数"}
    return found.rename(columns=names).rename_axis("操作")


def table_transfer(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """S of mapped and own vectors, their ratio with Fieller's interval, and the ranks among the controls."""
    if table.empty:
        return Markdown(NO_OTHER)
    rows = {
        "感情": table["emotion"].map(emotion_name),
        "相手": table["other"].map(emotion_name),
        "文": table["style"].map(style_words),
        "S: B 自身": [with_interval(*cell, digits=3, signed=True) for cell in _cells(table, "own")],
        "S: 写した A": [with_interval(*cell, digits=3, signed=True) for cell in _cells(table, "mapped")],
        "比": [_ratio(*cell) for cell in table[["ratio", "ratio_low", "ratio_high"]].to_numpy(dtype=float)],
        "順位 p（入れ替え）": _ranks(table, "permuted"),
        "順位 p（話題）": _ranks(table, "topic"),
    }
    return pd.DataFrame(rows).set_index(["感情", "相手", "文"])


def _cells(table: pd.DataFrame, name: str) -> list[tuple[float, float, float]]:
    found = table[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float)
    return [(row[0], row[1], row[2]) for row in found]


def _ratio(value: float, low: float, high: float) -> str:
    return "測定不能" if pd.isna(value) else with_interval(value, low, high)


def _ranks(table: pd.DataFrame, name: str) -> list[str]:
    values = zip(table[f"{name}_p"], table[f"n_{name}"], strict=True)
    return [f"{p_value(p)}（{n} 個）" if n else NOTHING for p, n in values]


def table_monitoring(table: pd.DataFrame) -> pd.DataFrame:
    """AUC on B's test texts of A's mapped and of B's own vector, beside permuted maps and word lists."""
    rows = {
        "感情": table["emotion"].map(emotion_name),
        "文": table["style"].map(style_words),
        "写した A [95 %]": [with_interval(*cell) for cell in _cells(table, "mapped")],
        "B 自身 [95 %]": [with_interval(*cell) for cell in _cells(table, "own")],
        "入れ替えの 95 % 点": [number(value) for value in table["permuted_95"]],
        "感情語の数": [number(value) for value in table["words"]],
        "文の数": table["n_texts"],
    }
    return pd.DataFrame(rows).set_index(["感情", "文"])


def sentence_transfer(table: pd.DataFrame) -> Markdown:
    """What the ratios say, in one breath."""
    if table.empty:
        return Markdown(NO_OTHER)
    whole = table[table["style"] == ALL]
    known = whole.dropna(subset=["ratio"])
    if known.empty:
        return Markdown(
            f"B 自身のベクトルの S が 0 と区別できる組が、{len(whole)} 組のうち 0 組であった。"
            "比べる相手がないため、転移は測定不能である。"
        )
    above = int((known["mapped_low"] > 0).sum())
    return Markdown(
        f"B 自身のベクトルの S が 0 と区別できたのは、{len(whole)} 組のうち {len(known)} 組である。そのうち {above} 組では、"
        f"写した A のベクトルの S の区間も 0 より上にある。比は {number(known['ratio'].min())} から "
        f"{number(known['ratio'].max())} であった。"
    )
