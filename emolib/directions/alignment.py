"""Linear maps from one model's residual stream to another's, learned at the same words of neutral texts.

Two models' coordinates have nothing to do with each other: a rotated copy of a model is the same model, and its raw
cosines with it are about 0. A map is fitted on *anchors*, rows of activations that belong together (words' last tokens
in the same texts, `emolib.engine.anchors.extract_anchors`), never on the texts that made the vectors which it is to
map, and is judged on words that it was not fitted on. With fewer fitting anchors than dimensions a map explains its own
anchors wholly and may know nothing: R² of the test anchors stands beside that of the fitting ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.data.activations import Activations, LayerVector
from emolib.directions.anchor_blocks import checked_blocks, chosen_layers
from emolib.directions.anchor_moments import SPACES, AnchorMoments, Frame, gather
from emolib.directions.map_fits import METHODS, MapFit, PairSums, fit_pair


@dataclass(frozen=True, repr=False)
class AlignmentMap:
    """A linear map from the input of a layer of model A to that of a layer of model B.

    Attributes:
        fit: the map between the principal axes, with what was chosen and R² by split.
        frame_a, frame_b: each layer's mean, scale and principal axes, from the fitting anchors.
        method: `ridge`, `procrustes` or `cca`.
        space: `raw`, or `standardised` (every dimension of either model divided by its sd over the fitting anchors).
        n_anchors: by split (`train` fitted the map, `validation` chose rank and penalty, `test` judges it).
        cka: debiased linear CKA of the two layers over all anchors.
        neutral_norm, neutral_bulk_norm: median norm of B's anchors: what a mapped vector's α counts in.

    Raises:
        UserError: a vector of another model, layer or width is mapped.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> import emolib
        >>> rng = np.random.default_rng(0)
        >>> table = pd.DataFrame({"id": range(300), "split": ["train"] * 200 + ["validation", "test"] * 50})
        >>> def acts(values, model):  # one layer of made-up activations, a row per anchor
        ...     shape = {"position": "word", "model": model, "revision": "1", "layers": (4,)}
        ...     norms = np.linalg.norm(values, axis=1)[None]
        ...     return emolib.Activations({"resid_pre": values[None]}, table, norms, np.arange(301), **shape)
        >>> x = rng.standard_normal((300, 8)).astype(np.float32)
        >>> turn = np.linalg.qr(rng.standard_normal((12, 8)))[0].T  # B is A, rotated and widened
        >>> amap = emolib.fit_alignment(acts(x, "a"), acts(x @ turn, "b"), layer_a=4, layer_b=4)
        >>> amap
        AlignmentMap(a layer 4 → b layer 4, ridge, standardised, rank 8, R² 1.00 held out, 1.00 in sample)
        >>> vector = emolib.LayerVector(x[0], "a", "1", 4, "mean", neutral_norm=3.0)
        >>> mapped = amap.map(vector)
        >>> mapped.model, np.allclose(mapped.values, x[0] @ turn, rtol=0.05, atol=0.05), round(amap.kept(vector), 6)
        ('b', True, 1.0)
    """

    fit: MapFit
    frame_a: Frame
    frame_b: Frame
    method: str
    space: str
    n_anchors: dict[str, int]
    cka: float
    model_a: str
    revision_a: str
    layer_a: int
    model_b: str
    revision_b: str
    layer_b: int
    neutral_norm: float
    neutral_bulk_norm: float | None

    @classmethod
    def of(cls, moments: AnchorMoments, places: tuple[int, int], method: str, fit: MapFit) -> AlignmentMap:
        """The map of one pair of layers, by their places among the layers of the moments."""
        a, b, (place_a, place_b) = moments.a, moments.b, places
        return cls(
            fit,
            a.frame(place_a),
            b.frame(place_b),
            method,
            moments.space,
            dict(moments.counts),
            float(moments.cka[places]),
            *(a.model, a.revision, a.layers[place_a]),
            *(b.model, b.revision, b.layers[place_b]),
            float(b.norms[place_b]),
            None if b.bulk_norms is None else float(b.bulk_norms[place_b]),
        )

    def __repr__(self) -> str:
        ends = f"{self.model_a} layer {self.layer_a} → {self.model_b} layer {self.layer_b}"
        r2 = f"R² {self.r2_held_out:.2f} held out, {self.r2_in_sample:.2f} in sample"
        return f"AlignmentMap({ends}, {self.method}, {self.space}, rank {self.rank}, {r2})"

    @property
    def rank(self) -> int:
        """Principal axes of A that the map reads."""
        return self.fit.rank

    @property
    def penalty(self) -> float | None:
        """The ridge's λ (scikit-learn's alpha, in the space of the fit); None for other methods."""
        return self.fit.penalty

    @property
    def n_canonical(self) -> int | None:
        """Canonical pairs; None for other methods than `cca`."""
        return self.fit.n_canonical

    @property
    def r2_held_out(self) -> float:
        """R² on the test anchors, pooled over B's dimensions in the space of the fit."""
        return self.fit.r2["test"]

    @property
    def r2_in_sample(self) -> float:
        """R² on the anchors that fitted the map: 1 where they are fewer than the dimensions, whatever the map."""
        return self.fit.r2["train"]

    @cached_property
    def matrix(self) -> Float[np.ndarray, "d_b d_a"]:
        """The linear part, in activation units of both models."""
        found: np.ndarray = self.frame_b.to_vectors(
            (self.frame_a.axes / self.frame_a.scale[:, None]) @ self.fit.weights
        )
        return found.T

    @overload
    def map(self, vector: LayerVector) -> LayerVector: ...

    @overload
    def map(self, vector: Float[np.ndarray, "*batch d_a"]) -> Float[np.ndarray, "*batch d_b"]: ...

    def map(self, vector: LayerVector | np.ndarray) -> LayerVector | np.ndarray:
        """A vector of A as one of B, by the linear part alone (a difference of activations has no mean).

        Args:
            vector: a `LayerVector` of A's layer, or an array `[…, d_a]` in A's activation units.

        Returns:
            A `LayerVector` of B at its layer, with the source's position and B's norms; of an array `[…, d_b]`,
            float64.

        Raises:
            UserError: a vector of another model, layer or width, or with values that are not finite.
        """
        values = self._values(vector)
        mapped = self.frame_b.to_vectors(self.frame_a.of_vectors(values) @ self.fit.weights)
        if not isinstance(vector, LayerVector):
            return mapped
        place = (self.model_b, self.revision_b, self.layer_b, vector.position)
        return LayerVector(mapped.astype(np.float32), *place, self.neutral_norm, self.neutral_bulk_norm)

    def kept(self, vector: LayerVector | np.ndarray) -> float:
        """Share of a vector's squared length, in the space of the fit, that lies on the axes which the map reads.

        Raises:
            UserError: as `map`; a vector of zeros.
        """
        values = self._values(vector) / self.frame_a.scale
        if values.ndim != 1 or not np.any(values):
            raise UserError(f"expected one vector [d_model] other than zero, got shape {values.shape}")
        return float(((values @ self.frame_a.axes[:, : self.rank]) ** 2).sum() / (values**2).sum())

    def predict(self, activations: Float[np.ndarray, "row d_a"]) -> Float[np.ndarray, "row d_b"]:
        """A's activations as B's, the means included.

        Raises:
            UserError: as `map`.
        """
        rows = self._values(activations)
        found: np.ndarray = self.frame_b.mean + self.map(rows - self.frame_a.mean)
        return found

    def _values(self, vector: LayerVector | np.ndarray) -> np.ndarray:
        if isinstance(vector, LayerVector):
            place, own = (vector.model, vector.revision, vector.layer), (self.model_a, self.revision_a, self.layer_a)
            if place != own:
                raise UserError(f"expected a vector of {own}, which this map begins at, got one of {place}")
            vector = vector.values
        values = np.asarray(arguments.float_array("the vector", vector))
        width = len(self.frame_a.mean)
        if not values.ndim or values.shape[-1] != width:
            raise UserError(f"expected vectors of {width} dimensions along the last axis, got shape {values.shape}")
        if not np.isfinite(values).all():
            raise UserError("expected a vector of finite numbers, got some that are not; look at how it was fitted")
        return values


