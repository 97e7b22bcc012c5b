"""Phase 5's sentences and tables about controls, strengths, rivals of the mean difference, and damage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from IPython.display import Markdown
from scipy.stats import t as student

from emolib.phases import steering
from emolib.phases.run import Run
from emolib.phases.scores import measures
from emolib.report.common import emotion_name, metric_name, number, tidy
from emolib.report.phase3 import with_interval
from emolib.report.phase5 import KINDS, SHORT

SMALL = 0.02  # of a word per text, or of a probability


def family_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The largest effect, the rank p and the largest cosine of every family of controls."""
    shown = table.assign(
        emotion=table["emotion"].map(emotion_name),
        metric=table["metric"].map(metric_name),
        family=table["family"].map(SHORT),
    )
    names = {
        "emotion": "感情",
        "metric": "指標",
        "family": "対照の族",
        "own": "自分のベクトル",
        "largest": "対照の最大",
    }
    names |= {"p": "片側順位 p", "cosine": "ベクトルとのコサイン（最大）"}
    return tidy(shown, digits=3, names=names).set_index(["感情", "指標", "対照の族"])


def norm_rows(table: pd.DataFrame) -> pd.DataFrame:
    """‖Δh‖/‖h‖ as it came out, per kind."""
    names = {"kind": "種類", "mean": "平均", "min": "最小", "max": "最大", "size": "n"}
    return tidy(table.assign(kind=table["kind"].map(KINDS)), digits=3, names=names).set_index("種類")


def dose_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Own effect at every strength; emotions and measures down, strengths across."""
    shown = table.assign(emotion=table["emotion"].map(emotion_name), metric=table["metric"].map(metric_name))
    wide = shown.pivot(index=["emotion", "metric"], columns="alpha", values="effect")
    wide = wide.reindex(list(dict.fromkeys(zip(shown["emotion"], shown["metric"], strict=True))))
    wide.columns = [f"α = {alpha:g}" for alpha in wide.columns]
    return tidy(wide.rename_axis(["感情", "指標"]), digits=2)


def dose_curves(table: pd.DataFrame, family: str) -> pd.DataFrame:
    """One kind of measure with a band of ± 1.96 standard errors, for the figure."""
    own = table[table["metric"].str.startswith(f"{family}/")]
    return own.assign(low=own["effect"] - 1.96 * own["se"], high=own["effect"] + 1.96 * own["se"])


def dose_sentence(table: pd.DataFrame) -> Markdown:
    """Whether more strength gives more effect, and what the opposite sign does."""
    lines = []
    for (emotion, metric), part in table[table["metric"] != "valence"].groupby(["emotion", "metric"], sort=False):
        ordered = part.sort_values("alpha")
        added, taken = ordered[ordered["alpha"] >= 0], ordered[ordered["alpha"] < 0]
        grows = bool((np.diff(added["effect"]) >= 0).all())
        text = f"- {metric_name(metric)}（{emotion_name(emotion)}ベクトル）: "
        if added["effect"].abs().max() < SMALL:
            text += f"α を増やしてもほとんど動かない（最大 {number(added['effect'].max(), signed=True)}）。"
        else:
            text += f"試した範囲で、平均は α とともに単調に{'増える' if grows else 'は増えない'}。"
        if len(taken):
            text += f"逆向き（α = {taken['alpha'].iloc[0]:g}）では {number(taken['effect'].iloc[0], signed=True)}。"
        lines.append(text)
    return Markdown("\n".join(lines))


def layer_heatmap(pareto: pd.DataFrame) -> pd.DataFrame:
    """The largest specific effect over strengths on validation; layers down, emotions across."""
    best = pareto.groupby(["layer", "emotion"], sort=True)["effect"].max().unstack("emotion")
    return best.rename(index=lambda v: f"層 {v}", columns=emotion_name)[
        [emotion_name(e) for e in dict.fromkeys(pareto["emotion"])]
    ]


def pareto_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The candidates that no other beats in both effect and broken share, per emotion."""
    rows = []
    for emotion, part in table.groupby("emotion", sort=False):
        for row in part.to_dict("records"):
            better = part[(part["effect"] >= row["effect"]) & (part["broken"] <= row["broken"])]
            if not ((better["effect"] > row["effect"]) | (better["broken"] < row["broken"])).any():
                rows.append({**row, "emotion": emotion_name(emotion), "metric": metric_name(row["metric"])})
    names = {"emotion": "感情", "layer": "層", "alpha": "α", "metric": "指標", "effect": "自−他", "broken": "破綻率"}
    front = pd.DataFrame(rows).sort_values(["emotion", "broken"], kind="stable")
    return tidy(front, digits=2, names=names).set_index(["感情", "層", "α"])


def pareto_points(table: pd.DataFrame) -> np.ndarray:
    return table[["broken", "effect"]].to_numpy()


def pareto_hover(table: pd.DataFrame) -> list[str]:
    return [f"層 {layer}、α = {alpha:g}" for layer, alpha in zip(table["layer"], table["alpha"], strict=True)]


def prompt_effects(run: Run, sweep: pd.DataFrame, family: str) -> pd.DataFrame:
    """Every test scenario's effect under its own vector, for the histogram."""
    parts = []
    for emotion, names in measures(sweep, run.emotions).items():
        for metric in (name for name in names if name.startswith(f"{family}/")):
            values = steering.per_prompt(sweep, emotion, metric)
            parts.append(pd.DataFrame({"emotion": emotion, "metric": metric, "effect": values.to_numpy()}))
    return pd.concat(parts, ignore_index=True)


