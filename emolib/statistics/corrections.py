"""Correction of p values for how many are looked at."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """The p values as Holm (1979) corrects them, in their own order.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    if not len(p):
        return np.zeros(0)
    from pingouin import multicomp

    return np.asarray(multicomp(p, method="holm")[1], dtype=float)
