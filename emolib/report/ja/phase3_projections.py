"""Phase 3's sentences, tables and figures about projections: against scores, people's labels, tokens, components."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import code_span
from emolib.base.paths import name_part
from emolib.data.activations import Activations
from emolib.plots import figures, views
from emolib.plots.figures import Axes
from emolib.report.ja.names import MOST_DRAWN, emotion_name, emotion_names, metric_name, style_name
from emolib.report.markup import NOTHING, number, show, show_view, tidy, with_interval
from emolib.study.phase3_vectors.answers import corpus_codes, projection_codes, token_codes
from emolib.study.phase3_vectors.decoding import TokenProjections
from emolib.study.run import Run

OF_PEOPLE = ["n_human", "human_auc", "human_low", "human_high"]


def table_projections(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlations of the projections with the scores, emotions down; of many scores the own and the highest."""
    targets = [column for column in table if column.startswith("target/")]
    if len(targets) > MOST_DRAWN:
        table = _own_and_highest(table, targets)
    names = {"emotion": "ベクトル", "layer": "層", "n": "テキスト数", "null": "帰無の 97.5 % 点"}
    names |= {"own": "当該感情の得点", "highest": "他で最大の得点"}
    names |= {column: metric_name(column) for column in table if "/" in column or column == "valence"}
    shown = table.assign(emotion=table["emotion"].map(emotion_name))
    return tidy(shown, digits=2, names=names).set_index("ベクトル")


def _own_and_highest(table: pd.DataFrame, targets: list[str]) -> pd.DataFrame:
    """The table with two columns for all targets: an emotion's own, and the highest of the others with its name."""
    found = projection_codes(table)
    highest = [
        NOTHING if other is None else metric_name(other) + " " + number(value)
        for other, value in zip(found["other"], found["other_value"], strict=True)
    ]
    kept = table.drop(columns=targets)
    kept.insert(3, "own", found["own"].astype(float).to_numpy())
    kept.insert(4, "highest", highest)
    return kept


PROJECTIONS = {
    "chance": "入れ替えた得点と区別できない",
    "other_more": "他の感情の確率との相関の方が大きく、特異的とは言えない",
    "alone": "比べる他の感情の得点がないため、特異的かどうかは言えない",
    "own_most": "他の感情の確率との相関より大きい（差の検定はしていない）",
}


def sentence_projections(table: pd.DataFrame) -> Markdown:
    """Whether each projection follows its own emotion more than the others; those of which the same is true at once."""
    lines = []
    for code, part in projection_codes(table).groupby("code", sort=False):
        if code == "unknown":
            names = emotion_names(part["emotion"])
            lines.append(f"- {names}: この感情に対応する得点がないか、値が変わらないため、相関は測れない。")
        else:
            listed = "、".join(_projection(row) for row in part.to_dict("records"))
            lines.append(f"- 当該感情の得点との順位相関: {listed}。{PROJECTIONS[code]}。")
    return Markdown("\n".join(lines))


def _projection(row: dict) -> str:
    """The numbers that an emotion's verdict rests on."""
    text = f"{emotion_name(row['emotion'])} {number(row['own'], signed=True)}（帰無の 97.5 % 点 {number(row['null'])}"
    if row["code"] == "other_more":
        text += f"、{metric_name(row['other'])}とは {number(row['other_value'], signed=True)}"
    return f"{text}）"


# people's labels


def table_corpus(table: pd.DataFrame) -> pd.DataFrame | None:
    """The correlations on the corpus, and the AUC for people's labels; None where it is not at hand."""
    if table.empty:
        return None
    shown = table_projections(table.drop(columns=[column for column in OF_PEOPLE if column in table]))
    if "human_auc" in table:
        cells = [with_interval(*values) for values in table[OF_PEOPLE[1:]].to_numpy()]
        shown["人のラベルとの AUC"] = cells
    shown["人のラベルがある文"] = table["n_human"].to_numpy()
    return shown


