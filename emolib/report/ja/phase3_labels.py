"""Phase 3's tables, figures and sentences about where many labels lie to each other."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from IPython.display import Markdown

from emolib.plots import figures
from emolib.plots.figures import Axes, Band, Null
from emolib.report.ja.names import companion_name, named
from emolib.report.markup import layers_shown, number, p_value, show, tidy, with_interval
from emolib.study.phase3_vectors.geometry import EMBEDDING
from emolib.study.phase3_vectors.geometry_answers import (
    RELIABLE,
    ValenceFinding,
    dissimilarity_finding,
    likeness_codes,
    valence_finding,
)
from emolib.study.run import Run

NOT_APPLICABLE = (
    "対象外: このデータセットには、同じシナリオに多くのラベルを揃えた文（`data/emotion_companions.jsonl`）がない。"
)
EMBEDDING_NAME = "埋め込み"


def _label_names(labels: Iterable[str]) -> str:
    return named(map(companion_name, labels))


# components and valence


def table_valence(table: pd.DataFrame | None) -> pd.DataFrame | None:
    """The first component against valence in the embedding and at a few layers; None without companions."""
    if table is None:
        return None
    layers = [EMBEDDING, *layers_shown(int(table["layer"].max()))]
    at = table[table["layer"].isin(layers)]
    rows = [
        {
            "層": _layer_name(row["layer"]),
            "r（第1主成分）": with_interval(row["pearson"], row["low"], row["high"]),
            "順位相関": number(row["spearman"]),
            "p": p_value(row["p"]),
            "信頼性": number(row["reliability"]),
            "埋め込みとの差": _gap(row),
            "分散（第1・2・3、%）": "・".join(number(100 * row[f"share_{i}"], 0) for i in (1, 2, 3)),
            "r（第2・3、探索）": "・".join(number(row[f"pearson_{i}"]) for i in (2, 3)),
        }
        for row in at.to_dict("records")
    ]
    return pd.DataFrame(rows).set_index("層")


def _layer_name(layer: float) -> str:
    return EMBEDDING_NAME if layer == EMBEDDING else f"層 {int(layer)}"


def _gap(row: dict) -> str:
    if row["layer"] == EMBEDDING:
        return number(None)
    return with_interval(row["difference"], row["difference_low"], row["difference_high"], signed=True)


def figure_valence(run: Run, table: pd.DataFrame | None) -> None:
    """The correlation over the layers with its interval, and the embedding's as a dotted line."""
    if table is None:
        return
    axes = Axes("第1主成分と語の感情価の相関", y="ピアソンの r", names={"pearson": "モデルの層"})
    inner = table[table["layer"] > EMBEDDING]
    null = Null("embedding_pearson", "埋め込みだけの場合")
    show(run, figures.lines_by_layer(inner, "pearson", None, axes, band=Band("low", "high"), null=null), "valence_axis")


def table_labels(places: pd.DataFrame | None) -> pd.DataFrame | None:
    """Every label's valence and its place on the first two components, in the model and in the embedding."""
    if places is None:
        return None
    wide = places.pivot(index="label", columns="layer", values=["pc1", "pc2"])
    layer = int(places["layer"].max())
    shown = pd.DataFrame({"感情価（人）": places.drop_duplicates("label").set_index("label")["valence"]})
    for place, name in ((layer, f"層 {layer}"), (EMBEDDING, EMBEDDING_NAME)):
        for part, component in (("pc1", "第1"), ("pc2", "第2")):
            values = wide[part][place]
            shown[f"{name}・{component}"] = values / values.std(ddof=0)
    shown = shown.sort_values("感情価（人）", ascending=False, kind="stable")
    return tidy(shown.rename(index=companion_name).rename_axis("ラベル"), digits=2)


def figure_labels(run: Run, places: pd.DataFrame | None) -> None:
    """The labels on the first two components at the chosen layer, coloured by valence."""
    if places is None:
        return
    layer = int(places["layer"].max())
    at = places[places["layer"] == layer]
    first = at.iloc[0]
    axes = Axes(
        f"ラベルの配置（層 {layer}）",
        x=f"第1主成分（分散 {number(100 * first['share_1'], 0)} %）",
        y=f"第2主成分（{number(100 * first['share_2'], 0)} %）",
        z="語の感情価",
    )
    names = [companion_name(label) for label in at["label"]]
    fig = figures.labelled_points(at[["pc1", "pc2"]].to_numpy(), names, at["valence"], axes, unknown="感情価が不明")
    show(run, fig, "label_geometry")


def sentence_valence(table: pd.DataFrame | None, layer: int, valence: dict[str, float] | None) -> Markdown:
    """What the first component has to do with valence, and what hangs on it."""
    finding = valence_finding(table, layer)
    if not finding.row:
        return Markdown(NOT_APPLICABLE)
    lines = [_VALENCE[finding.code](finding)]
    unknown = [label for label, value in (valence or {}).items() if pd.isna(value)]
    if unknown:
        lines.append(f"人の評定が VADER の語彙にないため相関から除いたラベル: {_label_names(unknown)}。")
    return Markdown("\n".join(f"- {line}" for line in lines))


def _correlation(finding: ValenceFinding) -> str:
    row = finding.row
    known = f"ラベル {row['n_labels']:.0f} 個、並べ替えの p {_equals(row['p'])}"
    return f"r = {with_interval(row['pearson'], row['low'], row['high'])}（{known}）"


def _equals(p: float) -> str:
    shown = p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"


def _against_embedding(finding: ValenceFinding) -> str:
    row = finding.row
    null = with_interval(row["embedding_pearson"], row["embedding_low"], row["embedding_high"])
    gap = with_interval(row["difference"], row["difference_low"], row["difference_high"], signed=True)
    return f"埋め込みだけでは r = {null} で、差は {gap}"


