"""Phase 5 on test: what changes, for which emotion, in which labels, and on how many prompts."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.plots import figures
from emolib.report.ja.names import emotion_name, metric_name
from emolib.report.ja.phase5_words import KINDS, families_of, of_family
from emolib.report.markup import NOTHING, markdown_table, show, tidy
from emolib.study.run import Run

OWN_MEASURE = {
    "keywords": ("当該感情の語の数（1 テキストあたり）", "語数", "changes"),
    "target": ("当該感情の確率（GoEmotions）", "確率", "probabilities"),
}
MATRICES = {
    "keywords": ("特異性行列（語数の変化）", "Δ語数", "matrix"),
    "target": ("特異性行列（確率の変化）", "Δ確率", "matrix_targets"),
}
TOLD = 0.005  # a change that is printed as 0.00 is not listed


def table_changes(changes: pd.DataFrame) -> pd.DataFrame:
    """Unpatched, patched and random means with their standard errors.

    Args:
        changes: see `emolib.steering.summaries.metric_changes`.
    """
    shown = changes.assign(emotion=changes["emotion"].map(emotion_name), metric=changes["metric"].map(metric_name))
    names = {
        "emotion": "操作した感情",
        "metric": "指標",
        "baseline": "パッチなし",
        "baseline_se": "パッチなし SE",
        "patched": "パッチ",
        "patched_se": "パッチ SE",
        "random": KINDS["isotropic"],
        "random_se": "ランダム SE",
    }
    return tidy(shown, digits=3, names=names).set_index(["操作した感情", "指標"])


def figure_changes(run: Run, changes: pd.DataFrame) -> None:
    """Own words and own probability, unpatched, patched and random."""
    for family in families_of(changes):
        title, unit, file = OWN_MEASURE[family]
        bars, axes = change_bars(changes, family), figures.Axes(title, y=unit)
        fig = figures.bars_by_label(bars, "emotion", "value", "kind", axes, error="se")
        show(run, fig, file)


def change_bars(changes: pd.DataFrame, family: str) -> pd.DataFrame:
    """One kind of measure for the figure: emotion, kind, value, se."""
    own = of_family(changes, family)
    names = {"baseline": "パッチなし", "patched": "パッチ", "random": KINDS["isotropic"]}
    parts = [
        pd.DataFrame(
            {"emotion": own["emotion"].map(emotion_name), "kind": shown, "value": own[kind], "se": own[f"{kind}_se"]}
        )
        for kind, shown in names.items()
    ]
    return pd.concat(parts, ignore_index=True)


def table_specificity(matrix: pd.DataFrame) -> pd.DataFrame:
    """Steered emotions down, measures across.

    Args:
        matrix: see `emolib.steering.summaries.specificity_matrix`.
    """
    shown = matrix.rename(index=emotion_name, columns=metric_name)
    return tidy(shown.rename_axis("操作した感情"), digits=2)


def figure_specificity(run: Run, matrix: pd.DataFrame) -> None:
    """Words and probabilities, a heatmap each; what is no emotion has other units and stands in the table alone."""
    for family, (title, unit, file) in MATRICES.items():
        shown = family_matrix(matrix, family)
        if len(shown.columns):
            show(run, figures.heatmap(shown, figures.Axes(title, z=unit)), file)


def family_matrix(matrix: pd.DataFrame, family: str) -> pd.DataFrame:
    """The columns of one kind of measure, with Japanese names."""
    kept = matrix[[column for column in matrix if column.startswith(f"{family}/")]]
    return kept.rename(index=lambda e: emotion_name(e) + "ベクトル", columns=metric_name)


# the 28 labels


def table_labels(changes: pd.DataFrame, count: int = 5) -> Markdown:
    """The labels that each vector raises and lowers most.

    Args:
        changes: see `emolib.steering.summaries.label_changes`.
    """
    rows = []
    for emotion, row in changes.iterrows():
        ordered = row.sort_values(ascending=False, kind="stable")
        ends = (ordered.head(count), ordered.tail(count).iloc[::-1])
        listed = [", ".join(f"{Name(k)} {v:+.2f}" for k, v in end.items() if abs(v) >= TOLD) or NOTHING for end in ends]
        rows.append([emotion_name(str(emotion)), *listed])
    header = ["操作した感情", f"最も増えた {count} ラベル", f"最も減った {count} ラベル"]
    return Markdown(markdown_table(rows, header))


def figure_labels(run: Run, changes: pd.DataFrame) -> None:
    """The changes of all 28 labels."""
    shown = changes.rename(index=lambda e: emotion_name(e) + "ベクトル")
    names = {label: label for label in changes.columns}
    show(run, figures.heatmap(shown, figures.Axes("28 ラベルの確率の変化", z="Δ確率", names=names)), "labels")


# prompt by prompt
