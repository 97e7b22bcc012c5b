"""What is larger than what, taken once as codes and numbers: rivals, strengths, the direct path, broken text, topics.

A report words the codes. Every rule here is a convention or an interval that is not corrected for how many there are;
none of them changes a verdict (see `emolib.steering.findings`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

SMALL = 0.02  # of a word per text, or of a probability: a change below it counts as none (a convention)
MOSTLY_BROKEN = 0.5  # above it what broken texts do not count decides a mean
HIGHER, BY = 3, 0.1  # times, and words or probability: from there on a format's own baseline says it already
DIRECT_SHARE = 3  # a direct path below a third of the effect is called small; no test stands behind it
ROUNDING = 1e-9
VECTOR, ASKING = "emotion", "prompting"  # every method but asking starts from the vector's own unpatched texts


def decimals(metric: str) -> int:
    """To how many places a measure is told, and with that compared: words to two, probabilities to three."""
    return 2 if metric.startswith("keywords/") else 3


# rivals


def lead(table: pd.DataFrame) -> pd.Series:
    """Which is larger, the emotion's vector or the method beside it, on the same scenarios.

    Args:
        table: rows with ahead (vector minus method), ahead_low, ahead_high and ahead_degenerate.

    Returns:
        `vector`, `rival`, `undecided` (the interval holds 0), `no_interval` (hardly any differences), or
        `not_compared` (no difference was taken: the vector itself, and asking).
    """
    return pd.Series([_lead(row) for row in table.to_dict("records")], index=table.index, dtype=object)


def _lead(row: Mapping[str, Any]) -> str:
    if pd.isna(row["ahead"]):
        return "not_compared"
    if row["ahead_degenerate"]:
        return "no_interval"
    if row["ahead_low"] > 0 or row["ahead_high"] < 0:
        return "vector" if row["ahead"] > 0 else "rival"
    return "undecided"


def rival_findings(rivals: pd.DataFrame, *, margin: float) -> pd.DataFrame:
    """Every method beside the emotion's vector, one row per method, emotion and measure.

    Args:
        rivals: see `emolib.steering.alternatives.rivals`.
        margin: how far apart broken shares on test may lie for two methods to be compared.

    Returns:
        The table's columns and index; comparable (the method starts from the vector's own unpatched texts and breaks
        about as many of them), larger (see `lead`; for asking see `asking`), moved (any method changes this measure by
        `SMALL` or more), vector_mostly_broken (more than half of the vector's texts are broken).
    """
    others = ~rivals["kind"].isin([VECTOR, ASKING])
    found = rivals.assign(comparable=others & (rivals["broken_gap"].abs() <= margin + ROUNDING), larger=lead(rivals))
    own = rivals[rivals["kind"] == VECTOR].set_index("metric")
    largest = rivals["effect"].abs().groupby(rivals["metric"]).max()
    found["moved"] = found["metric"].map(largest >= SMALL)
    found["vector_mostly_broken"] = found["metric"].map(own["broken"] > MOSTLY_BROKEN)
    for place in found.index[found["kind"] == ASKING]:
        found.at[place, "larger"] = asking(rivals.loc[place], own.loc[rivals.at[place, "metric"]])
    return found


def asking(asked: pd.Series, steered: pd.Series) -> str:
    """Asking in words beside the vector, each against its own unpatched texts; no paired difference is taken.

    Returns:
        `format` (the format alone says it already, so that the differences start too far apart), `no_interval`,
        `rival` or `vector` (the intervals part), or `undecided`.
    """
    if asked["base"] >= HIGHER * steered["base"] and asked["base"] - steered["base"] >= BY:
        return "format"
    if asked["degenerate"] or steered["degenerate"]:
        return "no_interval"
    if asked["low"] > steered["high"] or steered["low"] > asked["high"]:
        return "rival" if asked["effect"] > steered["effect"] else "vector"
    return "undecided"


# strengths


def mostly_broken(table: pd.DataFrame) -> pd.Series:
    """Whether more than half of a row's texts are broken: neither a sign nor a course is read off their mean."""
    return table["broken"] > MOSTLY_BROKEN


def dose_findings(doses: pd.DataFrame) -> pd.DataFrame:
    """What an effect does as α grows from 0, one row per emotion and measure (valence left out).

    Args:
        doses: see `emolib.steering.summaries.doses`; negative strengths are left out.

    Returns:
        emotion, metric, course: `none` (no strength changes the measure by `SMALL`), `none_or_broken` (the same, but
        some strengths' texts are mostly broken), `broken` (mostly broken at some strength, so that the course is not
        read), `rises`, `falls` or `not_monotone`; first_alpha, first_effect, last_alpha, last_effect, farthest_alpha
        and farthest_effect (the largest change in size), farthest_unfiltered (the same, every text as it is).
    """
    rows = []
    added = doses[(doses["metric"] != "valence") & (doses["alpha"] >= 0)]
    for (emotion, metric), part in added.groupby(["emotion", "metric"], sort=False):
        ordered = part.sort_values("alpha")
        ends = {"first": ordered.iloc[0], "last": ordered.iloc[-1]}
        ends["farthest"] = ordered.loc[ordered["effect"].abs().idxmax()]
        row = {"emotion": emotion, "metric": metric, "course": _course(ordered, float(ends["farthest"]["effect"]))}
        row |= {f"{name}_{key}": float(at[key]) for name, at in ends.items() for key in ("alpha", "effect")}
        row["farthest_unfiltered"] = float(ordered.loc[ordered["unfiltered"].abs().idxmax(), "unfiltered"])
        rows.append(row)
    return pd.DataFrame(rows)


def _course(ordered: pd.DataFrame, farthest: float) -> str:
    lost = mostly_broken(ordered).any()
    if abs(farthest) < SMALL:
        return "none_or_broken" if lost else "none"
    if lost:
        return "broken"
    steps = np.diff(ordered["effect"])
    if (steps >= 0).all():
        return "rises"
    return "falls" if (steps <= 0).all() else "not_monotone"


# the direct path


def direct_findings(found: pd.DataFrame) -> pd.DataFrame:
    """The direct path beside the vector at the chosen layer; it is another vector, of the last layer.

    Args:
        found: `emolib.steering.findings.findings`.

    Returns:
        direct_large (a third or more of the effect, every text as it is; a convention, told of supported rows only),
        direct_ahead (it does more than the vector, every text as it is) and direct_ahead_counted (the same with broken
        texts as 0), both as far as the measure is told (`decimals`).
    """
    large = found["direct_path"] >= found["own_effect_unfiltered"] / DIRECT_SHARE
    pairs = {"direct_ahead": ("direct_path", "own_effect_unfiltered")}
    pairs["direct_ahead_counted"] = ("direct_path_counted", "own_effect")
    columns = {
        name: [
            round(ours, decimals(metric)) > round(theirs, decimals(metric))
            for metric, ours, theirs in found[["metric", direct, own]].itertuples(index=False)
        ]
        for name, (direct, own) in pairs.items()
    }
    return found.assign(direct_large=large, **columns)


# what steering costs


def broken_shares(broken: pd.DataFrame, kind: str = VECTOR) -> pd.Series:
    """Broken share by emotion over all rows of a kind: in a cross-fitted design an emotion has several layers.

    Args:
        broken: see `emolib.steering.summaries.broken_table`.
    """
    rows = broken[broken["kind"] == kind]
    by_emotion = rows.assign(count=rows["broken"] * rows["n"]).groupby("emotion", sort=False)[["count", "n"]].sum()
    return by_emotion["count"] / by_emotion["n"]


def broken_findings(broken: pd.DataFrame, *, margin: float) -> pd.DataFrame:
    """Which emotions' texts on test break more often than the margin above the unpatched ones allows.

    Returns:
        By emotion: share, baseline, limit (baseline + margin, at most 1), within.
    """
    baseline = float(broken.loc[broken["kind"] == "baseline", "broken"].iloc[0])
    shares = broken_shares(broken)
    table = pd.DataFrame({"share": shares, "baseline": baseline, "limit": min(baseline + margin, 1.0)})
    return table.assign(within=shares <= baseline + margin + ROUNDING)


def topic_findings(damage: pd.DataFrame) -> pd.DataFrame:
    """Whether continuations leave their prompt's topic.

    Args:
        damage: see `emolib.study.phase5_steering.side_effects.damage`.

    Returns:
        The rows but the unpatched ones, with topic_low and topic_high (95 % t interval of the change over scenarios)
        and leaves_topic (it lies below 0).
    """
    rows = damage[damage["kind"] != "baseline"]
    half = student.ppf(0.975, (rows["n_topic"] - 1).clip(lower=1)) * rows["topic_se"]
    low, high = rows["topic_change"] - half, rows["topic_change"] + half
    return rows.assign(topic_low=low, topic_high=high, leaves_topic=high < 0)


def other_labels(changes: pd.DataFrame, own: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """Vectors under which a label that is not their emotion's own rises most.

    Args:
        changes: mean changes, emotions down and labels across.
        own: each emotion's own labels; an emotion without any is left out.

    Returns:
        emotion, label and change (the largest), own_label and own_change (the largest of its own).
    """
    rows = []
    for emotion, row in changes.iterrows():
        mine, most = own.get(str(emotion)) or (), row.idxmax()
        if mine and most not in mine:
            best = max(mine, key=row.get)
            found = {"label": most, "change": row[most], "own_label": best, "own_change": row[best]}
            rows.append({"emotion": emotion, **found})
    return pd.DataFrame(rows, columns=["emotion", "label", "change", "own_label", "own_change"])
