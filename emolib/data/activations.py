"""Containers for activations and for vectors that live at one layer of one model, with their file layout."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy.typing import DTypeLike

from emolib.base import arguments, store, tensor_files
from emolib.base.errors import UserError, shown
from emolib.base.signatures import told

UNLABELLED = "unlabelled"
TEXTS = "texts.parquet"


@dataclass(frozen=True)
class Activations:
    """Activations of one model on a set of texts, in memory.

    Attributes:
        values: site → `[layer, row, …]`, float32. `resid_pre` has n_layers + 1 layers (the last is the final residual,
            `resid_post` of the last block), the other sites n_layers; fewer where `layers` says so. At the positions
            `last`, `mean` and `trigger` a text has one row, at `all` one per token: `[layer, text or token, d_model]`,
            of `z` `[layer, text or token, head, d_head]`. `pattern` is `[layer, row, head]` with one row per token that
            is attended to (at `all`: per pair of attending and attended token, by attending token).
        texts: one row per text (id, scenario, emotion, split, style, text, n_tokens, …), in the order of the values.
            At `trigger` only the texts that have one, with its place in the column `trigger`.
        token_norms: L2 norm of `resid_pre` at every token, `[layer, total_tokens]`; text i owns the columns
            `offsets[i]` to `offsets[i + 1]`.
        bulk_norms: the bulk norm (`emolib.data.bulk_norms`) of `resid_pre` at every token, likewise; None where it is
            not known.
        position: `last` (the final token), `mean` (over tokens, the first left out), `trigger` or `all`.
        layers: the numbers of the layers of `resid_pre`; None where none is missing.

    Example:
        >>> import emolib
        >>> lm = emolib.load_model("smollm2_135m")
        >>> acts = emolib.extract_activations(lm, ["Thank you.", "It is Monday."], positions="mean")
        >>> acts.values["resid_pre"].shape, acts.layer("resid_pre", 10).shape
        ((31, 2, 576), (2, 576))
        >>> acts.texts["text"].tolist()
        ['Thank you.', 'It is Monday.']
    """

    values: dict[str, Float[np.ndarray, "layer row *width"]]
    texts: pd.DataFrame
    token_norms: Float[np.ndarray, "layer token"]
    offsets: Int[np.ndarray, " text_plus_one"]
    position: str
    model: str
    revision: str
    layers: tuple[int, ...] | None = None
    bulk_norms: Float[np.ndarray, "layer token"] | None = None

    @property
    def n_layers(self) -> int:
        """Blocks of the model.

        Raises:
            UserError: some layers were left out.
        """
        if self.layers is not None:
            raise UserError(f"expected activations of every layer, these have {_listed(self.layers)}; extract the rest")
        return self.values["resid_pre"].shape[0] - 1

    @property
    def layer_numbers(self) -> tuple[int, ...]:
        """The number of every layer of `resid_pre`, in the order of the values."""
        return self.layers if self.layers is not None else tuple(range(len(self.values["resid_pre"])))

    @property
    def d_model(self) -> int:
        return self.values["resid_pre"].shape[2]

    def layer(self, site: str, number: int) -> Float[np.ndarray, " row *width"]:
        """One layer of a site, by its number in the model."""
        arguments.one_of("site", site, self.values)
        number = arguments.whole_number("layer", number)
        numbers = self.layer_numbers[: len(self.values[site])]
        if number not in numbers:
            raise UserError(f"layer {number} of {site} is not among these activations ({_listed(numbers)})")
        return self.values[site][numbers.index(number)]

    def rows(self, site: str) -> Int[np.ndarray, " text_plus_one"]:
        """Text i owns the rows `rows[i]` to `rows[i + 1]` of a site's values."""
        return row_offsets(site, self.position, np.diff(self.offsets))

    def where(self, keep: pd.Series | np.ndarray | Callable[[pd.DataFrame], pd.Series]) -> Activations:
        """The same activations for the texts that `keep` (a mask, or a function of the text table) selects."""
        mask = np.asarray(keep(self.texts) if callable(keep) else keep, dtype=bool)
        if mask.shape != (len(self.texts),):
            raise UserError(f"expected a mask over {len(self.texts)} texts, got shape {mask.shape}")
        lengths = np.diff(self.offsets)
        return replace(
            self,
            values={s: value[:, np.repeat(mask, np.diff(self.rows(s)))] for s, value in self.values.items()},
            texts=self.texts[mask].reset_index(drop=True),
            token_norms=self.token_norms[:, np.repeat(mask, lengths)],
            bulk_norms=None if self.bulk_norms is None else self.bulk_norms[:, np.repeat(mask, lengths)],
            offsets=np.concatenate([[0], np.cumsum(lengths[mask])]),
        )

    def median_norms(self) -> Float[np.ndarray, "layer"]:
        """Median norm of `resid_pre` per layer over all tokens of all texts, each text's first token left out."""
        return np.median(self.token_norms[:, self._later()], axis=1)

    def median_bulk_norms(self) -> Float[np.ndarray, "layer"] | None:
        """The same of the bulk norms; None where they are not known."""
        return None if self.bulk_norms is None else np.median(self.bulk_norms[:, self._later()], axis=1)

    def _later(self) -> np.ndarray:
        """Which tokens are not the first of their text, `[token]`."""
        later = np.ones(self.token_norms.shape[1], dtype=bool)
        later[self.offsets[:-1]] = False
        return later


