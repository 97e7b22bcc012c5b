"""Phase 3's sentences, tables and figures about what can be read out: probes, the bag of words, the two styles."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.plots import figures
from emolib.plots.figures import Axes, Null
from emolib.report.ja.names import emotion_name, style_name
from emolib.report.ja.phase3_geometry import drawn
from emolib.report.ja.phase3_separation import all_one
from emolib.report.markup import number, show, tidy, with_interval
from emolib.study.phase3_vectors.answers import cross_style_codes, information_codes, shuffled_codes
from emolib.study.run import Run

SOURCES = {
    "residual": "残差ストリーム",
    "embedding": "埋め込み層だけ",
    "words": "bag of words",
    "length": "長さ",
}


def table_probes(chosen: pd.DataFrame) -> pd.DataFrame:
    """The probe's layer, and its AUC on validation and on test beside shuffled labels."""
    names = {
        "emotion": "感情",
        "layer": "選んだ層",
        "validation_auc": "検証 AUC",
        "test_auc": "テスト AUC",
        "shuffled_mean": "シャッフル平均",
        "shuffled_max": "シャッフルの最大",
    }
    return tidy(chosen.assign(emotion=chosen["emotion"].map(emotion_name)), digits=2, names=names).set_index("感情")


def figure_probes(run: Run, table: pd.DataFrame) -> None:
    """AUC on validation over layers."""
    validation = drawn(table[table["split"] == "validation"])
    null = Null("shuffled_max", "シャッフルの最大")
    fig = figures.lines_by_layer(validation, "auc", "emotion", Axes("プローブの AUC（検証）", y="AUC"), null=null)
    show(run, fig, "probes")


# more than the words


