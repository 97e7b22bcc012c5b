"""Sign flips: whether differences lie on one side of 0, over many cells at once, corrected for the largest."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError

MOST_EXACT = 12  # units up to which every flip is looked at
TIE = 1e-9  # relative: what arithmetic alone makes of two equal statistics


def sign_flip_test(values: np.ndarray, *, n_flips: int = 4095, seed: int = 0) -> pd.DataFrame:
    """Of every cell: the mean of its units' differences, and two-sided p values, alone and for the largest of all.

    Under the null hypothesis a unit's differences are as probable with the other sign, in all cells together. The
    statistic is Student's t, so that a cell of wide spread does not decide alone; the corrected p is the single-step
    maxT of Westfall and Young (1993): the share of flips whose largest |t| over all cells reaches the cell's.

    Args:
        values: `[unit, cell]`; units are independent (scenarios).
        n_flips: random flips; with few units all of them are looked at instead, the identity among them.
        seed: of the flips.

    Returns:
        One row per cell: mean, sd, n, t, p, p_max. A cell without any difference has t 0 and p 1.

    Raises:
        UserError: fewer than two units, no cell, values that are not finite.

    >>> table = sign_flip_test(np.array([[1.0, 0.1], [1.2, -0.1], [0.9, 0.2], [1.1, -0.2], [1.0, 0.0], [1.1, 0.1]]))
    >>> table[["mean", "p_max"]].round(3).values.tolist()  # 2 of 64 flips reach the first cell's t
    [[1.05, 0.031], [0.017, 1.0]]
    """
    values = np.asarray(values, dtype=float)
    n_flips = arguments.whole_number("n_flips", n_flips, least=1)
    if values.ndim != 2 or len(values) < 2 or not values.shape[1] or not np.isfinite(values).all():
        raise UserError(f"expected finite differences [unit, cell] of at least two units, got shape {values.shape}")
    n = len(values)
    if n <= MOST_EXACT:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        drawn = np.random.default_rng([seed, 11]).choice([-1.0, 1.0], (n_flips, n))
        signs = np.concatenate([np.ones((1, n)), drawn])
    means = signs @ values / n
    squares = (values**2).sum(0)
    variance = np.maximum(squares - n * means**2, 0.0) / (n - 1)
    floor = 1e-12 * np.maximum(squares, 1e-300) / n  # a difference that is the same in every unit
    sizes = np.abs(means) / np.sqrt(np.maximum(variance, floor) / n)
    sizes[:, squares == 0] = 0.0
    own, largest = sizes[0], sizes.max(axis=1)
    reaches = own * (1 - TIE)
    return pd.DataFrame(
        {
            "mean": means[0],
            "sd": np.sqrt(variance[0]),
            "n": n,
            "t": np.sign(means[0]) * own,
            "p": (sizes >= reaches).mean(axis=0),
            "p_max": (largest[:, None] >= reaches).mean(axis=0),
        }
    )
