"""Cosines between vectors of one set of scenarios, with what the sample's noise does to them taken out.

Two vectors of the same texts are less alike than what they estimate, because each has noise of its own, and more
alike, because they share the neutral texts' noise. Products of *different* scenarios' differences know neither: the
mean of a_s · b_t over s ≠ t estimates the product of the vectors without noise, and a cosine made of three such means
the cosine without noise (the correction for attenuation, Spearman 1904).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

CONFIDENCE = 0.95


class Cosines(NamedTuple):
    """Matrices `[label, label]`, and the vectors' reliability: the share of the squared length that is no noise.

    Attributes:
        corrected: without noise; may exceed 1 by chance. NaN where a vector is nothing but noise.
        low, high: its 95 % interval over scenarios (jackknife).
    """

    plain: Float[np.ndarray, "label label"]
    corrected: Float[np.ndarray, "label label"]
    low: Float[np.ndarray, "label label"]
    high: Float[np.ndarray, "label label"]
    reliability: Float[np.ndarray, " label"]


def noise_free_cosines(differences: Float[np.ndarray, "scenario label d_model"]) -> Cosines:
    """Cosines between the labels' vectors (the means over scenarios of label − neutral).

    Args:
        differences: of at least 3 scenarios.

    >>> rng = np.random.default_rng(0)
    >>> truth = np.array([[3.0, 4.0, 0, 0], [3.0, 0, 0, 0]])  # cosine 0.6
    >>> found = noise_free_cosines(truth + rng.standard_normal((200, 2, 4)))
    >>> bool(found.low[0, 1] < 0.6 < found.high[0, 1])
    True
    """
    cube = np.asarray(differences, dtype=np.float64)
    n = len(cube)
    total = cube.sum(axis=0)
    own = np.einsum("sld,smd->slm", cube, cube)
    cross = cube @ total.T  # [scenario, label, label of the total]
    both, same = total @ total.T, own.sum(axis=0)
    whole = (both - same) / (n * (n - 1))
    without = both - cross - np.swapaxes(cross, 1, 2) + own - (same - own)
    corrected, left_out = _cosines(whole), _cosines(without / ((n - 1) * (n - 2)))
    spread = np.sqrt((n - 1) / n * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * spread
    squared = np.diag(both) / n**2
    share = np.diag(whole) / np.where(squared > 0, squared, np.nan)
    return Cosines(_cosines(both), corrected, corrected - reach, corrected + reach, share)


def _cosines(products: Float[np.ndarray, "*sample label label"]) -> Float[np.ndarray, "*sample label label"]:
    squared = np.diagonal(products, axis1=-2, axis2=-1)
    lengths = np.sqrt(np.where(squared > 0, squared, np.nan))
    return products / (lengths[..., :, None] * lengths[..., None, :])
