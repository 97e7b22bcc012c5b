"""The vectors of several models side by side: which pairs can be compared, by what, and the raw cosines.

Two models have coordinates of their own: a rotated copy of a model has cosines near 0 with it. The cosines are kept for
comparison with earlier work and carry that warning in every row; aligned coordinates are another matter. How unlike the
same labels are to each other in each model needs no common coordinates (`cross_labels`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from emolib.base import store, tensor_files
from emolib.directions.vectors import cosine
from emolib.study.phase3_vectors import cross_labels, fitting, geometry
from emolib.study.run import Run

Comparable = Literal["same_model", "other_model", "other_width", "no_shared_label"]
WARNING = (
    "raw coordinates of two models are not comparable: a cosine near 0 does not say that they lack a shared direction"
)
WARNINGS: dict[Comparable, str] = {
    "same_model": "",
    "other_model": WARNING,
    "other_width": "no cosine exists between vectors of models of different width",
    "no_shared_label": "the two models' vectors have no label in common",
}
VECTOR = "vector/"
COSINES = ["emotion", "layer_a", "layer_b", "cosine", "chance"]
ABOUT = ["model_a", "model_b", "d_model_a", "d_model_b", "comparable"]
COLUMNS = [*ABOUT, *COSINES, *cross_labels.COLUMNS, "warning"]


@dataclass(frozen=True)
class _Model:
    name: str
    revision: str
    vectors: dict[str, np.ndarray]

    @property
    def width(self) -> int:
        return next(iter(self.vectors.values())).shape[1]


def cross_model(run: Run) -> pd.DataFrame:
    """Every pair of this profile's models, whether their coordinates compare, and what can be said; written as CSV too.

    A pair has one row without an emotion, with how their labels' dissimilarities agree (`cross_labels.compared`) at the
    layers `layer_a` and `layer_b`; below it, where the widths are the same, cosines by emotion and layer. Layers are
    paired by relative depth (the same number where the models are equally deep). `chance` is the size that 95 % of the
    cosines between random directions stay below.

    `comparable` is about the raw coordinates: `same_model` (the same weights under two names: they are; so are another
    position, seed or data set of one model, which lie in files and variants of their own), `other_model` (the same
    width, but coordinates of its own: they are not, before an alignment), `other_width` (no cosine exists), or
    `no_shared_label`. Weights that were rounded or stored in another format have another revision and count as
    `other_model`: nothing here says that they are the same.
    """
    fitting.vectors(run, "mean")
    geometry.label_dissimilarities(run)
    # one without a manifest is what a killed run left: its own model's next run makes it anew
    files = [path for path in run.paths.vector_files() if store.read_manifest(path) is not None]
    models = [_read(path, run.paths.model_of(path)) for path in files]
    labels = {model.name: cross_labels.label_table(run.paths.of_model(model.name)) for model in models}
    rows: list[dict[str, Any]] = []
    for a, b in combinations(models, 2):
        about = _about(a, b)
        rows.append({**about, **cross_labels.compared(labels[a.name], labels[b.name], seed=run.params.seed)})
        rows += [{**about, **row} for row in _cosines(a, b)]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"layer_a": "Int64", "layer_b": "Int64", "n_labels": "Int64"})
    matched = {"vectors": {path.name: store.read_manifest(path)["recorded"]["sha256"] for path in files}}
    matched |= {"labels": {name: found and found.sha256 for name, found in labels.items()}, "columns": COLUMNS}
    matched |= {"seed": run.params.seed}
    data = table.to_csv(index=False, float_format="%.6g").encode()
    run.artifacts.obtain(run.paths.cross_model_table(), matched, lambda: data, model=False)
    return table


def pairs_of(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that stand for a pair of models."""
    return table[table["emotion"].isna()].reset_index(drop=True)


def cosines_of(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that hold a cosine."""
    return table[table["emotion"].notna()].reset_index(drop=True)


def _read(path: Path, name: str) -> _Model:
    with tensor_files.open_tensors(path) as view:
        named = [key for key in list(view.keys()) if key.startswith(VECTOR)]
        emotions = fitting.parted(view.said("emotions"), [key.removeprefix(VECTOR) for key in named])
        return _Model(name, view.said("revision"), {e: view.get_tensor(f"{VECTOR}{e}") for e in emotions})


def _about(a: _Model, b: _Model) -> dict[str, Any]:
    code: Comparable
    if a.width != b.width:
        code = "other_width"
    elif not a.vectors.keys() & b.vectors.keys():
        code = "no_shared_label"
    else:
        code = "same_model" if a.revision == b.revision else "other_model"
    about = {"model_a": a.name, "model_b": b.name, "d_model_a": a.width, "d_model_b": b.width}
    return {**about, "comparable": code, "warning": WARNINGS[code]}


def _cosines(a: _Model, b: _Model) -> list[dict[str, Any]]:
    if a.width != b.width:
        return []
    rows = []
    for emotion in (e for e in a.vectors if e in b.vectors):
        x, y = a.vectors[emotion], b.vectors[emotion]
        for layer in range(len(x)):
            other = round(layer * (len(y) - 1) / (len(x) - 1))
            if np.any(x[layer]) and np.any(y[other]):
                row = {"emotion": emotion, "layer_a": layer, "layer_b": other}
                rows.append(row | {"cosine": float(cosine(x[layer], y[other])), "chance": 1.96 / np.sqrt(a.width)})
    return rows