def sentence_corpus(table: pd.DataFrame, folder: str) -> Markdown:
    """What the corpus says, or that it is not at hand."""
    if table.empty:
        return Markdown(
            f"{code_span(f'{folder}/dev.tsv')} がこの計算機にないため、GoEmotions での相関は測っていない（代わりの値は出さない）。"
        )
    said = {"above_chance": "AUC は 0.5 を上回る", "chance": "AUC は 0.5 と区別できない"}
    lines = []
    for code, part in corpus_codes(table).groupby("code", sort=False):
        if code == "unknown":
            names = emotion_names(part["emotion"])
            lines.append(f"- {names}: 対応する GoEmotions のラベルがないか、その文がない。")
            continue
        listed = "、".join(
            f"{emotion_name(r['emotion'])} {with_interval(r['human_auc'], r['human_low'], r['human_high'])}（{r['n_human']} 文）"
            for r in part.to_dict("records")
        )
        lines.append(f"- 人がそのラベルを付けた文を射影が見分ける: {listed}。{said[code]}。")
    return Markdown("\n".join(lines))


# tokens


def figure_tokens(run: Run, texts: Sequence[TokenProjections], emotion: str) -> None:
    """Every token of a few test texts coloured by its projection on an emotion's direction."""
    rows = [(emotion_name(t.emotion) + "・" + style_name(t.style), t.tokens, t.along) for t in texts]
    show_view(run, views.coloured_tokens_many(rows), f"token_projections_{name_part(emotion)}")


def table_tokens(table: pd.DataFrame) -> pd.DataFrame | None:
    """The projection at the emotion word and over the whole text; None where no text has one."""
    if table.empty:
        return None
    names = {
        "emotion": "感情",
        "layer": "層",
        "n": "感情語のある文",
        "at_word": "感情語の位置（残差ノルム比）",
        "overall": "文の平均（残差ノルム比）",
        "share": "文の合計に占める割合",
    }
    return tidy(table.assign(emotion=table["emotion"].map(emotion_name)), digits=3, names=names).set_index("感情")


def sentence_tokens(table: pd.DataFrame) -> Markdown:
    """Whether the projection stands at the emotion word rather than over the text."""
    if table.empty:
        return Markdown("感情語の位置がないため、語の位置と文全体は比べない。")
    coded = token_codes(table)
    if (coded["code"] == "unknown").all():
        return Markdown("感情語の位置での射影を計算できないため、語の位置と文全体は比べない。")
    high = coded[coded["code"] == "at_word"]
    if high.empty:
        return Markdown("射影は感情語の位置だけに集中してはいない。")
    shares = high["share"].dropna()
    text = f"{emotion_names(high['emotion'])}の射影は、感情語の位置で文の平均の 2 倍を超える。"
    if len(shares):
        but, most = (
            ("", "感情語そのものがその多くを担う") if shares.min() > 0.5 else ("ただし", "残りは他のトークンにある")
        )
        ends = dict.fromkeys(number(100 * share, 0) for share in (shares.min(), shares.max()))
        text += f"{but}文全体の射影の合計のうち、感情語の 1 トークンが占めるのは {'–'.join(ends)} % で、{most}。"
    return Markdown(text)


# principal components


def table_components(train: Activations, coordinates: np.ndarray, shares: np.ndarray, layer: int) -> pd.DataFrame:
    """Centroid of every label on the principal components, in units of each component's sd; and the variance shares."""
    scaled = coordinates / coordinates.std(axis=0)
    columns = [f"PC{i + 1}（分散 {number(100 * share, 0)} %）" for i, share in enumerate(shares)]
    table = pd.DataFrame(scaled, columns=columns).groupby(train.texts["emotion"].map(emotion_name), sort=False).mean()
    return tidy(table.rename_axis(f"ラベル（層 {layer}）"), digits=1)


def figure_components(run: Run, train: Activations, coordinates: np.ndarray, layer: int) -> None:
    """The training texts on the first two principal components."""
    _components(run, train, coordinates[:, :2], Axes(f"層 {layer} の主成分"), "pca")


def figure_components_3d(run: Run, train: Activations, coordinates: np.ndarray, layer: int) -> None:
    """The same on three."""
    _components(run, train, coordinates, Axes(f"層 {layer} の主成分（3 次元）"), "pca_3d")


def _components(run: Run, train: Activations, coordinates: np.ndarray, axes: Axes, name: str) -> None:
    texts = train.texts
    fig = figures.scatter(coordinates, texts["emotion"], axes, styles=texts["style"], hover=texts["text"])
    show(run, fig, name)
