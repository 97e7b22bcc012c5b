"""Debiased linear CKA: how alike two models' activations of the same rows are, without a map between them.

Linear CKA (Kornblith, Norouzi, Lee and Hinton 2019, arXiv 1905.00414) is HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) with
K = XXᵀ and L = YYᵀ. With fewer rows than dimensions the usual estimate of HSIC is large for unrelated activations too;
the unbiased one (Song, Smola, Gretton, Bedo and Borgwardt 2012, "Feature selection via dependence maximization",
JMLR 13, equation 5),

    HSIC₁ = [tr(K̃L̃) + 1ᵀK̃1 · 1ᵀL̃1 / ((n − 1)(n − 2)) − 2 · 1ᵀK̃L̃1 / (n − 2)] / (n (n − 3)),

with K̃ and L̃ their diagonals set to 0, is about 0 then, and may be below it. It is unbiased at any number of rows, so
its mean over blocks of rows is, too (Nguyen, Raghu and Kornblith 2021, arXiv 2010.15327), and no matrix grows with the
number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from emolib.base.errors import UserError

FEWEST = 4  # rows that the estimate needs
BLOCK = 256  # rows whose Gram matrix is made at once


@dataclass(frozen=True)
class HollowGrams:
    """K̃ of one layer for every block of rows, flattened, and its row sums."""

    cells: tuple[Float[np.ndarray, " cell"], ...]
    sums: tuple[Float[np.ndarray, " row"], ...]


def hollow_grams(x: Float[np.ndarray, "row d_model"], size: int = BLOCK) -> HollowGrams:
    """Of rows that are centred about (HSIC₁ does not depend on a common shift, its digits do).

    Args:
        size: rows in a block; a last one of fewer than 4 rows is left out.
    """
    cells, sums = [], []
    for start in range(0, len(x), size):
        rows = x[start : start + size]
        if len(rows) >= FEWEST:
            gram = rows @ rows.T
            np.fill_diagonal(gram, 0.0)
            cells.append(gram.ravel())
            sums.append(gram.sum(axis=1))
    return HollowGrams(tuple(cells), tuple(sums))


class CkaSums:
    """Sums over blocks of rows, for every layer of one model against every layer of another."""

    def __init__(self, n_layers_a: int, n_layers_b: int) -> None:
        self._both = np.zeros((n_layers_a, n_layers_b))
        self._own = (np.zeros(n_layers_a), np.zeros(n_layers_b))
        self.n_rows = 0

    def add(self, a: Sequence[HollowGrams], b: Sequence[HollowGrams]) -> None:
        """The same rows of every layer of either model."""
        for block, own in enumerate(a[0].sums):
            n = len(own)
            (first, sums_a), (second, sums_b) = (
                (np.stack([layer.cells[block] for layer in of]), np.stack([layer.sums[block] for layer in of]))
                for of in (a, b)
            )
            totals = np.outer(sums_a.sum(axis=1), sums_b.sum(axis=1))
            self._both += n * _unbiased(first @ second.T, sums_a @ sums_b.T, totals, n)
            for found, grams, sums in zip(self._own, (first, second), (sums_a, sums_b), strict=True):
                traces = np.einsum("lc,lc->l", grams, grams)
                found += n * _unbiased(traces, (sums**2).sum(axis=1), sums.sum(axis=1) ** 2, n)
            self.n_rows += n

    def values(self) -> Float[np.ndarray, "layer_a layer_b"]:
        """CKA of every pair of layers; NaN where a layer's activations do not differ beyond chance."""
        own_a, own_b = (np.where(own > 0, own, np.nan) for own in self._own)
        found: np.ndarray = self._both / np.sqrt(np.outer(own_a, own_b))
        return found


def debiased_cka(x: Float[np.ndarray, "row d_a"], y: Float[np.ndarray, "row d_b"]) -> float:
    """Of one pair of layers, from all rows at once.

    Raises:
        UserError: fewer than 4 rows, unlike numbers of them, or values that are not finite.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((50, 200))
    >>> round(debiased_cka(x, 3 * x @ np.linalg.qr(rng.standard_normal((200, 200)))[0] + 1), 3)
    1.0
    >>> abs(debiased_cka(x, rng.standard_normal((50, 300)))) < 0.1
    True
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < FEWEST:
        raise UserError(
            f"expected two arrays [row, d] with the same {FEWEST} or more rows, got shapes {x.shape} and {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("the activations hold values that are not finite; extract them in float32")
    sums = CkaSums(1, 1)
    sums.add([hollow_grams(x - x.mean(axis=0), len(x))], [hollow_grams(y - y.mean(axis=0), len(y))])
    return float(sums.values()[0, 0])


def _unbiased(traces: np.ndarray, products: np.ndarray, totals: np.ndarray, n: int) -> np.ndarray:
    """HSIC₁ from tr(K̃L̃), 1ᵀK̃L̃1 and 1ᵀK̃1 · 1ᵀL̃1."""
    found: np.ndarray = (traces + totals / ((n - 1) * (n - 2)) - 2 * products / (n - 2)) / (n * (n - 3))
    return found
