"""Phase 5's strengths: the effect at every α, where its course can be read, and the opposite sign."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from emolib.plots import figures
from emolib.report.ja.names import emotion_name, metric_name
from emolib.report.ja.phase5_words import families_of, of_family, share, sized, together
from emolib.report.markup import number, show
from emolib.steering.comparisons import SMALL, decimals, dose_findings, mostly_broken
from emolib.study.run import Run

SMALLEST = f"目安の {SMALL:g}（語数なら 1 テキストあたり {SMALL:g} 語、確率なら {SMALL:g} という便宜上の値）"
COURSES = {
    "rises": "α を強めるほど増える（横ばいを含む）",
    "falls": "α を強めるほど減る（横ばいを含む）",
    "not_monotone": "α に対して単調ではない",
    "broken": "続きの半分を超えて破綻した強さがあるため、増え方を読まない",
    "none": f"どの強さでも{SMALLEST}に届かない",
    "none_or_broken": f"{SMALLEST}に届かないが、半分を超えて破綻した強さがあり、効かないのか破綻して数えられないのかは分からない",
}


def table_doses(doses: pd.DataFrame) -> Markdown:
    """Own effect, and broken share with the effect of every text as it is, strengths across; what they amount to.

    Args:
        doses: see `emolib.steering.summaries.doses`.
    """
    return together(
        ("変化（破綻したテキストを 0 とする）", dose_rows(doses)),
        ("破綻率と、破綻したテキストもそのまま数えた変化", breakage_rows(doses)),
        dose_sentence(doses),
    )


def dose_rows(doses: pd.DataFrame) -> pd.DataFrame:
    """Emotions and measures down, strengths across."""
    return _across(doses, "effect")


def breakage_rows(doses: pd.DataFrame) -> pd.DataFrame:
    """Broken share, and the effect with every text as it is; strengths across."""
    own = doses[doses["metric"] != "valence"]
    parts = []
    for emotion, part in own.groupby("emotion", sort=False):
        shares = part.groupby("alpha")["broken"].first().map(share)
        shares.index = [f"α = {alpha:g}" for alpha in shares.index]
        broken = pd.DataFrame([shares], index=pd.MultiIndex.from_tuples([(emotion_name(str(emotion)), "破綻率")]))
        parts += [broken, _across(part, "unfiltered")]
    return pd.concat(parts).rename_axis(["感情", "量"])


def _across(doses: pd.DataFrame, column: str) -> pd.DataFrame:
    keys = list(dict.fromkeys(zip(doses["emotion"], doses["metric"], strict=True)))
    wide = doses.pivot(index=["emotion", "metric"], columns="alpha", values=column).reindex(keys)
    wide.index = pd.MultiIndex.from_tuples([(emotion_name(e), metric_name(m)) for e, m in keys])
    wide.columns = [f"α = {alpha:g}" for alpha in wide.columns]
    digits = [decimals(metric) for _, metric in keys]
    shown = [[number(v, n, signed=True) for v in row] for n, row in zip(digits, wide.to_numpy(), strict=True)]
    return pd.DataFrame(shown, index=wide.index, columns=wide.columns).rename_axis(["感情", "指標"])


def figure_doses(run: Run, doses: pd.DataFrame) -> None:
    """The probability (words, where that is all there is) over α with a band of ± 1.96 standard errors."""
    family = families_of(doses)[-1]
    own = of_family(doses, family)
    own = own.assign(low=own["effect"] - 1.96 * own["se"], high=own["effect"] + 1.96 * own["se"])
    what = {"keywords": "語数", "target": "確率"}[family]
    axes = figures.Axes(f"強さと{what}の変化（テスト）", y=f"Δ{what}")
    show(run, figures.lines_by_strength(own, "effect", "emotion", axes, band=figures.Band("low", "high")), "dose")


def dose_sentence(doses: pd.DataFrame) -> str:
    """Whether more strength gives more effect, and what the opposite sign does, where enough texts are whole."""
    found = dose_findings(doses).to_dict("records")
    lines = []
    for course, text in COURSES.items():
        rows = [row for row in found if row["course"] == course]
        if rows:
            listed = "、".join(f"{metric_name(row['metric'])}（{_about(row, doses)}）" for row in rows)
            lines.append(f"- {text}: {listed}。")
    return "\n".join(lines + _opposite_lines(doses))


def _about(row: dict, doses: pd.DataFrame) -> str:
    """The numbers behind one measure's course."""
    metric, farthest = row["metric"], sized(row["metric"], row["farthest_effect"])
    if row["course"] in ("rises", "falls"):
        return f"α = {row['last_alpha']:g} で {sized(metric, row['last_effect'])}"
    if row["course"] == "none":
        return f"最大 {number(row['farthest_effect'], 3, signed=True)}"
    if row["course"] == "none_or_broken":
        kept = number(row["farthest_unfiltered"], signed=True)
        return f"最大 {number(row['farthest_effect'], 3, signed=True)}、破綻もそのまま数えると最大 {kept}"
    if row["course"] == "not_monotone":
        return f"0 から最も離れるのは α = {row['farthest_alpha']:g} の {farthest}"
    own = doses[(doses["metric"] == metric) & (doses["alpha"] >= 0)].sort_values("alpha")  # unpatched texts break, too
    lost = mostly_broken(own)
    broken = "・".join(f"{one.alpha:g}（{share(one.broken)}）" for one in own[lost].itertuples())
    whole = "、".join(
        f"α = {one.alpha:g} の {sized(metric, one.effect)}" for one in own[~lost & (own["alpha"] > 0)].itertuples()
    )
    return f"破綻したのは α = {broken}、それ以外の強さでは {whole or 'なし'}"


def _opposite_lines(doses: pd.DataFrame) -> list[str]:
    """What the opposite sign does; of the measures whose texts are mostly broken no sign is read."""
    lines = []
    below = doses[(doses["alpha"] < 0) & (doses["metric"] != "valence")]
    for alpha, rows in below.groupby("alpha"):
        lost = mostly_broken(rows)
        start = f"- 逆向き（α = {alpha:g}）"
        if (~lost).any():
            listed = "、".join(_opposite(row) for row in rows[~lost].to_dict("records"))
            lines.append(f"{start}での変化は、{listed}である（括弧内は破綻もそのまま数えた値と破綻率）。")
        if lost.any():
            listed = "、".join(f"{metric_name(row.metric)}（{share(row.broken)}）" for row in rows[lost].itertuples())
            lines.append(f"{start}で続きの半分を超えて破綻しているため、符号を読まないのは{listed}である。")
    return lines


def _opposite(row: dict) -> str:
    metric = row["metric"]
    raw = number(row["unfiltered"], decimals(metric), signed=True)
    return f"{metric_name(metric)} {sized(metric, row['effect'])}（{raw}、{share(row['broken'])}）"
