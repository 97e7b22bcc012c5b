"""Activations of known emotion directions, without a model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.data.activations import Activations
from emolib.data.bulk_norms import bulk_norm

LAYERS, D_MODEL, SCENARIOS = 4, 16, 40
EMOTIONS = ("neutral", "gratitude", "anger")


def planted(strength: float = 2.0, seed: int = 0) -> tuple[Activations, dict[str, np.ndarray]]:
    """Activations `[layer, text, d_model]` whose emotions differ from neutral by known directions from layer 1 on."""
    rng = np.random.default_rng(seed)
    directions = {name: np.eye(D_MODEL)[i + 2] * strength for i, name in enumerate(EMOTIONS[1:])}
    rows, values = [], []
    for scenario in range(SCENARIOS):
        shared = rng.standard_normal(D_MODEL)
        for emotion in EMOTIONS:
            added = directions.get(emotion, np.zeros(D_MODEL))
            noise = rng.standard_normal((LAYERS + 1, D_MODEL))
            values.append(shared + noise + added * (np.arange(LAYERS + 1) > 0)[:, None])
            split = "train" if scenario < 28 else "test"
            rows.append({"id": f"{scenario}-{emotion}", "scenario": f"s{scenario}", "emotion": emotion, "split": split})
    texts = pd.DataFrame(rows)
    resid = np.stack(values, axis=1).astype(np.float32)
    norms = np.repeat(np.linalg.norm(resid, axis=2), 3, axis=1).astype(np.float32)
    bulk = np.repeat(bulk_norm(resid), 3, axis=1).astype(np.float32)
    offsets = np.arange(0, 3 * len(texts) + 1, 3)
    acts = Activations({"resid_pre": resid}, texts, norms, offsets, "mean", "planted", "r0", bulk_norms=bulk)
    return acts, directions


def with_massive_dimension(size: float, d_model: int = 256, seed: int = 0) -> Activations:
    """Normal activations of neutral and grateful texts, three tokens each; dimension 7 holds about `size`."""
    rng = np.random.default_rng(seed)
    emotions = ["neutral", "gratitude"] * 20
    tokens = rng.standard_normal((2, 3 * len(emotions), d_model))
    tokens[..., 7] = size * (1 + 0.1 * rng.standard_normal(tokens.shape[:2]))
    texts = pd.DataFrame({"id": [str(i) for i in range(len(emotions))], "emotion": emotions})
    resid = tokens.reshape(2, len(emotions), 3, d_model).mean(2).astype(np.float32)
    offsets = np.arange(0, 3 * len(emotions) + 1, 3)
    norms = np.linalg.norm(tokens, axis=2)
    return Activations(
        {"resid_pre": resid}, texts, norms, offsets, "mean", "planted", "r0", bulk_norms=bulk_norm(tokens)
    )