def row_offsets(
    site: str, position: str, lengths: np.ndarray, present: np.ndarray | None = None
) -> Int[np.ndarray, " text_plus_one"]:
    """Where every text's rows begin in the values of a site, and the number of rows at the end.

    Args:
        lengths: `[text]`, in tokens.
        present: `[text]`, whether a text has a trigger; a text without one has no rows there. None: all have.
    """
    counts = np.ones_like(lengths) if position != "all" else lengths
    if site == "pattern":
        counts = counts * lengths
    if position == "trigger" and present is not None:
        counts = counts * present
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _listed(layers: Sequence[int]) -> str:
    return "none" if not layers else f"layers {', '.join(map(str, layers))}"


@dataclass(frozen=True)
class StoredActivations:
    """Activations at one position on disk: a file per site and layer, of which only those asked for are read.

    `<folder>/texts.parquet` has a row per text; `<folder>/<position>/<site>_layer<NNN>.safetensors` the tensors
    `values [row, …]` (float32 or float16), `offsets [n_texts + 1]` (text i owns the rows `offsets[i]` to
    `offsets[i + 1]`; a text without a trigger owns none) and, with `resid_pre`, `token_norms [total_tokens]` and
    `bulk_norms [total_tokens]` (which folders written by older versions lack).
    """

    folder: Path
    position: str

    @property
    def texts(self) -> pd.DataFrame:
        return store.read_table(self.folder / TEXTS, needs=("n_tokens",), rows=True)

    @cached_property
    def _files(self) -> dict[tuple[str, int], Path]:
        found = sorted((self.folder / self.position).glob("*_layer*.safetensors"))
        named = (re.fullmatch(r"(\w+)_layer(\d+)", path.stem) for path in found)
        return {(m[1], int(m[2])): path for m, path in zip(named, found, strict=True) if m}

    @property
    def sites(self) -> dict[str, tuple[int, ...]]:
        """The stored layers of every stored site.

        Raises:
            UserError: nothing is stored there.
        """
        sites: dict[str, list[int]] = {}
        for site, layer in self._files:
            sites.setdefault(site, []).append(layer)
        if not sites:
            raise UserError(
                f"expected activations at position {shown(self.position)} in "
                f"{store.paths.display(self.folder)}, found none"
            )
        return {site: tuple(layers) for site, layers in sites.items()}

    @contextlib.contextmanager
    def _opened(self, site: str, layer: int) -> Iterator[tensor_files.TensorView]:
        sites = self.sites
        if (site, layer) not in self._files:
            have = "; ".join(f"{name} {_listed(layers)}" for name, layers in sites.items())
            raise UserError(
                f"layer {layer} of {site} at position {shown(self.position)} is not stored; stored are {have}"
            )
        with tensor_files.open_tensors(self._files[site, layer]) as view:
            yield view

    def layer(self, site: str, layer: int) -> Float[np.ndarray, " row *width"]:
        """One layer of a site, float32; no other file is read."""
        with self._opened(site, layer) as view:
            values = view.get_tensor("values")
            if values.ndim < 2:
                raise store.unusable(self._files[site, layer], "rows of values", f"shape {list(values.shape)}")
            return values.astype(np.float32, copy=False)

    def of_text(self, site: str, layer: int, text: int) -> Float[np.ndarray, " row *width"]:
        """The rows of one text (by its place in `texts`) at a layer of a site, float32; the rest is not read."""
        text = arguments.whole_number("text", text, least=0, most=len(self.texts) - 1)
        with self._opened(site, layer) as view:
            first, stop = (int(place) for place in view.get_tensor("offsets")[text : text + 2])
            values = view.get_slice("values")
            if first == stop:  # safetensors refuses an empty slice at the end
                return np.zeros((0, *values.get_shape()[1:]), np.float32)
            return np.asarray(values[first:stop], dtype=np.float32)

    def read(self, *, sites: Sequence[str] | None = None, layers: Sequence[int] | None = None) -> Activations:
        """Reads sites (all by default; `resid_pre` always) and layers (all that are stored) into memory."""
        stored = self.sites
        wanted = tuple(dict.fromkeys(("resid_pre", *(sites or stored))))
        numbers = tuple(stored.get("resid_pre", ()) if layers is None else sorted(set(layers)))
        texts, depth = self.texts, self._depth()
        n_tokens, present = int(texts["n_tokens"].sum()), np.ones(len(texts), dtype=bool)
        values, norms, bulk = {}, [], []
        for site in wanted:
            own = [n for n in numbers if site == "resid_pre" or n < depth]
            if own or site == "resid_pre":  # of the final residual's layer alone the other sites have nothing
                values[site] = self._stacked(site, own)
        for number in numbers:
            with self._opened("resid_pre", number) as view:
                norms.append(self._of_texts(view, "token_norms", number, n_tokens))
                if "bulk_norms" in view.keys():  # noqa: SIM118 (a method of the file)
                    bulk.append(self._of_texts(view, "bulk_norms", number, n_tokens))
                rows = self._of_texts(view, "offsets", number, len(texts) + 1)
                if rows[-1] != values["resid_pre"].shape[1]:
                    found = f"{values['resid_pre'].shape[1]} rows, offsets up to {rows[-1]}"
                    raise store.unusable(self._files["resid_pre", number], "a row per offset", found)
                present = np.diff(rows) > 0
                about = {name: view.said(name) for name in ("model", "revision")}
        offsets = np.concatenate([[0], np.cumsum(texts["n_tokens"])]).astype(np.int64)
        everything, of_present = numbers == tuple(range(depth + 1)), np.repeat(present, texts["n_tokens"])
        return Activations(
            values,
            texts[present].reset_index(drop=True),
            np.stack(norms)[:, of_present],
            np.concatenate([[0], np.cumsum(np.diff(offsets)[present])]).astype(np.int64),
            position=self.position,
            model=about["model"],
            revision=about["revision"],
            layers=None if everything else numbers,
            bulk_norms=np.stack(bulk)[:, of_present] if len(bulk) == len(norms) else None,
        )

    def _stacked(self, site: str, layers: Sequence[int]) -> np.ndarray:
        out = None
        for i, layer in enumerate(layers):
            values = self.layer(site, layer)
            out = np.empty((len(layers), *values.shape), np.float32) if out is None else out
            if values.shape != out.shape[1:]:
                wanted = f"values of shape {list(out.shape[1:])}, as in layer {layers[0]},"
                raise store.unusable(self._files[site, layer], wanted, f"shape {list(values.shape)}")
            out[i] = values
        if out is None:
            raise UserError(f"expected stored layers of {site} at position {shown(self.position)}, found none")
        return out

    def _of_texts(self, view: tensor_files.TensorView, name: str, layer: int, size: int) -> np.ndarray:
        values = view.get_tensor(name, axes=1)
        if len(values) != size:
            wanted = f"{size} {name} for the texts of {TEXTS}"
            raise store.unusable(self._files["resid_pre", layer], wanted, f"{len(values)}")
        return values

    def _depth(self) -> int:
        """Blocks of the model, as every file says."""
        path = next(iter(self._files.values()))
        with tensor_files.open_tensors(path) as view:
            said = view.said("n_layers")
        if not said.isdecimal() or len(said) > 6:
            raise store.unusable(path, "a number of layers", shown(said))
        return int(said)


