"""Other ways to a steering direction from the same texts: what the mean difference is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib.data.activations import Activations
from emolib.directions.vectors import EmotionVectors, scenario_cube

KINDS = ("pca", "probe")


def alternative_vectors(
    kind: str, acts: Activations, vecs: EmotionVectors, *, layers: Sequence[int], neutral: str = "neutral"
) -> EmotionVectors:
    """Directions found another way, each with the norm of the mean difference; zero at layers not asked for.

    `pca`: first principal component of the differences within scenarios, centred, turned towards their mean (as in
    repeng's pca_diff, after Zou et al. 2023, arXiv 2310.01405). `probe`: the normal of a logistic regression, emotion
    against neutral, on standardised activations, taken back to activation units.

    Args:
        acts: the training activations that `vecs` were fitted on.
    """
    cube, _, emotions = scenario_cube(acts, neutral)
    find = {"pca": _principal, "probe": _probe}[kind]
    values = {}
    for i, emotion in enumerate(emotions, 1):
        found = np.zeros_like(vecs.values[emotion])
        for layer in layers:
            direction = find(cube[layer, :, i].astype(np.float64), cube[layer, :, 0].astype(np.float64))
            found[layer] = direction / np.linalg.norm(direction) * np.linalg.norm(vecs.values[emotion][layer])
        values[emotion] = found
    return replace(vecs, values=values, whitened={}, discriminants={})


def _principal(emotional: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    differences = emotional - neutral
    first = np.linalg.svd(differences - differences.mean(0), full_matrices=False)[2][0]
    return first if first @ differences.mean(0) >= 0 else -first


def _probe(emotional: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    x = np.concatenate([emotional, neutral])
    y = np.repeat([True, False], [len(emotional), len(neutral)])
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, solver="liblinear")).fit(x, y)
    return fitted[-1].coef_[0] / fitted[0].scale_
