"""Phase 5's primary measure, the continuation shift: its claims and what they stand on, emotion by emotion and style by
style."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase5_shift_words import (
    MEASURES,
    REASONS,
    WHY_NOT,
    concept_name,
    measure_with_other,
    missing_names,
    shift_verdict,
    text_style,
)
from emolib.report.ja.phase5_words import SHORT, share, together
from emolib.report.markup import NOTHING, number, p_value, with_interval
from emolib.steering.claims import IDIOMATIC, INSTRUMENTS_MISSING
from emolib.steering.shift_findings import measures_above
from emolib.study.phase5_steering import Outcome

DIGITS = 3


def table_shift_claims(outcome: Outcome) -> Markdown:
    """The verdict per style and emotion with the condition that holds least; why there is none where S cannot be had."""
    if outcome.shift is None:
        return Markdown(WHY_NOT[outcome.unmeasurable])
    claims = outcome.shift.claims
    rows = [claim_row(row) for row in claims.to_dict("records")]
    return together(pd.DataFrame(rows).set_index(["文", "感情"]), _instruments_sentence(outcome))


def claim_row(row: Mapping[str, Any]) -> dict[str, str]:
    """One emotion and style."""
    return {
        "文": text_style(row["style"]),
        "感情": emotion_name(row["emotion"]),
        "判定": shift_verdict(row),
        "数値の上での理由": REASONS[row["by_numbers_reason"]],
        "最も弱い条件": measure_with_other(row["weakest_measure"], row["weakest_other"]),
        "その値 [95 % 区間]": with_interval(row["mean"], row["low"], row["high"], digits=DIGITS, signed=True),
        "片側 p": p_value(row["p"]),
        "Holm 補正後": p_value(row["p_holm"]),
        "最も厳しい順位 p（基準）": f"{p_value(row['rank_p'])}（{number(row['bar'], 4)}）",
        "対照（各群）": str(row["n_controls"]),
        "順位 p（KL をそろえた対照、各群の本数）": f"{p_value(row['kl_rank_p'])}（{row['kl_controls']}）",
        "当該以上の概念（最も近い）": _concepts(row),
        "語の寄与": share(row["lexical_share"]),
        "測っていない条件": missing_names(row["missing"]) if row["missing"] else NOTHING,
        "上限 / 正例": share(row["share_of_gold"]),
        "テストの文": str(row["n_texts"]),
    }


def _concepts(row: Mapping[str, Any]) -> str:
    """How many vectors of other concepts reach the own contrast, over the other emotions, and which comes nearest."""
    if not row["n_concepts"]:
        return NOTHING
    return f"{row['concepts_reaching']}（{concept_name(row['nearest_concept'])}）"


def _instruments_sentence(outcome: Outcome) -> str:
    """Whether instruments were judged; without them nothing is claimed."""
    if outcome.shift is None or not (outcome.shift.claims["verdict"] == INSTRUMENTS_MISSING).any():
        return "計器の判定は、主張を見る前に検証シナリオで行った。"
    return (
        "**計器の判定なし**: 感情のある文脈を S が捉えるか（正例）、感情のない操作を S が感情と取り違えないか（プラセボ）の一部を、"
        "この設計では調べられない。そこでは「支持」も「不支持」も述べず、数値は探索として示す。"
    )


def table_shift_effects(outcome: Outcome) -> Markdown:
    """S of every emotion against every other, by every measure and style, and its rank among the controls."""
    if outcome.shift is None:
        return Markdown(WHY_NOT[outcome.unmeasurable])
    conditions, ranks = outcome.shift.conditions, outcome.shift.ranks
    captions = {style: _caption(style, part) for style, part in conditions.groupby("style", sort=False)}
    parts = [(captions[style], effect_rows(conditions, ranks, str(style))) for style in captions]
    return together(*parts, *([_idiomatic_note()] if IDIOMATIC in captions else []))


def _caption(style: str, part: pd.DataFrame) -> str:
    texts, prompts = int(part["n_texts"].max()), int(part["n_prompts"].max())
    return f"{text_style(style)}（{texts} シナリオの文、プロンプト {prompts} 件、単位 nat/トークン）"


def _idiomatic_note() -> str:
    return "定型句を含む暗示表現の文は参考に示すだけで、暗示表現の主張には数えない。"


def effect_rows(conditions: pd.DataFrame, ranks: pd.DataFrame, style: str) -> pd.DataFrame:
    """One style: pairs of emotions down, measures and families of controls across."""
    mine, beside = conditions[conditions["style"] == style], ranks[ranks["style"] == style]
    placed = beside.set_index(["emotion", "other"]).to_dict("index")
    rows = []
    for (emotion, other), part in mine.groupby(["emotion", "other"], sort=False):
        row = {"感情": emotion_name(str(emotion)), "相手": emotion_name(str(other))}
        by_measure = part.set_index("measure").to_dict("index")
        row |= {name: _estimate(by_measure.get(code)) for code, name in MEASURES.items()}
        rank = placed.get((emotion, other), {})
        row |= {f"順位 p（{name}）": p_value(rank.get(f"p_{family}", float("nan"))) for family, name in SHORT.items()}
        rows.append(row)
    table = pd.DataFrame(rows)
    return (
        pd.concat([table, _mean_rows(mine)])
        .fillna(NOTHING)
        .set_index(["感情", "相手"])
        .sort_index(
            level=0,
            sort_remaining=False,
            kind="stable",
            key=lambda names: [list(table["感情"]).index(n) for n in names],
        )
    )


def _mean_rows(conditions: pd.DataFrame) -> pd.DataFrame:
    """S of every emotion, mean over the other emotions."""
    wide = measures_above(conditions).pivot(index="emotion", columns="measure", values="mean")
    shown = {MEASURES[code]: [number(value, DIGITS, signed=True) for value in wide[code]] for code in wide}
    return pd.DataFrame({"感情": [emotion_name(str(e)) for e in wide.index], "相手": "（平均）", **shown})


def _estimate(row: Mapping[str, Any] | None) -> str:
    """Estimate ± standard error and the one-sided p."""
    if row is None:
        return NOTHING
    return f"{number(row['mean'], DIGITS, signed=True)} ± {number(row['se'], DIGITS)}（p {p_value(row['p'])}）"


def mean_shifts(outcome: Outcome, style: str, measure: str = "raw") -> dict[str, float]:
    """S of every emotion on texts of a style, mean over the other emotions."""
    if outcome.shift is None:
        return {}
    found = measures_above(outcome.shift.conditions)
    mine = found[(found["style"] == style) & (found["measure"] == measure)]
    return dict(zip(mine["emotion"], mine["mean"], strict=True))
