"""Phase 3's sentences and tables about what can be read out: probes, styles, projections and tokens."""

from __future__ import annotations

import numpy as np
import pandas as pd
from IPython.display import Markdown

from emolib.data.activations import Activations
from emolib.report.ja.every_report import none_at_hand
from emolib.report.ja.names import MOST_DRAWN, STYLE_NAMES, emotion_name, metric_name
from emolib.report.markup import number, tidy, with_interval

NEAR_CEILING = 0.99
SOURCES = {"residual": "残差ストリーム", "embedding": "埋め込み層だけ", "words": "語の袋", "length": "長さ"}


def component_rows(train: Activations, coordinates: np.ndarray, shares: np.ndarray, layer: int) -> pd.DataFrame:
    """Centroid of every label on the principal components, in units of each component's sd; and the variance shares."""
    scaled = coordinates / coordinates.std(axis=0)
    columns = [f"PC{i + 1}（分散 {share:.0%}）" for i, share in enumerate(shares)]
    table = pd.DataFrame(scaled, columns=columns).groupby(train.texts["emotion"].map(emotion_name), sort=False).mean()
    return tidy(table.rename_axis(f"ラベル（層 {layer}）"), digits=1)


def information_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Test AUC of every source per style; the residual's layer was chosen on validation."""
    return _by_style(table, ["auc", "low", "high"])


def advantage_rows(table: pd.DataFrame) -> pd.DataFrame:
    """AUC of the residual stream minus that of every other source, per style."""
    return _by_style(table[table["source"] != "residual"], ["advantage", "advantage_low", "advantage_high"], digits=3)


def _by_style(table: pd.DataFrame, columns: list[str], *, digits: int = 2) -> pd.DataFrame:
    layers = table[table["source"] == "residual"].drop_duplicates("emotion").set_index("emotion")["layer"]
    cells = [with_interval(*values, digits=digits) for values in table[columns].to_numpy(dtype=float)]
    sources = [
        f"{SOURCES[s]}（層 {layers[e]}）" if s == "residual" else SOURCES[s]
        for s, e in zip(table["source"], table["emotion"], strict=True)
    ]
    shown = table.assign(cell=cells, source=sources, emotion=table["emotion"].map(emotion_name))
    styles = {style: STYLE_NAMES.get(style, style) for style in dict.fromkeys(table["style"])}
    wide = shown.pivot(index=["emotion", "source"], columns="style", values="cell")[list(styles)]
    order = list(dict.fromkeys(zip(shown["emotion"], shown["source"], strict=True)))
    return wide.reindex(order).rename(columns=styles).rename_axis(index=["感情", "入力"], columns=None).fillna("—")


def information_sentence(table: pd.DataFrame) -> Markdown:
    """Whether the residual stream knows more than the words do, per emotion, computed."""
    lines, own = [], table[table["source"] == "residual"].set_index(["emotion", "style"])["auc"]
    for emotion, part in table[table["source"] == "words"].groupby("emotion", sort=False):
        for row in part.to_dict("records"):
            if row["style"] not in ("all", "implicit"):
                continue
            where = {"all": "全体", "implicit": "暗示文"}[row["style"]]
            gap = with_interval(row["advantage"], row["advantage_low"], row["advantage_high"], digits=3)
            if pd.isna(row["advantage_low"]):
                verdict = "差は計算できないため、判定しない。"
            elif row["advantage_low"] > 0:
                verdict = "区間は 0 より上にあり、基準を満たす。"
                if own[row["emotion"], row["style"]] >= NEAR_CEILING:
                    verdict += "残差ストリームの AUC が 1 に近いため区間は狭く、感情の数による補正もしていない。"
            elif row["advantage_high"] < 0:
                verdict = "残差ストリームからの読み出しは語の袋に劣る。"
            else:
                verdict = f"語の袋との差は検出できない（語の袋の AUC が {number(row['auc'])} なので、差は最大でも {number(1 - row['auc'])} である）。"
            lines.append(f"- {emotion_name(emotion)}（{where}、{row['n']} 文）: 語の袋との AUC の差 {gap}。{verdict}")
    known = table[(table["source"] == "residual") & (table["style"] == "all")].dropna(subset=["auc", "shuffled_max"])
    failed = [emotion_name(r["emotion"]) for r in known.to_dict("records") if r["auc"] <= r["shuffled_max"]]
    if failed:
        lines.append(f"- {'・'.join(failed)}のプローブは、シャッフルしたラベルの最大を上回らない。")
    elif len(known):
        lines.append("- どの感情でも、残差ストリームのプローブはシャッフルしたラベルの最大を上回る。")
    else:
        lines.append("- 残差ストリームのプローブの AUC は計算できないため、判定しない。")
    return Markdown("\n".join(lines))


