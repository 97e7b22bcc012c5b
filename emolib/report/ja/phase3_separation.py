"""Phase 3's sentences and tables about vectors that tell held-out texts apart, and vectors from some of the texts."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.names import POSITION_NAMES, emotion_name, emotion_names, style_name
from emolib.report.ja.phase3_geometry import VIEWS
from emolib.report.markup import number, tidy, with_interval
from emolib.study.phase1_dataset import LEAK_LIMIT
from emolib.study.phase3_vectors.answers import restricted_codes, separation_codes

FITTED_ON = {"all": "全ての文", "implicit": "暗示表現の文だけ", "adjusted": "表層を除去"}
ALL_ONE = 0.995  # rounded to two digits it reads 1.00


def all_one(table: pd.DataFrame, name: str) -> Markdown | None:
    """One sentence in place of a table in which every AUC reads 1.00 with an interval of nothing; else None."""
    if len(table) and table["auc"].min() >= ALL_ONE and table["low"].min() >= ALL_ONE:
        return Markdown(f"{name}は、どの行でも 1.00 [1.00, 1.00] である。")
    return None


def table_separation(table: pd.DataFrame) -> pd.DataFrame:
    """Every view's layer and test AUC at the mean over tokens, beside its nulls."""
    shown = table[table["position"] == "mean"]
    rows = {
        "感情": shown["emotion"].map(emotion_name),
        "表し方": shown["variant"].map(VIEWS),
        "選んだ層": shown["layer"],
        "検証 AUC": shown["validation_auc"].round(2),
        "テスト AUC [95 % 区間]": [with_interval(*v) for v in shown[["auc", "low", "high"]].to_numpy()],
        "ランダム方向の 97.5 % 点": shown["random_high"].round(2),
        "シャッフルの 97.5 % 点": shown["shuffled_high"].round(2),
    }
    return pd.DataFrame(rows).set_index(["感情", "表し方"])


def table_separation_positions(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Test AUC of the raw vector of every position."""
    raw = table[table["variant"] == "raw"]
    if (sentence := all_one(raw, "位置ごとの生のベクトルのテスト AUC")) is not None:
        return sentence
    cells = [f"{with_interval(*v[:3])}（層 {int(v[3])}）" for v in raw[["auc", "low", "high", "layer"]].to_numpy()]
    shown = raw.assign(
        cell=cells, emotion=raw["emotion"].map(emotion_name), position=raw["position"].map(POSITION_NAMES)
    )
    wide = shown.pivot(index="emotion", columns="position", values="cell")
    wide = wide.reindex(index=shown["emotion"].unique(), columns=shown["position"].unique())
    return wide.rename_axis(index="感情", columns=None)


def sentence_separation(table: pd.DataFrame) -> Markdown:
    """Which views separate, and whether anything beats its nulls; emotions of which the same is true together."""
    mean = separation_codes(table[table["position"] == "mean"])
    told: dict[str, list[str]] = {}
    for emotion, part in mean.groupby("emotion", sort=False):
        above = part[part["code"] == "above"]
        if (part["code"] == "unknown").all():
            key = "テスト AUC を計算できないため、判定しない。"
        elif above.empty:
            key = "どの表し方も、区間の下限がランダム方向・シャッフルの 97.5 % 点を上回らない。"
        else:
            views = "・".join(VIEWS[view] for view in above["variant"])
            key = (
                f"{views}のベクトルへの射影だけで、見ていないシナリオの感情文と中立文を対照の 97.5 % 点より良く分ける。"
            )
        told.setdefault(key, []).append(emotion)
    lines = [f"- {emotion_names(emotions)}: {text}" for text, emotions in told.items()]
    best = [part.loc[part["validation_auc"].idxmax()] for _, part in mean.groupby("emotion", sort=False)]
    listed = "、".join(
        f"{emotion_name(row['emotion'])}は{VIEWS[row['variant']]}（テスト AUC {number(row['auc'])}）"
        for row in best
        if row["code"] != "unknown"
    )
    return Markdown("\n".join(lines + ([f"- 検証で最良の表し方: {listed}。"] if listed else [])))


def table_restricted(table: pd.DataFrame) -> pd.DataFrame | Markdown:
    """Vectors from implicit texts alone, or with the surface regressed out, beside those from all texts."""
    if (sentence := all_one(table, "これらのベクトルのテスト AUC")) is not None:
        return sentence
    cells = [with_interval(*v) for v in table[["auc", "low", "high"]].to_numpy()]
    tested = ["テスト: " + style_name(style) for style in table["tested_on"]]
    shown = table.assign(cell=cells, tested=tested, emotion=table["emotion"].map(emotion_name))
    shown["fitted_on"] = shown["fitted_on"].map(FITTED_ON)
    keys = ["emotion", "fitted_on", "layer", "cosine"]
    shown["cosine"] = shown["cosine"].map(number)
    wide = shown.pivot(index=keys, columns="tested", values="cell").reindex(columns=list(dict.fromkeys(tested)))
    wide = wide.reindex(list(dict.fromkeys(zip(*(shown[key] for key in keys), strict=True)))).reset_index()
    wide.columns.name = None
    order = {name: i for i, name in enumerate(dict.fromkeys(shown["emotion"]))}
    wide = wide.sort_values("emotion", key=lambda c: c.map(order), kind="stable")
    names = {"emotion": "感情", "fitted_on": "作った文", "layer": "層", "cosine": "全ての文とのコサイン"}
    return tidy(wide, names=names).set_index(["感情", "作った文"]).fillna("—")


def sentence_restricted(table: pd.DataFrame) -> Markdown:
    """Whether a vector that never saw an emotion word still separates, and what taking out the surface changes."""
    implicit = restricted_codes(table[(table["fitted_on"] == "implicit") & (table["tested_on"] == "implicit")])
    told = {
        "above_chance": " 0.5 を上回る（ランダム方向とは比べていない）",
        "chance": "偶然（0.5）と区別できない",
        "unknown": "計算できないため、判定しない",
    }
    parts = []
    for code, part in implicit.groupby("code", sort=False):
        listed = "、".join(
            f"{emotion_name(r['emotion'])} {with_interval(r['auc'], r['low'], r['high'])}"
            for r in part.to_dict("records")
        )
        parts.append(f"{listed} は{told[code]}。")
    lines = (
        [f"- 暗示表現の文だけのベクトルがテストの暗示表現の文を中立文と分ける AUC: {''.join(parts)}"] if parts else []
    )
    return Markdown("\n".join([*lines, _adjusted_line(table)]))


def _adjusted_line(table: pd.DataFrame) -> str:
    adjusted = table[(table["fitted_on"] == "adjusted") & (table["tested_on"] == "all")]
    if adjusted.empty:
        return (
            f"- 表層（代名詞・句読点・長さ・数や暦の語など）だけで AUC {LEAK_LIMIT} を超えて見分けられるラベルは Phase 1 で見つからなかったため、"
            "表層は除去していない。"
        )
    everything = table[(table["fitted_on"] == "all") & (table["tested_on"] == "all")].set_index("emotion")["auc"]
    listed = "、".join(
        f"{emotion_name(r['emotion'])} {number(everything[r['emotion']])} → {number(r['auc'])}（コサイン {number(r['cosine'])}）"
        for r in adjusted.to_dict("records")
    )
    return (
        f"- Phase 1 では表層（代名詞・句読点・長さ・数や暦の語など）だけでもラベルが見分けられる（AUC > {LEAK_LIMIT}）。"
        f"これらを回帰で除いた場合のテスト AUC は {listed}。"
    )
