"""Phase 5's sentences and tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
from IPython.display import Markdown

from emolib.base.parameters import PatchingParameters
from emolib.report.ja.every_report import (
    emotion_name,
    escape,
    markdown_table,
    metric_name,
    number,
    tidy,
)
from emolib.scoring.fluency import nll_limit
from emolib.steering.findings import judged
from emolib.steering.robustness import BESIDE

WORDS = {"supported": "支持", "not_supported": "不支持", "underpowered": "検出力不足"}
KINDS = {
    "baseline": "パッチなし",
    "emotion": "感情ベクトル",
    "isotropic": "等方的な乱数方向",
    "covariance": "共分散に合わせた方向",
    "shuffled": "シャッフル方向",
    "direct_path": "直接経路",
    "zero": "強さ 0（確認）",
    "other_style": "もう一方の文体のベクトル",
    "pca": "主成分方向",
    "probe": "プローブ方向",
    "subspace": "部分空間への移動",
    "prompting": "指示（プロンプト）",
    "prompting_baseline": "指示なし（同じ書式）",
}
SHORT = {"isotropic": "等方", "covariance": "共分散", "shuffled": "シャッフル"}
EMPTY = "（空）"
RULES = {"best": "最良", "median": "中央", "worst": "最悪", "broken": "破綻"}


def reference_rows(reference: pd.DataFrame) -> pd.DataFrame:
    """NLL of the reference texts by the label of their prompt, and the limit."""
    shown = reference.assign(emotion=reference["emotion"].map(emotion_name))
    table = shown.groupby("emotion", sort=False)["nll"].agg(["mean", "std", "max", "size"])
    table.loc["全体"] = [*reference["nll"].agg(["mean", "std", "max"]), len(reference)]
    table["size"] = table["size"].astype(int)
    names = {"mean": "平均 NLL", "std": "標準偏差", "max": "最大", "size": "n"}
    table["limit"] = nll_limit(reference)
    return tidy(table.rename_axis("プロンプト"), digits=2, names={**names, "limit": "破綻の境界（95 パーセンタイル）"})


def change_bars(table: pd.DataFrame, family: str) -> pd.DataFrame:
    """Own words (`keywords`) or own probability (`target`) for the figure: emotion, kind, value, se."""
    own = table[table["metric"].str.startswith(f"{family}/")]
    names = {"baseline": "パッチなし", "patched": "パッチ", "random": "等方的な乱数方向"}
    parts = [
        pd.DataFrame(
            {"emotion": own["emotion"].map(emotion_name), "kind": shown, "value": own[kind], "se": own[f"{kind}_se"]}
        )
        for kind, shown in names.items()
    ]
    return pd.concat(parts, ignore_index=True)


def family_matrix(table: pd.DataFrame, family: str) -> pd.DataFrame:
    """The columns of one family of the specificity matrix, with Japanese names."""
    kept = table[[column for column in table if column.startswith(f"{family}/")]]
    return kept.rename(index=lambda e: f"{emotion_name(e)}ベクトル", columns=metric_name)


def label_matrix(table: pd.DataFrame) -> pd.DataFrame:
    """The changes of all 28 labels, for the figure."""
    return table.rename(index=lambda e: f"{emotion_name(e)}ベクトル")


def largest_changes(table: pd.DataFrame, count: int = 5) -> Markdown:
    """The labels that each vector raises and lowers most."""
    rows = []
    for emotion, row in table.iterrows():
        ordered = row.sort_values(ascending=False, kind="stable")
        ends = (ordered.head(count), ordered.tail(count).iloc[::-1])
        rows.append(
            [
                emotion_name(emotion),
                *(", ".join(f"{k} {v:+.2f}" for k, v in end.items() if abs(v) >= 0.005) or "—" for end in ends),
            ]
        )
    return Markdown(markdown_table(rows, ["操作した感情", f"最も増えた {count} ラベル", f"最も減った {count} ラベル"]))


def effects_and_nulls(table: pd.DataFrame, family: str) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Own effect of every emotion on one kind of measure, and the effects of every family of control directions."""
    effects, nulls = {}, {}
    kept = table[table["metric"].str.startswith(f"{family}/")]
    for (emotion, control), part in kept.groupby(["emotion", "family"], sort=False):
        name = f"{emotion_name(emotion)}<br>{SHORT[control]}"
        effects[name], nulls[name] = float(part["own"].iloc[0]), part["control"].to_numpy()
    return effects, nulls


