"""Phase 5's 考察 of the continuation shift, computed from its claims, conditions, ranks and doses."""

from __future__ import annotations

from typing import Any

from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase5_shift import DIGITS
from emolib.report.ja.phase5_shift_doses import COURSES
from emolib.report.ja.phase5_shift_words import (
    MEASURES,
    REASONS,
    WHY_NOT,
    measure_with_other,
    shift_verdict,
    text_style,
)
from emolib.report.ja.phase5_words import share
from emolib.report.markup import number, p_value
from emolib.steering.findings import SUPPORTED
from emolib.steering.shift_findings import dose_courses, measures_above, written_effects
from emolib.study.phase5_steering import Outcome


def shift_lines(outcome: Outcome) -> list[str]:
    """One line per style and emotion, then what the measures, the doses and the generated texts add."""
    if outcome.shift is None:
        return [f"- {WHY_NOT[outcome.unmeasurable]}"]
    claims = outcome.shift.claims.to_dict("records")
    above = measures_above(outcome.shift.conditions)
    lines = []
    for row in claims:
        mine = above[(above["style"] == row["style"]) & (above["emotion"] == row["emotion"])]
        lines.append(_claim_line(row, {at["measure"]: at for at in mine.to_dict("records")}))
    return [*lines, *_owed_lines(outcome), *_dose_lines(outcome), *_text_lines(outcome)]


def _claim_line(row: dict[str, Any], above: dict[str, dict[str, Any]]) -> str:
    sizes = "、".join(
        f"{name} {number(above[code]['mean'], DIGITS, signed=True)}" for code, name in MEASURES.items() if code in above
    )
    weakest = measure_with_other(row["weakest_measure"], row["weakest_other"])
    text = (
        f"- **{text_style(row['style'])}・{emotion_name(row['emotion'])}: {shift_verdict(row)}**。他の感情に対する平均は {sizes} "
        f"nat/トークン。最も弱い条件は{weakest}で {number(row['mean'], DIGITS, signed=True)}（片側 p {p_value(row['p'])}、"
        f"Holm 補正後 {p_value(row['p_holm'])}）、最も厳しい対照群の順位 p は {p_value(row['rank_p'])}"
        f"（基準 {number(row['bar'], 4)} 以下）。数値の上での理由は「{REASONS[row['by_numbers_reason']]}」である。"
    )
    if number(row["share_of_gold"]) != "—":
        text += f"効果の上限は正例の {share(row['share_of_gold'])} である。"
    return text


def _owed_lines(outcome: Outcome) -> list[str]:
    """Emotions whose S is above 0 though their own act does not do it: S of two labels is one number."""
    assert outcome.shift is not None
    above = measures_above(outcome.shift.conditions)
    lines = []
    for style, part in above.groupby("style", sort=False):
        wide = part.pivot(index="emotion", columns="measure", values="above")
        if {"raw", "own"} <= set(wide):
            borrowed = [str(e) for e in wide.index[wide["raw"].astype(bool) & ~wide["own"].astype(bool)]]
            if borrowed:
                names = "・".join(f"{emotion_name(e)}" for e in borrowed)
                lines.append(
                    f"- {text_style(str(style))}の{names}では、S は 0 より大きいが、自ベクトル対比は 0 より大きいと言えない。"
                    "S は二つの感情で同じ値になるため、相手のベクトルの働きによる可能性が残る。"
                )
    return lines


def _dose_lines(outcome: Outcome) -> list[str]:
    """What more strength does, one line per style."""
    assert outcome.shift is not None
    lines = []
    for style, part in dose_courses(outcome.shift.doses).groupby("style", sort=False):
        told = "、".join(f"{emotion_name(r['emotion'])}は {COURSES[r['course']]}" for r in part.to_dict("records"))
        lines.append(f"- 強さに対する S（{text_style(str(style))}、テスト。選択には用いない）: {told}。")
    return lines


def _text_lines(outcome: Outcome) -> list[str]:
    """Where S and the generated texts say different things."""
    assert outcome.shift is not None
    claims = outcome.shift.claims
    mine = claims[claims["style"] == "implicit"]
    lines = []
    for row in mine.to_dict("records"):
        by_texts, by_shift = written_effects(outcome.claims, row["emotion"]), row["by_numbers"] == SUPPORTED
        if by_texts != by_shift:
            one, other = ("満たすが", "満たさない") if by_shift else ("満たさないが", "満たす")
            lines.append(
                f"- {emotion_name(row['emotion'])}では、暗示表現の S は条件を{one}、生成したテキストの語数と確率は条件を{other}。"
            )
    return lines
