"""Statistics of paired effects. The scenario is the unit; every resample takes whole scenarios."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import stats

from emolib.errors import UserError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over scenarios with its 95 % BCa bootstrap interval.

    `degenerate` marks a sample with next to no variation (fewer than 5 non-zero differences, or a standard deviation
    below 1 % of the reference's): no interval and no effect size are given then.
    """

    mean: float
    low: float
    high: float
    se: float
    n: int
    degenerate: bool

    def as_dict(self) -> dict[str, float | int | bool]:
        return asdict(self)


def by_scenario(values: np.ndarray | pd.Series, scenarios: np.ndarray | pd.Series) -> pd.Series:
    """Mean per scenario, in the scenarios' sorted order."""
    return pd.Series(np.asarray(values, dtype=float)).groupby(np.asarray(scenarios)).mean()


def bootstrap_mean(
    differences: np.ndarray, *, n_resamples: int = 2000, seed: int = 0, reference_sd: float | None = None
) -> Interval:
    """Mean of one difference per scenario, with a BCa interval (Efron 1987, by `scipy.stats.bootstrap`).

    Args:
        differences: `[scenario]`.
        reference_sd: standard deviation of the baseline metric, for the `degenerate` rule.

    Raises:
        UserError: fewer than 2 scenarios, or values that are not finite.
    """
    x = np.asarray(differences, dtype=float)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise UserError(f"expected at least 2 finite differences, one per scenario, got shape {x.shape}")
    sd = x.std(ddof=1)
    mean, se = float(x.mean()), float(sd / np.sqrt(len(x)))
    few = int((x != 0).sum()) < 5
    flat = sd == 0 or (reference_sd is not None and sd < 0.01 * reference_sd)
    if few or flat:
        return Interval(mean, float("nan"), float("nan"), se, len(x), True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = stats.bootstrap(
            (x,),
            np.mean,
            n_resamples=n_resamples,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), se, len(x), False)


def rank_p(effect: float, controls: np.ndarray) -> float:
    """One-sided rank p value: (1 + #{control ≥ effect}) / (1 + N)."""
    controls = np.asarray(controls, dtype=float)
    if not np.isfinite(controls).all() or not np.isfinite(effect):
        raise UserError("rank p needs finite effects")
    return float((1 + (controls >= effect - 1e-12).sum()) / (1 + len(controls)))


def minimum_detectable_effect(n: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest d_z that a two-sided paired t test on n scenarios detects with the given power."""
    from pingouin import power_ttest

    return float(power_ttest(n=n, power=power, alpha=alpha, contrast="paired", alternative="two-sided"))


def mean_and_se(values: pd.Series) -> tuple[float, float]:
    """Mean and standard error of the mean."""
    x = np.asarray(values, dtype=float)
    return float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else float("nan")
