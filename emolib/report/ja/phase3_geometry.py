"""Phase 3's tables and figures about the vectors themselves: size, likeness, distances, stability."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.plots import figures
from emolib.plots.figures import Axes, Band, Null
from emolib.report.ja.names import MOST_DRAWN, POSITION_NAMES, emotion_name
from emolib.report.markup import layers_shown, show, tidy
from emolib.study.run import Run

VIEWS = {"raw": "生", "standardised": "標準化", "trimmed": "除去", "whitened": "白色化"}
MOST_PAIRS = 10
NO_PAIRS = "感情が一つしかないため、感情どうしの類似は示さない。"


def drawn(table: pd.DataFrame, column: str = "emotion") -> pd.DataFrame:
    """The rows of the first few labels: more lines than that cannot be told apart."""
    return table[table[column].isin(list(dict.fromkeys(table[column]))[:MOST_DRAWN])]


# size


def table_norms(table: pd.DataFrame) -> pd.DataFrame:
    """L1, L2 and L2 as a share of the residual norm; emotions down, layers across."""
    kinds = {"l1": "L1", "l2": "L2", "l2_share": "L2 / 残差"}
    return _layers_across(table.assign(emotion=table["emotion"].map(emotion_name)), "emotion", "感情", kinds, digits=3)


def figure_norms(run: Run, table: pd.DataFrame) -> None:
    """L2 norms over layers."""
    axes = Axes("感情ベクトルの L2 ノルム", y="L2（対数）", log_y=True)
    show(run, figures.lines_by_layer(drawn(table), "l2", "emotion", axes), "layer_norms_l2")


def table_positions(table: pd.DataFrame) -> pd.DataFrame:
    """L2 as a share of the residual norm at every position."""
    pairs = zip(table["position"], table["emotion"], strict=True)
    shown = table.assign(label=[POSITION_NAMES[position] + "・" + emotion_name(emotion) for position, emotion in pairs])
    return _layers_across(shown, "label", "位置・感情", {"l2_share": "L2 / 残差"}, digits=3)


def figure_positions(run: Run, table: pd.DataFrame) -> None:
    """The same over layers."""
    axes = Axes("感情ベクトルの大きさ（位置別）", y="L2 / 残差ノルム", names=POSITION_NAMES)
    fig = figures.lines_by_layer(drawn(table), "l2_share", "emotion", axes, dash="position")
    show(run, fig, "vector_shares")


def _layers_across(table: pd.DataFrame, key: str, key_name: str, kinds: dict[str, str], *, digits: int) -> pd.DataFrame:
    shown = table[table["layer"].isin(layers_shown(int(table["layer"].max())))]
    long = shown.rename(columns=kinds).melt([key, "layer"], list(kinds.values()), var_name="量")
    wide = long.pivot(index=["量", key], columns="layer", values="value")
    order = [(kind, name) for kind in kinds.values() for name in dict.fromkeys(shown[key])]
    wide = wide.reindex(pd.MultiIndex.from_tuples(order, names=["量", key_name]))
    wide.columns = [f"層 {layer}" for layer in wide.columns]
    return tidy(wide, digits=digits)


# likeness


def table_cosines(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Cosine of the most alike pairs in every view; pairs down, layers across."""
    if table.empty:
        return Markdown(NO_PAIRS)
    kinds = {key: name for key, name in VIEWS.items() if key in table}
    table = table[table["pair"].isin(_most_alike(table, MOST_PAIRS))]
    return _layers_across(table.assign(pair=_pair_names(table)), "pair", "組", kinds, digits=2)


