"""Phase 5's texts: examples picked by rule, and how far the texts are one phrase."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import escape
from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase5_words import share
from emolib.report.markup import markdown_table, number
from emolib.steering.robustness import OPENING, PHRASE

RULES = {"best": "最良", "median": "中央", "worst": "最悪", "broken": "破綻"}
EMPTY = "（空）"


def texts(examples: pd.DataFrame) -> Markdown:
    """The examples of every emotion, one table each; the model's text is escaped.

    Args:
        examples: see `emolib.steering.summaries.examples`.
    """
    return Markdown("\n\n".join(_table(part, str(e)) for e, part in examples.groupby("emotion", sort=False)))


def _table(examples: pd.DataFrame, emotion: str) -> str:
    rows = [
        [
            RULES[row["rule"]],
            escape(row["prompt"]),
            escape(row["baseline"]) or EMPTY,
            escape(row["patched"]) or EMPTY,
            f"{round(row['effect'], 2) + 0.0:+.2g}",
            number(row["shift"], signed=True),
            "破綻" if row["broken"] else "なし",
        ]
        for row in examples.to_dict("records")
    ]
    header = ["規則", "プロンプト", "パッチなしの続き", "パッチ後の続き", "語数の変化", "確率の変化", "パッチ後の破綻"]
    return f"**{emotion_name(emotion)}ベクトル**\n\n{markdown_table(rows, header)}"


def table_phrases(phrases: pd.DataFrame) -> Markdown:
    """The commonest run of words per emotion; the model's text is escaped.

    Args:
        phrases: see `emolib.steering.robustness.stock_phrases`.
    """
    rows = [
        [
            emotion_name(row["emotion"]),
            quoted(row["phrase"]),
            share(row["share"]),
            share(row["baseline"]),
            f"{share(row['own_share'])}（{row['n_own']}）",
            f"{quoted(row['baseline_phrase'])} {share(row['baseline_share'])}",
            f"{row['openings']} / {row['n']}",
            row["baseline_openings"],
        ]
        for row in phrases.to_dict("records")
    ]
    header = [
        "操作した感情",
        f"最も多い {PHRASE} 語の並び",
        "含むテキストの割合",
        "同（パッチなし）",
        "成功したテキストでの割合（n）",
        "パッチなしで最も多い並びと割合",
        f"書き出し {OPENING} 語の種類 / テキスト数",
        "同（パッチなしの種類）",
    ]
    return Markdown(markdown_table(rows, header))


def quoted(phrase: str) -> str:
    """A model's words inside a sentence or a cell."""
    return f"「{escape(phrase)}」" if phrase else "—"
