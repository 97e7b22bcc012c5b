"""AUC over texts with intervals over scenarios: how well a score tells two labels apart, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from emolib.base.errors import UserError
from emolib.statistics.exact_tests import sign_flip_p


def auc_interval(
    scores: Float[np.ndarray, " text"],
    truth: Bool[np.ndarray, " text"],
    scenarios: Sequence[str] | np.ndarray | pd.Series,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """AUC with its 95 % percentile interval over resampled scenarios.

    The AUC is the share of pairs (positive, negative) in which the positive scores higher, a tie counting half. With
    `K[s, t]` that count for positives of scenario s and negatives of scenario t, `N[s, t]` the number of such pairs
    and `w` how often each scenario was drawn, a resample's AUC is `wKw / wNw` (the cluster bootstrap, Field & Welsh
    2007, doi 10.1111/j.1467-9868.2007.00593.x). A scenario may have one label only; a resample without any pair is
    left out. Where every pair is in order there is nothing to resample: the interval is then [1, 1], and too narrow.

    Returns:
        The AUC and the interval's two ends.

    Raises:
        UserError: a label is absent, fewer than 2 scenarios, columns of different lengths, or scores not finite.
    """
    truth, codes = _checked(truth, scenarios, scores)
    weights = _scenario_weights(codes.max() + 1, n_resamples, seed)
    return _with_ends(_pair_counts(scores, truth, codes), _pair_totals(truth, codes), weights)


def auc_difference(
    a: Float[np.ndarray, " text"],
    b: Float[np.ndarray, " text"],
    truth: Bool[np.ndarray, " text"],
    scenarios: Sequence[str] | np.ndarray | pd.Series,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """AUC of `a` minus AUC of `b` on the same texts, with its 95 % interval; resampled as in `auc_interval`.

    Both scores meet the same resamples, so what they share cancels. The interval's lower side errs too often
    (`docs/statistics.md`): a claim takes `auc_swap_p` beside it.

    Raises:
        UserError: as in `auc_interval`.
    """
    truth, codes = _checked(truth, scenarios, a, b)
    weights = _scenario_weights(codes.max() + 1, n_resamples, seed)
    counts = _pair_counts(a, truth, codes) - _pair_counts(b, truth, codes)
    return _with_ends(counts, _pair_totals(truth, codes), weights)


def auc_swap_p(
    a: Float[np.ndarray, " text"],
    b: Float[np.ndarray, " text"],
    truth: Bool[np.ndarray, " text"],
    scenarios: Sequence[str] | np.ndarray | pd.Series,
    *,
    seed: int = 0,
) -> float:
    """One-sided p of the AUC of `a` above that of `b`: are the two scores' ranks interchangeable, scenario by scenario?

    Swapping the two scores' ranks within a scenario (Venkatraman & Begg 1996, doi 10.1093/biomet/83.4.835; Bandos,
    Rockette & Gur 2005, doi 10.1002/sim.2149) changes the difference of the AUCs by a sum over scenarios: with e = ±1
    for kept and swapped, it is Σ e_s d_s, and p is that of the permutation of signs of d (`exact_tests.sign_flip_p`).
    It holds where an AUC of 1 leaves nothing to resample: what few scenarios tell apart stays few.

    Returns:
        p; NaN with more scenarios than `exact_tests.MOST_SCENARIOS` in which the two scores differ.

    Raises:
        UserError: as in `auc_interval`.

    >>> truth, names = np.tile([True, False], 6), np.repeat(list("abcdef"), 2)
    >>> better, worse = np.where(truth, 1.0, 0.0), np.tile([0.0, 1.0], 6)
    >>> auc_swap_p(better, worse, truth, names), auc_swap_p(better, better, truth, names)
    (0.015625, 1.0)
    """
    truth, codes = _checked(truth, scenarios, a, b)
    size, (first, second) = codes.max() + 1, (rankdata(a), rankdata(b))
    one_hot = np.eye(size)[codes]

    def wins(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
        """Pairs won `[scenario, scenario]` by positives that have the one's rank against negatives with the other's."""
        above, below = positive[truth][:, None], negative[~truth][None]
        counted: np.ndarray = one_hot[truth].T @ ((above > below) + 0.5 * (above == below)) @ one_hot[~truth]
        return counted

    kept = wins(first, first) - wins(second, second)
    mixed = wins(first, second) - wins(second, first)
    parts = (kept.sum(axis=0) + kept.sum(axis=1) + mixed.sum(axis=1) - mixed.sum(axis=0)) / 2
    parts = np.round(parts, 9)  # counts of halves
    return float(sign_flip_p(parts[parts != 0][None], alternative="greater", seed=seed)[0]) if parts.any() else 1.0


def auc_gap(
    scores: Float[np.ndarray, " text"],
    truth: Bool[np.ndarray, " text"],
    scenarios: Sequence[str] | np.ndarray | pd.Series,
    first: Bool[np.ndarray, " text"],
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """AUC on the scenarios of a first kind minus AUC on the others, with its 95 % percentile interval.

    The two kinds share no scenario, so each is resampled on its own, as in `auc_interval`.

    Args:
        first: which texts are of scenarios of the first kind.

    Raises:
        UserError: as in `auc_interval`, for either kind; a scenario of both kinds.

    >>> truth, first = np.tile([True, False], 4), np.repeat([True, False], 4)
    >>> scores = np.array([2.0, 1.0, 4.0, 3.0, 1.0, 2.0, 3.0, 4.0])
    >>> auc_gap(scores, truth, np.repeat(list("abcd"), 2), first)[0]
    0.5
    """
    first, named = np.asarray(first, dtype=bool), np.asarray(scenarios)
    if set(named[first]) & set(named[~first]):
        raise UserError("expected scenarios of one kind each, some have texts of both; give every text of one the same")
    found = []
    for place, kept in enumerate((first, ~first)):
        values, (labels, codes) = np.asarray(scores)[kept], _checked(truth[kept], named[kept], np.asarray(scores)[kept])
        weights = _scenario_weights(codes.max() + 1, n_resamples, [seed, place])
        counts, totals = _pair_counts(values, labels, codes), _pair_totals(labels, codes)
        found.append((counts.sum() / totals.sum(), _resampled(counts, totals, weights)))
    (one, drawn), (other, others) = found
    gaps = (drawn - others)[~np.isnan(drawn - others)]
    low, high = np.quantile(gaps, [0.025, 0.975]) if len(gaps) else (np.nan, np.nan)
    return float(one - other), float(low), float(high)


def _checked(
    truth: np.ndarray, scenarios: Sequence[str] | np.ndarray | pd.Series, *scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The labels as booleans and the scenarios as codes `[text]`."""
    truth, codes = np.asarray(truth, dtype=bool), pd.factorize(np.asarray(scenarios))[0]
    shapes = {np.shape(column) for column in (truth, codes, *scores)}
    if len(shapes) > 1:
        raise UserError(f"expected one score, label and scenario per text, got shapes {sorted(shapes)}")
    if truth.all() or not truth.any():
        raise UserError(f"an AUC needs texts of both labels, got {truth.sum()} positive of {len(truth)}")
    if codes.max() < 1:
        raise UserError("an interval over scenarios needs at least 2 scenarios, got 1")
    if not all(np.isfinite(column).all() for column in scores):
        raise UserError("the scores hold values that are not finite")
    return truth, codes