def cross_style_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Test AUC by the style that was trained on (down) and tested on (across)."""
    if table.empty:
        return none_at_hand()
    cells = [with_interval(*values) for values in table[["auc", "low", "high"]].to_numpy(dtype=float)]
    named = {column: table[column].map(lambda s: STYLE_NAMES.get(s, s)) for column in ("trained_on", "tested_on")}
    shown = table.assign(
        cell=cells, source=table["source"].map(SOURCES), emotion=table["emotion"].map(emotion_name), **named
    )
    keys = ["emotion", "source", "trained_on"]
    wide = shown.pivot(index=keys, columns="tested_on", values="cell")[list(dict.fromkeys(shown["tested_on"]))]
    wide = wide.reindex(list(dict.fromkeys(zip(*(shown[key] for key in keys), strict=True))))
    wide.columns = [f"テスト: {style}" for style in wide.columns]
    return wide.rename_axis(["感情", "入力", "訓練"])


def cross_style_sentence(table: pd.DataFrame) -> Markdown:
    """Whether a probe carries over from one style to the other."""
    crossed = table[
        (table["source"] == "residual") & (table["trained_on"] != "all") & (table["trained_on"] != table["tested_on"])
    ]
    if crossed.empty:
        return Markdown("二つの種類の文がそろっていないため、種類をまたぐ検査は行っていない。")
    lines = []
    for row in crossed.to_dict("records"):
        words = table[(table["source"] == "words")]
        for key in ("emotion", "trained_on", "tested_on"):
            words = words[words[key] == row[key]]
        way = "→".join(STYLE_NAMES.get(row[key], row[key]) for key in ("trained_on", "tested_on"))
        if pd.isna(row["auc"]) or pd.isna(row["low"]):
            lines.append(f"- {emotion_name(row['emotion'])}（{way}）: AUC を計算できないため、判定しない。")
            continue
        carries = row["low"] > 0.5 and row["auc"] > row["shuffled_max"]
        no_better = row["auc"] <= words.iloc[0]["auc"]
        beyond = (
            "ただし語の袋も同じかそれ以上に通じるため、語を超えた方向の証拠にはならない。"
            if no_better
            else "語の袋より高いが、差の検定はしていない。"
        )
        lines.append(
            f"- {emotion_name(row['emotion'])}（{way}、{row['n']} 文）: AUC {with_interval(row['auc'], row['low'], row['high'])}"
            f"（語の袋 {number(words.iloc[0]['auc'])}）。"
            + (f"別の種類の文にも通じる。{beyond}" if carries else "通じるとは言えない。")
        )
    return Markdown("\n".join(lines))


def probe_rows(chosen: pd.DataFrame) -> pd.DataFrame:
    names = {
        "emotion": "感情",
        "layer": "選んだ層",
        "validation_auc": "検証 AUC",
        "test_auc": "テスト AUC",
        "shuffled_mean": "シャッフル平均",
        "shuffled_max": "シャッフル最大",
    }
    return tidy(chosen.assign(emotion=chosen["emotion"].map(emotion_name)), digits=2, names=names).set_index("感情")


def projection_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlations of the projections with the scores, emotions down; of many scores the own and the highest."""
    targets = [column for column in table if column.startswith("target/")]
    if len(targets) > MOST_DRAWN:
        table = _own_and_highest(table, targets)
    names = {"emotion": "ベクトル", "layer": "層", "n": "テキスト数", "null": "帰無の 97.5 % 点"}
    names |= {"own": "自分の得点", "highest": "他で最大の得点"}
    names |= {column: metric_name(column) for column in table if "/" in column or column == "valence"}
    shown = table.assign(emotion=table["emotion"].map(emotion_name))
    return tidy(shown, digits=2, names=names).set_index("ベクトル")


