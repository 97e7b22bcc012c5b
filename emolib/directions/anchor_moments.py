"""What maps between two models are fitted from: sums over anchors, in the principal components of every layer.

Two passes over blocks of anchors. The first gathers means and covariances of every layer; the second sums products of
the coordinates on each layer's leading principal axes, for every pair of layers and apart for the anchors that fit,
choose and judge. Every layer is decomposed once, whatever the number of pairs, and no sum grows with the number of
anchors. In the axes of the fitting anchors a layer's Gram matrix is diagonal, so that a ridge of any penalty needs no
other decomposition (`emolib.directions.map_fits`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.directions.debiased_cka import CkaSums, HollowGrams, hollow_grams

SPLITS = ("train", "validation", "test")
SPACES = ("raw", "standardised")
FEWEST = {"train": 3, "validation": 2, "test": 2}
MOST_NORMS = 20_000  # anchors whose norms are kept, for their median

Pair = tuple[Activations, Activations]
Blocks = Callable[[], Iterable[Pair]]


@dataclass(frozen=True)
class Frame:
    """One layer's coordinates: `mean` and `scale` `[d_model]`, principal `axes` `[d_model, axis]`, their `energies`."""

    mean: Float[np.ndarray, " d_model"]
    scale: Float[np.ndarray, " d_model"]
    axes: Float[np.ndarray, "d_model axis"]
    energies: Float[np.ndarray, " axis"]

    def of_vectors(self, vectors: Float[np.ndarray, "*batch d_model"]) -> Float[np.ndarray, "*batch axis"]:
        """A vector's (not an activation's) coordinates on the axes."""
        found: np.ndarray = (vectors / self.scale) @ self.axes
        return found

    def of_rows(self, rows: Float[np.ndarray, "row d_model"]) -> Float[np.ndarray, "row axis"]:
        """An activation's coordinates on the axes."""
        return self.of_vectors(rows - self.mean)

    def to_vectors(self, coordinates: Float[np.ndarray, "*batch axis"]) -> Float[np.ndarray, "*batch d_model"]:
        """From coordinates back to activation units, without the mean."""
        found: np.ndarray = (coordinates @ self.axes.T) * self.scale
        return found


@dataclass(frozen=True)
class Side:
    """One model's layers as the fitting anchors show them.

    Attributes:
        scales: what every dimension is divided by: its sd, or 1 in the raw space (and where it does not vary).
        bases: orthonormal principal axes of the centred and scaled activations, by falling variance; zero beyond the
            rank.
        energies: sum of the squared coordinates along each axis.
        norms, bulk_norms: median norm of the anchors; the second None where it is not known.
    """

    model: str
    revision: str
    layers: tuple[int, ...]
    means: Float[np.ndarray, "layer d_model"]
    scales: Float[np.ndarray, "layer d_model"]
    bases: Float[np.ndarray, "layer d_model axis"]
    energies: Float[np.ndarray, "layer axis"]
    norms: Float[np.ndarray, " layer"]
    bulk_norms: Float[np.ndarray, " layer"] | None

    def centred(self, place: int, rows: Float[np.ndarray, "row d_model"]) -> Float[np.ndarray, "row d_model"]:
        found: np.ndarray = (rows - self.means[place]) / self.scales[place]
        return found

    def frame(self, place: int) -> Frame:
        """One layer's coordinates."""
        return Frame(self.means[place], self.scales[place], self.bases[place], self.energies[place])


@dataclass(frozen=True)
class Sums:
    """Over the anchors of one split, both models' activations centred and scaled by the fitting anchors.

    Attributes:
        grams: products of A's coordinates.
        cross: products of A's with B's.
        squares: of B's whole activations, what its axes leave out included.
        spread: the same about the split's own mean: what R² is a share of.
    """

    n: int
    grams: Float[np.ndarray, "layer_a axis axis"]
    cross: Float[np.ndarray, "layer_a layer_b axis axis"]
    squares: Float[np.ndarray, " layer_b"]
    spread: Float[np.ndarray, " layer_b"]


