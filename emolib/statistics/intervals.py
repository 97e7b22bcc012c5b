"""Statistics of paired effects. The scenario is the unit; every resample takes whole scenarios."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special, stats

from emolib.base import arguments
from emolib.base.errors import UserError, nearest, shown
from emolib.statistics.exact_tests import ROUNDING, sign_flip_p, sign_test_p

CONFIDENCE = 0.95
RESAMPLES = ("counts", "scipy")
MIN_NONZERO = 5
MIN_SPREAD = 0.01  # of the baseline metric's standard deviation
BLOCK_BYTES = 8 * 2**20  # of one [row, resample] array; about five of them live at a time
EXACT_WILCOXON = 50  # scipy's own limit for the exact distribution


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


def is_degenerate(differences: np.ndarray, baseline_sd: np.ndarray | None = None) -> np.ndarray:
    """Which rows of `[row, scenario]` (NaN = missing) vary too little for an effect size or an interval.

    Fewer than 5 non-zero differences, or a standard deviation below 1 % of the baseline metric's (`[row]`), or one
    that is 0 but for rounding.
    """
    few = ((differences != 0) & ~np.isnan(differences)).sum(axis=1) < MIN_NONZERO
    _, _, sd = _moments(differences)
    largest = np.max(np.abs(differences), axis=1, initial=0.0, where=~np.isnan(differences))
    flat = sd <= 1e3 * ROUNDING * largest
    if baseline_sd is not None:
        flat |= sd < MIN_SPREAD * baseline_sd
    return few | flat


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and standard deviation (n − 1) of every row of `[row, scenario]`, NaN left out."""
    n = (~np.isnan(x)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(x, axis=1) / n
        sd = np.sqrt(np.nansum((x - mean[:, None]) ** 2, axis=1) / np.where(n > 1, n - 1, np.nan))
    return n, mean, sd


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
    x = arguments.float_array("differences", differences)
    n_resamples = arguments.whole_number("n_resamples", n_resamples, least=1)
    seed = arguments.whole_number("seed", seed, least=0)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise UserError(f"expected at least 2 finite differences, one per scenario, got shape {x.shape}")
    mean, se = float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))
    if is_degenerate(x[None], None if reference_sd is None else np.array([reference_sd]))[0]:
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


def paired_effects(
    differences: np.ndarray | pd.DataFrame,
    *,
    baseline_sd: np.ndarray | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: Literal["counts", "scipy"] = "counts",
) -> pd.DataFrame:
    """Effect sizes, BCa intervals and tests of many rows of paired differences at once.

    Args:
        differences: `[row, scenario]`, one difference per scenario (see `by_scenario`); NaN = scenario missing there.
        baseline_sd: `[row]`, standard deviation of the baseline metric, for the `degenerate` rule; NaN = unknown.
        resamples: `counts` draws how often each scenario is taken (`resampling_weights`); `scipy` takes the resamples
            of `bootstrap_mean` with the same seed, whose interval of the mean then comes out here too.

    Returns:
        One row per input row: n, mean, sd, d_z (mean / sd), hedges_g (d_z · (1 − 3 / (4(n − 1) − 1))); ci_low and
        ci_high (of the mean), d_low and d_high (of d_z), both BCa (Efron 1987; DiCiccio & Efron 1996) with whole
        scenarios resampled and jackknifed, NaN where the method is undefined; t and p_t (paired, two-sided);
        p_wilcoxon (two-sided, zeros dropped; exact for at most 50 scenarios without zeros and ties, else normal with
        tie and continuity correction; NaN if all are 0); p_sign and p_flip (two-sided; see
        `emolib.statistics.exact_tests`); p_paired: p_t, and p_sign in a degenerate row; n_nonzero; degenerate (see
        `is_degenerate`). In a degenerate row d_z, hedges_g, the intervals, t and p_t are NaN; the other tests divide by
        no spread and stand: a constant difference is evidence.
        All rows of n scenarios share their resamples, which depend on seed, n and n_resamples alone: a row's numbers
        do not depend on the rows beside it.

    Raises:
        UserError: not `[row, scenario]`, infinite differences, or settings out of range.
    """
    x = arguments.float_array("differences", differences)
    if x.ndim != 2 or np.isinf(x).any():
        raise UserError(f"expected differences [row, scenario], finite or NaN, got shape {x.shape}")
    n_resamples = arguments.whole_number("n_resamples", n_resamples, least=1)
    seed = arguments.whole_number("seed", seed, least=0)
    confidence = arguments.number("confidence", confidence, above=0, below=1)
    arguments.one_of("resamples", resamples, RESAMPLES)
    n, mean, sd = _moments(x)
    degenerate = is_degenerate(x, _checked_sd(baseline_sd, len(x)))
    bounds, p_wilcoxon = np.full((len(x), 4), np.nan), np.full(len(x), np.nan)
    packed = np.take_along_axis(x, np.argsort(np.isnan(x), axis=1, kind="stable"), axis=1)
    for size in np.unique(n[n >= 2]):
        rows = np.flatnonzero(n == size)
        p_wilcoxon[rows] = wilcoxon_p(packed[rows, :size])
        rows = rows[~degenerate[rows]]
        if len(rows):
            draw = scipy_resampling_weights if resamples == "scipy" else resampling_weights
            weights = draw(int(size), n_resamples, seed)
            bounds[rows] = _bca_intervals(packed[rows, :size], weights, confidence)
    with np.errstate(invalid="ignore", divide="ignore"):
        d_z = np.where(degenerate, np.nan, mean / sd)
        t = d_z * np.sqrt(n)
        columns = {"n": n, "mean": mean, "sd": sd, "d_z": d_z, "hedges_g": d_z * (1 - 3 / (4 * (n - 1) - 1))}
    columns |= dict(zip(("ci_low", "ci_high", "d_low", "d_high"), bounds.T, strict=True))
    p_t, p_sign = 2 * stats.t.sf(np.abs(t), n - 1), sign_test_p(x)
    columns |= {"t": t, "p_t": p_t, "p_wilcoxon": p_wilcoxon, "p_sign": p_sign}
    columns |= {"p_flip": sign_flip_p(x, seed=seed), "p_paired": np.where(degenerate, p_sign, p_t)}
    columns |= {"n_nonzero": ((x != 0) & ~np.isnan(x)).sum(axis=1), "degenerate": degenerate}
    return pd.DataFrame(columns, index=differences.index if isinstance(differences, pd.DataFrame) else None)


