"""Effects over scenarios: what a steer changes in a measure, and what the other vectors and the controls change.

A scenario is the unit: its samples are averaged first. Broken texts count as no success unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from emolib.directions.controls import FAMILIES


def success(sweep: pd.DataFrame, metric: str) -> pd.Series:
    """The metric with broken texts counted as 0: a broken text is no success."""
    broken = sweep.get("fluency/broken", False)
    return sweep[metric].astype(float).where(~pd.Series(broken, index=sweep.index).astype(bool), 0.0)


def value_of(sweep: pd.DataFrame, metric: str, *, counted: bool = True) -> pd.Series:
    """The metric; where `counted`, with broken texts as 0 if it counts successes (words and probabilities)."""
    successes = metric.startswith(("keywords/", "target", "expressed/"))
    return success(sweep, metric) if counted and successes else sweep[metric].astype(float)


def effects(
    sweep: pd.DataFrame, kind: str, emotion: str, metric: str, *, counted: bool = True, baseline: str = "baseline"
) -> pd.Series:
    """Patched minus baseline per scenario, samples and directions averaged."""
    table = sweep.assign(value=value_of(sweep, metric, counted=counted))
    base = table[table["kind"] == baseline].groupby("scenario")["value"].mean()
    chosen = table[(table["kind"] == kind) & (table["emotion"] == emotion)]
    return (chosen.groupby("scenario")["value"].mean() - base).dropna()


def control_effects(
    sweep: pd.DataFrame, emotion: str, metric: str, *, family: str = "isotropic", counted: bool = True
) -> pd.Series:
    """Mean effect of every control direction of a family, by its index."""
    table = sweep.assign(value=value_of(sweep, metric, counted=counted))
    base = table[table["kind"] == "baseline"].groupby("scenario")["value"].mean()
    chosen = table[(table["kind"] == family) & table["emotion"].isin(["any", emotion])]
    per_scenario = chosen.groupby(["index", "scenario"])["value"].mean().unstack("scenario")
    return (per_scenario - base).mean(axis=1)


def specific_difference(cell: pd.DataFrame, emotion: str, metric: str, emotions: Sequence[str]) -> pd.Series:
    """Per scenario: the metric under the emotion's own vector minus its mean under the other emotions' vectors."""
    wide = (
        cell.assign(value=success(cell, metric))
        .groupby(["scenario", "emotion"])["value"]
        .mean()
        .unstack("emotion")[list(emotions)]
    )
    others = [name for name in emotions if name != emotion]
    if not others:
        return wide[emotion]
    return wide[emotion] - wide[others].mean(axis=1)


def control_counts(sweep: pd.DataFrame) -> dict[str, int]:
    """The families of control directions in a sweep, and how many directions each has."""
    counts = sweep[sweep["kind"].isin(FAMILIES)].groupby("kind", sort=False)["index"].nunique()
    return {family: int(counts[family]) for family in FAMILIES if family in counts}
