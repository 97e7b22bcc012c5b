"""How far two models' tables of dissimilarities between the same labels agree, whatever the models' widths."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial

import numpy as np
from jaxtyping import Float
from scipy import stats

from emolib.directions.valence_axis import label_orders


@dataclass(frozen=True)
class Agreement:
    """The rank correlation over the pairs of labels, and the share of label orders that reach it; NaN where a table
    holds a value that is none or does not vary."""

    correlation: float
    p: float


def agreement(
    first: Float[np.ndarray, "label label"],
    second: Float[np.ndarray, "label label"],
    *,
    n_permutations: int = 9999,
    seed: int = 0,
) -> Agreement:
    """The rank correlation of two tables, tested by giving the second's labels every order or random ones (Mantel 1967,
    "The detection of disease clustering and a generalized regression approach", Cancer Research 27); one-sided.

    >>> table = np.array([[0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 6], [3, 5, 6, 0]])
    >>> found = agreement(table, table)
    >>> round(found.correlation, 6), round(found.p * 24)
    (1.0, 1)
    """
    n = len(first)
    upper = np.triu_indices(n, 1)
    x, y = first[upper], second[upper]
    if not (np.isfinite(x).all() and np.isfinite(y).all() and np.ptp(x) and np.ptp(y)):
        return Agreement(float("nan"), float("nan"))
    ranks = np.zeros((n, n))
    ranks[upper] = stats.zscore(stats.rankdata(y))
    ranks += ranks.T
    own = stats.zscore(stats.rankdata(x)) / len(x)
    orders = label_orders(n, n_permutations=n_permutations, seed=seed)
    every = np.array([own @ ranks[np.ix_(order, order)][upper] for order in orders])
    correlation = float(own @ ranks[upper])
    reached = int((every >= correlation - 1e-12).sum())
    all_of_them = n <= 8 and len(orders) == factorial(n)  # the given order is one of them
    p = reached / len(orders) if all_of_them else (reached + 1) / (len(orders) + 1)
    return Agreement(float(np.clip(correlation, -1, 1)), p)