def _checked_sd(baseline_sd: np.ndarray | None, n_rows: int) -> np.ndarray | None:
    if baseline_sd is None:
        return None
    sd = np.asarray(baseline_sd, dtype=float)
    if sd.shape != (n_rows,) or (sd < 0).any():
        raise UserError(f"expected a baseline_sd of at least 0 for each of {n_rows} rows, got shape {sd.shape}")
    return sd


def resampling_weights(n: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each resample holds each scenario: `[resample, scenario]`, every row sums to n."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, n]))
    return rng.multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(float)


def scipy_resampling_weights(n: int, n_resamples: int, seed: int) -> np.ndarray:
    """The resamples that `scipy.stats.bootstrap` draws with this seed, as counts `[resample, scenario]`."""
    drawn = np.random.default_rng(seed).integers(0, n, (n_resamples, n))
    places = drawn + n * np.arange(n_resamples)[:, None]
    return np.bincount(places.ravel(), minlength=n * n_resamples).reshape(n_resamples, n).astype(float)


def _bca_intervals(values: np.ndarray, weights: np.ndarray, confidence: float) -> np.ndarray:
    """BCa bounds `[row, 4]` of the mean and of d_z of `[row, scenario]`, in blocks so that memory stays bounded."""
    step = max(1, BLOCK_BYTES // (8 * len(weights)))
    blocks = [values[start : start + step] for start in range(0, len(values), step)]
    with np.errstate(all="ignore"):  # undefined bounds come out as NaN
        found = np.concatenate([_bca_of_block(block, weights, confidence) for block in blocks])
    return np.where(np.isfinite(found), found, np.nan)


def _bca_of_block(values: np.ndarray, weights: np.ndarray, confidence: float) -> np.ndarray:
    n = values.shape[1]
    mean = values.mean(axis=1, keepdims=True)
    centred = values - mean  # the variance of a resample is a difference of sums of squares: small ones stay exact
    total = (centred**2).sum(axis=1, keepdims=True)
    rounding = ROUNDING * np.abs(values).max(axis=1, keepdims=True)
    d_z = mean / np.sqrt(total / (n - 1))

    shift = _snapped(centred @ weights.T / n, rounding)  # resampled means less the mean
    variance = _snapped(((centred**2) @ weights.T - n * shift**2) / (n - 1), ROUNDING * total)
    d_shift = _snapped(shift + mean, rounding) / np.sqrt(variance)
    d_shift[np.isnan(d_shift)] = 0.0  # a resample of zeros alone
    d_shift = _snapped(d_shift - d_z, ROUNDING * (1 + np.abs(d_z)))

    left_out = (total - centred**2 * n / (n - 1)) / (n - 2)
    d_jackknife = (mean - centred / (n - 1)) / np.sqrt(_snapped(left_out, ROUNDING * total))
    d_low_high = _bca_bounds(d_shift, _acceleration(d_jackknife), confidence)
    low_high = _bca_bounds(shift, _acceleration(-centred), confidence)
    return np.concatenate([mean + low_high, d_z + d_low_high], axis=1)


def _snapped(values: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """The array, in place, with 0 where it is 0 but for rounding: ties stay ties."""
    values[np.abs(values) <= rounding] = 0.0
    return values


def _acceleration(jackknife: np.ndarray) -> np.ndarray:
    """BCa's a `[row, 1]` from the statistic without each scenario in turn `[row, scenario]`, up to a positive scale."""
    spread = jackknife.mean(axis=1, keepdims=True) - jackknife
    return (spread**3).sum(axis=1, keepdims=True) / (6 * (spread**2).sum(axis=1, keepdims=True) ** 1.5)


def _bca_bounds(shift: np.ndarray, acceleration: np.ndarray, confidence: float) -> np.ndarray:
    """Bounds `[row, 2]`, less the estimate, from resampled estimates less the estimate `[row, resample]` (sorted in
    place). Ties with the estimate count half, as in scipy."""
    n_resamples = shift.shape[1]
    below = (shift < 0).sum(axis=1, keepdims=True) + (shift == 0).sum(axis=1, keepdims=True) / 2
    z_0 = special.ndtri(below / n_resamples)
    z = z_0 + special.ndtri(np.array([[(1 - confidence) / 2, (1 + confidence) / 2]]))
    level = special.ndtr(z_0 + z / (1 - acceleration * z))
    shift.sort(axis=1)
    place = np.nan_to_num(level) * (n_resamples - 1)
    lower = np.floor(place).astype(int)
    at, after = (np.take_along_axis(shift, np.minimum(i, n_resamples - 1), axis=1) for i in (lower, lower + 1))
    return np.where(np.isnan(level), np.nan, at + (place - lower) * (after - at))


def wilcoxon_p(values: np.ndarray) -> np.ndarray:
    """Two-sided Wilcoxon signed-rank p `[row]` of `[row, scenario]` by scipy, the method chosen row by row."""
    sizes = np.sort(np.abs(values), axis=1)
    exact = (sizes[:, 0] > 0) & (np.diff(sizes, axis=1) > 0).all(axis=1) & (values.shape[1] <= EXACT_WILCOXON)
    p = np.full(len(values), np.nan)
    for rows, method in ((exact, "exact"), (~exact & (sizes[:, -1] > 0), "asymptotic")):
        if rows.any():
            found = stats.wilcoxon(values[rows], zero_method="wilcox", correction=True, method=method, axis=1)
            p[rows] = found.pvalue
    return p


def max_statistic_p(
    effects: np.ndarray,
    nulls: np.ndarray,
    *,
    studentised: bool = False,
    alternative: Literal["greater", "less", "two-sided"] = "greater",
) -> np.ndarray:
    """p `[cell]` of each cell's effect against the largest null effect over all cells: corrected for the choice.

    (1 + #{largest null ≥ effect}) / (1 + N), the single-step maxT of Westfall & Young (1993).

    Args:
        effects: `[cell]`.
        nulls: `[null, cell]`, every row one permutation (or random direction) with all its cells.
        studentised: divide every cell by its spread first, so that a cell of wide spread does not decide alone. Mean
            and sd are those of the nulls and the effect together, which leaves them exchangeable.
        alternative: the direction stated beforehand.

    Raises:
        UserError: shapes that do not fit, no nulls, values that are not finite, or an unknown alternative.
    """
    signs = {"greater": 1, "less": -1, "two-sided": 1}
    if alternative not in signs:
        raise UserError(f"expected a known alternative, got {shown(alternative)}: {nearest(alternative, signs)}")
    effects, nulls = np.asarray(effects, dtype=float), np.asarray(nulls, dtype=float)
    if effects.ndim != 1 or nulls.ndim != 2 or not len(nulls) or nulls.shape[1] != len(effects) or not len(effects):
        raise UserError(f"expected effects [cell] and nulls [null, cell], got {effects.shape} and {nulls.shape}")
    both = np.vstack([effects, nulls]) * signs[alternative]
    if not np.isfinite(both).all():
        raise UserError("expected finite effects and nulls: leave out cells without an effect")
    if studentised:
        spread = both.std(axis=0, ddof=1)
        both = (both - both.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    both = np.abs(both) if alternative == "two-sided" else both
    largest = both[1:].max(axis=1)
    return (1 + (largest[:, None] >= both[0] - ROUNDING).sum(axis=0)) / (1 + len(largest))


def studentise(effects: np.ndarray, nulls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Effects `[cell]` and nulls `[null, cell]`, each cell less its mean and over its sd, both of nulls and effect
    together; what `max_statistic_p` compares when it studentises."""
    both = np.vstack([effects, nulls])
    spread = both.std(axis=0, ddof=1)
    z = (both - both.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return z[0], z[1:]


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
