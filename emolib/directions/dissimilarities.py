"""How unlike the labels are to each other: the table of dissimilarities by which models can be compared.

Representational similarity analysis (Kriegeskorte, Mur and Bandettini 2008; for emotions in language models arXiv
2604.11050): the table does not depend on a model's coordinates, so that models of any width compare.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats


def dissimilarities(means: Float[np.ndarray, "label d_model"]) -> Float[np.ndarray, "label label"]:
    """1 − the cosine between the labels' means, their common mean taken off first: 0 for labels that are alike, 2 for
    opposite ones. NaN where a label does not differ from the common mean.

    >>> dissimilarities(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])).round(1).tolist()[0][:2]
    [0.0, 2.0]
    """
    centred = means - means.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.where(lengths > 1e-12 * max(float(lengths.max()), 1e-300), lengths, np.nan)
    return np.clip(1 - unit @ unit.T, 0.0, 2.0)


def differences(values: Float[np.ndarray, " label"]) -> Float[np.ndarray, "label label"]:
    """How far apart the labels are in one number (their words' valence, for example).

    >>> differences(np.array([0.5, -1.0])).tolist()
    [[0.0, 1.5], [1.5, 0.0]]
    """
    found: np.ndarray = np.abs(np.subtract.outer(values, values))
    return found


def dissimilarity_reliability(cube: Float[np.ndarray, "scenario label d_model"]) -> float:
    """How far the table is the same in other scenarios: the rank correlation between those of the odd and of the even
    scenarios, raised to the whole sample's size (Spearman and Brown 1910); NaN where a table has no values."""
    upper = np.triu_indices(cube.shape[1], 1)
    first, second = (dissimilarities(cube[start::2].mean(axis=0))[upper] for start in (0, 1))
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    return spearman_brown(float(stats.spearmanr(first, second).statistic))


def spearman_brown(half: float) -> float:
    """The reliability of a whole from the correlation of its halves; a correlation below 0 stays as it is.

    >>> spearman_brown(0.5)
    0.6666666666666666
    """
    return 2 * half / (1 + half) if half > 0 else half
