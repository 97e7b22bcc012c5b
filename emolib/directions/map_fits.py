"""Linear maps between two models' principal axes, fitted from sums alone; what is free is chosen on validation anchors.

All work in the axes of `emolib.directions.anchor_moments`: with C = XᵀY of the fitting anchors and E the diagonal of
XᵀX,
- `ridge`: (E + λ)⁻¹ C, λ chosen (Hoerl and Kennard 1970);
- `procrustes`: s · UVᵀ of the singular value decomposition of C on the leading axes of both models, their number
  chosen (Schönemann 1966; the scale s after Schönemann and Carroll 1970, which no cosine sees);
- `cca`: the best prediction through the leading canonical pairs, the number of axes and of pairs chosen (Hotelling
  1936; on principal axes first as in SVCCA, Raghu et al. 2017, arXiv 1706.05806).

Chosen is the simplest choice (the largest penalty, the fewest axes and pairs) whose validation R² lies within `TIE` of
the best: penalties that hardly shrink differ by the last digits alone, and would be told apart by rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from emolib.directions.anchor_moments import SPLITS, AnchorMoments

PENALTIES = tuple(10.0**exponent for exponent in range(-6, 4))  # shares of the mean energy of an axis
METHODS = ("ridge", "procrustes", "cca")
TIE = 1e-4  # of R²


@dataclass(frozen=True)
class PairSums:
    """What one pair of layers is fitted from: energies of the axes of A and B, and per split (in `SPLITS`' order) the
    Gram matrix of A, the products of A with B, B's squares and its spread."""

    energies_a: Float[np.ndarray, " axis_a"]
    energies_b: Float[np.ndarray, " axis_b"]
    grams: tuple[np.ndarray, ...]
    cross: tuple[np.ndarray, ...]
    squares: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def of(cls, moments: AnchorMoments, place_a: int, place_b: int) -> PairSums:
        sums = [moments.sums[name] for name in SPLITS]
        return cls(
            moments.a.energies[place_a],
            moments.b.energies[place_b],
            tuple(found.grams[place_a] for found in sums),
            tuple(found.cross[place_a, place_b] for found in sums),
            tuple(float(found.squares[place_b]) for found in sums),
            tuple(float(found.spread[place_b]) for found in sums),
        )

    def r2(self, split: int, gained: np.ndarray, squared: np.ndarray) -> np.ndarray:
        """R² of predictions Ŷ from ⟨Ŷ, Y⟩ and ‖Ŷ‖²."""
        found: np.ndarray = 1 - (self.squares[split] - 2 * gained + squared) / self.spread[split]
        return found


@dataclass(frozen=True)
class MapFit:
    """A fitted map in the axes: coordinates on B's are those on A's times `weights`.

    Attributes:
        rank: axes of A that are used.
        penalty: λ, as scikit-learn's `Ridge` calls it alpha; None without one.
        n_canonical: canonical pairs; None without them.
        r2: by split, pooled over all dimensions of B (in the space of the fit), what B's axes leave out included.
    """

    weights: Float[np.ndarray, "axis_a axis_b"]
    rank: int
    penalty: float | None
    n_canonical: int | None
    r2: dict[str, float]


def _up_to(most: int) -> list[int]:
    """Numbers of axes to choose from: 2, 4, 8, … and all."""
    return [*(2**i for i in range(1, 20) if 2**i < most), most]


def fit_pair(pair: PairSums, method: str, *, rank: int | None = None, penalty: float | None = None) -> MapFit:
    """One pair of layers by one method.

    Args:
        rank: fixes the number of axes of Procrustes and CCA; a ridge takes all that there are.
        penalty: fixes λ.
    """
    if method == "ridge":
        return _ridge(pair, penalty)
    return (_procrustes if method == "procrustes" else _cca)(pair, rank)


def _ridge(pair: PairSums, penalty: float | None) -> MapFit:
    energies, c = pair.energies_a, pair.cross[0]
    n_axes = int((energies > 0).sum())
    grid = np.array([penalty] if penalty is not None else np.array(PENALTIES) * energies.sum() / n_axes)
    shrunk = 1 / (energies + grid[:, None])  # [penalty, axis]
    products = c @ c.T

    def r2(split: int, of: np.ndarray) -> np.ndarray:
        gained = of @ (c * pair.cross[split]).sum(axis=1)
        squared = ((of @ (pair.grams[split] * products)) * of).sum(axis=1)
        return pair.r2(split, gained, squared)

    best = len(grid) - 1 - _first_of_best(r2(1, shrunk)[::-1])
    found = {name: float(r2(split, shrunk[best : best + 1])[0]) for split, name in enumerate(SPLITS)}
    return MapFit(shrunk[best][:, None] * c, n_axes, float(grid[best]), None, found)


def _first_of_best(reached: np.ndarray) -> int:
    """The first choice whose validation R² is as good as the best."""
    return int(np.argmax(reached >= reached.max() - TIE))


def _procrustes(pair: PairSums, rank: int | None) -> MapFit:
    """As many axes of A as of B."""
    most = min(int((pair.energies_a > 0).sum()), int((pair.energies_b > 0).sum()))
    tried: list[tuple[np.ndarray, int, float]] = []
    for used in [min(rank, most)] if rank is not None else _up_to(most):
        u, sizes, v = np.linalg.svd(pair.cross[0][:used, :used])
        turn = (sizes.sum() / pair.energies_a[:used].sum()) * (u @ v)
        gained = (turn * pair.cross[1][:used, :used]).sum()
        squared = ((pair.grams[1][:used, :used] @ turn) * turn).sum()
        tried.append((turn, used, float(pair.r2(1, gained, squared))))
    turn, used, _ = tried[_first_of_best(np.array([reached for _, _, reached in tried]))]
    weights = np.zeros_like(pair.cross[0])
    weights[:used, :used] = turn
    return MapFit(weights, used, None, None, _r2s(pair, weights))


def _cca(pair: PairSums, rank: int | None) -> MapFit:
    """As many axes on either side, as far as there are."""
    there = [int((energies > 0).sum()) for energies in (pair.energies_a, pair.energies_b)]
    tried: list[tuple[np.ndarray, int, int, float]] = []
    for wanted in [rank] if rank is not None else _up_to(max(there)):
        r_a, r_b = (min(wanted, most) for most in there)
        root_a, root_b = np.sqrt(pair.energies_a[:r_a]), np.sqrt(pair.energies_b[:r_b])
        u, correlations, v = np.linalg.svd(pair.cross[0][:r_a, :r_b] / np.outer(root_a, root_b), full_matrices=False)
        read, write = u / root_a[:, None], v.T * root_b[:, None] * np.minimum(correlations, 1.0)
        gained = np.einsum("ip,ip->p", read, pair.cross[1][:r_a, :r_b] @ write)
        both = (read.T @ pair.grams[1][:r_a, :r_a] @ read) * (write.T @ write)
        squared = np.diag(np.cumsum(np.cumsum(both, axis=0), axis=1))
        reached = pair.r2(1, np.cumsum(gained), squared)
        n = _first_of_best(reached)
        weights = np.zeros_like(pair.cross[0])
        weights[:r_a, :r_b] = read[:, : n + 1] @ write[:, : n + 1].T
        tried.append((weights, r_a, n + 1, float(reached[n])))
    weights, used, pairs, _ = tried[_first_of_best(np.array([reached for *_, reached in tried]))]
    return MapFit(weights, used, None, pairs, _r2s(pair, weights))


def _r2s(pair: PairSums, weights: np.ndarray) -> dict[str, float]:
    found = {}
    for split, name in enumerate(SPLITS):
        gained = (weights * pair.cross[split]).sum()
        squared = ((pair.grams[split] @ weights) * weights).sum()
        found[name] = float(pair.r2(split, gained, squared))
    return found
