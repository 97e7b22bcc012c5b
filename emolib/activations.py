"""Containers for activations and for vectors that live at one layer of one model, with their file layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from emolib.errors import UserError


@dataclass(frozen=True)
class Activations:
    """Activations of one model on a set of texts, reduced to one position per text.

    Attributes:
        values: site → `[layer, text, d_model]`, float32. `resid_pre` has n_layers + 1 layers (the last is the final
            residual, `resid_post` of the last block); `mlp_out` has n_layers.
        texts: one row per text (id, scenario, emotion, split, style, text, n_tokens), in the order of the values.
        token_norms: L2 norm of `resid_pre` at every token, `[layer, total_tokens]`; text i owns the columns
            `offsets[i]` to `offsets[i + 1]`.
        position: `last` (the final token) or `mean` (over tokens, the first left out).
    """

    values: dict[str, Float[np.ndarray, "layer text d_model"]]
    texts: pd.DataFrame
    token_norms: Float[np.ndarray, "layer token"]
    offsets: Int[np.ndarray, "text_plus_one"]
    position: str
    model: str
    revision: str

    @property
    def n_layers(self) -> int:
        return self.values["resid_pre"].shape[0] - 1

    @property
    def d_model(self) -> int:
        return self.values["resid_pre"].shape[2]

    def where(self, keep: pd.Series | np.ndarray | Callable[[pd.DataFrame], pd.Series]) -> Activations:
        """The same activations for the texts that `keep` (a mask, or a function of the text table) selects."""
        mask = np.asarray(keep(self.texts) if callable(keep) else keep, dtype=bool)
        if mask.shape != (len(self.texts),):
            raise UserError(f"expected a mask over {len(self.texts)} texts, got shape {mask.shape}")
        lengths = np.diff(self.offsets)
        return replace(
            self,
            values={site: value[:, mask] for site, value in self.values.items()},
            texts=self.texts[mask].reset_index(drop=True),
            token_norms=self.token_norms[:, np.repeat(mask, lengths)],
            offsets=np.concatenate([[0], np.cumsum(lengths[mask])]),
        )

    def median_norms(self) -> Float[np.ndarray, "layer"]:
        """Median norm of `resid_pre` per layer over all tokens of all texts, each text's first token left out."""
        later = np.ones(self.token_norms.shape[1], dtype=bool)
        later[self.offsets[:-1]] = False
        return np.median(self.token_norms[:, later], axis=1)

    def tensors(self) -> dict[str, np.ndarray]:
        """What is stored: one tensor per site and layer, so that a reader can take one layer alone."""
        named = {
            f"{site}/{layer:03d}": np.ascontiguousarray(values[layer])
            for site, values in self.values.items()
            for layer in range(len(values))
        }
        return {**named, "token_norms": self.token_norms, "offsets": self.offsets}

    @classmethod
    def from_tensors(cls, view, texts: pd.DataFrame, *, position: str, model: str, revision: str) -> Activations:
        """Reads back what `tensors` stored, from an open safetensors view."""
        keys = sorted(view.keys())
        sites = sorted({key.split("/")[0] for key in keys if "/" in key}, reverse=True)
        values = {
            site: np.stack([view.get_tensor(key) for key in keys if key.startswith(f"{site}/")]) for site in sites
        }
        norms, offsets = view.get_tensor("token_norms"), view.get_tensor("offsets")
        return cls(values, texts, norms, offsets, position=position, model=model, revision=revision)


@dataclass(frozen=True)
class LayerVector:
    """A vector at the input of one layer of one model, in activation units.

    Attributes:
        values: `[d_model]`, float32.
        neutral_norm: median norm of `resid_pre` at this layer over neutral training tokens; the unit `resid`.
    """

    values: Float[np.ndarray, "d_model"]
    model: str
    revision: str
    layer: int
    position: str
    neutral_norm: float

    @property
    def norm(self) -> float:
        return float(np.linalg.norm(self.values))

    @property
    def direction(self) -> Float[np.ndarray, "d_model"]:
        """The vector scaled to unit norm."""
        return self.values / self.norm

    def _same_place(self, other: LayerVector) -> None:
        mine = (self.model, self.revision, self.layer, self.position)
        theirs = (other.model, other.revision, other.layer, other.position)
        if mine != theirs:
            raise UserError(f"expected two vectors of one model, layer and position, got {mine} and {theirs}")

    def __add__(self, other: LayerVector) -> LayerVector:
        self._same_place(other)
        return replace(self, values=self.values + other.values)

    def __sub__(self, other: LayerVector) -> LayerVector:
        self._same_place(other)
        return replace(self, values=self.values - other.values)

    def __mul__(self, factor: float) -> LayerVector:
        return replace(self, values=self.values * np.float32(factor))

    __rmul__ = __mul__

    def cosine(self, other: LayerVector) -> float:
        self._same_place(other)
        return float(self.direction @ other.direction)


@dataclass(frozen=True)
class LayerVectors:
    """One emotion's vectors at every layer: `[n_layers + 1, d_model]` as a whole, a `LayerVector` by index."""

    values: Float[np.ndarray, "layer d_model"]
    model: str
    revision: str
    position: str
    neutral_norms: Float[np.ndarray, "layer"]

    def __getitem__(self, layer: int) -> LayerVector:
        if not 0 <= layer < len(self.values):
            raise UserError(f"layer {layer} is out of range: these vectors have layers 0-{len(self.values) - 1}")
        norm = float(self.neutral_norms[layer])
        return LayerVector(self.values[layer], self.model, self.revision, layer, self.position, norm)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.values, dtype=dtype)

    @property
    def norms(self) -> Float[np.ndarray, "layer"]:
        return np.linalg.norm(self.values, axis=1)


def texts_table(texts: pd.DataFrame | Sequence[str]) -> pd.DataFrame:
    """A table with at least id, text and emotion, from a data set or from bare strings."""
    if isinstance(texts, pd.DataFrame):
        return texts.reset_index(drop=True)
    return pd.DataFrame({"id": [f"text-{i}" for i in range(len(texts))], "text": list(texts), "emotion": "unlabelled"})