def matrix(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.rename(index=emotion_name, columns=metric_name)
    return tidy(shown.rename_axis("操作した感情"), digits=2)


def claim_rows(table: pd.DataFrame, params: PatchingParameters) -> pd.DataFrame:
    """Items down, emotions and measures across; what is not defined is a dash."""
    names = {
        "own_effect": "自分のベクトルによる変化",
        "own_effect_unfiltered": "同（破綻もそのまま数える）",
        "vs_others": "自分 − 他感情の平均",
        "ci_low": "95 % BCa 下限",
        "ci_high": "95 % BCa 上限",
        "p_isotropic": "片側順位 p（等方）",
        "p_covariance": "片側順位 p（共分散）",
        "p_shuffled": "片側順位 p（シャッフル）",
        "rank_p": "片側順位 p（最も厳しい族）",
        "direct_path": "直接経路での変化（破綻もそのまま）",
        "wrong_way": "値が下がったプロンプトの割合",
        "wrong_way_unfiltered": "同（破綻もそのまま数える）",
    }
    raw = {
        "vs_others": "自分 − 他感情の平均（破綻もそのまま）",
        "ci_low": "同 95 % BCa 下限",
        "ci_high": "同 95 % BCa 上限",
        "rank_p": "片側順位 p（最も厳しい族、破綻もそのまま）",
    }
    columns = {}
    for row in table.to_dict("records"):
        kept, values = unfiltered(row), [number(row[key], 3) for key in names]
        values = [verdict(row, params), *values, verdict(kept, params), *(number(kept[key], 3) for key in raw)]
        columns[metric_name(row["metric"])] = [*values, str(row["n"])]
    index = ["判定", *names.values(), "判定（破綻もそのまま数えた場合）", *raw.values(), "テストシナリオ数"]
    return pd.DataFrame(columns, index=index).rename_axis("項目")


def unfiltered(row: dict) -> dict:
    """The claim with broken texts as they are in place of counted as 0, for `verdict` and `overall`."""
    return {**row, **{key: row[f"unfiltered_{key}"] for key in BESIDE}}


def overall_rows(table: pd.DataFrame, params: PatchingParameters) -> pd.DataFrame:
    """The verdict per emotion, from those of its measures."""
    rows = {}
    for emotion, part in table.groupby("emotion", sort=False):
        single = {metric_name(row["metric"]): verdict(row, params) for row in part.to_dict("records")}
        listed = "、".join(f"{name}: {word}" for name, word in single.items())
        rows[emotion_name(emotion)] = {"総合判定": overall(part, params), "内訳": listed}
    return pd.DataFrame(rows).T.rename_axis("感情")


def overall(part: pd.DataFrame, params: PatchingParameters) -> str:
    """支持 where every measure is supported; 不支持 where one is not; otherwise the design could not tell."""
    words = [verdict(row, params) for row in part.to_dict("records")]
    if all(word == "支持" for word in words):
        return "支持"
    return "不支持" if any(word.startswith("不支持") for word in words) else "検出力不足"


def verdict(row: dict, params: PatchingParameters) -> str:
    """The word for one emotion and measure, by the rule that Phase 7 uses too."""
    about = {"met": row["supported"], "low": row["ci_low"], "high": row["ci_high"], "reference": 0.0}
    about |= {"n": row["n"], "degenerate": row["degenerate"], "rank_p": row["rank_p"], "rank_bar": row["bar"]}
    found = judged(about | {"n_controls": params.n_controls}, smallest_d=params.smallest_d)
    return WORDS[found["verdict"]] + ("（0 でない差が少ない）" if found["reason"] == "degenerate" else "")


def change_rows(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.assign(emotion=table["emotion"].map(emotion_name), metric=table["metric"].map(metric_name))
    names = {
        "emotion": "操作した感情",
        "metric": "指標",
        "baseline": "パッチなし",
        "baseline_se": "パッチなし SE",
        "patched": "パッチ",
        "patched_se": "パッチ SE",
        "random": "等方的な乱数方向",
        "random_se": "乱数 SE",
    }
    return tidy(shown, digits=3, names=names).set_index(["操作した感情", "指標"])


def broken_rows(table: pd.DataFrame) -> pd.DataFrame:
    of_none = table["emotion"].isin(["none", "any"]) | (table["kind"] == "zero")
    shown = table.assign(kind=table["kind"].map(KINDS), emotion=table["emotion"].map(emotion_name).mask(of_none, "—"))
    shown["layer"] = shown["layer"].map(lambda layer: "—" if layer < 0 else str(layer))
    names = {
        "kind": "種類",
        "emotion": "感情",
        "layer": "層",
        "broken": "破綻率",
        "nll": "平均 NLL",
        "repetition": "3-gram 反復率",
        "n": "n",
    }
    return tidy(shown, digits=2, names=names).set_index(["種類", "感情"])


def example_rows(table: pd.DataFrame, emotion: str) -> Markdown:
    """Example texts, picked by rule; the model's text is escaped."""
    rows = [
        [
            RULES[row["rule"]],
            escape(row["prompt"]),
            escape(row["baseline"]) or EMPTY,
            escape(row["patched"]) or EMPTY,
            f"{round(row['effect'], 2) + 0.0:+.2g}",
            number(row["shift"], signed=True),
            "破綻" if row["broken"] else "",
        ]
        for row in table.to_dict("records")
    ]
    header = ["規則", "プロンプト", "パッチなしの続き", "パッチ後の続き", "語数の変化", "確率の変化", "パッチ後の破綻"]
    return Markdown(f"**{emotion_name(emotion)}**\n\n{markdown_table(rows, header)}")


def all_examples(table: pd.DataFrame) -> Markdown:
    """The examples of every emotion, one table each."""
    parts = [example_rows(part, emotion).data for emotion, part in table.groupby("emotion", sort=False)]
    return Markdown("\n\n".join(parts))
