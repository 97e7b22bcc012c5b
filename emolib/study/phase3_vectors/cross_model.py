"""Raw cosines between the vectors of several models, and why they say next to nothing.

Two models have coordinates of their own: a rotated copy of a model has cosines near 0 with it. The table is kept for
comparison with earlier work and carries that warning in every row; aligned coordinates are another matter.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from emolib.base import store, tensor_files
from emolib.directions.vectors import cosine
from emolib.study.phase3_vectors import fitting
from emolib.study.run import Run

WARNING = (
    "raw coordinates of two models are not comparable: a cosine near 0 does not say that they lack a shared direction"
)
VECTOR = "vector/"
COLUMNS = ["model_a", "model_b", "emotion", "layer_a", "layer_b", "cosine", "chance", "warning"]


def cross_model(run: Run) -> pd.DataFrame:
    """Cosines between this profile's models of one d_model, by emotion and layer; written as CSV too.

    Layers are paired by relative depth (the same number where the models are equally deep). `chance` is the size that
    95 % of the cosines between random directions stay below.
    """
    fitting.vectors(run, "mean")
    # one without a manifest is what a killed run left: its own model's next run makes it anew
    files = [path for path in run.paths.vector_files() if store.read_manifest(path) is not None]
    held = {path: (run.paths.model_of(path), _read(path)) for path in files}
    rows = [row for a, b in combinations(held.values(), 2) for row in _pair(a, b)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    matched = {"vectors": {path.name: store.read_manifest(path)["recorded"]["sha256"] for path in files}}
    data = table.to_csv(index=False, float_format="%.6g").encode()
    run.artifacts.obtain(run.paths.cross_model_table(), matched, lambda: data, model=False)
    return table


def _read(path: Path) -> dict[str, np.ndarray]:
    with tensor_files.open_tensors(path) as view:
        named = [name for name in list(view.keys()) if name.startswith(VECTOR)]
        emotions = fitting.parted(view.said("emotions"), [name.removeprefix(VECTOR) for name in named])
        return {e: view.get_tensor(f"{VECTOR}{e}") for e in emotions}


def _pair(a: tuple[str, dict[str, np.ndarray]], b: tuple[str, dict[str, np.ndarray]]) -> list[dict]:
    (name_a, first), (name_b, second) = a, b
    rows = []
    for emotion in (e for e in first if e in second):
        x, y = first[emotion], second[emotion]
        if x.shape[1] != y.shape[1]:
            continue
        for layer in range(len(x)):
            other = round(layer * (len(y) - 1) / (len(x) - 1))
            if not (np.any(x[layer]) and np.any(y[other])):
                continue
            row = {"model_a": name_a, "model_b": name_b, "emotion": emotion, "layer_a": layer, "layer_b": other}
            row |= {"cosine": float(cosine(x[layer], y[other])), "chance": 1.96 / np.sqrt(x.shape[1])}
            rows.append({**row, "warning": WARNING})
    return rows
