"""What a file of the first study holds, checked part by part; nothing in it is run.

`residual_stream` is taken for `resid_pre`, `mlp_output` for `mlp_out`.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emolib.base.characters import printable
from emolib.base.errors import UserError, shown
from emolib.base.files import require_file
from emolib.exchange import unpickling
from emolib.exchange.pickle_walk import LONGEST_SHOWN

SITES = {"residual_stream": "resid_pre", "mlp_output": "mlp_out"}
OPTIONAL = ("tokens", "token_strings", "labels", "metadata")
MAX_DEPTH = 6  # of lists in the metadata
SHARED = 8  # how often, on average, an old file may hold one array twice
Samples = list[list[np.ndarray]]


@dataclass(frozen=True)
class OldActivations:
    """What one old file holds: one model on the texts of one emotion.

    Attributes:
        residual_stream: per layer, per sample `[pos, d_model]`, float32 (float16 stays); None if it was not saved.
        mlp_output: likewise.
        tokens: ids per sample; None where the file has none, as is `token_strings`.
        labels: one per sample.
        metadata: plain values.
        left_out: other keys of the file that held something.
    """

    residual_stream: Samples | None
    mlp_output: Samples | None
    tokens: list[list[int]] | None
    token_strings: list[list[str]] | None
    labels: list[str]
    metadata: dict[str, Any]
    left_out: tuple[str, ...] = ()

    @property
    def sites(self) -> dict[str, Samples]:
        """The sites that were saved, by their names here."""
        found = {name: getattr(self, key) for key, name in SITES.items()}
        return {name: layers for name, layers in found.items() if layers is not None}

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sample."""
        return [len(sample) for sample in next(iter(self.sites.values()))[0]]

    @property
    def d_model(self) -> int:
        return next(iter(self.sites.values()))[0][0].shape[1]

    @property
    def n_layers(self) -> int:
        """Blocks of the model: as the file says, or as many as there are MLP outputs, or residuals less the last."""
        said = self.metadata.get("n_layers")
        if isinstance(said, int):
            return said
        if self.mlp_output is not None:
            return len(self.mlp_output)
        return len(self.residual_stream or ()) - 1

    @property
    def not_finite(self) -> int:
        """How many values are NaN or infinite."""
        arrays = (sample for layers in self.sites.values() for layer in layers for sample in layer)
        return sum(int(sample.size - np.isfinite(sample).sum()) for sample in arrays)


def read_old_pickle(path: str | Path) -> OldActivations:
    """Reads an old file (pickle or torch.save) without running anything in it.

    Raises:
        UserError: the file asks for a name that is not allowed, is damaged, or its parts do not fit together.
    """
    file = Path(path)
    require_file(file, name=f"a pickle of the first study at {shown(str(path))}")
    return Layout(file.name, SHARED * file.stat().st_size + 2**16).read(unpickling.load(file))