def _own_and_highest(table: pd.DataFrame, targets: list[str]) -> pd.DataFrame:
    """The table with two columns for all targets: an emotion's own, and the highest of the others with its name."""
    own, highest = [], []
    for row in table.to_dict("records"):
        mine = f"target/{row['emotion']}"
        others = {c: row[c] for c in targets if c != mine and not pd.isna(row[c])}
        best = max(others, key=others.get, default=None)
        own.append(row.get(mine, float("nan")))
        highest.append("—" if best is None else f"{metric_name(best)} {number(others[best])}")
    kept = table.drop(columns=targets)
    kept.insert(3, "own", own)
    kept.insert(4, "highest", highest)
    return kept


def projection_sentence(table: pd.DataFrame) -> Markdown:
    """Whether each projection follows its own emotion more than the others, computed."""
    targets = [column for column in table if column.startswith("target/")]
    lines = []
    for row in table.to_dict("records"):
        own, null = row.get(f"target/{row['emotion']}"), row.get("null")
        name = emotion_name(row["emotion"])
        if pd.isna(own) or pd.isna(null):  # None too
            lines.append(f"- {name}: この感情に対応する得点がないか、値が変わらないため、相関は測れない。")
            continue
        others = {c: row[c] for c in targets if c != f"target/{row['emotion']}" and not pd.isna(row[c])}
        strongest = max(others, key=others.get, default=None)
        text = f"- {name}: 自分の得点との順位相関 {number(own, signed=True)}（帰無の 97.5 % 点 {number(null)}）。"
        if own <= null:
            text += "入れ替えた得点と区別できない。"
        elif strongest is not None and others[strongest] >= own:
            text += f"{metric_name(strongest)}との相関 {number(others[strongest], signed=True)} の方が大きく、特異的とは言えない。"
        elif strongest is None:
            text += "比べる他の感情の得点がないため、特異的かどうかは言えない。"
        else:
            text += "他の感情の確率との相関より大きい（差の検定はしていない）。"
        lines.append(text)
    return Markdown("\n".join(lines))


def corpus_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The correlations on the corpus, and the AUC for people's labels."""
    if table.empty:
        return none_at_hand()
    of_people = ["n_human", "human_auc", "human_low", "human_high"]
    shown = projection_rows(table.drop(columns=[column for column in of_people if column in table]))
    if "human_auc" in table:
        cells = [with_interval(*values) for values in table[["human_auc", "human_low", "human_high"]].to_numpy()]
        shown["人のラベルとの AUC"] = cells
    shown["人のラベルがある文"] = table["n_human"].to_numpy()
    return shown


def corpus_sentence(table: pd.DataFrame, folder: str) -> Markdown:
    """What the corpus says, or that it is not at hand."""
    if table.empty:
        return Markdown(
            f"`{folder}/dev.tsv` がこの計算機にないため、GoEmotions での相関は測っていない（代わりの値は出さない）。"
        )
    lines = []
    for row in table.to_dict("records"):
        name, auc = emotion_name(row["emotion"]), row.get("human_auc")
        if auc is None or pd.isna(auc):
            lines.append(f"- {name}: 対応する GoEmotions のラベルがないか、その文がない。")
            continue
        found = with_interval(auc, row["human_low"], row["human_high"])
        verdict = "0.5 を上回る。" if row["human_low"] > 0.5 else "0.5 と区別できない。"
        lines.append(
            f"- {name}: 人がそのラベルを付けた {row['n_human']} 文を射影が見分ける AUC は {found} で、{verdict}"
        )
    return Markdown("\n".join(lines))


