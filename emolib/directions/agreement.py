"""How far two models' tables of dissimilarities between the same labels agree, whatever the models' widths.

Tested by giving one table's labels other orders (Mantel 1967, "The detection of disease clustering and a generalized
regression approach", Cancer Research 27). With other tables given (the labels' valence, what their words alone make of
them) both tables' ranks are freed of them by regression first, and what is permuted are the residuals (Smouse, Long and
Sokal 1986, Systematic Zoology 35; permutation of residuals after Freedman and Lane 1983, as in Legendre 2000,
"Comparison of permutation methods for the partial correlation and partial Mantel tests").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.directions.dissimilarities import dissimilarities
from emolib.directions.valence_axis import label_orders

Table = Float[np.ndarray, "label label"]


@dataclass(frozen=True)
class Agreement:
    """The rank correlation over the pairs of labels, and the share of label orders that reach it; NaN where a table
    holds a value that is none or does not vary."""

    correlation: float
    p: float


def agreement(
    first: Table, second: Table, *, given: Sequence[Table] = (), n_permutations: int = 9999, seed: int = 0
) -> Agreement:
    """The rank correlation of two tables, tested by giving the second's labels every order or random ones; one-sided.

    Args:
        given: tables whose ranks are taken out of both first: the partial correlation.

    >>> table = np.array([[0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 6], [3, 5, 6, 0]])
    >>> found = agreement(table, table)
    >>> round(found.correlation, 6), round(found.p * 24)
    (1.0, 1)
    """
    orders = label_orders(len(first), n_permutations=n_permutations, seed=seed)
    return _tested([(first, second)], given, orders)


@dataclass(frozen=True)
class DisjointAgreement:
    """Two models' dissimilarities, each from scenarios that the other's were not made from.

    Attributes:
        plain: mean rank correlation over the random halves, A's labels from one and B's from the other, both ways.
        partial: the same with the given tables taken out; NaN where none was given.
        ceiling: what the halves' noise lets two models reach that are the same: √(half_a · half_b); NaN where one of
            these is not above 0.
        half_a, half_b: rank correlation between the halves within each model.
        same_texts: rank correlation of the whole tables, which share the texts' noise.
    """

    plain: Agreement
    partial: Agreement
    ceiling: float
    half_a: float
    half_b: float
    same_texts: float


def disjoint_agreement(
    cube_a: Float[np.ndarray, "scenario label d_a"],
    cube_b: Float[np.ndarray, "scenario label d_b"],
    *,
    given: Sequence[Table] = (),
    n_halves: int = 20,
    n_permutations: int = 9999,
    seed: int = 0,
) -> DisjointAgreement:
    """How far two models find the same labels alike, on disjoint scenarios.

    From the same texts both tables have the texts' noise in common, which makes models alike that have nothing else in
    common. Random halves of the scenarios keep it apart; the p values permute the labels in all halves at once.

    Args:
        cube_a, cube_b: the same scenarios and labels in the same order, each in its own model (or one in none:
            `word_cube`, the trained embeddings).
        given: as in `agreement`.

    Raises:
        UserError: cubes of other scenarios or labels, fewer than 4 scenarios or 4 labels, given tables of another size.
    """
    a, b = arguments.float_array("cube_a", cube_a), arguments.float_array("cube_b", cube_b)
    if a.ndim != 3 or b.ndim != 3 or a.shape[:2] != b.shape[:2] or min(a.shape[:2]) < 4:
        raise UserError(
            "expected two cubes [scenario, label, d] of the same 4 or more scenarios and labels, got shapes "
            f"{a.shape} and {b.shape}"
        )
    if any(np.shape(table) != (a.shape[1],) * 2 for table in given):
        raise UserError(
            f"expected the given tables for {a.shape[1]} labels, got {[np.shape(table) for table in given]}"
        )
    n_halves = arguments.whole_number("n_halves", n_halves, least=1)
    rng, pairs = np.random.default_rng(seed), list[tuple[Table, Table]]()
    within: tuple[list[float], list[float]] = ([], [])
    for _ in range(n_halves):
        order = rng.permutation(len(a))
        halves = (order[: len(a) // 2], order[len(a) // 2 :])
        tables = [[dissimilarities(cube[half].mean(axis=0)) for half in halves] for cube in (a, b)]
        pairs += [(tables[0][0], tables[1][1]), (tables[0][1], tables[1][0])]
        for found, of_model in zip(within, tables, strict=True):
            found.append(_correlation(*of_model))
    orders = label_orders(a.shape[1], n_permutations=n_permutations, seed=seed)
    half_a, half_b = (float(np.mean(found)) for found in within)
    return DisjointAgreement(
        _tested(pairs, (), orders),
        _tested(pairs, given, orders) if given else Agreement(float("nan"), float("nan")),
        float(np.sqrt(half_a * half_b)) if min(half_a, half_b) > 0 else float("nan"),
        half_a,
        half_b,
        _correlation(dissimilarities(a.mean(axis=0)), dissimilarities(b.mean(axis=0))),
    )


def _correlation(first: Table, second: Table) -> float:
    return _tested([(first, second)], (), np.arange(len(first))[None]).correlation


def _tested(
    pairs: Sequence[tuple[Table, Table]], given: Sequence[Table], orders: Int[np.ndarray, "permutation label"]
) -> Agreement:
    """The mean correlation over pairs of tables, and how many orders of the second ones' labels reach it."""
    n = orders.shape[1]
    upper = np.triu_indices(n, 1)
    tables = [table[upper] for pair in pairs for table in pair] + [np.asarray(table)[upper] for table in given]
    if not all(np.isfinite(values).all() and np.ptp(values) for values in tables):
        return Agreement(float("nan"), float("nan"))
    known = np.column_stack(
        [np.ones(len(upper[0])), *(stats.rankdata(table[upper]) for table in map(np.asarray, given))]
    )
    known = np.linalg.svd(known, full_matrices=False)[0][:, : np.linalg.matrix_rank(known)]
    places = orders[:, upper[0]] * n + orders[:, upper[1]]  # [permutation, pair of labels]
    correlation, every = 0.0, np.zeros(len(orders))
    for first, second in pairs:
        (own, left_of_own), (other, left_of_other) = (_residual(table[upper], known) for table in (first, second))
        if min(left_of_own, left_of_other) < 1e-6:  # one table says what the given ones say
            return Agreement(float("nan"), float("nan"))
        square = np.zeros((n, n))
        square[upper] = other
        permuted = (square + square.T).ravel()[places]
        beyond = np.sqrt(np.maximum((permuted**2).sum(axis=1) - ((permuted @ known) ** 2).sum(axis=1), 1e-300))
        every += permuted @ own / beyond / len(pairs)
        correlation += float(own @ other) / len(pairs)
    reached = int((every >= correlation - 1e-12).sum())
    all_of_them = n <= 8 and len(orders) == factorial(n)  # the given order is one of them
    p = reached / len(orders) if all_of_them else (reached + 1) / (len(orders) + 1)
    return Agreement(float(np.clip(correlation, -1, 1)), p)


def _residual(values: np.ndarray, known: Float[np.ndarray, "pair known"]) -> tuple[np.ndarray, float]:
    """The ranks freed of what is known, at norm 1, and the share of their norm that is left."""
    ranks = stats.zscore(stats.rankdata(values))
    left = ranks - known @ (known.T @ ranks)
    length = float(np.linalg.norm(left))
    return left / max(length, 1e-300), length / float(np.linalg.norm(ranks))