def figure_cosines(run: Run, table: pd.DataFrame) -> None:
    """The cosines of the most alike pairs over layers, in every view."""
    kinds = {key: name for key, name in VIEWS.items() if key in table}
    table = table[table["pair"].isin(_most_alike(table, MOST_DRAWN // 2))]
    shown = table.assign(pair=_pair_names(table)).rename(columns=kinds)
    curves = shown.melt(["pair", "layer"], list(kinds.values()), var_name="kind", value_name="value")
    axes = Axes("感情ベクトル間のコサイン", y="コサイン")
    if len(curves):
        show(run, figures.lines_by_layer(curves, "value", "pair", axes, dash="kind"), "cosines")


def _most_alike(table: pd.DataFrame, count: int) -> list[str]:
    """The pairs with the largest mean standardised cosine, all where they are few."""
    means = table.groupby("pair", sort=False)["standardised"].mean().abs()
    return list(means.index) if len(means) <= count else list(means.nlargest(count).index)


def _pair_names(table: pd.DataFrame) -> list[str]:
    return [emotion_name(a) + "–" + emotion_name(b) for a, b in zip(table["first"], table["second"], strict=True)]


def table_similarity(table: pd.DataFrame) -> pd.DataFrame | None:
    """Standardised cosine of every two emotions, the mean over layers; None where there is one emotion alone."""
    return None if table.empty else _readable(_matrix(table, "standardised", 1.0))


def figure_similarity(run: Run, table: pd.DataFrame) -> None:
    """The same as a heatmap."""
    axes = Axes("感情ベクトルの類似（標準化、層平均）", z="コサイン")
    if len(table):
        show(run, figures.heatmap(_matrix(table, "standardised", 1.0), axes), "similarity_heatmap_avg")


def table_distances(table: pd.DataFrame) -> pd.DataFrame:
    """Distance between the means of every two labels as a share of the residual norm, the mean over layers."""
    return _readable(_matrix(table, "share", 0.0))


def figure_distances(run: Run, table: pd.DataFrame) -> None:
    """The same as a heatmap."""
    axes = Axes("ラベルの平均どうしの距離（層平均）", z="距離 / 残差ノルム")
    show(run, figures.heatmap(_matrix(table, "share", 0.0), axes, zero_centred=False), "emotion_distances")


def _matrix(table: pd.DataFrame, value: str, diagonal: float) -> pd.DataFrame:
    """A symmetric matrix of a pair table's column, averaged over the layers above 0."""
    means = table[table["layer"] > 0].groupby(["first", "second"], sort=False)[value].mean()
    names = list(dict.fromkeys(name for pair in means.index for name in pair))
    matrix = pd.DataFrame(diagonal, index=names, columns=names, dtype=float)
    for (first, second), mean in means.items():
        matrix.loc[first, second] = matrix.loc[second, first] = mean
    return matrix.rename(index=emotion_name, columns=emotion_name)


def _readable(matrix: pd.DataFrame) -> pd.DataFrame:
    """The matrix rounded, as long as a page holds it."""
    return tidy(matrix.iloc[:MOST_PAIRS, :MOST_PAIRS], digits=2)


# stability


def table_stability(table: pd.DataFrame) -> pd.DataFrame:
    """Split-half cosine of the first few emotions at a few layers, beside shuffled labels."""
    shown = drawn(table[table["layer"].isin(layers_shown(int(table["layer"].max())))]).copy()
    shown["emotion"] = shown["emotion"].map(emotion_name)
    names = {
        "emotion": "感情",
        "layer": "層",
        "mean": "平均",
        "low": "95 % 下限",
        "high": "95 % 上限",
        "shuffled": "シャッフル平均",
        "shuffled_high": "シャッフルの 97.5 % 点",
    }
    return tidy(shown, digits=2, names=names).set_index(["感情", "層"])


def figure_stability(run: Run, table: pd.DataFrame) -> None:
    """The same over layers, with its interval."""
    fig = figures.lines_by_layer(
        drawn(table),
        "mean",
        "emotion",
        Axes("分割半の安定性", y="コサイン"),
        band=Band("low", "high"),
        null=Null("shuffled_high"),
    )
    show(run, fig, "stability")
