"""Matched minus mismatched of mapped vectors, A's and B's labels taken from scenarios that have no text in common.

From the same texts both models' vectors have the texts' noise in common, and their words: two models look alike that
share nothing else. So A's labels are the means over one random half of the scenarios and B's those over the other, both
ways. What halves of so few scenarios can reach at all is told by the same number within either model
(`disjoint_margins` of a model's cube with itself): two models that are the same would reach as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.directions.map_judgement import match_cosines, matched_minus_mismatched

Cube = Float[np.ndarray, "scenario label d"]
Statistic = Callable[[Float[np.ndarray, "half label label"]], Float[np.ndarray, "half value"]]


def scenario_halves(n: int, *, n_splits: int, seed: int = 0) -> Bool[np.ndarray, "half scenario"]:
    """Random halves, each followed by the rest: whose scenarios A's labels are of, while B's are of the others.

    >>> scenario_halves(4, n_splits=1).sum(axis=1).tolist()
    [2, 2]
    """
    n = arguments.whole_number("the number of scenarios", n, least=2)
    rng = np.random.default_rng([seed, n])
    rows = []
    for _ in range(arguments.whole_number("n_splits", n_splits, least=1)):
        half = np.zeros(n, dtype=bool)
        half[rng.permutation(n)[: n // 2]] = True
        rows += [half, ~half]
    return np.stack(rows)


def half_means(cube: Cube, halves: Bool[np.ndarray, "half scenario"]) -> Float[np.ndarray, "half label d"]:
    """The labels' means over the scenarios of every half.

    >>> half_means(np.arange(4.0).reshape(4, 1, 1), np.array([[True, True, False, False]])).ravel().tolist()
    [0.5]
    """
    weights = halves / halves.sum(axis=1, keepdims=True)
    found: np.ndarray = np.einsum("hs,sld->hld", weights, cube, optimize=True)
    return found


def margins(
    mapped: Float[np.ndarray, "half label d"],
    native: Float[np.ndarray, "half label d"],
    scale: Float[np.ndarray, " d"] | None = None,
) -> Float[np.ndarray, " label"]:
    """Matched minus mismatched of every label, its mean over halves.

    Args:
        mapped: A's labels, mapped, of every half; native: B's, of the other half.
        scale: as in `match_cosines`.
    """
    found: np.ndarray = matched_minus_mismatched(match_cosines(mapped, native, scale=scale)).mean(axis=0)
    return found


def disjoint_margins(
    mapped: Cube,
    native: Cube,
    halves: Bool[np.ndarray, "half scenario"],
    *,
    scale: Float[np.ndarray, " d"] | None = None,
    statistic: Statistic | None = None,
    confidence: float = 0.95,
) -> Float[np.ndarray, "label 4"]:
    """Every label's margin with its interval over scenarios, and its standard error.

    A jackknife: whole scenarios are left out of whichever half they are in, in both models at once; t quantiles.

    Args:
        mapped: A's texts under the map's linear part (or B's own, for what its halves can reach), a row of labels per
            scenario.
        native: B's, of the same scenarios and labels.
        statistic: of the cosines `[half, label, label]` of mapped with native labels, other numbers than the margins.

    Returns:
        margin (or whatever the statistic gives), low, high, se. Where leaving one out empties a half (fewer than 4
        scenarios), the last three are NaN.

    Raises:
        UserError: other scenarios or labels.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.standard_normal((5, 40))
    >>> cubes = [truth + rng.standard_normal((12, 5, 40)) for _ in range(2)]
    >>> found = disjoint_margins(*cubes, scenario_halves(12, n_splits=3))
    >>> found.shape, bool((found[:, 1] > 0).all())
    ((5, 4), True)
    """
    a, b = arguments.float_array("mapped", mapped), arguments.float_array("native", native)
    if a.ndim != 3 or a.shape != b.shape or halves.shape[1:] != a.shape[:1]:
        raise UserError(
            "expected cubes [scenario, label, d] of the same scenarios and labels twice, got shapes "
            f"{a.shape} and {b.shape} for halves of {halves.shape[-1]} scenarios"
        )
    n, found = len(a), matched_minus_mismatched if statistic is None else statistic

    def over_halves(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        return np.asarray(found(match_cosines(mine, theirs, scale=scale)).mean(axis=0))

    whole = over_halves(half_means(a, halves), half_means(b, ~halves))
    if min(halves.sum(axis=1).min(), (~halves).sum(axis=1).min()) < 2:
        return np.column_stack([whole, np.full((len(whole), 3), np.nan)])
    without = np.stack([over_halves(mine, theirs) for mine, theirs in _left_out(a, b, halves)])
    se = np.sqrt((n - 1) / n * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    reach = stats.t.ppf((1 + confidence) / 2, n - 1) * se
    return np.column_stack([whole, whole - reach, whole + reach, se])


def _left_out(a: np.ndarray, b: np.ndarray, halves: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Both models' half means without one scenario after the other."""
    sums = [np.einsum("hs,sld->hld", of.astype(float), cube, optimize=True) for of, cube in ((halves, a), (~halves, b))]
    for left in range(len(a)):
        means = []
        for of, cube, total in ((halves, a, sums[0]), (~halves, b, sums[1])):
            inside = of[:, left].astype(float)[:, None, None]
            counts = (of.sum(axis=1) - of[:, left])[:, None, None]
            means.append((total - inside * cube[left]) / counts)
        yield means[0], means[1]


def upper_limit(found: Float[np.ndarray, "label 4"], n_scenarios: int, level: float = 0.95) -> np.ndarray:
    """The one-sided upper limit of margins: what a null that is one map, and no family of them, may reach by chance."""
    reach: np.ndarray = found[:, 0] + stats.t.ppf(level, max(n_scenarios - 1, 1)) * found[:, 3]
    return reach