@dataclass(frozen=True)
class AnchorMoments:
    """Two models' sides and the sums of every split, in one space (`raw` or `standardised`)."""

    space: str
    a: Side
    b: Side
    sums: dict[str, Sums]
    cka: Float[np.ndarray, "layer_a layer_b"]

    @cached_property
    def counts(self) -> dict[str, int]:
        return {name: found.n for name, found in self.sums.items()}


def gather(
    blocks: Blocks, layers_a: Sequence[int], layers_b: Sequence[int], *, rank: int | None, spaces: Sequence[str]
) -> dict[str, AnchorMoments]:
    """Both passes.

    Args:
        blocks: gives the checked pairs of activations anew at every call.
        rank: principal axes of each layer; None takes as many as there can be.

    Raises:
        UserError: too few anchors of a split, or activations that do not differ.
    """
    layers = (tuple(layers_a), tuple(layers_b))
    first = (_Layers(layers[0]), _Layers(layers[1]))
    counts = dict.fromkeys(SPLITS, 0)
    for pair in blocks():
        splits = pair[0].texts["split"].to_numpy()
        for name in SPLITS:
            counts[name] += int((splits == name).sum())
        for side, acts in zip(first, pair, strict=True):
            side.note(acts)
            side.add(acts, np.flatnonzero(splits == "train"))
    _check_counts(counts)
    seconds = {space: _Second(first[0].side(space, rank), first[1].side(space, rank)) for space in spaces}
    for pair in blocks():
        for second in seconds.values():
            second.add(pair)
    return {space: second.moments(space) for space, second in seconds.items()}


def _check_counts(counts: dict[str, int]) -> None:
    for name, fewest in FEWEST.items():
        if counts[name] < fewest:
            found = ", ".join(f"{counts[other]} {other}" for other in SPLITS)
            raise UserError(f"expected at least {fewest} anchors of the split {name}, found {found}; give more texts")


class _Layers:
    """One model's first pass: sums and products of every layer, and some of the norms.

    Both are about the mean of the first rows, which is near enough to that of all for the products to keep their digits
    (Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance").
    """

    def __init__(self, layers: tuple[int, ...]) -> None:
        self.layers = layers
        self.n, self.named = 0, ("", "")
        self.origins, self.sums, self.about = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
        self.norms, self.bulk_norms = list[np.ndarray](), list[np.ndarray]()

    def note(self, acts: Activations) -> None:
        """Keeps what is said about a block, and its norms."""
        self.named = (acts.model, acts.revision)
        places = [acts.layer_numbers.index(number) for number in self.layers]
        if sum(of.shape[1] for of in self.norms) < MOST_NORMS:
            self.norms.append(acts.token_norms[places])
            if acts.bulk_norms is not None:
                self.bulk_norms.append(acts.bulk_norms[places])

    def add(self, acts: Activations, rows: Int[np.ndarray, " row"], most: int = 4096) -> None:
        """Fitting anchors, given as rows of a block."""
        for part in np.split(rows, np.arange(most, len(rows), most)):
            for place, number in enumerate(self.layers if len(part) else ()):
                x = acts.layer("resid_pre", number)[part].astype(np.float64)
                if not self.n:
                    self.origins.append(x.mean(axis=0))
                    self.sums.append(np.zeros(x.shape[1]))
                    self.about.append(np.zeros((x.shape[1], x.shape[1])))
                x -= self.origins[place]
                self.sums[place] += x.sum(axis=0)
                self.about[place] += x.T @ x
            self.n += len(part)

    def side(self, space: str, rank: int | None) -> Side:
        """The layers' principal axes, each decomposed once."""
        width = len(self.origins[0])
        rank = min(width if rank is None else rank, width, self.n - 1)
        means, scales, bases, energies = [], [], [], []
        for number, origin, sums, about in zip(self.layers, self.origins, self.sums, self.about, strict=True):
            mean, products = origin + sums / self.n, about - np.outer(sums, sums / self.n)
            means.append(mean)
            deviations = np.sqrt(np.diag(products) / self.n)
            varies = deviations > 1e-7 * np.maximum(np.abs(mean), np.finfo(float).tiny)  # beyond float32's rounding
            if not varies.any():
                raise UserError(
                    f"the fitting anchors have all the same activations at layer {number} of {self.named[0]}; a map "
                    "needs anchors that differ"
                )
            scale = np.where(varies, deviations, 1.0) if space == "standardised" else np.ones(width)
            scales.append(scale)
            values, axes = scipy.linalg.eigh(
                np.where(np.outer(varies, varies), products / np.outer(scale, scale), 0.0),
                subset_by_index=(width - rank, width - 1),
            )
            there = values > width * np.finfo(float).eps * values[-1]
            energies.append(np.where(there, values, 0.0)[::-1])
            bases.append(np.where(there, axes, 0.0)[:, ::-1])
        norms = np.median(np.concatenate(self.norms, axis=1), axis=1)
        bulk = np.median(np.concatenate(self.bulk_norms, axis=1), axis=1) if self.bulk_norms else None
        centres, scaled, based, energetic = (np.stack(parts) for parts in (means, scales, bases, energies))
        return Side(*self.named, self.layers, centres, scaled, based, energetic, norms, bulk)


