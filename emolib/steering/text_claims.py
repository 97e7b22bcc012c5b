"""What generated texts meet, on test scenarios at the operating point: secondary, and no claim about an emotion.

The rule of a claim is `emolib.steering.claims`. Here a statement about an emotion and a measure needs two things: its
own vector moves the measure more than the other emotions' vectors do, and more than the control directions of every
family do (one-sided rank p of the worst family). The first is told by the 95 % BCa interval over scenarios above 0 and,
at 45 scenarios and fewer, where its lower side errs too often, also by the permutation of signs at half the level; by
the exact sign test where the differences do not vary. Whether that counts with so few scenarios or directions
(`findings.verdict`), and the verdict on an emotion from all its measures (`findings.overall`), is settled in
`emolib.steering.findings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from emolib.statistics import intervals
from emolib.statistics.exact_tests import sign_flip_p, sign_test_p
from emolib.steering.effects import control_effects, effects, specific_difference, success

RANK_BAR = 1 / 60
LEVEL = 0.05
FEWEST_SCENARIOS = 10  # below it an interval over scenarios is not worth its name


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
        degenerate, n_nonzero, p_sign and p_flip (one-sided; see `emolib.statistics.exact_tests`), per family p_<family>
        and max_<family>, rank_p (the worst family's), random_max, direct_path (every text as it is) and
        direct_path_counted (broken texts as 0), wrong_way and wrong_way_unfiltered (shares of scenarios), n,
        beats_others, beats_random, supported.
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
    values = difference.to_numpy()[None]
    row: dict[str, Any] = {"vs_others": interval.mean, "ci_low": interval.low, "ci_high": interval.high}
    row |= {"degenerate": interval.degenerate, "n_nonzero": int((values != 0).sum())}
    row["p_sign"] = float(sign_test_p(values, alternative="greater")[0])
    row["p_flip"] = float(sign_flip_p(values, alternative="greater", seed=seed)[0])
    return row | {"beats_others": above_zero(row)}


def above_zero(row: Mapping[str, Any]) -> bool:
    """Whether a mean difference is above 0, from the interval and the tests of its row.

    Args:
        row: degenerate, ci_low, p_sign, p_flip (NaN: more scenarios than it is asked for).

    >>> row = {"degenerate": False, "ci_low": 0.1, "p_sign": 0.1, "p_flip": 0.03}
    >>> above_zero(row), above_zero({**row, "p_flip": 0.02}), above_zero({**row, "degenerate": True})
    (False, True, False)
    """
    if row["degenerate"]:
        return bool(row["p_sign"] <= LEVEL / 2)
    return bool(row["ci_low"] > 0 and not row["p_flip"] > LEVEL / 2)


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