@told
def fit_alignment(
    acts_a: Activations,
    acts_b: Activations,
    *,
    layer_a: int,
    layer_b: int,
    method: str = "ridge",
    space: str = "standardised",
    rank: int | None = None,
    penalty: float | None = None,
) -> AlignmentMap:
    """A linear map from a layer of model A to a layer of model B, whatever their widths and tokenizers.

    Each method, with its source, stands in `emolib.directions.map_fits`; what is free (penalty, rank, canonical pairs)
    is chosen by R² on the validation anchors. Dimensions of huge norm rule raw coordinates, hence `standardised`.

    Args:
        acts_a, acts_b: activations of the same anchors in the same order, one row each, with a column `split` that says
            `train`, `validation` or `test`: of `emolib.engine.anchors.extract_anchors`, or any others with rows that
            belong together.
        layer_a, layer_b: numbers of the layers.
        method: `ridge`; `procrustes` (a rotation and one scale between the leading principal axes; between all of them
            where the models are equally wide and validation favours it); `cca` (canonical pairs).
        space: `raw` or `standardised`.
        rank: principal axes of either model that are used; None chooses (a ridge takes all).
        penalty: the ridge's λ; None chooses.

    Returns:
        An `AlignmentMap`.

    Raises:
        UserError: rows that do not belong together, layers that are not there, too few anchors of a split, activations
            that do not differ or are not finite, a rank or penalty that cannot be.

    >>> import emolib
    >>> from emolib.engine.anchors import extract_anchors
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> pairs = [("lamp", "desk"), ("book", "bed"), ("map", "wall"), ("towel", "chair"), ("letter", "table")]
    >>> texts = [f"The {thing} was on the {place} near our window yesterday." for thing, place in pairs]
    >>> acts_a, acts_b = extract_anchors(lm, lm, texts, layers_a=[10], layers_b=[12])
    >>> amap = fit_alignment(acts_a, acts_b, layer_a=10, layer_b=12)
    >>> amap.matrix.shape, amap.n_anchors
    ((576, 576), {'train': 25, 'validation': 7, 'test': 13})
    """
    method = arguments.one_of("method", method, METHODS)
    space = arguments.one_of("space", space, SPACES)
    if penalty is not None:
        penalty = arguments.number("penalty", penalty, above=0)
        if method != "ridge":
            raise UserError(f"expected a penalty for the method ridge alone, {method} has none; leave it out")
    rank = None if rank is None else arguments.whole_number("rank", rank, least=1)
    layers_a, layers_b = (
        [arguments.whole_number(name, layer, least=0)] for name, layer in (("layer_a", layer_a), ("layer_b", layer_b))
    )
    blocks = checked_blocks((acts_a, acts_b))
    chosen_layers(blocks, layers_a, layers_b)
    moments = gather(blocks, layers_a, layers_b, rank=rank, spaces=(space,))[space]
    fit = fit_pair(PairSums.of(moments, 0, 0), method, rank=rank, penalty=penalty)
    return AlignmentMap.of(moments, (0, 0), method, fit)