def layer_file(folder: Path, position: str, site: str, layer: int) -> Path:
    """Where `StoredActivations` keeps one layer of one site."""
    return folder / position / f"{site}_layer{layer:03d}.safetensors"


@told
@dataclass(frozen=True)
class LayerVector:
    """A vector at the input of one layer of one model, in activation units.

    Attributes:
        values: `[d_model]`, float32.
        neutral_norm: median norm of `resid_pre` at this layer over neutral training tokens; the unit `resid`. None
            where it is not known, as of a vector from a file.
        neutral_bulk_norm: median bulk norm of the same tokens, the unit `bulk`; None where it is not known.
        kl_length: the unit `kl` at this layer (`emolib.steering.kl_lengths`); None where it was not measured.

    Raises:
        UserError: two vectors of different models, layers or positions are added, subtracted or compared.

    Example:
        >>> import numpy as np
        >>> import emolib
        >>> vector = emolib.LayerVector(np.array([3, 4], np.float32), "mine", "1", 2, "mean", neutral_norm=10.0)
        >>> vector.norm, (0.5 * vector).norm, (vector + vector).cosine(vector).__round__(3)
        (5.0, 2.5, 1.0)
    """

    values: Float[np.ndarray, " d_model"]
    model: str
    revision: str
    layer: int
    position: str
    neutral_norm: float | None
    neutral_bulk_norm: float | None = None
    kl_length: float | None = None

    def __post_init__(self) -> None:
        values = arguments.real_array("the values of a LayerVector", self.values)
        if values.ndim != 1 or not values.size:
            raise UserError(f"expected the values of a LayerVector [d_model], got shape {values.shape}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "layer", arguments.whole_number("layer", self.layer, least=0))

    @property
    def norm(self) -> float:
        return float(np.linalg.norm(self.values))

    @property
    def direction(self) -> Float[np.ndarray, " d_model"]:
        """The vector scaled to unit norm."""
        return self.values / self.norm

    def _same_place(self, other: LayerVector) -> None:
        if not isinstance(other, LayerVector):
            raise UserError(f"expected two vectors (LayerVector), got a {type(other).__name__}")
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
        return replace(self, values=self.values * np.float32(arguments.number("factor", factor)))

    __rmul__ = __mul__

    def cosine(self, other: LayerVector) -> float:
        self._same_place(other)
        return float(self.direction @ other.direction)


@dataclass(frozen=True)
class LayerVectors:
    """One emotion's vectors at every layer: `[n_layers + 1, d_model]` as a whole, a `LayerVector` by index.

    Attributes:
        neutral_norms: None where they are not known, as of vectors from a file.
        label: what they are vectors of.
    """

    values: Float[np.ndarray, "layer d_model"]
    model: str
    revision: str
    position: str
    neutral_norms: Float[np.ndarray, " layer"] | None
    neutral_bulk_norms: Float[np.ndarray, " layer"] | None = None
    kl_lengths: Float[np.ndarray, " layer"] | None = None
    label: str = ""

    def __getitem__(self, layer: int) -> LayerVector:
        layer = arguments.whole_number("layer", layer)
        if not 0 <= layer < len(self.values):
            raise UserError(f"layer {layer} is out of range: these vectors have layers 0-{len(self.values) - 1}")
        bulk = None if self.neutral_bulk_norms is None else float(self.neutral_bulk_norms[layer])
        length = None if self.kl_lengths is None or np.isnan(self.kl_lengths[layer]) else float(self.kl_lengths[layer])
        norm = None if self.neutral_norms is None else float(self.neutral_norms[layer])
        return LayerVector(self.values[layer], self.model, self.revision, layer, self.position, norm, bulk, length)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.values, dtype=dtype)

    @property
    def norms(self) -> Float[np.ndarray, " layer"]:
        return np.linalg.norm(self.values, axis=1)


def texts_table(texts: pd.DataFrame | Sequence[str]) -> pd.DataFrame:
    """A table with at least id, text and emotion, from a data set or from bare strings."""
    if not isinstance(texts, pd.DataFrame):
        given = arguments.texts(texts)
        return pd.DataFrame({"id": _names(len(given)), "text": given, "emotion": UNLABELLED})
    added = {"id": _names(len(texts)), "emotion": UNLABELLED}
    return texts.reset_index(drop=True).assign(**{name: added[name] for name in added if name not in texts})


def _names(count: int) -> list[str]:
    return [f"text-{i}" for i in range(count)]
