"""Emotion subspaces: the leading directions of the differences between an emotion's text and the neutral one of the
same scenario, what they keep, how stable they are, and how far two of them coincide.

An uncentred SVD of the paired differences `[scenario, d_model]`: its first direction is close to the emotion vector,
the next ones hold how scenarios differ in it. Overlap is ‖UᵀV‖²_F / k (the mean squared cosine of the principal angles,
Björck and Golub 1973).

Refits by the hundred go through Gram matrices: the right singular vectors of D `[n, d]` are Dᵀu/s with u, s² the
eigenvectors and eigenvalues of DDᵀ, so two subspaces overlap by u₁ᵀ(D₁D₂ᵀ)u₂ / (s₁s₂). A refit then costs n³, whatever
d_model is; `pair_gram` and `overlaps_from_gram` are this route, `leading_directions` and `overlap` the plain one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from emolib.base import arguments
from emolib.base.errors import UserError, nearest, shown
from emolib.base.signatures import told
from emolib.data.activations import Activations
from emolib.directions.vectors import check_labelled, scenario_cube


@dataclass(frozen=True)
class LayerSubspace:
    """A subspace at the input of one layer.

    Attributes:
        basis: U `[d_model, k]`, orthonormal columns, by falling share.
        target: mean coordinates Uᵀh of the emotion's texts `[k]`; where `SubspaceSteer` moves to.
        neutral: those of the neutral texts `[k]`.
    """

    basis: Float[np.ndarray, "d_model k"]
    target: Float[np.ndarray, " k"]
    neutral: Float[np.ndarray, " k"]

    def leading(self, k: int) -> LayerSubspace:
        """The first k directions alone."""
        k = arguments.whole_number("k", k, least=1, most=self.basis.shape[1])
        return LayerSubspace(self.basis[:, :k], self.target[:k], self.neutral[:k])


@dataclass(frozen=True)
class Subspaces:
    """Every emotion's subspace at every layer of one model: `subs[emotion][layer]` is a `LayerSubspace`.

    Attributes:
        bases: `[layer, d_model, k]` per emotion.
        targets, neutrals: `[layer, k]` per emotion.
        shares: share of the squared differences that the first 1…k directions keep, `[layer, k]` per emotion.

    >>> import numpy as np
    >>> basis = np.stack([np.eye(4)[:, :2]] * 3)  # at two blocks and the final residual
    >>> parts = ({"gratitude": array} for array in (basis, np.ones((3, 2)), np.zeros((3, 2)), np.ones((3, 2))))
    >>> subs = Subspaces(*parts, model="m", revision="r", position="last")
    >>> subs.k, subs["gratitude"][1].leading(1).basis.shape
    (2, (4, 1))
    """

    bases: dict[str, Float[np.ndarray, "layer d_model k"]]
    targets: dict[str, Float[np.ndarray, "layer k"]]
    neutrals: dict[str, Float[np.ndarray, "layer k"]]
    shares: dict[str, Float[np.ndarray, "layer k"]]
    model: str
    revision: str
    position: str

    def __getitem__(self, emotion: str) -> list[LayerSubspace]:
        emotion = arguments.one_of("emotion", emotion, self.bases)
        parts = (self.bases[emotion], self.targets[emotion], self.neutrals[emotion])
        return [LayerSubspace(*part) for part in zip(*parts, strict=True)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.bases)

    @property
    def k(self) -> int:
        return next(iter(self.bases.values())).shape[2]


@told
def fit_subspaces(acts: Activations, *, k: int = 8, neutral: str = "neutral") -> Subspaces:
    """The leading k directions of the scenario-paired differences of every label to the neutral one.

    Args:
        acts: of the training texts only; the caller selects the split.
        k: at most the number of scenarios that have every label.

    Raises:
        UserError: k out of range, too few complete scenarios, no neutral texts, or activations that are not finite.

    >>> import emolib, pandas as pd
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> said = {"gratitude": "Thank you for the", "neutral": "On the desk is the"}
    >>> things = ["lamp", "book", "bread", "map"]
    >>> rows = [(thing, emotion, f"{start} {thing}") for emotion, start in said.items() for thing in things]
    >>> acts = emolib.extract_activations(lm, pd.DataFrame(rows, columns=["scenario", "emotion", "text"]))
    >>> subs = fit_subspaces(acts, k=2)
    >>> subs["gratitude"][16].basis.shape, subs["gratitude"][16].target.shape
    ((576, 2), (2,))
    """
    cube, _, emotions = complete_cube(acts, neutral)
    k = arguments.whole_number("k", k, least=1)
    _check_k(k, min(cube.shape[1], cube.shape[3]))
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
    return _overlap_of_cosines(np.swapaxes(a, -1, -2) @ b)


def _overlap_of_cosines(products: Float[np.ndarray, "... k k"]) -> Float[np.ndarray, "... k"]:
    total = np.cumsum(np.cumsum(products**2, axis=-1), axis=-2)
    return np.diagonal(total, axis1=-2, axis2=-1) / np.arange(1, products.shape[-1] + 1)


def complete_cube(
    acts: Activations, neutral: str
) -> tuple[Float[np.ndarray, "layer scenario label d_model"], list, list]:
    """`scenario_cube` (label 0 is neutral) after a check of what would make a decomposition fail or mislead.

    Raises:
        UserError: no neutral texts, no other label, too few complete scenarios, or values that are not finite.
    """
    check_labelled("acts", acts, neutral)
    names = set(acts.texts["emotion"])
    if neutral not in names:
        raise UserError(f"no texts with the neutral label {shown(neutral)}: {nearest(neutral, names)}")
    if len(names) == 1:
        raise UserError(f"expected at least one label beside {shown(neutral)}, found none")
    cube, scenarios, emotions = scenario_cube(acts, neutral)
    if not np.isfinite(cube).all():
        raise UserError("the activations hold values that are not finite; extract them in float32")
    return cube, scenarios, emotions


def text_gram(cube: Float[np.ndarray, "scenario label d_model"]) -> Float[np.ndarray, "text text"]:
    """Inner products of all texts of one layer, each seen from its scenario's neutral text; text (s, j) is row s·L + j.

    Differences within a scenario do not change by it, and what is large and shared does not cost them their digits.
    """
    seen = (cube.astype(np.float64) - cube[:, :1]).reshape(-1, cube.shape[2])
    return seen @ seen.T


def pair_gram(
    gram: Float[np.ndarray, "text text"], ends: Int[np.ndarray, "... pair"], starts: Int[np.ndarray, "... pair"]
) -> Float[np.ndarray, "... pair pair"]:
    """Inner products of the differences `ends − starts`, both given as rows of `text_gram`."""

    def among(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return gram[rows[..., :, None], columns[..., None, :]]

    return among(ends, ends) - among(ends, starts) - among(starts, ends) + among(starts, starts)


def overlaps_from_gram(gram: Float[np.ndarray, "... pair pair"], first: int, k: int) -> Float[np.ndarray, "... k"]:
    """Overlap of the leading 1…k directions of the first `first` differences with those of the remaining ones.

    A direction that is not there (fewer than k independent differences) overlaps with nothing. That is not rare: at
    layer 0 the last token of all texts of a scenario can be the same, and every difference zero.
    """
    mine, others = _from_rows(gram[..., :first, :first], k), _from_rows(gram[..., first:, first:], k)
    return _overlap_of_cosines(np.swapaxes(mine, -1, -2) @ gram[..., :first, first:] @ others)


def _from_rows(gram: Float[np.ndarray, "... pair pair"], k: int) -> Float[np.ndarray, "... pair k"]:
    """u/s: how the leading directions are combined from the rows; zero beyond the rank."""
    energy, u = np.linalg.eigh(gram)
    energy, u = energy[..., : -k - 1 : -1], u[..., : -k - 1 : -1]
    there = energy > energy[..., :1] * (gram.shape[-1] * np.finfo(float).eps)
    return u * np.where(there, 1 / np.sqrt(np.where(there, energy, 1.0)), 0.0)[..., None, :]


def subspace_stability(
    acts: Activations, *, k: int = 8, neutral: str = "neutral", n_halves: int = 50, seed: int = 0
) -> pd.DataFrame:
    """Overlap of subspaces fitted on two random halves of the scenarios, beside its null.

    The null permutes all labels within every scenario and refits. (Swapping only an emotion with the neutral label
    would change nothing: it turns the sign of a difference, to which an uncentred SVD is blind. So with one emotion
    alone the null is the overlap itself.)

    Returns:
        emotion, layer, k, mean, low, high (2.5 and 97.5 % over the halves), null (mean), null_high (97.5 %).
    """
    cube, scenarios, emotions = complete_cube(acts, neutral)
    _check_k(k, cube.shape[3])
    k, half = min(k, len(scenarios) // 2), len(scenarios) // 2
    rng = np.random.default_rng(seed)
    true = np.arange(len(scenarios) * cube.shape[2]).reshape(len(scenarios), -1)  # [scenario, label] → row
    orders, permuted = [], []
    for _ in range(n_halves):
        orders.append(rng.permutation(len(scenarios)))
        permuted.append(rng.permuted(true, axis=1)[orders[-1]])
    halves, shuffled = true[np.stack(orders)], np.stack(permuted)  # [half, scenario in the order drawn, label]
    tables: dict[str, list[pd.DataFrame]] = {emotion: [] for emotion in emotions}
    for layer, texts in enumerate(cube):
        gram = text_gram(texts)
        for i, emotion in enumerate(emotions, 1):
            real, null = (
                overlaps_from_gram(pair_gram(gram, rows[..., i], rows[..., 0]), half, k) for rows in (halves, shuffled)
            )
            low, high = np.quantile(real, [0.025, 0.975], axis=0)
            place = {"emotion": emotion, "layer": layer, "k": np.arange(1, k + 1)}
            found = {"mean": real.mean(0), "low": low, "high": high, "null": null.mean(0)}
            tables[emotion].append(pd.DataFrame({**place, **found, "null_high": np.quantile(null, 0.975, axis=0)}))
    return pd.concat([table for emotion in emotions for table in tables[emotion]], ignore_index=True)


def principal_subspaces(
    acts: Activations, *, k: int = 8, neutral: str = "neutral"
) -> dict[str, Float[np.ndarray, "layer d_model k"]]:
    """Plain PCA of each label's activations, the neutral one's first: label → orthonormal basis, by falling variance.

    As in the first study, for comparison with `fit_subspaces`: centred per label, over the complete scenarios. What
    varies among the texts of one label is above all their topic. Columns beyond the rank are zero.

    Raises:
        UserError: k out of range, too few complete scenarios, no neutral texts, or activations that are not finite.
    """
    cube, _, emotions = complete_cube(acts, neutral)
    _check_k(k, min(cube.shape[1] - 1, cube.shape[3]))
    return {label: _pca_bases(cube[:, :, i], k) for i, label in enumerate([neutral, *emotions])}


def pca_overlap_table(acts: Activations, *, k: int = 8, neutral: str = "neutral") -> pd.DataFrame:
    """What an emotion's PCA subspace shares with the neutral texts' and with the paired differences'.

    A PCA subspace that coincides with the neutral one holds what both labels' texts have in common (topics), not the
    emotion. Errors as in `principal_subspaces`.

    Returns:
        emotion, layer, k, with_neutral, with_differences (overlaps for 1…k directions, 0 to 1).
    """
    cube, _, emotions = complete_cube(acts, neutral)
    _check_k(k, min(cube.shape[1] - 1, cube.shape[3]))
    of_neutral, tables = _pca_bases(cube[:, :, 0], k), []
    for i, emotion in enumerate(emotions, 1):
        own, paired = _pca_bases(cube[:, :, i], k), _spanned(cube[:, :, i].astype(np.float64) - cube[:, :, 0], k)
        topics, differences = overlap(own, of_neutral), overlap(own, paired)
        for layer in range(len(cube)):
            place = {"emotion": emotion, "layer": layer, "k": np.arange(1, k + 1)}
            tables.append(
                pd.DataFrame({**place, "with_neutral": topics[layer], "with_differences": differences[layer]})
            )
    return pd.concat(tables, ignore_index=True)


def _pca_bases(values: Float[np.ndarray, "layer text d_model"], k: int) -> Float[np.ndarray, "layer d_model k"]:
    centred = values - values.mean(axis=1, keepdims=True, dtype=np.float64)
    return _spanned(centred, k).astype(np.float32)


def _spanned(values: Float[np.ndarray, "layer row d_model"], k: int) -> Float[np.ndarray, "layer d_model k"]:
    """The first k right singular vectors, each with its largest coordinate positive; zero beyond the rank."""
    _, sizes, rows = np.linalg.svd(values, full_matrices=False)
    basis = rows[:, :k].transpose(0, 2, 1)
    largest = np.take_along_axis(basis, np.abs(basis).argmax(axis=1, keepdims=True), axis=1)
    # Residuals are float32, about seven digits: what is smaller than that beside the largest is their rounding.
    floor = np.maximum(sizes[:, :1] * 1e-7, np.finfo(float).tiny)
    return basis * np.where(sizes[:, None, :k] > floor[:, None], np.sign(largest), 0.0)


def _check_k(k: int, highest: int) -> None:
    if not 1 <= k <= highest:
        raise UserError(f"expected k from 1 to {highest} (complete scenarios, dimensions), got {k}")
