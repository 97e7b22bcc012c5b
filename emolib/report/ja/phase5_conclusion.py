"""Phase 5's 結論: three computed lines (what was found by S, on what it hangs, what was not measurable)."""

from __future__ import annotations

from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.data.styles import in_style_order
from emolib.report.ja.frame import three_lines
from emolib.report.ja.names import UNIT_NAMES, emotion_name, emotion_names
from emolib.report.ja.phase5_shift import DIGITS, mean_shifts
from emolib.report.ja.phase5_shift_words import (
    MEASURES,
    REASONS,
    STYLES,
    VERDICTS,
    WHY_NOT,
    missing_names,
    numbers_say,
    text_style,
)
from emolib.report.ja.phase5_text_conclusion import text_found, text_hangs_on, text_unmeasured
from emolib.report.markup import number
from emolib.steering.claims import FEWEST_CONTROLS, INSTRUMENTS_MISSING
from emolib.steering.findings import SUPPORTED
from emolib.steering.shift_findings import measures_above
from emolib.steering.text_claims import LEVEL
from emolib.study.phase5_steering import Outcome

ABOUT = {"implicit": "感情についての主張", "explicit": "感情の語についての主張"}


def conclusion(outcome: Outcome) -> Markdown:
    """What was found, on what it hangs, and what was not measurable; by the texts alone where S cannot be measured."""
    if outcome.shift is None:
        found = WHY_NOT[outcome.unmeasurable] + text_found(outcome)
        return three_lines(
            found=found, rests_on=text_hangs_on(outcome), not_measured="S は測れない。" + text_unmeasured(outcome)
        )
    return three_lines(found=_found(outcome), rests_on=_hangs_on(outcome), not_measured=_unmeasured(outcome))


def operating_points(outcome: Outcome) -> str:
    """Where it steers, in one breath."""
    points = "、".join(
        f"{name + ': ' if name else ''}層 {point.layer}・α = {point.alpha:g}" for name, point in outcome.points.items()
    )
    return f"{points}、α の単位は「{UNIT_NAMES[outcome.params.unit]}」"


def _found(outcome: Outcome) -> str:
    claims = _claims(outcome)
    parts = []
    for style, part in claims.groupby("style", sort=False):
        sizes = mean_shifts(outcome, str(style))
        listed = "、".join(f"{emotion_name(e)} {number(value, DIGITS, signed=True)}" for e, value in sizes.items())
        about = ABOUT.get(str(style))
        start = f"{text_style(str(style))}の文{f'（{about}）' if about else ''}では{_verdicts(part)}"
        parts.append(f"{start}。他の感情に対する S の平均は {listed} nat/トークン")
    if not parts:
        return f"主張できる文がない（{operating_points(outcome)}）。"
    start = "計器が判定できないため「支持」は述べず、数値は探索である。" if _unjudged(claims) else ""
    return f"{start}{'。'.join(parts)}（{operating_points(outcome)}、テストの文は {_counts(claims)} シナリオ）。"


def _claims(outcome: Outcome) -> pd.DataFrame:
    """The claims, implicit texts first."""
    assert outcome.shift is not None
    return in_style_order(outcome.shift.claims)


def _unjudged(claims: pd.DataFrame) -> bool:
    return bool((claims["verdict"] == INSTRUMENTS_MISSING).all())


def _counts(claims: pd.DataFrame) -> str:
    found = claims.groupby("style", sort=False)["n_texts"].min()
    return "・".join(f"{text_style(str(style))} {int(n)}" for style, n in found.items())


def _verdicts(claims: pd.DataFrame) -> str:
    """Emotions by their verdict, or by what the numbers come to where no instrument was judged."""
    told: dict[str, list[str]] = {}
    for row in claims.to_dict("records"):
        told.setdefault(_word(row), []).append(row["emotion"])
    named = [(emotion_names(emotions), word) for word, emotions in told.items()]
    return "、".join(f"{names}{'で' if word.startswith('数値は') else 'は'}{word}" for names, word in named)


def _word(row: dict[str, Any]) -> str:
    if row["verdict"] == INSTRUMENTS_MISSING:
        return numbers_say(row)
    word = f"「{VERDICTS[row['verdict']]}」"
    return f"{word}（探索）" if row["verdict"] == SUPPORTED and row["exploratory"] else word


