"""Phase 1's tables and figures about the texts themselves: counts, lengths, duplicates, first words and last marks."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.plots import figures
from emolib.plots.figures import Axes
from emolib.report.ja import frame
from emolib.report.ja.names import SPLIT_NAMES, emotion_name, style_name
from emolib.report.markup import show, tidy
from emolib.study.run import Run


def settings(run: Run) -> Markdown:
    """実行設定: every resolved parameter; this phase looks at all scenarios, whatever later phases take of them."""
    counted = "このフェーズはデータセットのすべてのシナリオを調べる。以降のフェーズが使うシナリオ数は {} である。"
    table, merged = frame.settings(run, counted=counted).data, sentence_merges(run)
    return Markdown(f"{table}\n\n{merged}" if merged else table)


def sentence_merges(run: Run) -> str:
    """Which spellings of the data set were read as one label; empty where there were none."""
    _ = run.data
    told = [
        f"「{Name(merge.kept)}」に{'、'.join(f'「{Name(other)}」' for other in merge.others)}（{merge.rows} 行）"
        for merge in run.merges
    ]
    return (
        f"大文字・小文字や Unicode の形だけが違うラベルは一つのラベルとして扱った: {'、'.join(told)}。" if told else ""
    )


def table_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Scenarios per split and style (the same for every label)."""
    wide = table.pivot_table(index=["split", "style"], columns="emotion", values="texts", aggfunc="sum", sort=False)
    wide = wide.rename(columns=emotion_name)
    index = [(SPLIT_NAMES[split], style_name(style)) for split, style in wide.index]
    wide.index = pd.MultiIndex.from_tuples(index, names=["分割", "表現"])
    wide.columns.name = None
    return wide


def table_lengths(table: pd.DataFrame) -> pd.DataFrame:
    """Characters and tokens per label."""
    shown = table.assign(emotion=table["emotion"].map(emotion_name), unit=table["unit"].replace("characters", "文字"))
    names = {"n": "テキスト数", "emotion": "ラベル", "unit": "単位"}
    names |= {"mean": "平均", "min": "最小", "max": "最大", "sd": "標準偏差"}
    return tidy(shown, digits=1, names=names).set_index(["単位", "ラベル"])


def figure_lengths(run: Run, table: pd.DataFrame) -> None:
    """Mean tokens per label."""
    axes = Axes("トークン数の平均（ひげは標準偏差）", y="トークン")
    tokens = table[table["unit"] != "characters"]
    show(run, figures.bars_by_label(tokens, "emotion", "mean", None, axes, error="sd"), "lengths")


def sentence_duplicates(table: pd.DataFrame, *, n_texts: int, threshold: float) -> Markdown:
    """How many pairs are the same or nearly so, and which."""
    exact, near = ((table["kind"] == kind).sum() for kind in ("exact", "near"))
    text = (
        f"{n_texts} テキストのうち、同じ語の並びの組は {exact} 組、"
        f"シナリオをまたぐ近似重複（語集合の一致度 {threshold:.0f} 以上）は {near} 組である。"
    )
    rows = "\n".join(f"- {row.id_a} と {row.id_b}（{row.ratio:.0f}）" for row in table.head(10).itertuples())
    return Markdown(f"{text}\n\n{rows}" if rows else text)


def table_openings(table: pd.DataFrame) -> pd.DataFrame:
    """The most frequent first three words per label."""
    shown = table.assign(emotion=table["emotion"].map(emotion_name))
    names = {"emotion": "ラベル", "rank": "順位", "opening": "冒頭 3 語", "count": "回数", "share": "割合"}
    return tidy(shown, digits=3, names=names).set_index(["ラベル", "順位"])


def table_punctuation(table: pd.DataFrame) -> pd.DataFrame:
    """Final marks per label, and whether every scenario shares its own."""
    shown = table.assign(emotion=table["emotion"].map(emotion_name))
    names = {"emotion": "ラベル", "mark": "末尾の記号", "count": "回数", "share": "割合"}
    names |= {"scenarios": "シナリオ", "shared": "全ラベルで共通"}
    return tidy(shown, digits=3, names=names).set_index(["ラベル", "末尾の記号"])


def table_keywords(table: pd.DataFrame) -> pd.DataFrame:
    """Share of texts with a word of each list, by label and style."""
    shown = table[table["style"] != "all"].assign(
        emotion=table["emotion"].map(emotion_name),
        style=table["style"].map(style_name),
        keywords=table["keywords"].map(lambda name: emotion_name(name) + "の語"),
    )
    wide = shown.pivot_table(index=["style", "emotion"], columns="keywords", values="share", sort=False)
    wide.index.names, wide.columns.name = ["表現", "ラベル"], None
    return tidy(wide, digits=2)
