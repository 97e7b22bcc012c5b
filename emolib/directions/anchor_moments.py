"""What maps between two models are fitted from: sums over anchors, in the principal components of every layer.

Two passes over blocks of anchors. The first gathers means and covariances of every layer; the second sums products of
the coordinates on each layer's leading principal axes, for every pair of layers and apart for the anchors that fit,
choose and judge. Every layer is decomposed once, whatever the number of pairs, and no sum grows with the number of
anchors. In the axes of the fitting anchors a layer's Gram matrix is diagonal, so that a ridge of any penalty needs no
other decomposition (`emolib.directions.map_fits`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from jaxtyping import Float

from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.directions.debiased_cka import CkaSums

SPLITS = ("train", "validation", "test")
SPACES = ("raw", "standardised")
FEWEST = {"train": 3, "validation": 2, "test": 2}
MOST_NORMS = 20_000  # anchors whose norms are kept, for their median

Pair = tuple[Activations, Activations]
Blocks = Callable[[], Iterable[Pair]]
Rows = tuple[list[np.ndarray], list[np.ndarray], np.ndarray]  # per layer of a and of b [row, d]; the rows' splits


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
        for side, acts in zip(first, pair, strict=True):
            side.note(acts)
        for of_a, of_b, splits in _rows(pair, layers):
            for name in SPLITS:
                counts[name] += int((splits == name).sum())
            if (train := splits == "train").any():
                first[0].add([x[train] for x in of_a])
                first[1].add([x[train] for x in of_b])
    _check_counts(counts)
    seconds = {space: _Second(first[0].side(space, rank), first[1].side(space, rank)) for space in spaces}
    for pair in blocks():
        for of_a, of_b, splits in _rows(pair, layers):
            for second in seconds.values():
                second.add(of_a, of_b, splits)
    return {space: second.moments(space) for space, second in seconds.items()}


def _check_counts(counts: dict[str, int]) -> None:
    for name, fewest in FEWEST.items():
        if counts[name] < fewest:
            found = ", ".join(f"{counts[other]} {other}" for other in SPLITS)
            raise UserError(f"expected at least {fewest} anchors of the split {name}, found {found}; give more texts")


def _rows(pair: Pair, layers: tuple[tuple[int, ...], tuple[int, ...]], most: int = 512) -> Iterator[Rows]:
    """Parts of a block, in float64."""
    splits = pair[0].texts["split"].to_numpy()
    stacks = [[acts.layer("resid_pre", n) for n in of] for acts, of in zip(pair, layers, strict=True)]
    for start in range(0, len(splits), most):
        part = slice(start, start + most)
        of_a, of_b = ([x[part].astype(np.float64) for x in stack] for stack in stacks)
        yield of_a, of_b, splits[part]


class _Layers:
    """One model's first pass: mean and centred products of every layer, block by block (Chan, Golub and LeVeque 1983,
    "Algorithms for computing the sample variance"), and some of the norms."""

    def __init__(self, layers: tuple[int, ...]) -> None:
        self.layers = layers
        self.n, self.means, self.products = 0, list[np.ndarray](), list[np.ndarray]()
        self.named = ("", "")
        self.norms, self.bulk_norms = list[np.ndarray](), list[np.ndarray]()

    def note(self, acts: Activations) -> None:
        """Keeps what is said about a block, and its norms."""
        self.named = (acts.model, acts.revision)
        places = [acts.layer_numbers.index(number) for number in self.layers]
        if sum(of.shape[1] for of in self.norms) < MOST_NORMS:
            self.norms.append(acts.token_norms[places])
            if acts.bulk_norms is not None:
                self.bulk_norms.append(acts.bulk_norms[places])

    def add(self, layers: list[np.ndarray]) -> None:
        n = len(layers[0])
        if not self.n:
            self.means = [np.zeros(x.shape[1]) for x in layers]
            self.products = [np.zeros((x.shape[1], x.shape[1])) for x in layers]
        for place, x in enumerate(layers):
            mean = x.mean(axis=0)
            centred, shift = x - mean, mean - self.means[place]
            self.products[place] += centred.T @ centred + np.outer(shift, shift) * (self.n * n / (self.n + n))
            self.means[place] = self.means[place] + shift * (n / (self.n + n))
        self.n += n

    def side(self, space: str, rank: int | None) -> Side:
        """The layers' principal axes, each decomposed once."""
        width = len(self.means[0])
        rank = min(width if rank is None else rank, width, self.n - 1)
        scales, bases, energies = [], [], []
        for number, mean, products in zip(self.layers, self.means, self.products, strict=True):
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
        means, scaled, based, energetic = (np.stack(parts) for parts in (self.means, scales, bases, energies))
        return Side(*self.named, self.layers, means, scaled, based, energetic, norms, bulk)


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

    def add(self, of_a: list[np.ndarray], of_b: list[np.ndarray], splits: np.ndarray) -> None:
        centred_a = [self.a.centred(place, x) for place, x in enumerate(of_a)]
        centred_b = [self.b.centred(place, y) for place, y in enumerate(of_b)]
        self.cka.add(centred_a, centred_b)
        on_a = np.stack([x @ basis for x, basis in zip(centred_a, self.a.bases, strict=True)], axis=1)
        on_b = np.stack([y @ basis for y, basis in zip(centred_b, self.b.bases, strict=True)], axis=1)
        for name in SPLITS:
            own = splits == name
            if not (n := int(own.sum())):
                continue
            self.n[name] += n
            x, y = on_a[own], on_b[own]
            self.grams[name] += _grams(x)
            self.cross[name] += x.reshape(n, -1).T @ y.reshape(n, -1)
            for place, whole in enumerate(centred_b):
                self.squares[name][place] += (whole[own] ** 2).sum()
                self.totals[name][place] += whole[own].sum(axis=0)

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
