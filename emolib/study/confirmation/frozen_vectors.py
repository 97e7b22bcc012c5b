"""The emotions' vectors as a frozen choice tells them: by their bytes, and so that rounding of another machine shows as
no more than that."""

from __future__ import annotations

import hashlib

import numpy as np

from emolib.base.frozen_studies import VectorHashes
from emolib.directions.vectors import EmotionVectors

N_SKETCH = 32  # numbers that tell a direction
SKETCH_SEED = 21
TOLERANCE = 0.01  # of the norm, and of the direction's length: two directions with a cosine of 0.99995
DIGITS = 6


def vector_hashes(vecs: EmotionVectors, layer: int) -> VectorHashes:
    """What a frozen choice says of the vectors at a layer.

    A sketch is the unit direction through a random map from d_model to `N_SKETCH` numbers that keeps lengths on average
    (Johnson and Lindenstrauss 1984).
    """
    values = {emotion: np.asarray(vecs[emotion][layer].values, np.float32) for emotion in vecs}
    total = hashlib.sha256(np.stack(list(values.values())).tobytes())
    norms = {emotion: float(np.linalg.norm(found)) for emotion, found in values.items()}
    sketches = {
        emotion: tuple(np.round(_map(len(found)) @ (found.astype(float) / norms[emotion]), DIGITS).tolist())
        for emotion, found in values.items()
    }
    return VectorHashes(
        sha256=total.hexdigest(), norms={e: round(norm, DIGITS) for e, norm in norms.items()}, sketches=sketches
    )


def _map(d_model: int) -> np.ndarray:
    return np.random.default_rng(SKETCH_SEED).standard_normal((N_SKETCH, d_model)) / np.sqrt(N_SKETCH)


def vector_distance(frozen: VectorHashes, now: VectorHashes) -> float:
    """How far the vectors are from those that were frozen: the largest difference of a norm (relative) or of a
    direction (estimated from the sketches); 0 where they are the same to the last byte, infinite for other emotions."""
    if frozen.sha256 == now.sha256:
        return 0.0
    if set(frozen.norms) != set(now.norms):
        return float("inf")
    norms = [abs(now.norms[emotion] / norm - 1) for emotion, norm in frozen.norms.items()]
    turned = [
        float(np.linalg.norm(np.subtract(now.sketches[emotion], sketch))) for emotion, sketch in frozen.sketches.items()
    ]
    return max(*norms, *turned)