def prompt_rows(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """Share of the prompts that move as meant, not at all, and the wrong way."""
    rows = []
    for family in ("keywords", "target"):
        for (emotion, metric), part in prompt_effects(run, sweep, family).groupby(["emotion", "metric"], sort=False):
            values = part["effect"]
            shares = {"増えた": (values > 0).mean(), "変わらない": (values == 0).mean(), "減った": (values < 0).mean()}
            kept = steering.effects(sweep, "emotion", emotion, metric, counted=False)
            shares["減った（破綻もそのまま数える）"] = (kept < 0).mean()
            rows.append(
                {"感情": emotion_name(emotion), "指標": metric_name(metric), **shares, "中央値": values.median()}
            )
    return tidy(pd.DataFrame(rows), digits=2).set_index(["感情", "指標"])


def rival_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Every way of steering beside prompting: effect, specificity, broken share, size."""
    cells = [
        f"{number(row.effect)}（区間なし）" if row.degenerate else with_interval(row.effect, row.low, row.high)
        for row in table.itertuples()
    ]
    rows = {
        "感情": table["emotion"].map(emotion_name),
        "方法": table["kind"].map(KINDS),
        "指標": table["metric"].map(metric_name),
        "α": [
            "—" if kind == "prompting" else f"{alpha:g}"
            for kind, alpha in zip(table["kind"], table["alpha"], strict=True)
        ],
        "効果 [95 % BCa]": cells,
        "自−他": table["vs_others"].round(2) + 0.0,
        "破綻率": table["broken"].round(2),
        "‖Δh‖/‖h‖": [
            "—" if kind == "prompting" else f"{ratio:.2f}"
            for kind, ratio in zip(table["kind"], table["delta_ratio"], strict=True)
        ],
    }
    shown = pd.DataFrame(rows).assign(order=pd.Categorical(table["emotion"], list(dict.fromkeys(table["emotion"]))))
    return shown.sort_values(["order", "指標"], kind="stable").drop(columns="order").set_index(["感情", "指標", "方法"])


def rival_sentence(table: pd.DataFrame) -> Markdown:
    """Which way moves each measure most, and whether asking beats steering."""
    lines = []
    for (_, metric), part in table.groupby(["emotion", "metric"], sort=False):
        by_kind = part.set_index("kind")
        best = by_kind["effect"].idxmax()
        if by_kind.loc[best, "effect"] < SMALL:
            lines.append(f"- {metric_name(metric)}: どの方法でもほとんど動かない。")
            continue
        text = f"- {metric_name(metric)}: この強さで最も大きいのは{KINDS[best]}（{number(by_kind.loc[best, 'effect'], signed=True)}）。"
        if {"prompting", "emotion"} <= set(by_kind.index):
            asked, steered = by_kind.loc["prompting"], by_kind.loc["emotion"]
            if not (asked["degenerate"] or steered["degenerate"]):
                apart = asked["low"] > steered["high"] or steered["low"] > asked["high"]
                order = "指示の方が大きい" if asked["effect"] > steered["effect"] else "ベクトルの方が大きい"
                asked_by, steered_by = (number(row["effect"], signed=True) for row in (asked, steered))
                text += f"指示は {asked_by}、ベクトルは {steered_by} で、"
                text += f"{order}（区間は重ならない）。" if apart else "区間は重なる（差の検定はしていない）。"
        lines.append(text)
    lines.append(
        "- 指示の効果は、同じ書式で指示のない場合との差である。ベクトルとは基準の文も書式も異なるため、大きさの比較は目安である。"
    )
    return Markdown("\n".join(lines))


def damage_rows(table: pd.DataFrame) -> pd.DataFrame:
    """KL and topic per kind and emotion."""
    shown = table.assign(
        kind=table["kind"].map(KINDS),
        emotion=table["emotion"].map({"none": "—", "any": "—"}).fillna(table["emotion"]).map(emotion_name),
    )
    names = {
        "kind": "種類",
        "emotion": "感情",
        "kl": "KL（nat）",
        "kl_se": "KL の SE",
        "topic": "話題の類似",
        "topic_change": "パッチなしとの差",
        "topic_se": "差の SE",
        "n": "シナリオ数",
    }
    return tidy(shown[list(names)], digits=3, names=names).set_index(["種類", "感情"])


def damage_sentence(table: pd.DataFrame) -> Markdown:
    """Whether steering costs more than a control of the same size."""
    own = table[table["kind"] == "emotion"]
    controls = table[table["kind"].isin(list(SHORT))]
    listed = "、".join(f"{emotion_name(r['emotion'])} {number(r['kl'])}" for r in own.to_dict("records"))
    between = f"{number(controls['kl'].min())}–{number(controls['kl'].max())}"
    text = f"次トークン分布の KL は {listed} nat（対照方向の族の平均は {between} nat）。"
    lost = own[own["topic_change"] + student.ppf(0.975, (own["n"] - 1).clip(lower=1)) * own["topic_se"] < 0]
    if lost.empty:
        return Markdown(text + "プロンプトとの類似が、パッチなしより下がったとは言えない。")
    names = "・".join(
        f"{emotion_name(r['emotion'])}（{number(r['topic_change'], signed=True)}）" for r in lost.to_dict("records")
    )
    return Markdown(
        text
        + f"{names}では、続きのプロンプトとの類似がパッチなしより下がった（95 % 区間、補正なし）。同じ句の繰り返しでも類似は下がりうる。"
    )