def table_information(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Test AUC of every source per style; the residual's layer was chosen on validation."""
    return _by_style(table, ["auc", "low", "high"]) if (one := all_one(table, "テスト AUC")) is None else one


def table_advantage(table: pd.DataFrame) -> pd.DataFrame:
    """AUC of the residual stream minus that of every other source, per style."""
    others = table[table["source"] != "residual"]
    return _by_style(others, ["advantage", "advantage_low", "advantage_high"], digits=3)


def _by_style(table: pd.DataFrame, columns: list[str], *, digits: int = 2) -> pd.DataFrame:
    layers = table[table["source"] == "residual"].drop_duplicates("emotion").set_index("emotion")["layer"]
    cells = [with_interval(*values, digits=digits) for values in table[columns].to_numpy(dtype=float)]
    sources = [
        f"{SOURCES[s]}（層 {layers[e]}）" if s == "residual" else SOURCES[s]
        for s, e in zip(table["source"], table["emotion"], strict=True)
    ]
    shown = table.assign(cell=cells, source=sources, emotion=table["emotion"].map(emotion_name))
    styles = {style: style_name(style) for style in dict.fromkeys(table["style"])}
    wide = shown.pivot(index=["emotion", "source"], columns="style", values="cell")[list(styles)]
    order = list(dict.fromkeys(zip(shown["emotion"], shown["source"], strict=True)))
    return wide.reindex(order).rename(columns=styles).rename_axis(index=["感情", "入力"], columns=None).fillna("—")


INFORMATION = {
    "more": "区間は 0 より上にあり、順位の並べ替えの p も 0.025 以下で、基準を満たす",
    "no_room": "誤りのない得点でも bag of words と区別できない文の数なので、判定しない",
    "less": "残差ストリームからの読み出しは bag of words に劣る",
    "no_difference": "bag of words との差は検出できない",
    "unknown": "差は計算できないため、判定しない",
}


SHUFFLED_HERE = "この比較のために別に引いたシャッフル"  # the section on probes draws its own


def sentence_information(table: pd.DataFrame) -> Markdown:
    """Whether the residual stream knows more than the words do; emotions of which the same is true together."""
    coded, lines = information_codes(table), []
    for (style, code), part in coded.groupby(["style", "code"], sort=False):
        rows = part.to_dict("records")
        listed = "、".join(f"{emotion_name(row['emotion'])} {_gap(row)}" for row in rows)
        where = f"{style_name(style)}、{rows[0]['n']} 文"
        lines.append(f"- bag of words との AUC の差（{where}）: {listed}。{INFORMATION[code]}。")
        if code == "no_difference":
            most = max(1 - row["auc"] for row in rows)
            lines[-1] += f"AUC は 1 を超えないため、ここで検出しうる差は最大でも {number(most)} である。"
        if code == "more" and part["near_ceiling"].any():
            lines[-1] += "AUC が 1 に近いときの区間は狭い。感情の数による補正はしていない。"
    shuffled = shuffled_codes(table)
    failed = shuffled[shuffled["code"] == "not_above"]
    if len(failed):
        listed = "、".join(_beside_shuffles(row) for row in failed.to_dict("records"))
        lines.append(f"- 残差ストリームのプローブの AUC（全体）は、{listed}で、{SHUFFLED_HERE}の最大を上回らない。")
    elif (shuffled["code"] == "above").any():
        lines.append("- どの感情でも、残差ストリームのプローブの AUC（全体）は、シャッフルの最大を上回る。")
    else:
        lines.append("- 残差ストリームのプローブの AUC は計算できないため、判定しない。")
    return Markdown("\n".join(lines))


def _beside_shuffles(row: dict) -> str:
    return f"{emotion_name(row['emotion'])} {number(row['auc'])}（シャッフルの最大 {number(row['shuffled_max'])}）"


def _gap(row: dict) -> str:
    return with_interval(row["advantage"], row["advantage_low"], row["advantage_high"], digits=3, signed=True)


# from one style to the other


def table_cross_style(table: pd.DataFrame) -> pd.DataFrame | Markdown | None:
    """Test AUC by the style that was trained on (down) and tested on (across); None without both styles."""
    if table.empty:
        return None
    if (one := all_one(table, "テスト AUC")) is not None:
        return one
    cells = [with_interval(*values) for values in table[["auc", "low", "high"]].to_numpy(dtype=float)]
    named = {column: table[column].map(style_name) for column in ("trained_on", "tested_on")}
    shown = table.assign(
        cell=cells, source=table["source"].map(SOURCES), emotion=table["emotion"].map(emotion_name), **named
    )
    keys = ["emotion", "source", "trained_on"]
    wide = shown.pivot(index=keys, columns="tested_on", values="cell")[list(dict.fromkeys(shown["tested_on"]))]
    wide = wide.reindex(list(dict.fromkeys(zip(*(shown[key] for key in keys), strict=True))))
    wide.columns = [f"テスト: {style}" for style in wide.columns]
    return wide.rename_axis(["感情", "入力", "訓練"])


CROSS_STYLE = {
    "words_too": "別の表現の文にも通じる。ただし bag of words も同じかそれ以上に通じるため、語を超えた方向の証拠にはならない",
    "beyond_words": "別の表現の文にも通じる。bag of words より高いが、差の検定はしていない",
    "not_carried": "通じるとは言えない",
    "unknown": "AUC を計算できないため、判定しない",
}


def sentence_cross_style(table: pd.DataFrame) -> Markdown:
    """Whether probes carry over from one style to the other; cases of which the same is true together."""
    coded = cross_style_codes(table)
    if coded.empty:
        return Markdown("二つの表現の文がそろっていないため、表現をまたぐ検査は行っていない。")
    lines = []
    for code, part in coded.groupby("code", sort=False):
        listed = "、".join(_crossed(row) for row in part.to_dict("records"))
        lines.append(f"- {listed}: {CROSS_STYLE[code]}。")
    return Markdown("\n".join(lines))


def _crossed(row: dict) -> str:
    way = "→".join(f"{style_name(row[key])}" for key in ("trained_on", "tested_on"))
    found = f"AUC {with_interval(row['auc'], row['low'], row['high'])}、bag of words {number(row['words'])}"
    return f"{emotion_name(row['emotion'])}（{way}、{row['n']} 文、{found}）"