def _scenario_weights(
    n_scenarios: int, n_resamples: int, seed: int | Sequence[int]
) -> Float[np.ndarray, "resample scenario"]:
    """How often each scenario is drawn in each resample of as many scenarios as there are; read-only."""
    if n_resamples < 1:
        raise UserError(f"expected at least 1 resample, got {n_resamples}")
    return _drawn(n_scenarios, n_resamples, tuple(seed) if isinstance(seed, Sequence) else seed)


@lru_cache(maxsize=4)  # one call after the other asks for the same scenarios; a few megabytes each
def _drawn(n_scenarios: int, n_resamples: int, seed: int | tuple[int, ...]) -> np.ndarray:
    even = np.full(n_scenarios, 1 / n_scenarios)
    drawn = np.random.default_rng(seed).multinomial(n_scenarios, even, size=n_resamples).astype(float)
    drawn.flags.writeable = False
    return drawn


def pair_wins(scores: np.ndarray, truth: np.ndarray) -> Float[np.ndarray, "positive negative"]:
    """1 where the positive scores above the negative, ½ where they tie, else 0. Its mean is the AUC."""
    positive, negative = np.asarray(scores)[truth][:, None], np.asarray(scores)[~truth][None]
    return (positive > negative) + 0.5 * (positive == negative)


def _pair_counts(scores: np.ndarray, truth: np.ndarray, codes: np.ndarray) -> Float[np.ndarray, "scenario scenario"]:
    """`K`: pairs won by the positives of the first scenario against the negatives of the second."""
    one_hot = np.eye(codes.max() + 1)[codes]
    return one_hot[truth].T @ pair_wins(scores, truth) @ one_hot[~truth]


def _pair_totals(truth: np.ndarray, codes: np.ndarray) -> Float[np.ndarray, "scenario scenario"]:
    size = codes.max() + 1
    positive, negative = (np.bincount(codes[keep], minlength=size) for keep in (truth, ~truth))
    return np.outer(positive, negative).astype(float)


def _resampled(counts: np.ndarray, totals: np.ndarray, weights: np.ndarray) -> Float[np.ndarray, " resample"]:
    """`wKw / wNw` for every resample; NaN where no pair was drawn."""
    won, pairs = (((weights @ table) * weights).sum(axis=1) for table in (counts, totals))
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def _with_ends(counts: np.ndarray, totals: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    drawn = _resampled(counts, totals, weights)
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    return float(counts.sum() / totals.sum()), float(low), float(high)