def _unmeasurable(finding: ValenceFinding) -> str:
    return (
        f"**測定できない**: 層 {finding.layer} の第1主成分は、シナリオの半分ずつから取ると別の軸になる"
        f"（信頼性 {number(finding.row['reliability'])}、基準 {number(RELIABLE)}）。感情価の軸があるともないとも言えない。"
        f"シナリオが {finding.row['n_scenarios']:.0f} では足りない。"
    )


def _no_valence(finding: ValenceFinding) -> str:
    units = "区間が 0 より上にあるのはシナリオについてだけで、ラベルの数が足りない。" if finding.row["low"] > 0 else ""
    return (
        f"層 {finding.layer} の第1主成分が語の感情価に沿うとは言えない: {_correlation(finding)}。{units}この数のラベルで偶然と区別できるのは "
        f"|r| がおよそ {number(finding.smallest)} を超えるときで、弱い関係がないとは言えない。"
    )


def _null_unmeasurable(finding: ValenceFinding) -> str:
    return (
        f"層 {finding.layer} の第1主成分は語の感情価に沿う: {_correlation(finding)}。ただし埋め込みの第1主成分が定まらない"
        f"（信頼性 {number(finding.row['embedding_reliability'])}、基準 {number(RELIABLE)}）ため、"
        "それがモデルの働きによるかどうかは**測定できない**。"
    )


def _beyond_embedding(finding: ValenceFinding) -> str:
    return (
        f"層 {finding.layer} の第1主成分は語の感情価に沿う: {_correlation(finding)}。{_against_embedding(finding)}。"
        "使われた語の平均を超えて、モデルの層が感情価の軸を作っていると言える。したがって、感情のベクトルの効果は"
        "感情価の近いラベルと比べるまで、その感情のものとは言えない。"
    )


def _as_embedding(finding: ValenceFinding) -> str:
    return (
        f"層 {finding.layer} の第1主成分は語の感情価に沿う: {_correlation(finding)}。しかし{_against_embedding(finding)}であり、"
        "0 を含む。感情価の軸は文に使われた語の時点ですでにあり、モデルの層が加えたとは言えない。"
    )


def _below_embedding(finding: ValenceFinding) -> str:
    return (
        f"層 {finding.layer} の第1主成分は語の感情価に沿う: {_correlation(finding)}。しかし{_against_embedding(finding)}で、"
        "埋め込みの方が強い。この層の最大の軸には、感情価のほかのものが混じる。"
    )


_VALENCE = {
    "unmeasurable": _unmeasurable,
    "no_valence": _no_valence,
    "null_unmeasurable": _null_unmeasurable,
    "beyond_embedding": _beyond_embedding,
    "as_embedding": _as_embedding,
    "below_embedding": _below_embedding,
}


# dissimilarities


def sentence_dissimilarities(table: pd.DataFrame | None, layer: int) -> Markdown:
    """Whether the table of dissimilarities is reliable enough for comparing models."""
    found = dissimilarity_finding(table, layer)
    if found.code == "not_applicable":
        return Markdown(NOT_APPLICABLE)
    known = (
        f"（層 {layer} で {number(found.reliability)}、埋め込みで {number(found.embedding)}、基準 {number(RELIABLE)}）"
    )
    layers = f"基準に届く層は {found.n_layers} 層のうち {found.n_reliable} 層である。"
    if found.code == "reliable":
        return Markdown(
            f"非類似度の表は、別のシナリオでもほぼ同じになる{known}。{layers}"
            "モデルどうしの一致は、この信頼性を上限として読む。"
        )
    return Markdown(
        f"非類似度の表は、シナリオの半分ずつで一致しない{known}。{layers}"
        "この層の表でモデルを比べても、一致しないのがモデルの違いによるのか標本によるのかは**測定できない**。"
    )


# vectors of like valence


def table_likeness(table: pd.DataFrame | None, layer: int) -> pd.DataFrame | None:
    """Cosines of every emotion with the labels of like valence, plain and without the sample's noise."""
    if table is None:
        return None
    rows = [
        {
            "感情": companion_name(row["emotion"]),
            "比べるラベル": companion_name(row["companion"]),
            "コサイン": number(row["plain"]),
            "誤差を除いた値": with_interval(row["corrected"], row["low"], row["high"]),
            "信頼性": number(row["reliability"]),
            "判定": _LIKENESS[row["code"]],
        }
        for row in likeness_codes(table, layer).to_dict("records")
    ]
    return pd.DataFrame(rows).set_index(["感情", "比べるラベル"])


_LIKENESS = {"differs": "異なる", "not_told_apart": "区別できない", "unmeasurable": "測定できない"}


def sentence_likeness(table: pd.DataFrame | None, layer: int) -> Markdown:
    """Which emotions' vectors are other directions than those of the labels of like valence."""
    if table is None:
        return Markdown(NOT_APPLICABLE)
    lines = []
    for code, part in likeness_codes(table, layer).groupby("code", sort=False):
        pairs = "、".join(
            f"{companion_name(str(emotion))}（{_label_names(rows['companion'])}）"
            for emotion, rows in part.groupby("emotion", sort=False)
        )
        lines.append(f"- {_LIKELY[str(code)]}: {pairs}。")
    return Markdown("\n".join(lines))


_LIKELY = {
    "differs": "誤差を除いたコサインの区間が 1 より下にあり、別の方向である",
    "not_told_apart": "区間が 1 に届き、同じ方向でないとは言えない（この感情のベクトルと呼ぶ根拠がない）",
    "unmeasurable": f"ベクトルの信頼性が {number(RELIABLE)} に届かず、同じか別かを**測定できない**",
}
