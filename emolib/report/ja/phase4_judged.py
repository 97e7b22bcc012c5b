"""Phase 4: what the map says of labels that it never saw: margins, retrieval, nulls, verdicts, subspaces, tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown

from emolib.plots import figures
from emolib.plots.figures import Axes, Band
from emolib.report.ja.names import companion_name, emotion_name
from emolib.report.ja.phase4_words import (
    ALL,
    COMPARED,
    GIVEN,
    NULLS,
    REASONS,
    VERDICTS,
    candidate_name,
    emotions_first,
    style_words,
)
from emolib.report.markup import NOTHING, number, p_value, show, tidy, with_interval
from emolib.study.run import Run

NO_RIVALS = "このデータには感情価の近いラベル（companions）がないため、一つずつの比較は示さない。"
NO_AGREEMENT = "感情価の分かるラベルかシナリオが 4 に満たないため、写像を使わない比較は示さない。"


def table_retrieval(table: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """All texts: cosines, margin, rank among all candidates and what is nearest besides; the data's emotions first."""
    shown = emotions_first(table[table["style"] == ALL], emotions)
    rows = {
        "ラベル": shown["label"].map(companion_name),
        "一致": shown["matched"].round(2),
        "不一致の平均": shown["mismatched"].round(2),
        "差 [95 %]": _intervals(shown),
        "順位": [f"{rank:.1f} / {n}" for rank, n in zip(shown["rank"], shown["n_candidates"], strict=True)],
        "次に近いもの": shown["nearest_other"].map(candidate_name),
        "天井": shown["ceiling"].round(2),
    }
    return pd.DataFrame(rows).set_index("ラベル")


def _intervals(shown: pd.DataFrame) -> list[str]:
    cells = shown[["margin", "low", "high"]].to_numpy(dtype=float)
    return [with_interval(*cell, signed=True) for cell in cells]


