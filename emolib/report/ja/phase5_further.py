"""What Phase 5's claims need beyond the study's own labels and directions of the same norm, and what does not identify a
direction."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name
from emolib.report.ja.names import companion_name, emotion_name
from emolib.report.ja.phase5_shift_words import MEASURES, WHY_NOT, concept_name, missing_names, text_style
from emolib.report.ja.phase5_words import SHORT, share, together
from emolib.report.markup import NOTHING, number, p_value
from emolib.steering.kl_search import FARTHEST, TOLERANCE
from emolib.study.phase5_steering import Outcome

DIGITS = 3


def table_further(outcome: Outcome) -> Markdown:
    """S against labels of like valence, the nearest concepts with the share of the word, and the ranks at equal KL."""
    if outcome.shift is None:
        return Markdown(WHY_NOT[outcome.unmeasurable])
    held, parts = outcome.shift.further, []
    if held.like_valent is not None:
        rows = like_rows(held.like_valent)
        parts.append(("感情価の近い感情に対する S（推定値 ± 標準誤差、片側 p、nat/トークン）", rows))
    if held.concepts is not None:
        parts.append(
            ("感情でない概念のベクトル（同じノルム）のもとでの文の差（nat/トークン）", concept_rows(held.concepts))
        )
    if len(outcome.shift.equal_kl):
        parts.append(("KL をそろえた対照方向", kl_rows(outcome)))
    return together(*parts, further_sentences(outcome))


def like_rows(conditions: pd.DataFrame) -> pd.DataFrame:
    """Emotions and their labels of like valence down, measures across."""
    rows = []
    for (style, emotion, other), part in conditions.groupby(["style", "emotion", "other"], sort=False):
        by_measure = part.set_index("measure").to_dict("index")
        row = {"文": text_style(str(style)), "感情": emotion_name(str(emotion)), "相手": companion_name(str(other))}
        for code, name in MEASURES.items():
            at = by_measure.get(code)
            row[name] = NOTHING if at is None else _estimate(at["mean"], at["se"], at["p"])
        rows.append({**row, "文の数": str(int(part["n_texts"].min()))})
    return pd.DataFrame(rows).set_index(["文", "感情", "相手"])


def _estimate(mean: float, se: float, p: float) -> str:
    return f"{number(mean, DIGITS, signed=True)} ± {number(se, DIGITS)}（p {p_value(p)}）"


def concept_rows(concepts: pd.DataFrame) -> pd.DataFrame:
    """The concept that comes nearest to every emotion's own contrast, and the share of the emotion's word."""
    rows = [
        {
            "文": text_style(row["style"]),
            "感情": emotion_name(row["emotion"]),
            "相手": emotion_name(row["other"]),
            "当該ベクトル": number(row["contrast"], DIGITS, signed=True),
            "最も近い概念": concept_name(row["nearest"]),
            "その値": number(row["nearest_contrast"], DIGITS, signed=True),
            "当該以上の概念": f"{row['reaching']} / {row['n_concepts']}",
            "語の寄与": share(row["lexical_share"]),
        }
        for row in concepts.to_dict("records")
    ]
    return pd.DataFrame(rows).set_index(["文", "感情", "相手"])


def kl_rows(outcome: Outcome) -> pd.DataFrame:
    """Family by family: the steer's KL, the strengths that reach it, and how many directions do not."""
    assert outcome.shift is not None
    rows = []
    for (emotion, family), part in outcome.shift.equal_kl.groupby(["emotion", "family"], sort=False):
        reached = part[part["reached"].astype(bool)]
        factor = (reached["alpha"] / reached["start"]).median() if len(reached) else float("nan")
        rows.append(
            {
                "感情": emotion_name(str(emotion)),
                "対照群": SHORT[str(family)],
                "操作の KL（nat）": number(part["wanted"].iloc[0], DIGITS),
                "対照の α / 操作の α（中央値）": number(factor, 2),
                "届いた本数": f"{len(reached)} / {len(part)}",
            }
        )
    return pd.DataFrame(rows).set_index(["感情", "対照群"])


def further_sentences(outcome: Outcome) -> str:
    """What was missing, and how the ranks at equal norm and at equal KL compare."""
    assert outcome.shift is not None
    lines = []
    for row in outcome.shift.claims.to_dict("records"):
        who = f"{text_style(row['style'])}・{emotion_name(row['emotion'])}"
        if row["missing"]:
            lines.append(f"- {who}: {missing_names(row['missing'])}がないため、数値にかかわらず「支持」としない。")
        if row["kl_controls"]:
            lines.append(
                f"- {who}: 最も厳しい順位 p は、同じノルムで {p_value(row['rank_p'])}（各群 {row['n_controls']} 本）、"
                f"同じ KL で {p_value(row['kl_rank_p'])}（各群 {row['kl_controls']} 本以上）。"
            )
    table = outcome.shift.equal_kl
    short = table[~table["reached"].astype(bool)] if len(table) else table
    if len(short):
        lines.append(
            f"- 操作の α の {FARTHEST:g} 倍までに操作の KL（± {share(TOLERANCE)}）に届かなかった探索は {len(short)} 件あり、順位から除いた。"
        )
    return "\n".join(lines)


def table_survival(outcome: Outcome) -> Markdown:
    """The share of the effect that is left at every angle of an orthogonal perturbation, emotions down."""
    if outcome.shift is None:
        return Markdown(WHY_NOT[outcome.unmeasurable])
    table = outcome.shift.survival
    parts = [(f"{text_style(str(style))}", survival_rows(part)) for style, part in table.groupby("style", sort=False)]
    return together(*parts, survival_sentence(table))


def survival_rows(table: pd.DataFrame) -> pd.DataFrame:
    """S of the vectors themselves, then the share that is left (least and most where there are several)."""
    rows: dict[Name, dict[str, str]] = {}
    for row in table.sort_values("degrees", kind="stable").to_dict("records"):
        mine = rows.setdefault(emotion_name(row["emotion"]), {})
        if row["degrees"] == 0:
            mine["S（0°、nat/トークン）"] = number(row["specific"], DIGITS, signed=True)
        elif pd.isna(row["left"]):
            mine[f"{row['degrees']:g}°"] = NOTHING
        else:
            ends = f"（{share(row['least'])}〜{share(row['most'])}）" if row["n"] > 1 else ""
            mine[f"{row['degrees']:g}°"] = f"{share(row['left'])}{ends}"
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("感情")


def survival_sentence(table: pd.DataFrame) -> str:
    """What is left where the perturbation is as long as the vector."""
    at = table[(table["degrees"] == 45) & table["left"].notna()]
    if at.empty:
        return "- 効果が 0 より大きい感情がないため、残る割合は定義できない。"
    low, high = at["left"].min(), at["left"].max()
    return (
        f"- ベクトルと同じノルムの直交する摂動（45°）を加えたとき、S に残る割合は {share(low)}〜{share(high)} である"
        "（感情と表現ごと）。残る割合が大きいほど、効果は一つの方向を特定しない。"
    )
