"""Phase 6b's texts: every metric before and after, and the texts with their differences marked."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from IPython.display import Markdown

from emolib.base import language
from emolib.base.escaping import Name, escape
from emolib.report.ja.phase6b_words import TARGETS, emotion_word
from emolib.report.markup import column_table, markdown_table, number, p_value

EMPTY = "（空）"
FIRST = ("sentiment/", "politeness/", "keywords/", "expressed/", "fluency/")
SENTIMENT = {"POSITIVE": "肯定", "NEGATIVE": "否定", "NEUTRAL": "中立", "compound": "合成値"}
FLUENCY = {
    "nll": "NLL",
    "perplexity": "パープレキシティ",
    "repetition": "反復",
    "distinct_2": "distinct-2",
    "length": "長さ",
}
MOST_SHOWN = 8  # texts of a direction


def table_metrics(table: pd.DataFrame, target: str) -> Markdown:
    """Sentiment, politeness, emotion words and fluency: baseline, patched, Δ, p, by emotion."""
    chosen = table[(table["target"] == target) & table["metric"].str.startswith(FIRST)]
    return _table(chosen)


def table_goemotions(table: pd.DataFrame, target: str) -> Markdown:
    """All 28 labels of GoEmotions: baseline, patched, Δ, p, by emotion."""
    chosen = table[(table["target"] == target) & table["metric"].str.startswith("goemotions/")]
    return _table(chosen)


def _table(table: pd.DataFrame) -> Markdown:
    """One row per metric, four columns per emotion."""
    columns: dict[str, list[object]] = {"指標": [metric_word(name) for name in dict.fromkeys(table["metric"])]}
    for emotion, part in table.groupby("emotion", sort=False):
        word, own = emotion_word(str(emotion)), part.set_index("metric").reindex(dict.fromkeys(table["metric"]))
        columns |= {
            f"{word}: Baseline": [number(value, 3) for value in own["baseline"]],
            f"{word}: Patched": [number(value, 3) for value in own["patched"]],
            f"{word}: Δ": [number(value, 3, signed=True) for value in own["difference"]],
            f"{word}: p": [p_value(value) for value in own["p_t"]],
        }
    return column_table(columns)


def metric_word(metric: str) -> Name:
    """A metric's name; GoEmotions' labels keep theirs."""
    family, _, name = metric.partition("/")
    if family == "sentiment":
        return Name("感情価・" + SENTIMENT.get(name, name))
    if family == "politeness":
        return Name("丁寧さ")
    if family == "keywords":
        return Name(language.name(name) + "の語数")
    if family == "expressed":
        return Name(language.name(name) + "の表明")
    if family == "fluency":
        return Name(FLUENCY.get(name, name))
    return Name(name)


def texts(pairs: pd.DataFrame, differences: Callable[[str, str], list[tuple[str, bool]]], target: str) -> Markdown:
    """Unpatched and patched texts beside each other; words that the patch changed are bold. The model's text is escaped."""
    chosen = pairs[pairs["target"] == target].head(MOST_SHOWN)
    rows = [
        [
            emotion_word(row["emotion"]),
            escape(row["prompt"]),
            escape(row["before"]) or EMPTY,
            _marked(differences(row["before"], row["after"])) or EMPTY,
            number(row["likeness"]),
        ]
        for row in chosen.to_dict("records")
    ]
    header = ["感情", "プロンプト", "パッチなしの続き", "パッチ後の続き（太字が違い）", "語の一致"]
    return Markdown(f"**{TARGETS[target]}**\n\n{markdown_table(rows, header)}")


def _marked(parts: list[tuple[str, bool]]) -> str:
    return " ".join(f"**{escape(text)}**" if differs else escape(text) for text, differs in parts)


def sentence_likeness(pairs: pd.DataFrame) -> Markdown:
    """How far the patched texts are those of before."""
    parts = []
    for target, part in pairs.groupby("target", sort=False):
        same = int((part["likeness"] == 1).sum())
        parts.append(
            f"{TARGETS[str(target)]}では、{len(part)} 件のうち {same} 件がパッチなしと同じ文であり、"
            f"語の一致は平均 {number(part['likeness'].mean())} であった"
        )
    return Markdown("。".join(parts) + "。")