def table_verdicts(table: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """The data's emotions in every style: margin, hardest null and its bar, ceiling, verdict and reason."""
    shown = table[table["label"].isin(list(emotions))]
    rows = {
        "感情": shown["label"].map(emotion_name),
        "文": shown["style"].map(style_words),
        "シナリオ": shown["n_scenarios"],
        "一致 − 不一致 [95 %]": _intervals(shown),
        "最も厳しい帰無": shown["hardest_null"].map(NULLS),
        "基準値": [number(value) for value in shown["bar"]],
        "天井": [number(value) for value in shown["ceiling"]],
        "判定": shown["verdict"].map(VERDICTS),
        "理由": shown["reason"].map(REASONS),
    }
    return pd.DataFrame(rows).set_index(["感情", "文"])


def table_verdict_counts(table: pd.DataFrame) -> pd.DataFrame:
    """How many labels have each verdict, by style."""
    counts = table.groupby(["style", "verdict"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(VERDICTS), fill_value=0).rename(columns=VERDICTS, index=style_words)
    return counts.rename_axis(index="文", columns=None)


def table_other_verdicts(table: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame | None:
    """All texts: the verdict on every other label; None where there are none."""
    shown = table[(table["style"] == ALL) & ~table["label"].isin(list(emotions))]
    if shown.empty:
        return None
    rows = {
        "ラベル": shown["label"].map(companion_name),
        "一致 − 不一致 [95 %]": _intervals(shown),
        "基準値": [number(value) for value in shown["bar"]],
        "判定": shown["verdict"].map(VERDICTS),
    }
    return pd.DataFrame(rows).set_index("ラベル")


def table_nulls(table: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """The data's emotions, all texts: mean and 95th percentile of every null, and the p value."""
    shown = table[(table["style"] == ALL) & table["label"].isin(list(emotions))]
    rows = {
        "感情": shown["label"].map(emotion_name),
        "帰無": shown["null"].map(NULLS),
        "平均": [number(value) for value in shown["null_mean"]],
        "95 % 点": [number(value) for value in shown["null_95"]],
        "p": [NOTHING if pd.isna(value) else p_value(value) for value in shown["p"]],
        "写像の数": shown["n_maps"],
    }
    return pd.DataFrame(rows).set_index(["感情", "帰無"])


def table_untrained(table: pd.DataFrame) -> pd.DataFrame:
    """R² and margins of the maps into untrained copies, over copies."""
    whole = table[table["style"] == ALL]
    copies = whole.groupby("seed").agg(
        r2=("r2_held_out", "first"), fit=("r2_in_sample", "first"), margin=("margin", "mean")
    )
    names = {"r2": "R²（見ていない語）", "fit": "R²（当てはめた語）", "margin": "一致 − 不一致（ラベルの平均）"}
    found = copies.rename(columns=names).agg(["mean", "min", "max"]).T
    return tidy(found, digits=3, names={"mean": "平均", "min": "最小", "max": "最大"}).rename_axis("量")


def figure_margins(run: Run, table: pd.DataFrame, emotions: Sequence[str]) -> None:
    """Margins with their intervals, all texts and each style; the data's emotions first."""
    shown = emotions_first(table, emotions)
    shown = shown.assign(label=shown["label"].map(companion_name), style=shown["style"].map(style_words))
    axes = Axes("一致 − 不一致（コサインの差、互いに素なシナリオ）", x="一致 − 不一致")
    show(run, figures.forest(shown, "margin", "label", "style", axes, ends=Band("low", "high")), "margins")


def table_rivals(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Each emotion against the single labels of like valence."""
    if table.empty:
        return Markdown(NO_RIVALS)
    rows = {
        "感情": table["label"].map(companion_name),
        "相手": table["rival"].map(companion_name),
        "文": table["style"].map(style_words),
        "差 [95 %]": _intervals(table),
        "入れ替えの 95 % 点": [number(value) for value in table["permuted_95"]],
    }
    return pd.DataFrame(rows).set_index(["感情", "相手", "文"])


def table_overlaps(table: pd.DataFrame) -> pd.DataFrame:
    """overlap(k) before and after the map, with the nulls and what B's own halves reach."""
    shown = table.assign(emotion=table["emotion"].map(emotion_name))
    shown["before"] = [number(value) for value in shown["before"]]
    names = {
        "emotion": "感情",
        "before": "写像の前",
        "after": "写像の後",
        "permuted_mean": "入れ替え: 平均",
        "permuted_95": "入れ替え: 95 % 点",
        "random_95": "ランダム: 95 % 点",
        "ceiling": "天井（B の半分どうし）",
    }
    return tidy(shown, digits=2, names=names).set_index(["感情", "k"])


def figure_overlaps(run: Run, table: pd.DataFrame) -> None:
    """The same over k."""
    shown = table.rename(columns={"k": "layer"}).assign(emotion=table["emotion"].map(emotion_name))
    axes = Axes("部分空間の重なり（写像の後）", x="k", y="overlap(k)")
    null = figures.Null("permuted_95", "入れ替えの 95 % 点")
    show(run, figures.lines_by_layer(shown, "after", "emotion", axes, null=null), "overlaps")


def table_agreement(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Correlations of both models' dissimilarities, on disjoint scenarios, with what was taken out first."""
    if table.empty:
        return Markdown(NO_AGREEMENT)
    rows = {
        "比べるもの": table["compared"].map(COMPARED),
        "先に除いたもの": table["given"].map(GIVEN),
        "順位相関": [number(value) for value in table["correlation"]],
        "p（ラベルの並べ替え）": [p_value(value) for value in table["p"]],
        "天井": [number(value) for value in table["ceiling"]],
        "同じ文での値": [number(value) for value in table["same_texts"]],
        "ラベル": table["n_labels"],
    }
    return pd.DataFrame(rows).set_index(["比べるもの", "先に除いたもの"])
