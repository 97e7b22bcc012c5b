"""The emotion's vector beside what else could have been done: at about as many broken texts, and at equal strength."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from emolib.directions.rivals import KINDS as ALTERNATIVES
from emolib.scoring.measures import measures
from emolib.statistics import intervals
from emolib.steering.effects import effects, specific_difference, success

RIVALS = ("emotion", *ALTERNATIVES, "subspace", "prompting")


def rivals(
    test: pd.DataFrame, others: pd.DataFrame, emotions: Sequence[str], *, matching: pd.DataFrame, **given: Any
) -> pd.DataFrame:
    """The mean difference beside PCA, probe, subspace and prompting, each against its own unpatched text.

    Returns:
        kind, emotion, alpha, metric; base and level (mean of the measure over scenarios without and with the method,
        broken texts as 0), effect (their difference) with low and high (95 % BCa over scenarios), degenerate; ahead
        (the vector's effect minus this one's on the same scenarios) with its interval, NaN for the vector itself and
        for prompting, whose unpatched texts are others; vs_others (its effect on the emotion minus the mean effect of
        the same kind for the other emotions); broken, broken_gap and validation_gap (share of broken texts minus the
        vector's, on test and on validation); delta_ratio; n.
    """
    rows = []
    for kind in RIVALS:
        table = test if kind == "emotion" else others
        for emotion, names in measures(test, emotions).items():
            part = table[(table["kind"] == kind) & (table["emotion"] == emotion)]
            if part.empty:
                continue
            shared = {"kind": kind, "emotion": emotion, "alpha": float(part["alpha"].mean())}
            shared |= {"broken": float(part["fluency/broken"].mean()), "delta_ratio": float(part["delta_ratio"].mean())}
            rows += [
                {**shared, "metric": metric, **_rival(test, table, shared, metric, emotions, **given)}
                for metric in names
            ]
    found = pd.DataFrame(rows)
    own = found[found["kind"] == "emotion"].set_index("metric")["broken"]
    gaps = matching.groupby(["kind", "emotion"], as_index=False)["gap"].mean()
    found["broken_gap"] = found["broken"] - found["metric"].map(own)
    return found.merge(gaps.rename(columns={"gap": "validation_gap"}), on=["kind", "emotion"], how="left")


def _rival(
    test: pd.DataFrame, table: pd.DataFrame, shared: dict, metric: str, emotions: Sequence[str], **given: Any
) -> dict[str, Any]:
    """One method's level, effect, lead of the vector and specificity on one measure."""
    kind, emotion = shared["kind"], shared["emotion"]
    baseline = "prompting_baseline" if kind == "prompting" else "baseline"
    own = effects(table, kind, emotion, metric, baseline=baseline)
    base = success(table[table["kind"] == baseline], metric)
    zero = base.groupby(table["scenario"]).mean()[own.index]
    interval = intervals.bootstrap_mean(
        own.to_numpy(),
        **given,
        reference_sd=float(base.std(ddof=1)) or None,
    )
    found = {"base": float(zero.mean()), "level": float((zero + own).mean()), "effect": interval.mean}
    found |= {"low": interval.low, "high": interval.high, "degenerate": interval.degenerate, "n": interval.n}
    if kind not in ("emotion", "prompting"):
        found |= ahead_of(effects(test, "emotion", emotion, metric), own, base, **given)
    specific = specific_difference(table[table["kind"] == kind], emotion, metric, emotions)
    return {**found, "vs_others": float(specific.mean())}


def equal_strength(
    test: pd.DataFrame, dose: pd.DataFrame, others: pd.DataFrame, emotions: Sequence[str], **given: Any
) -> pd.DataFrame:
    """The emotion's vector beside every other direction at that direction's own strength, which is an equal ‖Δh‖.

    The vector's texts come from the test sweep or, at other strengths, the dose sweep; a pair is left out where
    neither holds that strength. A move inside a subspace has no such strength and is not here.

    Returns:
        kind, emotion, metric, alpha (mean over parts), own and rival (mean effects, broken texts as 0), own_broken,
        rival_broken, n, ahead with its interval (see `ahead_of`).
    """
    steered = pd.concat([t[t["kind"] == "emotion"] for t in (test, dose)], ignore_index=True)
    rows = []
    for kind in ALTERNATIVES:
        for emotion, names in measures(test, emotions).items():
            rival = others[(others["kind"] == kind) & (others["emotion"] == emotion)]
            own = steered[steered["emotion"] == emotion]
            own = own[np.isclose(own["alpha"], own["part"].map(rival.groupby("part")["alpha"].first()).astype(float))]
            rival = rival[rival["scenario"].isin(own["scenario"])]
            if rival["scenario"].nunique() < 2:
                continue
            shared = {"kind": kind, "emotion": emotion, "alpha": float(rival["alpha"].mean())}
            shared |= {"own_broken": float(own["fluency/broken"].mean())}
            shared |= {"rival_broken": float(rival["fluency/broken"].mean())}
            base = test[(test["kind"] == "baseline") & test["scenario"].isin(rival["scenario"])]
            rows += [{**shared, "metric": m, **_beside(own, rival, base, m, **given)} for m in names]
    return pd.DataFrame(rows)


def _beside(own: pd.DataFrame, rival: pd.DataFrame, base: pd.DataFrame, metric: str, **given: Any) -> dict[str, float]:
    zero, ours, theirs = (success(t, metric).groupby(t["scenario"]).mean() for t in (base, own, rival))
    found = {"own": float((ours - zero).mean()), "rival": float((theirs - zero).mean()), "n": len(theirs)}
    return found | ahead_of(ours, theirs, success(base, metric), **given)


def ahead_of(ours: pd.Series, theirs: pd.Series, base: pd.Series, **given: Any) -> dict[str, float]:
    """How much more the emotion's vector moves a measure than a rival on the same scenarios.

    Args:
        ours, theirs: one value per scenario under the vector and under the rival.
        base: the unpatched texts' values, whose spread says what counts as no variation.
        given: n_resamples and seed of the bootstrap.

    Returns:
        ahead (mean difference), ahead_low and ahead_high (95 % BCa over scenarios), ahead_degenerate.
    """
    interval = intervals.bootstrap_mean(
        (ours - theirs).dropna().to_numpy(),
        **given,
        reference_sd=float(base.std(ddof=1)) or None,
    )
    found = {"ahead": interval.mean, "ahead_low": interval.low, "ahead_high": interval.high}
    return found | {"ahead_degenerate": interval.degenerate}
