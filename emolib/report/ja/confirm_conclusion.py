"""The confirmation's 結論, 考察 and 次のアクション, computed from its outcome."""

from __future__ import annotations

from typing import Any

import pandas as pd
from IPython.display import Markdown

from emolib.base.escaping import Name, code_span
from emolib.report.ja.confirm_words import OUTCOMES, STANDINGS, style_about
from emolib.report.ja.frame import three_lines
from emolib.report.ja.names import UNIT_NAMES, emotion_names
from emolib.report.ja.phase5_shift_words import REASONS, missing_names
from emolib.report.markup import number
from emolib.steering.claims import FEWEST_CONTROLS
from emolib.study.confirmation import Confirmation
from emolib.study.confirmation.sealed_design import style_counts
from emolib.study.confirmation.sealed_results import CONFIRMED, CONFIRMS, OPENED_BEFORE
from emolib.study.phase5_steering.design import parts
from emolib.study.phase5_steering.shift_design import shift_design


def conclusion(confirmation: Confirmation) -> Markdown:
    """結論: what sealed texts confirm, on what it hangs, and what is not settled."""
    return three_lines(
        found=_found(confirmation), rests_on=_rests_on(confirmation), not_measured=_not_measured(confirmation)
    )


def _found(confirmation: Confirmation) -> str:
    claims, standing = confirmation.outcome.claims, confirmation.outcome.standing
    told = [f"{style_about(str(style))}では{_outcomes(part)}" for style, part in claims.groupby("style", sort=False)]
    start = "" if standing == CONFIRMS else f"**{STANDINGS[standing]}**。"
    return f"{start}{'。'.join(told)}。"


def _outcomes(claims: pd.DataFrame) -> str:
    told: dict[str, list[str]] = {}
    for row in claims.to_dict("records"):
        told.setdefault(_word(row), []).append(row["emotion"])
    return "、".join(f"{emotion_names(emotions)}は「{word}」" for word, emotions in told.items())


def _word(row: dict[str, Any]) -> str:
    word = OUTCOMES[row["outcome"]]
    return word if row["outcome"] == CONFIRMED else f"{word}（{REASONS[row['reason']]}）"


def _rests_on(confirmation: Confirmation) -> str:
    choice, run = confirmation.ready.study.choice, confirmation.run
    counts = style_counts(shift_design(run, parts(run)[0], "test"))
    listed = "、".join(f"{style_about(style)} {n} シナリオ" for style, n in counts.items())
    before = confirmation.ready.before
    text = (
        f"{confirmation.ready.study.frozen_at} に凍結した層 {choice.layer}・α = {choice.alpha:g}（単位は"
        f"「{UNIT_NAMES[choice.unit]}」）だけを、{confirmation.opened_at} に初めて開けた文（{listed}）に用いた。ここでは何も選んでいない。"
    )
    if before is not None:
        text += (
            f"ただし、封は {before.opened_at} に別の選択（{code_span(before.model)}: {Name(before.told)}、文のハッシュ "
            f"{code_span(before.sealed[:12])}）で開けられている。"
        )
    return text


def _not_measured(confirmation: Confirmation) -> str:
    found, told = confirmation.outcome, []
    unknown = found.family.loc[~found.family["known"], "model"]
    if len(unknown):
        names = "、".join(code_span(name) for name in dict.fromkeys(unknown))
        told.append(f"{names}の文はまだ開けていないため、補正ではその p を 1 と数えた")
    if found.claims["exploratory"].any():
        told.append(f"対照方向が各群 {FEWEST_CONTROLS} 本に満たない主張は探索である")
    missing = found.claims[found.claims["missing"] != ""]
    for codes, part in missing.groupby("missing", sort=False):
        told.append(f"{emotion_names(part['emotion'].drop_duplicates())}では{missing_names(str(codes))}を測っていない")
    return ("。".join(told) + "。") if told else "主張に要る条件は、すべて測った。"


def discussion(confirmation: Confirmation) -> Markdown:
    """考察: what each outcome licenses."""
    found = confirmation.outcome
    lines = []
    confirmed = found.claims[found.claims["outcome"] == CONFIRMED]
    for style, part in confirmed.groupby("style", sort=False):
        lines.append(
            f"- {style_about(str(style))}: {emotion_names(part['emotion'])}のベクトルは、この層とこの強さで、初めて読む文の"
            "うち、その感情の文を、他の感情・感情価の近い感情・対照方向のどれよりも起こりやすくする。"
        )
    rest = found.claims[found.claims["outcome"] != CONFIRMED]
    if len(rest):
        lines.append(
            "- 「支持」とならなかった主張は、否定されたのではない。「不支持」と書いたものだけが、効果の上限が正例の 20 % に満たない。"
        )
    if found.standing == CONFIRMS and confirmed.empty:
        lines.append("- 確認されたものはない。探索で見えた効果は、探索のまま残る。")
    if found.standing != CONFIRMS:
        lines.append(f"- {STANDINGS[found.standing]}。数値は手順が動くことを示すだけである。")
    distance = confirmation.distance
    same = "1 バイトも違わない" if distance == 0 else f"丸めの範囲（{number(distance, 4)}）で同じである"
    lines.append(f"- 用いたベクトルは、凍結したものと{same}。")
    return Markdown("\n".join(lines))


def next_actions(confirmation: Confirmation) -> Markdown:
    """次のアクション, computed."""
    found, lines = confirmation.outcome, []
    if found.standing == OPENED_BEFORE:
        lines.append("- 別の選択を確かめるには、まだ誰も読んでいない文を新たに用意する。")
    elif found.standing != CONFIRMS:
        lines.append("- 予行は済んだ。全モデルの選択を `emolib freeze` で凍結し、コミットしてから、封を開ける。")
    unknown = dict.fromkeys(found.family.loc[~found.family["known"], "model"])
    for name in unknown:
        lines.append(
            f"- {code_span(name)}でも同じ文を開け、そのあとこのモデルの表をもう一度作る（Holm 補正が確定する）。"
        )
    if found.standing == CONFIRMS and not unknown:
        lines.append(
            "- `params/frozen/openings.jsonl` と `results/confirm/confirmation/` の表をコミットする。この文は、これからは探索にしか使えない。"
        )
    return Markdown("\n".join(lines))
