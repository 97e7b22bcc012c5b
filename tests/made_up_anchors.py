"""Anchors of two made-up models: rows of random activations that belong together, without any language model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.data.activations import Activations

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def isometry(wide: int, narrow: int, seed: int = 0) -> np.ndarray:
    """Orthonormal rows `[narrow, wide]`: `x @ isometry` is x, rotated and widened."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((wide, narrow)))[0].T


def coloured(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Correlated activations `[n, d]` about a mean, with one dimension of huge size."""
    rng = np.random.default_rng(seed)
    spread = np.geomspace(1, 0.05, d)
    found = (rng.standard_normal((n, d)) * spread) @ isometry(d, d, seed + 1) + rng.standard_normal(d)
    found[:, 3] = 40 + 3 * found[:, 3]
    return found


def anchors(values: np.ndarray, model: str, *, layers: tuple[int, ...] | None = None) -> Activations:
    """Activations `[anchor, d]` or `[layer, anchor, d]` with splits that depend on the row alone."""
    stacked = np.asarray(values if values.ndim == 3 else values[None], dtype=np.float32)
    n = stacked.shape[1]
    counts = [round(n * SHARES["train"]), round(n * SHARES["validation"])]
    splits = np.repeat(list(SHARES), [*counts, n - sum(counts)])
    splits = splits[np.random.default_rng(0).permutation(n)]
    table = pd.DataFrame({"id": [f"a{i}" for i in range(n)], "text": "word", "split": splits})
    return Activations(
        {"resid_pre": stacked},
        table,
        np.linalg.norm(stacked, axis=2),
        np.arange(n + 1),
        position="word",
        model=model,
        revision="1",
        layers=layers or tuple(range(len(stacked))),
    )
