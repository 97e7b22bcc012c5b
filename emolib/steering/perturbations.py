"""How much of a vector's effect survives an orthogonal perturbation: is it this direction, or any that leans its way?

Vectors with a large part at right angles to the one that was fitted steer nearly as well (arXiv 2602.06801): an effect
does not identify a direction. What is shown is the effect of v + tan θ · ‖v‖ · u, u a random unit vector orthogonal to
v, as a share of v's own: at 45° the perturbation has v's own norm. The part along v is the same at every angle.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base.errors import UserError
from emolib.steering.shift_tables import check_columns


def perturbed(vector: Float[np.ndarray, " d_model"], degrees: float, seed: int) -> Float[np.ndarray, " d_model"]:
    """v + tan θ · ‖v‖ · u with a random orthogonal unit vector u: at the angle θ to v, and longer by 1 / cos θ.

    Raises:
        UserError: a vector that is zero, or an angle outside [0°, 90°).

    >>> v = np.array([3.0, 4.0, 0.0])
    >>> w = perturbed(v, 45, 0)
    >>> round(float(w @ v) / 25, 6), round(float(np.linalg.norm(w - v)), 6)
    (1.0, 5.0)
    """
    v = np.asarray(vector, dtype=float)
    norm = float(np.linalg.norm(v))
    if not norm > 0 or not 0 <= degrees < 90:
        raise UserError(f"expected a vector that is not zero and an angle from 0 to below 90, got {norm} and {degrees}")
    drawn = np.random.default_rng(seed).standard_normal(len(v))
    drawn -= (drawn @ v) / norm**2 * v
    return v + np.tan(np.radians(degrees)) * norm * drawn / np.linalg.norm(drawn)


def survival(cells: pd.DataFrame) -> pd.DataFrame:
    """The share of an emotion's S that is left at every angle, all emotions' vectors being perturbed.

    Args:
        cells: style, emotion, other, degrees, index (of the perturbation), specific (S); the rows at 0 degrees are of
            the vectors themselves.

    Returns:
        style, emotion, degrees, specific (mean over cells, other labels and perturbations, nat per token), left (the
        share of that at 0 degrees; NaN where that is not above 0), least and most (of the single perturbations'
        shares), n.

    Raises:
        UserError: missing columns, an emotion without the S of its vector itself.

    >>> rows = pd.DataFrame({"degrees": [0, 45, 45], "index": [0, 0, 1], "specific": [0.4, 0.3, 0.5]})
    >>> found = survival(rows.assign(style="implicit", emotion="joy", other="anger"))
    >>> found[["degrees", "left", "least"]].round(2).values.tolist()
    [[0.0, 1.0, 1.0], [45.0, 1.0, 0.75]]
    """
    check_columns(cells, ["style", "emotion", "other", "degrees", "index", "specific"], "cells")
    rows = []
    for (style, emotion), part in cells.groupby(["style", "emotion"], sort=False):
        each = part.groupby(["degrees", "index"])["specific"].mean()
        if 0 not in each.index.get_level_values("degrees"):
            raise UserError("expected S of the vector itself, at 0 degrees, found none")
        own = float(each.loc[0].mean())
        for degrees, values in each.groupby(level="degrees"):
            shares = values / own if own > 0 else values * np.nan
            row = {"style": style, "emotion": emotion, "degrees": float(degrees), "specific": float(values.mean())}
            row |= {"left": float(shares.mean()), "least": float(shares.min()), "most": float(shares.max())}
            rows.append({**row, "n": len(values)})
    return pd.DataFrame(rows)
