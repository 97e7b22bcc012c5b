"""Tests of paired differences that divide by no spread: the sign test and the permutation of signs.

Both hold at any number of scenarios. The first asks how often a difference is above 0, and so takes a constant one as
what it is, evidence; the second asks whether a mean so large is to be had where every difference could as well have had
the other sign (Fisher 1935, The Design of Experiments, section 21).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

from emolib.base import arguments

ALTERNATIVES = ("greater", "less", "two-sided")
Alternative = Literal["greater", "less", "two-sided"]
MOST_SCENARIOS = 45  # up to here a bootstrap interval's ends err enough for a permutation to stand beside it
EXACT_FLIPS = 30  # non-zero differences up to which all permutations are counted
N_FLIPS = 9_999  # drawn beyond
ROWS_AT_ONCE = 64  # that are held against the drawn ones
ROUNDING = 1e-12  # relative: what arithmetic alone makes of two equal numbers


def sign_test_p(
    differences: Float[np.ndarray, "row scenario"], *, alternative: Alternative = "two-sided"
) -> Float[np.ndarray, " row"]:
    """Exact sign test `[row]`: zeros and NaN are left out; 1 where nothing else is left, NaN without a scenario.

    Raises:
        UserError: differences that are no table of numbers, or an unknown alternative.

    >>> sign_test_p(np.array([[1.0, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]), alternative="greater").tolist()
    [0.015625, 0.125]
    """
    x = _checked(differences, alternative)
    above, n = (x > 0).sum(axis=1), ((x != 0) & ~np.isnan(x)).sum(axis=1)
    wanted = {"greater": above, "less": n - above, "two-sided": np.maximum(above, n - above)}[alternative]
    tail = stats.binom.sf(wanted - 1, n, 0.5)
    p = np.minimum(2 * tail, 1.0) if alternative == "two-sided" else tail
    found: np.ndarray = np.where(np.isnan(x).all(axis=1), np.nan, np.where(n > 0, p, 1.0))
    return found


def sign_flip_p(
    differences: Float[np.ndarray, "row scenario"], *, alternative: Alternative = "two-sided", seed: int = 0
) -> Float[np.ndarray, " row"]:
    """p `[row]` of the mean among those with every choice of signs; NaN left out.

    All 2^n permutations of n non-zero differences are counted up to `EXACT_FLIPS`, by the sorted sums of two halves;
    beyond, `N_FLIPS` are drawn, p = (1 + #) / (1 + N), the same ones for every row of n differences.

    Returns:
        NaN in a row without a scenario, or with more than `MOST_SCENARIOS`: there the interval alone is good enough.

    Raises:
        UserError: differences that are no table of numbers, or an unknown alternative.

    >>> sign_flip_p(np.array([[1.0, 2, 3], [1, 2, -3]]), alternative="greater").tolist()
    [0.125, 0.625]
    """
    x = _checked(differences, alternative) * (-1 if alternative == "less" else 1)
    held = (~np.isnan(x)).sum(axis=1)
    moved = np.nan_to_num(x)
    counts = (moved != 0).sum(axis=1)
    sides = 2 if alternative == "two-sided" else 1
    total, least = moved.sum(axis=1), ROUNDING * np.abs(moved).sum(axis=1)
    bars = (np.abs(total) if sides == 2 else total) - least
    asked = (held > 0) & (held <= MOST_SCENARIOS)
    p = np.where(asked, 1.0, np.nan)
    for count in np.unique(counts[asked & (counts > 0)]):
        rows = np.flatnonzero(asked & (counts == count))
        values = moved[rows][moved[rows] != 0].reshape(len(rows), count)
        if count <= EXACT_FLIPS:
            p[rows] = [sides * _share_reaching(one, bar) for one, bar in zip(values, bars[rows], strict=True)]
        else:
            p[rows] = _drawn_p(values, bars[rows], seed, sides)
    found: np.ndarray = np.minimum(p, 1.0)
    return found


def _share_reaching(values: np.ndarray, bar: float) -> float:
    """The share of all choices of signs whose sum is at least the bar."""
    half = len(values) // 2
    first, second = _signed_sums(values[:half]), np.sort(_signed_sums(values[half:]))
    reaching = len(second) - np.searchsorted(second, np.sort(bar - first), side="left")
    return float(reaching.sum()) / 2.0 ** len(values)


def _drawn_p(values: np.ndarray, bars: np.ndarray, seed: int, sides: int) -> np.ndarray:
    """p `[row]` by drawn signs, in blocks so that memory stays bounded."""
    drawn = np.random.default_rng(np.random.SeedSequence([seed, values.shape[1]]))
    signs = 2.0 * drawn.integers(0, 2, (N_FLIPS, values.shape[1])) - 1.0
    blocks = range(0, len(values), ROWS_AT_ONCE)
    reaching = [
        (values[at : at + ROWS_AT_ONCE] @ signs.T >= bars[at : at + ROWS_AT_ONCE, None]).sum(axis=1) for at in blocks
    ]
    found: np.ndarray = (1 + sides * np.concatenate(reaching)) / (1 + N_FLIPS)
    return found


def _signed_sums(values: np.ndarray) -> np.ndarray:
    """The sums of all 2^n choices of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _checked(differences: np.ndarray, alternative: str) -> np.ndarray:
    arguments.one_of("alternative", alternative, ALTERNATIVES)
    return np.atleast_2d(arguments.float_array("differences", differences))