class Layout:
    """Turns what a file holds into `OldActivations`; `budget` bounds the bytes that shared parts may grow to."""

    def __init__(self, name: str, budget: int = sys.maxsize) -> None:
        self.name, self.largest, self.left = name, budget, budget

    def fail(self, problem: str) -> UserError:
        return UserError(f"{self.name}: {problem}")

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise self.fail("its parts repeat each other far beyond the file's size; no old file does")

    def read(self, value: Any) -> OldActivations:
        if not isinstance(value, dict) or not set(value) & set(SITES):
            kind = f"a dict without {' and '.join(SITES)}" if isinstance(value, dict) else f"a {type(value).__name__}"
            raise self.fail(f"expected a dict with {', '.join((*SITES, *OPTIONAL))}, found {kind}")
        plain = {key: None if value.get(key) is None else self.plain(value[key], key) for key in OPTIONAL}
        metadata = plain["metadata"] if plain["metadata"] is not None else {}
        if not isinstance(metadata, dict):
            raise self.fail(f"expected a dict as metadata, found a {type(metadata).__name__}")
        labels = self.labels(plain["labels"], metadata)
        sites = {key: self.site(value.get(key), key, len(labels)) for key in SITES}
        self.check_dimensions(sites, metadata)
        lengths = [len(sample) for sample in next(layers for layers in sites.values() if layers)[0]]
        other = (key for key in value if key not in (*SITES, *OPTIONAL) and value[key] is not None)
        return OldActivations(
            **sites,
            tokens=self.per_token(plain["tokens"], "tokens", int, lengths),
            token_strings=self.per_token(plain["token_strings"], "token_strings", str, lengths),
            labels=labels,
            metadata=metadata,
            left_out=tuple(sorted(printable(str(key), LONGEST_SHOWN) for key in other)),
        )

    def plain(self, value: Any, where: str, depth: int = 0) -> Any:
        """Numbers, text, lists and dicts of them; arrays become lists."""
        array = unpickling.as_array(value, self.name, self.largest)
        if array is not None:
            self.spend(array.size)
            value = array.tolist()
        self.spend(1)
        if isinstance(value, list | tuple) and depth < MAX_DEPTH:
            return [self.plain(item, where, depth + 1) for item in value]
        if isinstance(value, dict) and depth < MAX_DEPTH and all(isinstance(key, str) for key in value):
            keys = [self.plain(key, where, depth + 1) for key in value]
            return dict(zip(keys, (self.plain(item, where, depth + 1) for item in value.values()), strict=True))
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str) and (value.isascii() or not re.search("[\ud800-\udfff]", value)):
            self.spend(len(value))
            return value
        if (type(value) is int and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value)):
            return value
        raise self.fail(f"expected plain finite numbers, text and lists in {where}, found a {type(value).__name__}")

    def labels(self, labels: Any, metadata: dict) -> list[str]:
        emotion, count = metadata.get("emotion_label"), metadata.get("n_samples")
        if labels is None and isinstance(emotion, str) and isinstance(count, int) and 0 < count <= self.left:
            labels = [emotion] * count
        if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
            raise self.fail("expected labels, a list with one text per sample, found none")
        if count is not None and count != len(labels):
            raise self.fail(f"metadata says n_samples {count}, there are {len(labels)} labels")
        return labels

    def site(self, layers: Any, key: str, n_samples: int) -> Samples | None:
        """One site's arrays, checked; None where nothing was saved."""
        if layers is None or (isinstance(layers, list | tuple) and not layers):
            return None
        if not isinstance(layers, list | tuple):
            raise self.fail(f"expected {key} as a list of layers, found a {type(layers).__name__}")
        found: Samples = []
        for number, layer in enumerate(layers):
            if not isinstance(layer, list | tuple) or len(layer) != n_samples:
                have = f"{len(layer)} samples" if isinstance(layer, list | tuple) else f"a {type(layer).__name__}"
                raise self.fail(f"{key} layer {number}: expected {n_samples} samples as in labels, found {have}")
            found.append([self.sample(item, f"{key} layer {number} sample {i}") for i, item in enumerate(layer)])
        return found

    def sample(self, value: Any, where: str) -> np.ndarray:
        array = unpickling.as_array(value, self.name, self.largest)
        if array is None or array.dtype.kind != "f" or array.ndim != 2 or not array.size:
            have = f"a {type(value).__name__}" if array is None else f"{array.dtype} of shape {array.shape}"
            raise self.fail(f"{where}: expected floating-point numbers of shape [pos, d_model], found {have}")
        self.spend(array.nbytes)
        with np.errstate(over="ignore"):  # counted by not_finite
            return np.ascontiguousarray(array, np.float16 if array.dtype.itemsize == 2 else np.float32)

    def check_dimensions(self, sites: dict[str, Samples | None], metadata: dict) -> None:
        saved = {key: layers for key, layers in sites.items() if layers is not None}
        if not saved:
            raise self.fail(f"neither {' nor '.join(SITES)} holds anything")
        first = next(iter(saved.values()))[0]
        d_model = metadata.get("d_model", first[0].shape[1])
        n_layers = metadata.get("n_layers")
        for key, layers in saved.items():
            allowed = (
                (n_layers, n_layers + 1) if isinstance(n_layers, int) and key == "residual_stream" else (n_layers,)
            )
            if n_layers is not None and len(layers) not in allowed:
                raise self.fail(f"{key} has {len(layers)} layers, metadata says n_layers {n_layers}")
            for number, layer in enumerate(layers):
                for i, sample in enumerate(layer):
                    if sample.shape != (len(first[i]), d_model):
                        expected = [len(first[i]), d_model]
                        raise self.fail(
                            f"{key} layer {number} sample {i}: expected shape {expected}, found {list(sample.shape)}"
                        )
        counts = [len(layers) for layers in saved.values()]
        if len(counts) == 2 and counts[0] - counts[1] not in (0, 1):
            raise self.fail(f"residual_stream has {counts[0]} layers, mlp_output {counts[1]}")

    def per_token(self, value: Any, key: str, kind: type, lengths: list[int]) -> list | None:
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != len(lengths):
            raise self.fail(f"expected {key} of {len(lengths)} samples, found {len(value) if value else 'none'}")
        rows = []
        for i, (row, length) in enumerate(zip(value, lengths, strict=True)):
            if isinstance(row, list) and len(row) == 1 and isinstance(row[0], list):
                row = row[0]  # a batch of one
            if not isinstance(row, list) or len(row) != length or not all(type(item) is kind for item in row):
                have = f"{len(row)} entries" if isinstance(row, list) else f"a {type(row).__name__}"
                raise self.fail(f"{key} sample {i}: expected {length} of type {kind.__name__}, found {have}")
            rows.append(row)
        return rows
