"""Phase 1's sentences, tables and figures about what besides the emotion tells labels apart; 結論 and 考察."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.plots import figures
from emolib.plots.figures import Axes
from emolib.report.ja.frame import three_lines
from emolib.report.ja.names import emotion_name, style_name
from emolib.report.ja.phase1_scorers import unseen_places
from emolib.report.ja.phase1_search import sentence_gates
from emolib.report.markup import number, show, tidy
from emolib.study.phase1_dataset import (
    LEAK_LIMIT,
    SurfaceLeak,
    against_neutral,
    length_spread,
    lexical_means,
    surface_leak,
    wording_leaks,
)
from emolib.study.run import Run

FEATURES = {
    "surface": "(a) 代名詞・句読点・長さ・数や暦など",
    "function_words": "(b) 機能語",
    "opening": "(c) 冒頭 3 語",
    "keywords": "(d) 感情語の一覧",
    "all_words": "(e) bag of words",
    "all_words_shuffled": "帰無（シャッフル）",
}


def table_leaks(table: pd.DataFrame) -> pd.DataFrame:
    """Held-out AUC against neutral, by feature set and style."""
    wide = _named(table).pivot_table(index=["style", "emotion"], columns="features", values="auc", sort=False)
    wide.index.names, wide.columns.name = ["表現", "感情（対 中立）"], None
    return tidy(wide[list(FEATURES.values())], digits=2)


def figure_leaks(run: Run, table: pd.DataFrame) -> None:
    """The AUC against neutral in all styles together."""
    bars = _named(table[table["style"] == "all"])
    axes = Axes("見分けやすさ（対 中立、全体）", y="AUC")
    show(run, figures.bars_by_label(bars, "features", "auc", "emotion", axes), "leaks")


def _named(table: pd.DataFrame) -> pd.DataFrame:
    shown = against_neutral(table)
    return shown.assign(
        emotion=shown["emotion"].map(emotion_name),
        features=shown["features"].map(FEATURES),
        style=shown["style"].map(style_name),
    )


def conclusion(leaks: pd.DataFrame, seen: pd.DataFrame, gates: pd.DataFrame | None = None) -> Markdown:
    """結論: whether the surface tells labels apart, which words do, and what the scorers do not see."""
    worst = surface_leak(leaks)
    found = (
        f"表層（代名詞・句読点・長さ・数や暦の語など）だけでラベルを見分ける AUC は最大 {number(worst.auc)}（{_comparison(worst)}）で、"
        + (
            f"基準 {LEAK_LIMIT} を超える。以降のフェーズでは、これらを回帰で除いたベクトルも報告する。"
            if worst.exceeds
            else f"回帰による補正を要する {LEAK_LIMIT} 以下である。"
        )
    )
    if gates is not None:
        found += f"{sentence_gates(gates).data}"
    words = wording_leaks(leaks).set_index("features").loc["function_words"]
    between = f"{number(words['low'])}–{number(words['high'])}（全体）"
    rests_on = (
        f"ただし機能語だけでも、感情と中立を AUC {between}で見分けられる（感情の言い回しに伴う語もあるが、そうでない差とは分けられていない）。"
        if words["exceeds"]
        else f"機能語だけで感情と中立を見分ける AUC は {between}である。"
    )
    if lists := [f"{style_name(r.style)}の文で {number(r.keywords)}" for r in lexical_means(leaks).itertuples()]:
        rests_on += f"感情語の一覧だけの AUC は、{'、'.join(lists)} である。"
    if seen.empty:
        missing = "どの感情にも対応する採点器がない。"
    elif unseen := unseen_places(seen):
        missing = f"採点器は{unseen}を中立と見分けず、そこでは感情を測れない。"
    else:
        missing = "判定に使う採点器の値が中立と見分けられない感情と表現の組はない。"
    return three_lines(found=found, rests_on=rests_on, not_measured=f"{missing}人の読み手による確認はない。")


def discussion(leaks: pd.DataFrame, lengths: pd.DataFrame) -> Markdown:
    """考察, computed from the tables."""
    worst = surface_leak(leaks)
    lines = [
        f"- トークン数の平均は、最も長いラベルと最も短いラベルで {number(100 * length_spread(lengths), 1)} % 違う。",
        f"- 表層（代名詞・句読点・長さ・数や暦の語など）だけからの AUC は最大 {number(worst.auc)}（{_comparison(worst)}）である。"
        + (
            f"基準 {LEAK_LIMIT} を超えるため、以降のフェーズではこれらを回帰で除いたベクトルも報告する必要がある。"
            if worst.exceeds
            else f"基準 {LEAK_LIMIT} 以下であり、以降のフェーズで表層の補正は必要としない。"
        ),
        _wording_line(leaks),
    ]
    means = [
        f"{style_name(row.style)}の文では感情語の一覧 {number(row.keywords)}、bag of words {number(row.words)}"
        for row in lexical_means(leaks).itertuples()
    ]
    if means:
        lines.append(f"- 中立に対する AUC の平均は、{'、'.join(means)} である。")
    lines.append(
        "- bag of words の AUC は感情の言葉だけでも 0.5 を超える。判定は (a) で行うが、(b)・(c) と手がかりの探索で見つかった差は補正していない。"
        "暗示表現の文で感情語の一覧の AUC が 0.5 に近いほど、以降の結果が語の一覧だけで説明できる余地は小さい。"
    )
    return Markdown("\n".join(lines))


def _wording_line(leaks: pd.DataFrame) -> str:
    rows = list(wording_leaks(leaks).itertuples())
    listed = "、".join(f"{FEATURES[row.features]}が {number(row.low)}–{number(row.high)}" for row in rows)
    line = f"- 中立に対する AUC は、{listed} である。"
    if any(row.exceeds for row in rows):
        line += (
            "感情の言い回しはこれらの語を含む（理由を述べる for、悔いを述べる should have など）ため、"
            "感情と切り離して統制することはできない。活性の差には、こうした言い回しの差が含まれうる。"
        )
    return line


def _comparison(leak: SurfaceLeak) -> str:
    against = "他の全ラベル" if leak.other is None else emotion_name(leak.other)
    return f"{emotion_name(leak.emotion)} 対 {against}、{style_name(leak.style)}"
