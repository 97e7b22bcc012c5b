"""Phase 5's dose–response in S: over α, and over the KL that a strength reaches."""

from __future__ import annotations

import numpy as np
import pandas as pd
from IPython.display import Markdown

from emolib.data.styles import in_style_order
from emolib.plots import figures
from emolib.report.ja.names import emotion_name
from emolib.report.ja.phase5_shift_words import WHY_NOT, text_style
from emolib.report.ja.phase5_words import together
from emolib.report.markup import number, show
from emolib.steering.shift_findings import dose_courses
from emolib.study.phase5_steering import Outcome
from emolib.study.run import Run

COURSES = {"rises": "α を強めるほど増える", "falls": "α を強めるほど減る", "not_monotone": "α に対して単調でない"}
OPPOSITE = {"below": "0 より下", "above": "0 より上", "open": "0 を含む"}
DIGITS = 3


def table_shift_doses(outcome: Outcome) -> Markdown:
    """S ± standard error with the KL of the strength, strengths across; and what they amount to."""
    if outcome.shift is None:
        return Markdown(WHY_NOT[outcome.unmeasurable])
    doses = outcome.shift.doses
    parts = [
        (f"{text_style(str(style))}（S ± SE、括弧内は KL、nat）", dose_rows(part))
        for style, part in doses.groupby("style", sort=False)
    ]
    return together(*parts, course_sentences(doses))


def dose_rows(doses: pd.DataFrame) -> pd.DataFrame:
    """Emotions down, strengths across."""
    rows: dict[str, dict[str, str]] = {}
    for row in doses.sort_values("alpha", kind="stable").to_dict("records"):
        cell = f"{number(row['mean'], DIGITS, signed=True)} ± {number(row['se'], DIGITS)}（{number(row['kl'], 2)}）"
        rows.setdefault(emotion_name(row["emotion"]), {})[f"α = {row['alpha']:g}"] = cell
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("感情")


def course_sentences(doses: pd.DataFrame) -> str:
    """Whether more strength gives more S, and what the opposite sign does, style by style."""
    lines = []
    for style, part in dose_courses(doses).groupby("style", sort=False):
        told = []
        for row in part.to_dict("records"):
            text = (
                f"{emotion_name(row['emotion'])}は {COURSES[row['course']]}（α = {row['last_alpha']:g} で "
                f"{number(row['last_mean'], DIGITS, signed=True)}）"
            )
            if row["opposite"] in OPPOSITE:
                mean = number(row["opposite_mean"], DIGITS, signed=True)
                text += f"、逆向きでは {mean}（95 % 区間は {OPPOSITE[row['opposite']]}）"
            told.append(text)
        lines.append(f"- {text_style(str(style))}: {'。'.join(told)}。")
    return "\n".join(lines)


def figure_shift_doses(run: Run, outcome: Outcome) -> None:
    """S over α and over KL, a line per emotion and a line style per style of texts; nothing where there is no S."""
    if outcome.shift is None:
        return
    doses = with_zero(outcome.shift.doses)
    named = doses.assign(style=[text_style(style) for style in doses["style"]])
    band = figures.Band("low", "high")
    axes = figures.Axes("強さと特異シフト S（テスト、帯は ± 1.96 SE）", y="S（nat/トークン）")
    show(run, figures.lines_by_strength(named, "mean", "emotion", axes, dash="style", band=band), "shift_dose")
    added = named[named["alpha"] >= 0]
    axes = figures.Axes(
        "次トークン分布の KL と特異シフト S（テスト、加える向き）", x="KL（nat）", y="S（nat/トークン）"
    )
    over_kl = added.assign(alpha=added["kl"]).drop_duplicates(["style", "emotion", "alpha"])
    over_kl = over_kl.sort_values("alpha", kind="stable")
    show(run, figures.lines_by_strength(over_kl, "mean", "emotion", axes, dash="style", band=band), "shift_dose_kl")


def with_zero(doses: pd.DataFrame) -> pd.DataFrame:
    """The doses with their bands, and strength 0, at which S and KL are 0."""
    kept = doses[["style", "emotion", "alpha", "mean", "se", "kl"]]
    zero = kept[["style", "emotion"]].drop_duplicates().assign(alpha=0.0, mean=0.0, se=0.0, kl=0.0)
    joined = in_style_order(pd.concat([kept, zero], ignore_index=True).sort_values(["emotion", "alpha"], kind="stable"))
    reach = 1.96 * joined["se"].to_numpy(float)
    means = joined["mean"].to_numpy(float)
    return joined.assign(low=np.subtract(means, reach), high=np.add(means, reach)).reset_index(drop=True)