def token_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The projection at the emotion word and over the whole text."""
    if table.empty:
        return none_at_hand()
    names = {
        "emotion": "感情",
        "layer": "層",
        "n": "感情語のある文",
        "at_word": "感情語の位置（残差ノルム比）",
        "overall": "文の平均（残差ノルム比）",
        "share": "文の合計に占める割合",
    }
    return tidy(table.assign(emotion=table["emotion"].map(emotion_name)), digits=3, names=names).set_index("感情")


def token_sentence(table: pd.DataFrame) -> Markdown:
    """Whether the projection stands at the emotion word rather than over the text."""
    if table.empty:
        return Markdown("感情語の位置がないため、語の位置と文全体は比べない。")
    known = table.dropna(subset=["at_word", "overall"])
    if known.empty:
        return Markdown("感情語の位置での射影を計算できないため、語の位置と文全体は比べない。")
    high = known[known["at_word"] > 2 * known["overall"].abs()]
    if high.empty:
        return Markdown("射影は感情語の位置だけに集中してはいない。")
    names = "・".join(emotion_name(e) for e in high["emotion"])
    shares = high["share"].dropna()
    text = f"{names}の射影は、感情語の位置で文の平均の 2 倍を超える。"
    if len(shares):
        most = "感情語そのものがその多くを担う。" if shares.min() > 0.5 else "残りは他のトークンにある。"
        text += f"ただし文全体の射影の合計のうち、感情語の 1 トークンが占めるのは {shares.min():.0%}–{shares.max():.0%} で、{most}"
    return Markdown(text)


def discussion(
    chosen: pd.DataFrame, n_test: int, information: pd.DataFrame, k_table: pd.DataFrame, projections: pd.DataFrame
) -> Markdown:
    """考察 about what can be read out and the hypotheses, computed."""
    lines = []
    for row in chosen.to_dict("records"):
        if pd.isna(row["test_auc"]) or pd.isna(row["shuffled_max"]):
            lines.append(f"- {emotion_name(row['emotion'])}: プローブのテスト AUC を計算できないため、判定しない。")
            continue
        verdict = "上回る" if row["test_auc"] > row["shuffled_max"] else "上回らない"
        lines.append(
            f"- {emotion_name(row['emotion'])}: 検証で選んだ層 {row['layer']} のプローブはテスト {n_test} シナリオで AUC {number(row['test_auc'])} を示し、"
            f"シャッフルの最大 {number(row['shuffled_max'])} を{verdict}。"
        )
    lines += [_beyond_words_line(information), _subspace_line(k_table), _specific_line(projections)]
    lines.append(
        "- プローブの AUC は読み出せることを示すだけで、モデルがその方向を使うことは示さない。因果は Phase 5 で問う。"
    )
    return Markdown("\n".join(lines))


def _beyond_words_line(information: pd.DataFrame) -> str:
    """Which emotions meet the bar of knowing more than the words, over all texts and in implicit ones."""
    words = information[information["source"] == "words"].dropna(subset=["advantage_low"])
    parts = []
    for style, where in (("all", "全体"), ("implicit", "暗示文")):
        rows = words[words["style"] == style]
        if rows.empty:
            continue
        met = [emotion_name(e) for e in rows.loc[rows["advantage_low"] > 0, "emotion"]]
        parts.append(f"{where}では" + (f"{'・'.join(met)}が基準を満たす" if met else "どの感情でも差を検出できない"))
    if not parts:
        return "- 語を超える情報: 計算できないため、判定しない。"
    text = f"- 語を超える情報: {'、'.join(parts)}。"
    implicit = words[words["style"] == "implicit"]
    if len(implicit) and not (implicit["advantage_low"] > 0).any():
        text += "「暗示文では語の袋より多くを知っている」という仮説は支持されない（否定されたのでもない）。"
    return text


def _subspace_line(k_table: pd.DataFrame) -> str:
    found = k_table[k_table["found"]] if len(k_table) else k_table
    if found.empty:
        return "- 部分空間: ラベルに固有の部分空間は確かめられない。"
    names = "・".join(f"{emotion_name(r['emotion'])}（k = {r['k']}）" for r in found.to_dict("records"))
    text = f"- 部分空間: {names}で基準を満たす。"
    if (found["k"] == 1).all():
        text += "どれも一つの方向であり、二つ目以降の方向がラベルに固有だという証拠はない。"
    return text


def _specific_line(projections: pd.DataFrame) -> str:
    """Emotions whose projection follows another emotion's score as much as its own."""
    targets = [column for column in projections if column.startswith("target/")]
    mixed = []
    for row in projections.to_dict("records"):
        own = row.get(f"target/{row['emotion']}")
        others = [row[c] for c in targets if c != f"target/{row['emotion']}" and not pd.isna(row[c])]
        if own is not None and not pd.isna(own) and others and max(others) >= own:
            mixed.append(emotion_name(row["emotion"]))
    if mixed:
        return f"- 射影と得点: {'・'.join(mixed)}の射影は他の感情の確率との相関の方が大きく、その感情に特異的とは言えない。"
    return "- 射影と得点: どの射影も、他の感情の確率との相関が自分の感情より大きいことはない（差の検定はしていない）。"
