"""What a sweep says: effects over scenarios, the operating point chosen on validation, and the claims on test.

A claim about an emotion and a measure needs two things: its own vector moves the measure more than the other emotions'
vectors do (95 % BCa interval over scenarios above 0), and more than the control directions of every family do
(one-sided rank p of the worst family).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.directions.controls import FAMILIES
from emolib.statistics import intervals

RANK_BAR = 1 / 60
LEVEL = 0.05
ROUNDING = 1e-9  # a spread below it, relative to the values, is what adding up in floating point leaves
FEWEST_SCENARIOS = 10  # below it an interval over scenarios is not worth its name


def success(sweep: pd.DataFrame, metric: str) -> pd.Series:
    """The metric with broken texts counted as 0: a broken text is no success."""
    broken = sweep.get("fluency/broken", False)
    return sweep[metric].astype(float).where(~pd.Series(broken, index=sweep.index).astype(bool), 0.0)


@dataclass(frozen=True)
class OperatingPoint:
    """The layer and alpha chosen on validation scenarios, for all emotions together.

    Attributes:
        score: the criterion at the chosen point, see `choose_operating_point`.
        eligible: whether any point kept to the rule on broken texts; if False the point with the fewest is taken.
        table: every candidate with its score and broken shares.
    """

    layer: int
    alpha: float
    score: float
    eligible: bool
    table: pd.DataFrame


def choose_operating_point(
    sweep: pd.DataFrame, measures: Mapping[str, Sequence[str]], *, broken_margin: float = 0.1
) -> OperatingPoint:
    """Chooses one layer and alpha on validation rows.

    The criterion is the mean over emotions and their measures of [effect of the emotion's own vector − mean effect of
    the other vectors], broken texts counted as 0, each term divided by its standard error over scenarios so that rare
    and frequent words, counts and probabilities weigh alike. Eligible are points at which every emotion's broken share
    lies at most `broken_margin` above the baseline's. Ties go to the smaller alpha, then the lower layer.

    Args:
        measures: per emotion the metric columns that tell whether a text expresses it.
    """
    if set(sweep["split"]) != {"validation"}:
        raise UserError(f"expected validation rows only, got {', '.join(sorted(set(sweep['split'])))}")
    steered = sweep[sweep["kind"] == "emotion"]
    if steered.empty:
        raise UserError("expected steered rows to choose a layer and alpha from, got none; give an alpha other than 0")
    base_broken = float(sweep.loc[sweep["kind"] == "baseline", "fluency/broken"].mean())
    rows = []
    for (layer, alpha), cell in steered.groupby(["layer", "alpha"], sort=True):
        row = {"layer": int(layer), "alpha": float(alpha)}
        terms = []
        for emotion, metric in ((e, m) for e, names in measures.items() for m in names):
            difference = specific_difference(cell, emotion, metric, list(measures))
            row[f"difference/{metric}"] = float(difference.mean())
            terms.append(_in_standard_errors(difference))
        shares = cell.groupby("emotion")["fluency/broken"].mean()
        row["score"] = float(np.mean(terms))
        row["broken"] = float(shares.max())
        row["eligible"] = bool(shares.max() <= base_broken + broken_margin + 1e-9)
        rows.append(row)
    table = pd.DataFrame(rows)
    any_eligible = bool(table["eligible"].any())
    pool = table[table["eligible"]] if any_eligible else table[table["broken"] == table["broken"].min()]
    best = pool.sort_values(["score", "alpha", "layer"], ascending=[False, True, True], kind="stable").iloc[0]
    return OperatingPoint(int(best["layer"]), float(best["alpha"]), float(best["score"]), any_eligible, table)


def _in_standard_errors(difference: pd.Series) -> float:
    """The mean over its standard error; 0 where all values are equal but for rounding, which is not divided by."""
    spread = float(difference.std(ddof=1))
    if not spread > ROUNDING * float(difference.abs().max()):
        return 0.0
    return float(difference.mean() / spread * np.sqrt(len(difference)))


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


def value_of(sweep: pd.DataFrame, metric: str, *, counted: bool = True) -> pd.Series:
    """The metric; where `counted`, with broken texts as 0 if it counts successes (words and probabilities)."""
    successes = metric.startswith(("keywords/", "target"))
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


def control_counts(sweep: pd.DataFrame) -> dict[str, int]:
    """The families of control directions in a sweep, and how many directions each has."""
    counts = sweep[sweep["kind"].isin(FAMILIES)].groupby("kind", sort=False)["index"].nunique()
    return {family: int(counts[family]) for family in FAMILIES if family in counts}


def rank_bar(n_controls: int, n_tests: int) -> float:
    """What the worst family's rank p has to reach.

    1/60 where a family has 59 directions or so; with 999 and more the 5 % level divided by the number of emotions and
    measures that are tested (Bonferroni).
    """
    return LEVEL / n_tests if n_controls >= 999 else RANK_BAR


def claims_table(
    sweep: pd.DataFrame,
    measures: Mapping[str, Sequence[str]],
    *,
    families: Sequence[str] = ("isotropic",),
    n_resamples: int = 2000,
    seed: int = 0,
    n_tests: int | None = None,
) -> pd.DataFrame:
    """One row per emotion and measure: is it moved by its own vector more than by the others and by chance?

    Args:
        sweep: test rows at the operating point: baseline, emotion, the control families and, if there, direct_path.
        measures: per emotion the metric columns that tell whether a text expresses it.
        families: kinds of the control directions.
        n_tests: how many tests the bar is for (see `rank_bar`); None: as many as there are measures.

    Returns:
        emotion, metric, own_effect (broken texts as 0), own_effect_unfiltered, vs_others with ci_low and ci_high,
        degenerate, per family p_<family> and max_<family>, rank_p (the worst family's), random_max, direct_path (every
        text as it is) and direct_path_counted (broken texts as 0), wrong_way and wrong_way_unfiltered (shares of
        scenarios), n, beats_others, beats_random, supported.
    """
    n_controls = min(sweep.loc[sweep["kind"] == family, "index"].nunique() for family in families)
    bar = rank_bar(n_controls, n_tests or sum(len(names) for names in measures.values()))
    rows = []
    for emotion, names in measures.items():
        for metric in names:
            row = {"emotion": emotion, "metric": metric, **_own(sweep, emotion, metric)}
            row |= _against_others(sweep, emotion, metric, list(measures), n_resamples, seed)
            row |= _against_controls(sweep, emotion, metric, row["own_effect"], families)
            beats = row["rank_p"] <= max(bar, 1 / (1 + n_controls)) + 1e-12
            supported = row["beats_others"] and row["rank_p"] <= bar + 1e-12
            rows.append({**row, "bar": bar, "beats_random": beats, "supported": supported})
    return pd.DataFrame(rows)


def _own(sweep: pd.DataFrame, emotion: str, metric: str) -> dict[str, Any]:
    own = effects(sweep, "emotion", emotion, metric)
    unfiltered = effects(sweep, "emotion", emotion, metric, counted=False)
    row = {"own_effect": float(own.mean()), "own_effect_unfiltered": float(unfiltered.mean())}
    row |= {"wrong_way": float((own < 0).mean()), "wrong_way_unfiltered": float((unfiltered < 0).mean()), "n": len(own)}
    if (sweep["kind"] == "direct_path").any():
        row["direct_path"] = float(effects(sweep, "direct_path", emotion, metric, counted=False).mean())
        row["direct_path_counted"] = float(effects(sweep, "direct_path", emotion, metric).mean())
    return row


def _against_others(
    sweep: pd.DataFrame, emotion: str, metric: str, emotions: Sequence[str], n_resamples: int, seed: int
) -> dict[str, Any]:
    difference = specific_difference(sweep[sweep["kind"] == "emotion"], emotion, metric, emotions)
    if len(emotions) < 2:  # nothing to be specific against: the effect itself
        difference = effects(sweep, "emotion", emotion, metric)
    baseline = success(sweep[sweep["kind"] == "baseline"], metric)
    interval = intervals.bootstrap_mean(
        difference.to_numpy(), n_resamples=n_resamples, seed=seed, reference_sd=float(baseline.std(ddof=1)) or None
    )
    return {
        "vs_others": interval.mean,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "degenerate": interval.degenerate,
        "beats_others": not interval.degenerate and interval.low > 0,
    }


def _against_controls(
    sweep: pd.DataFrame, emotion: str, metric: str, own: float, families: Sequence[str]
) -> dict[str, float]:
    row: dict[str, float] = {}
    for family in families:
        found = control_effects(sweep, emotion, metric, family=family).to_numpy()
        row[f"p_{family}"] = intervals.rank_p(own, found)
        row[f"max_{family}"] = float(found.max())
    row["rank_p"] = max(row[f"p_{family}"] for family in families)
    row["random_max"] = max(row[f"max_{family}"] for family in families)
    return row
