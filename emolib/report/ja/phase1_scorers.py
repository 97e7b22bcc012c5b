"""Phase 1's sentences, tables and figures about the scorers: what they see in texts whose writer's aim is known."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.plots import figures
from emolib.plots.figures import Axes
from emolib.report.ja.names import FAMILIES, emotion_name, metric_name, style_name
from emolib.report.markup import number, show, tidy
from emolib.study.phase1_dataset import deciding, highest_scores
from emolib.study.run import Run

WAYS = {"lexical": "n-gram", "encoder": "エンコーダ", "bundled": "結合（判定に使う値）"}
FLOOR = 0.001  # where smaller probabilities are drawn


def table_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Mean scores per style and label of the texts."""
    shown = table.assign(emotion=table["emotion"].map(emotion_name), style=table["style"].map(style_name))
    names = {c: metric_name(c) for c in table if "/" in c or c == "valence"}
    return tidy(shown, digits=2, names={**names, "style": "表現", "emotion": "ラベル"}).set_index(["表現", "ラベル"])


def table_scorers(table: pd.DataFrame) -> pd.DataFrame | None:
    """AUC of every scorer against the neutral texts; None where there is no scorer (`sentence_scorers` says so)."""
    if table.empty:
        return None
    shown = table.assign(
        emotion=table["emotion"].map(emotion_name),
        style=table["style"].map(style_name),
        family=table["family"].map(FAMILIES),
    )
    names = {"style": "表現", "emotion": "感情", "family": "採点器", "n": "テキスト数", "auc": "AUC"}
    names |= {"null": "帰無の 97.5 % 点"}
    return tidy(shown.drop(columns="seen"), digits=2, names=names).set_index(["表現", "感情", "採点器"])


def figure_scorers(run: Run, table: pd.DataFrame) -> None:
    """AUC of every scorer, per emotion and style."""
    bars = pd.DataFrame(
        {
            "place": [_place(row.emotion, row.style) for row in table.itertuples()],
            "family": table["family"].map(FAMILIES),
            "auc": table["auc"].astype(float),
        }
    )
    axes = Axes("採点器だけで中立と見分ける AUC", y="AUC")
    show(run, figures.bars_by_label(bars, "place", "auc", "family", axes), "scorers")


def table_quality(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """How good the bundled GoEmotions models are on that data set's dev split."""
    if table.empty:
        return Markdown("どの感情にも同じ名の GoEmotions ラベルがないため、分類器の質は示さない。")
    names = {
        "label": "ラベル",
        "way": "分類器",
        "n": "正例の数",
        "precision": "適合率",
        "recall": "再現率",
        "f1": "F1",
        "ece": "期待較正誤差",
        "brier_skill": "Brier スキル",
    }
    return tidy(table.assign(way=table["way"].map(WAYS)), digits=3, names=names).set_index(["ラベル", "分類器"])


def figure_calibration(run: Run, table: pd.DataFrame) -> None:
    """The calibration of the measure that decides, label by label."""
    curves = table if table.empty else table[table["way"] == "bundled"]
    title = "較正曲線（結合、GoEmotions dev、同数ずつの 10 区間）"
    show(run, figures.calibration(curves, "label", floor=FLOOR, title=title), "calibration")


def sentence_scorers(table: pd.DataFrame, means: pd.DataFrame) -> Markdown:
    """Where the scorers see the emotion and where they do not, computed."""
    if table.empty:
        return Markdown(
            "- どの感情にも、語の一覧（`params/keywords/`）も、同じ名の GoEmotions ラベルもない。採点器では測れないため、"
            "Phase 5 は語の一覧を加えるまで止まる。"
        )
    main = deciding(table)
    parts = []
    for style, part in main.groupby("style", sort=False):
        listed = "、".join(f"{emotion_name(row.emotion)} {number(row.auc)}" for row in part.itertuples())
        parts.append(f"{style_name(style)}では {listed}")
    lines = [f"- 判定に使う値で中立と見分ける AUC は、{'。'.join(parts)} である。"]
    if unseen := unseen_places(table):
        lines.append(f"- {unseen}では帰無の 97.5 % 点を上回らず、中立と見分けない。")
    lines += [*_mean_lines(means), *_stance_lines(table, means)]
    lines.append("- Phase 5 の指標は主に明示的な言い回しを測る。得点が動かないことは、感情が動かないことを意味しない。")
    return Markdown("\n".join(lines))


def unseen_places(table: pd.DataFrame) -> str:
    """Emotions and styles that the deciding measure does not tell from neutral; empty where there are none."""
    unseen = deciding(table)
    return "・".join(_place(row.emotion, row.style) for row in unseen[~unseen["seen"].astype(bool)].itertuples())


def _stance_lines(table: pd.DataFrame, means: pd.DataFrame) -> list[str]:
    """Where `expressed` does not tell an emotion from neutral, and its mean on the neutral texts."""
    own = table[table["family"] == "expressed"]
    neutral = means[~means["emotion"].isin(set(table["emotion"]))]
    columns = [name for name in means if str(name).startswith("expressed/")]
    if own.empty or neutral.empty or not columns:
        return []
    unseen = "・".join(_place(row.emotion, row.style) for row in own[~own["seen"].astype(bool)].itertuples())
    told = f"二次的な値 expressed は{unseen}を中立と見分けない。" if unseen else ""
    ranges = "、".join(
        f"{metric_name(name)} {number(neutral[name].min())}–{number(neutral[name].max())}" for name in columns
    )
    return [
        f"- {told}中立の文での平均は {ranges} である。「あり」とする境の 0.5 に近い感情では、値の大きさからその感情があるとは言えない。"
    ]


def _mean_lines(means: pd.DataFrame) -> list[str]:
    """The mean of each emotion's own probability, and where another emotion's is higher."""
    lines = []
    for style, part in highest_scores(means).groupby("style", sort=False):
        rows = part.to_dict("records")
        listed = "、".join(f"{emotion_name(row['emotion'])} {number(row['own'])}" for row in rows)
        beaten = [
            f"{emotion_name(row['emotion'])}の文では{emotion_name(row['highest'])}の確率（{number(row['value'])}）の方が高い。"
            for row in rows
            if row["highest"] != row["emotion"]
        ]
        text = f"- {style_name(style)}の文での当該感情の確率の平均は {listed}。"
        lines.append(text + ("".join(beaten) or "どのラベルでも当該感情の確率が最も高い。"))
    return lines


def _place(emotion: str, style: str) -> str:
    return f"{emotion_name(emotion)}（{style_name(style)}）"
