"""Phase 7: how many directions the emotions' subspaces have."""

from __future__ import annotations

from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.plots import figures
from emolib.report.ja.names import emotion_name, emotion_names
from emolib.report.ja.phase7_words import nothing
from emolib.report.markup import number, show, tidy
from emolib.study.run import Run

SHOWN_K = (1, 2, 4, 8)
NO_OVERLAPS = "Phase 3 の重なりの表がない"


def table_overlaps(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """overlap(k), its null and its standard error for a few k."""
    if table.empty:
        return nothing(NO_OVERLAPS)
    shown = table[table["k"].isin(SHOWN_K)]
    names = {"overlap": "重なり", "null": "帰無の平均", "null_high": "帰無の 97.5 %", "se": "SE"}
    keys = {"モデル": shown["model"], "感情": shown["emotion"].map(emotion_name), "k": shown["k"]}
    return tidy(shown[list(names)].rename(columns=names).assign(**keys), digits=2).set_index(list(keys))


def figure_overlaps(run: Run, table: pd.DataFrame) -> None:
    """The excess over the null by k."""
    axes = figures.Axes("帰無を超える重なり（検証、誤差棒は標準誤差）", x="k", y="重なり − 帰無の平均")
    drawn = figures.bars_by_label(excess_rows(table), x="k", y="excess", colour="series", axes=axes, error="se")
    show(run, drawn, "k_selection")


def excess_rows(table: pd.DataFrame) -> pd.DataFrame:
    """A series per emotion (and model where there are several)."""
    several = table["model"].nunique() > 1
    rows = table[["model", "emotion"]].to_dict("records")
    series = [f"{r['model']} {emotion_name(r['emotion'])}" if several else r["emotion"] for r in rows]
    return table.assign(series=series).astype({"k": int, "excess": float, "se": float})


def table_chosen(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """The chosen k of every emotion, with what decides it on validation."""
    if table.empty:
        return nothing(NO_OVERLAPS)
    shown = table[table["chosen"].astype(bool)]
    columns = {
        "モデル": shown["model"],
        "感情": shown["emotion"].map(emotion_name),
        "層": shown["layer"],
        "選んだ k": shown["chosen_k"],
        "超過 ± SE": [f"{number(a)} ± {number(b)}" for a, b in shown[["excess", "se"]].to_numpy()],
        "最良の超過（k）": [
            f"{number(row['best_excess'])}（{row['best_k']}）"
            for row in shown[["best_excess", "best_k"]].to_dict("records")
        ],
        "帰無の超過の最大": [number(value) for value in shown["null_max"]],
    }
    return pd.DataFrame(columns).set_index(["モデル", "感情"])


def table_test_overlaps(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """The overlap on test at the chosen k and at the next, each with its null."""
    near = table[(table["k"] - table["chosen_k"]).isin([0, 1])]
    if near.empty:
        return nothing(NO_OVERLAPS)
    names = {
        "test_overlap": "重なり",
        "test_null": "帰無の平均",
        "test_null_high": "帰無の 97.5 %",
        "test_excess": "超過",
    }
    places = zip(near["k"], near["chosen"], strict=True)
    keys = {
        "モデル": near["model"],
        "感情": near["emotion"].map(emotion_name),
        "k": [f"{k}（選んだ k）" if chosen else f"{k}（次）" for k, chosen in places],
    }
    columns = {title: [number(value) for value in near[name]] for name, title in names.items()}
    return pd.DataFrame({**keys, **columns}).set_index(list(keys))


def sentence_k(directions: pd.DataFrame) -> Markdown:
    """The rule, what it gives, and what the next direction adds.

    Args:
        directions: see `emolib.study.phase7_claims.next_directions`.
    """
    if directions.empty:
        return Markdown(
            "重なりの表がないため、k は選ばない（読める Phase 3 の記録と、帰無のための二つ以上の感情が要る）。"
        )
    lines = [
        "規則: 検証での超過（重なり − 帰無の平均）が最良の k から 1 標準誤差以内に入る最小の k を選ぶ。"
        "最良の超過の 95 % 区間（± 1.96 SE）の下限が帰無の超過の最大を超えなければ、部分空間があるとは言わない。"
        "規則は小さい k を選ぶものであり、それより先の方向がないことの検定ではない。"
    ]
    said: dict[tuple[str, str], list[str]] = {}  # the same sentence is said once, of all its emotions
    for row in directions.to_dict("records"):
        text = f"k = {row['chosen_k']}。{_next_direction(row)}"
        if not row["found"]:
            text = f"規則は k = {row['chosen_k']} を選ぶが、超過の区間は帰無の範囲を出ず、k に意味はない。"
        said.setdefault((row["model"], text), []).append(row["emotion"])
    lines += [f"- {Name(model)}・{emotion_names(emotions)}: {text}" for (model, text), emotions in said.items()]
    return Markdown("\n".join(lines))


def _next_direction(row: dict[str, Any]) -> str:
    """What one more direction does to the excess, on validation and on test."""
    if pd.isna(row.get("next_k")):
        return ""
    k = int(row["next_k"])
    change = f"（{number(row['excess'])} → {number(row['next_excess'])}）"
    text = f"検証では、k = {k} まで広げても帰無に対する超過は増えない{change}。"
    if row["grows"]:
        text = f"検証では、k = {k} まで広げると帰無に対する超過は増えるが{change}、1 標準誤差に収まる。"
    if pd.isna(row["next_test_overlap"]):
        return text
    grows, agrees = row["test_grows"], row["test_grows"] == row["grows"]
    change = f"（{number(row['test_excess'])} → {number(row['next_test_excess'])}）"
    text += f"テストでの超過{'も' if agrees else 'は'}{'増える' if grows else '増えない'}{change}。"
    own, null = number(row["next_test_overlap"]), number(row["next_test_null_high"])
    if row["above_null"]:
        return (
            f"{text}{'' if grows else 'ただし'}テストの k = {k} の重なり {own} は帰無の 97.5 % 点 {null} を上回り、"
            "加わった方向がラベルに固有だとも無関係だとも言えない。"
        )
    return f"{text}テストの k = {k} の重なり {own} は帰無の 97.5 % 点 {null} を超えない。"