class _Second:
    """The second pass in one space."""

    def __init__(self, a: Side, b: Side) -> None:
        self.a, self.b = a, b
        (n_a, r_a), (n_b, r_b) = a.energies.shape, b.energies.shape
        self.n = dict.fromkeys(SPLITS, 0)
        self.grams = {name: np.zeros((n_a, r_a, r_a)) for name in SPLITS}
        self.cross = {name: np.zeros((n_a * r_a, n_b * r_b)) for name in SPLITS}
        self.squares = {name: np.zeros(n_b) for name in SPLITS}
        self.totals = {name: np.zeros(b.means.shape) for name in SPLITS}
        self.cka = CkaSums(n_a, n_b)
        self._products = np.empty((n_a * r_a, n_b * r_b))  # asked for once: it is as large as one of the sums

    def add(self, pair: Pair, most: int = 1024) -> None:
        splits = pair[0].texts["split"].to_numpy()
        for start in range(0, len(splits), most):
            rows = slice(start, start + most)
            self._add(pair, rows, splits[rows])

    def _add(self, pair: Pair, rows: slice, splits: np.ndarray) -> None:
        """Layer by layer: no more than one is held in float64."""
        coordinates, grams = [], []
        for side, acts in zip((self.a, self.b), pair, strict=True):
            on_axes, hollow = np.empty((len(splits), *side.energies.shape)), list[HollowGrams]()
            for place, number in enumerate(side.layers):
                x = side.centred(place, acts.layer("resid_pre", number)[rows].astype(np.float64))
                on_axes[:, place] = x @ side.bases[place]
                hollow.append(hollow_grams(x))
                if side is self.b:
                    for name in SPLITS:
                        own = x[splits == name]
                        self.squares[name][place] += np.vdot(own, own)
                        self.totals[name][place] += own.sum(axis=0)
            coordinates.append(on_axes)
            grams.append(hollow)
        self.cka.add(*grams)
        for name in SPLITS:
            own = splits == name
            x, y = (on_axes[own] for on_axes in coordinates)
            self.n[name] += len(x)
            self.grams[name] += _grams(x)
            self.cross[name] += np.matmul(x.reshape(len(x), -1).T, y.reshape(len(y), -1), out=self._products)

    def moments(self, space: str) -> AnchorMoments:
        (n_a, r_a), (n_b, r_b) = self.a.energies.shape, self.b.energies.shape
        sums = {}
        for name in SPLITS:
            cross = self.cross[name].reshape(n_a, r_a, n_b, r_b).swapaxes(1, 2)
            spread = self.squares[name] - (self.totals[name] ** 2).sum(axis=1) / self.n[name]
            for place, number in enumerate(self.b.layers):
                if not spread[place] > 1e-12 * max(self.squares[name][place], np.finfo(float).tiny):
                    raise UserError(
                        f"the {name} anchors have all the same activations at layer {number} of {self.b.model}; give "
                        "texts with different words"
                    )
            sums[name] = Sums(self.n[name], self.grams[name], cross, self.squares[name], spread)
        return AnchorMoments(space, self.a, self.b, sums, self.cka.values())


def _grams(x: Float[np.ndarray, "row layer axis"]) -> Float[np.ndarray, "layer axis axis"]:
    by_layer = np.ascontiguousarray(x.swapaxes(0, 1))
    found: np.ndarray = by_layer.swapaxes(1, 2) @ by_layer
    return found
