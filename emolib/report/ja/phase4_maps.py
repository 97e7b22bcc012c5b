"""Phase 4: the two models, the anchors, the maps between all layers, and why raw coordinates do not compare."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name, code_span
from emolib.base.parameters import AlignmentParameters
from emolib.models.language_model import LanguageModel
from emolib.plots import figures
from emolib.plots.figures import Axes, Null
from emolib.report.ja.names import companion_name
from emolib.report.ja.phase4_words import METHODS, SOURCES, SPACES
from emolib.report.markup import NOTHING, layers_shown, number, show, tidy
from emolib.study.phase4_alignment import pair
from emolib.study.phase4_alignment.layers import Chosen
from emolib.study.run import Run

SPLITS = {"train": "当てはめ", "validation": "選択", "test": "評価"}


def environment(run: Run) -> Markdown:
    """One line for each model: its weights, its size, its device."""
    lines = [f"- モデル {name}: {_model(side.lm)}" for name, side in zip("AB", pair(run), strict=True)]
    return Markdown("\n".join([*lines, f"- プロファイル {code_span(run.params.profile)}"]))


def _model(lm: LanguageModel) -> str:
    weights = "シード付き乱数重み（事前学習なし）" if lm.spec.random_weights else "事前学習済みの重み"
    if lm.spec.rotation is not None:
        weights += f"、{code_span(lm.spec.rotation.of)} を別の座標に移した写し"
    return (
        f"{code_span(lm.spec.name)}（{Name(lm.spec.hub_id)}、{weights}、{lm.n_layers} 層、幅 {lm.d_model}、改訂 "
        f"{code_span(lm.revision[:12])}、{lm.identity['dtype']}、デバイス `{lm.device}`）"
    )


def table_anchors(table: pd.DataFrame) -> pd.DataFrame:
    """How many texts, different words and anchors either kind of text gives to each split."""
    named = table.assign(source=table["source"].map(SOURCES), split=table["split"].map(SPLITS))
    names = {"source": "文の出所", "split": "用途", "texts": "文", "words": "語の種類", "anchors": "アンカー"}
    return named.rename(columns=names).set_index(["文の出所", "用途"])


def table_raw(table: pd.DataFrame) -> pd.DataFrame:
    """Raw cosines beside those of mapped vectors."""
    named = table.assign(label=table["label"].map(companion_name))
    names = {"label": "ラベル", "raw": "生の座標", "mapped": "写像の後", "chance": "ランダム方向の 95 % が下回る値"}
    return tidy(named, digits=3, names=names).set_index("ラベル")


def table_curve(table: pd.DataFrame) -> pd.DataFrame:
    """R² of layers of like depth, a few of them."""
    shown = table[table["layer_a"].isin(layers_shown(int(table["layer_a"].max())))].copy()
    shown["space"] = shown["space"].map(SPACES)
    names = {
        "space": "空間",
        "layer_a": "A の層",
        "layer_b": "B の層",
        "r2_in_sample": "R²（当てはめた語）",
        "r2_held_out": "R²（見ていない語）",
        "permuted_in_sample": "入れ替え: 当てはめた語",
        "permuted_held_out": "入れ替え: 見ていない語",
    }
    return tidy(shown, digits=3, names=names).set_index(["空間", "A の層", "B の層"])


def figure_curve(run: Run, table: pd.DataFrame) -> None:
    """Held-out R² over A's layers in both spaces, with that of permuted anchors."""
    shown = table.rename(columns={"layer_a": "layer"}).assign(space=table["space"].map(SPACES))
    floor = shown.assign(permuted_held_out=shown["permuted_held_out"].clip(lower=-1.0))
    axes = Axes("見ていない語での R²（A の層、B は同じ相対深さ）", x="A の層", y="R²")
    fig = figures.lines_by_layer(
        floor, "r2_held_out", "space", axes, null=Null("permuted_held_out", "入れ替えたアンカー")
    )
    show(run, fig, "r2_curve")


def table_layers(table: pd.DataFrame, params: AlignmentParameters) -> pd.DataFrame:
    """Validation margins of a few layers of A (down) and B (across)."""
    return tidy(_square(table, params, "validation_margin", few=True), digits=2)


def table_layers_cka(table: pd.DataFrame, params: AlignmentParameters) -> pd.DataFrame:
    """Debiased CKA of the same layers."""
    return tidy(_square(table, params, "cka", few=True), digits=2)


def figure_layers(run: Run, table: pd.DataFrame) -> None:
    """Held-out R², validation margin and debiased CKA of all pairs of layers."""
    kinds = {"r2_held_out": "見ていない語での R²", "validation_margin": "検証での一致 − 不一致", "cka": "debiased CKA"}
    for column, name in kinds.items():
        matrix = _square(table, run.params, column, few=False)
        axes = Axes(f"層 × 層: {name}", x="B の層", y="A の層", z=name)
        show(run, figures.heatmap(matrix, axes, zero_centred=column == "validation_margin"), f"layers_{column}")


def _square(table: pd.DataFrame, params: AlignmentParameters, column: str, *, few: bool) -> pd.DataFrame:
    own = table[(table["method"] == params.method) & (table["space"] == params.space)]
    square = own.pivot(index="layer_a", columns="layer_b", values=column)
    if few:
        rows, columns = (layers_shown(int(max(labels))) for labels in (square.index, square.columns))
        square = square.loc[rows, columns]
    square.columns = [str(layer) for layer in square.columns]
    square.index = [str(layer) for layer in square.index]
    return square.rename_axis(index="A の層 \\ B の層")


def table_methods(table: pd.DataFrame) -> pd.DataFrame:
    """Every method in either space at the chosen layers."""
    shown = table.assign(space=table["space"].map(SPACES), method=table["method"].map(METHODS))
    shown["penalty"] = [NOTHING if pd.isna(value) else f"{value:.3g}" for value in shown["penalty"]]
    shown["n_canonical"] = [NOTHING if pd.isna(value) else f"{value:.0f}" for value in shown["n_canonical"]]
    names = {
        "space": "空間",
        "method": "方法",
        "rank": "使う軸",
        "penalty": "罰則",
        "n_canonical": "正準の組",
        "r2_in_sample": "R²（当てはめた語）",
        "r2_held_out": "R²（見ていない語）",
        "cka": "CKA",
        "kept": "写像が読む割合（最小）",
        "margin": "一致 − 不一致",
        "cosine": "コサイン（自分）",
        "cosine_others": "コサイン（他のラベル）",
    }
    return tidy(shown, digits=3, names=names).set_index(["空間", "方法"])


def sentence_chosen(at: Chosen) -> Markdown:
    """Which layers are looked at from here on."""
    return Markdown(
        f"検証シナリオで選ばれた層の組は、A の層 {at.layer_a} と B の層 {at.layer_b} である（検証での一致 − 不一致の平均 "
        f"{number(at.margin, 2)}）。以下はこの組についての結果である。"
    )
