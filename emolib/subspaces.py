"""Emotion subspaces: the leading directions of the differences between an emotion's text and the neutral one of the
same scenario, what they keep, how stable they are, and how far two of them coincide.

An uncentred SVD of the paired differences `[scenario, d_model]`: its first direction is close to the emotion vector,
the next ones hold how scenarios differ in it. Overlap is ‖UᵀV‖²_F / k (the mean squared cosine of the principal angles,
Björck and Golub 1973).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.activations import Activations
from emolib.errors import UserError, nearest
from emolib.vectors import scenario_cube


@dataclass(frozen=True)
class LayerSubspace:
    """A subspace at the input of one layer.

    Attributes:
        basis: U `[d_model, k]`, orthonormal columns, by falling share.
        target: mean coordinates Uᵀh of the emotion's texts `[k]`; where `SubspaceSteer` moves to.
        neutral: those of the neutral texts `[k]`.
    """

    basis: Float[np.ndarray, "d_model k"]
    target: Float[np.ndarray, "k"]
    neutral: Float[np.ndarray, "k"]

    def leading(self, k: int) -> LayerSubspace:
        """The first k directions alone."""
        if not 1 <= k <= self.basis.shape[1]:
            raise UserError(f"expected k from 1 to {self.basis.shape[1]}, got {k}")
        return LayerSubspace(self.basis[:, :k], self.target[:k], self.neutral[:k])


@dataclass(frozen=True)
class Subspaces:
    """Every emotion's subspace at every layer of one model: `subs[emotion][layer]` is a `LayerSubspace`.

    Attributes:
        bases: `[layer, d_model, k]` per emotion.
        targets, neutrals: `[layer, k]` per emotion.
        shares: share of the squared differences that the first 1…k directions keep, `[layer, k]` per emotion.
    """

    bases: dict[str, Float[np.ndarray, "layer d_model k"]]
    targets: dict[str, Float[np.ndarray, "layer k"]]
    neutrals: dict[str, Float[np.ndarray, "layer k"]]
    shares: dict[str, Float[np.ndarray, "layer k"]]
    model: str
    revision: str
    position: str

    def __getitem__(self, emotion: str) -> list[LayerSubspace]:
        if emotion not in self.bases:
            raise UserError(f"unknown emotion {emotion!r}: {nearest(emotion, self.bases)}")
        parts = (self.bases[emotion], self.targets[emotion], self.neutrals[emotion])
        return [LayerSubspace(*part) for part in zip(*parts, strict=True)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.bases)

    @property
    def k(self) -> int:
        return next(iter(self.bases.values())).shape[2]


def fit_subspaces(acts: Activations, *, k: int = 8, neutral: str = "neutral") -> Subspaces:
    """The leading k directions of the scenario-paired differences of every label to the neutral one.

    Args:
        acts: of the training texts only; the caller selects the split.
        k: at most the number of scenarios that have every label.

    Raises:
        UserError: k out of range, or too few complete scenarios.
    """
    cube, scenarios, emotions = scenario_cube(acts, neutral)
    if not 1 <= k <= min(len(scenarios), cube.shape[3]):
        raise UserError(f"expected k from 1 to {min(len(scenarios), cube.shape[3])} (complete scenarios), got {k}")
    bases, targets, neutrals, shares = {}, {}, {}, {}
    for i, emotion in enumerate(emotions, 1):
        basis, energy = leading_directions(cube[:, :, i] - cube[:, :, 0], k)
        bases[emotion] = basis
        targets[emotion] = np.einsum("ld,ldk->lk", cube[:, :, i].mean(1), basis)
        neutrals[emotion] = np.einsum("ld,ldk->lk", cube[:, :, 0].mean(1), basis)
        shares[emotion] = energy
    return Subspaces(bases, targets, neutrals, shares, acts.model, acts.revision, acts.position)


def leading_directions(
    differences: Float[np.ndarray, "layer scenario d_model"], k: int
) -> tuple[Float[np.ndarray, "layer d_model k"], Float[np.ndarray, "layer k"]]:
    """The first k right singular vectors per layer, each turned so that the mean difference has a positive coordinate,
    and the share of the squared differences that the first 1…k keep."""
    _, values, rows = np.linalg.svd(differences.astype(np.float64), full_matrices=False)
    energy = values**2
    basis = rows[:, :k].transpose(0, 2, 1)
    turned = np.where(np.einsum("ld,ldk->lk", differences.mean(1), basis) < 0, -1.0, 1.0)
    share = np.cumsum(energy[:, :k], axis=1) / np.maximum(energy.sum(1, keepdims=True), np.finfo(float).tiny)
    return (basis * turned[:, None]).astype(np.float32), share.astype(np.float32)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """‖UᵀV‖²_F / k for the first 1…k columns of two orthonormal bases `[…, d, k]`; `[…, k]`, from 0 to 1."""
    squared = np.swapaxes(a, -1, -2) @ b
    squared = squared**2
    total = np.cumsum(np.cumsum(squared, axis=-1), axis=-2)
    k = total.shape[-1]
    return np.diagonal(total, axis1=-2, axis2=-1) / np.arange(1, k + 1)


def subspace_stability(
    acts: Activations, *, k: int = 8, neutral: str = "neutral", n_halves: int = 50, seed: int = 0
) -> pd.DataFrame:
    """Overlap of subspaces fitted on two random halves of the scenarios, beside its null.

    The null permutes all labels within every scenario and refits. (Swapping only an emotion with the neutral label
    would change nothing: it turns the sign of a difference, to which an uncentred SVD is blind.)

    Returns:
        emotion, layer, k, mean, low, high (2.5 and 97.5 % over the halves), null (mean), null_high (97.5 %).
    """
    cube, scenarios, emotions = scenario_cube(acts, neutral)
    k = min(k, len(scenarios) // 2)
    rng = np.random.default_rng(seed)
    real, null = [], []
    labels = np.tile(np.arange(cube.shape[2]), (cube.shape[1], 1))
    for _ in range(n_halves):
        order = rng.permutation(len(scenarios))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        shuffled = np.take_along_axis(cube, rng.permuted(labels, axis=1)[None, :, :, None], axis=2)
        real.append(_half_overlaps(cube, halves, k))
        null.append(_half_overlaps(shuffled, halves, k))
    real, null = np.stack(real), np.stack(null)  # [half, emotion, layer, k]
    rows = []
    for i, emotion in enumerate(emotions):
        for layer in range(cube.shape[0]):
            for size in range(k):
                mine, other = real[:, i, layer, size], null[:, i, layer, size]
                low, high = np.quantile(mine, [0.025, 0.975])
                rows.append(
                    {
                        "emotion": emotion,
                        "layer": layer,
                        "k": size + 1,
                        "mean": float(mine.mean()),
                        "low": float(low),
                        "high": float(high),
                        "null": float(other.mean()),
                        "null_high": float(np.quantile(other, 0.975)),
                    }
                )
    return pd.DataFrame(rows)


def _half_overlaps(cube: np.ndarray, halves: tuple[np.ndarray, np.ndarray], k: int) -> np.ndarray:
    """`[emotion, layer, k]`."""
    found = []
    for i in range(1, cube.shape[2]):
        first, second = (leading_directions(cube[:, half, i] - cube[:, half, 0], k)[0] for half in halves)
        found.append(overlap(first, second))
    return np.stack(found)