# on what it hangs


def _hangs_on(outcome: Outcome) -> str:
    """By which measures and controls the conditions hold or fail, style by style."""
    assert outcome.shift is not None
    claims = _claims(outcome)
    above = measures_above(outcome.shift.conditions)
    parts = [_on_measures(str(style), part, above) for style, part in claims.groupby("style", sort=False)]
    return "".join(parts) + _on_texts(outcome)


def _on_measures(style: str, claims: pd.DataFrame, above: pd.DataFrame) -> str:
    """Which measures are above 0 for which emotions, and where the controls reach the contrast."""
    mine = above[above["style"] == style]
    found = []
    for measure, name in MEASURES.items():
        held = mine[(mine["measure"] == measure) & mine["above"]]
        if measure in set(mine["measure"]):
            found.append(f"{name}は{emotion_names(held['emotion']) or 'なし'}")
    against = claims[claims["like_valent"] != ""]
    reached = [row["emotion"] for row in claims.to_dict("records") if not row["rank_p"] <= row["bar"] + 1e-12]
    text = f"{text_style(style)}で、どの相手の感情に対しても 0 より大きい（補正前の片側 p ≤ {LEVEL:g}）のは、{'、'.join(found)}。"
    if reached:
        text += f"順位 p が基準に届かないのは{emotion_names(reached)}。"
    if len(against):
        weak = against.loc[~against["weakest_other"].isin(set(claims["emotion"])), "emotion"]
        if len(weak):
            text += f"最も弱い条件が感情価の近い感情に対するものであるのは{emotion_names(weak)}。"
    near = claims[claims["concepts_reaching"] > 0]
    if len(near):
        text += f"感情でない概念のベクトルも同じだけ動かすのは{emotion_names(near['emotion'])}。"
    return text


def _on_texts(outcome: Outcome) -> str:
    """Whether the generated texts, a secondary measure, say the same."""
    met = [str(e) for e, word in outcome.verdicts.items() if word == SUPPORTED]
    listed = emotion_names(met) if met else "なし"
    return f"生成したテキストの語数と確率（二次的）ですべての条件を満たすのは、{listed}。"


# what was not measurable


def _unmeasured(outcome: Outcome) -> str:
    assert outcome.shift is not None
    claims, parts = _claims(outcome), []
    if _unjudged(claims):
        parts.append(
            "S がこのモデルで感情を捉えるか（正例）、感情のない操作を取り違えないか（プラセボ）は、この設計では判定できない"
        )
    for reason, word in (
        ("instrument_failed", "計器が不合格な"),
        ("instrument_underpowered", "計器の合否が定まらない"),
    ):
        open_ones = claims[claims["reason"] == reason]
        if len(open_ones):
            parts.append(f"{word}のは、{_listed(open_ones)}")
    for reason, part in claims.groupby("by_numbers_reason", sort=False):
        if reason in ("few_scenarios", "few_controls", "instrument_underpowered"):
            which = "どの主張も" if len(part) == len(claims) else f"{_listed(part)}は"
            parts.append(f"{which}「{REASONS[str(reason)]}」という理由で判断できない")
    if claims["exploratory"].any():
        fewest = int(claims["n_controls"].min())
        parts.append(f"対照方向が各群 {fewest} 本であり（主張には {FEWEST_CONTROLS} 本以上）、結果はすべて探索である")
    aside = [style for style in STYLES if style in set(outcome.shift.conditions["style"])]
    if aside:
        parts.append(f"{'・'.join(str(text_style(style)) for style in aside)}の文からは何も主張しない")
    for codes, part in claims[claims["missing"] != ""].groupby("missing", sort=False):
        which = "どの主張でも" if len(part) == len(claims) else f"{_listed(part)}では"
        parts.append(f"{which}{missing_names(str(codes))}を測っていない")
    return "。".join(parts) + "。"


def _listed(claims: pd.DataFrame) -> str:
    """Styles with their emotions."""
    parts = [(str(style), part["emotion"]) for style, part in claims.groupby("style", sort=False)]
    return "、".join(f"{text_style(style)}の{emotion_names(emotions)}" for style, emotions in parts)
