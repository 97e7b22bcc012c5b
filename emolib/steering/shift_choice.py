"""The layer and strength at which the continuation shift is reported, chosen by S on validation texts.

Everything that moves the texts of an emotion as much under another emotion's act has no part in it: neither broken text
nor a stronger vector can be chosen for its own sake. Broken texts still rule a point out, by what it writes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.steering.claims import IDIOMATIC
from emolib.steering.operating_point import ROUNDING, OperatingPoint
from emolib.steering.shift_tables import CELL, check_columns
from emolib.steering.specific_shift import STRENGTH, crossed_mean


def choose_shift_point(cells: pd.DataFrame, written: pd.DataFrame, *, broken_margin: float = 0.1) -> OperatingPoint:
    """Chooses one layer and alpha on validation texts, for all emotions together.

    The criterion is the sum over emotions of S against the mean of the other emotions, in standard errors over texts
    and prompts (`crossed_mean`), and its mean over the styles of texts, so that neither style outweighs the other;
    idiomatic texts are left out. Eligible are points at which every emotion's share of broken texts lies at most
    `broken_margin` above the baseline's. Ties go to the smaller alpha, then the lower layer.

    Args:
        cells: S of validation texts at every candidate, as `emolib.steering.specific_shift.specific_shift` gives it.
        written: validation rows of a sweep over the same candidates: kind, split, emotion, layer, alpha,
            fluency/broken.

    Returns:
        The point; its table has layer, alpha, score, broken, eligible, and in the unit of S `shift/<emotion>` (mean
        over styles).

    Raises:
        UserError: missing columns, other rows than validation, a candidate without steered texts, no style with two
            texts.

    >>> cells = pd.DataFrame({"prompt": list("abab"), "text": list("cdef"), "style": "implicit", "emotion": "joy"})
    >>> cells = cells.assign(layer=3, alpha=[0.1, 0.1, 0.2, 0.2], other="anger", specific=[0.1, 0.3, 0.5, 0.6])
    >>> kinds = ["baseline", "emotion", "emotion"]
    >>> written = pd.DataFrame({"kind": kinds, "alpha": [0, 0.1, 0.2], "layer": [-1, 3, 3], "fluency/broken": False})
    >>> written = written.assign(split="validation", emotion="joy")
    >>> choose_shift_point(cells, written).alpha
    0.2
    """
    check_columns(cells, [*CELL, *STRENGTH, "emotion", "other", "specific"], "cells")
    points = broken_shares(written, broken_margin=broken_margin).set_index(STRENGTH)
    rows = []
    for (layer, alpha), part in _usable(cells).groupby(STRENGTH, sort=True):
        if (layer, alpha) not in points.index:
            raise UserError(f"expected steered validation texts at layer {layer} and alpha {alpha:g}, there are none")
        row = {
            "layer": int(layer),
            "alpha": float(alpha),
            "score": _score(part),
            **points.loc[(layer, alpha)].to_dict(),
        }
        means = part.groupby(["emotion", "style"], sort=False)["specific"].mean().groupby("emotion", sort=False).mean()
        rows.append({**row, **{f"shift/{emotion}": float(mean) for emotion, mean in means.items()}})
    table = pd.DataFrame(rows)
    pool = table[table.pop("choosable").astype(bool)]
    if pool.empty:
        raise UserError("expected S at a point that can be chosen by its broken texts, got none; see broken_shares")
    table = table.astype({"eligible": bool})
    best = pool.sort_values(["score", "alpha", "layer"], ascending=[False, True, True], kind="stable").iloc[0]
    chosen = int(best["layer"]), float(best["alpha"]), float(best["score"])
    return OperatingPoint(*chosen, bool(table["eligible"].any()), table)


def broken_shares(written: pd.DataFrame, *, broken_margin: float = 0.1) -> pd.DataFrame:
    """Which candidates their generated validation texts leave to be chosen; S is not needed at the others.

    Args:
        written: as of `choose_shift_point`.

    Returns:
        layer, alpha, broken (share of the emotion with the most), eligible (it keeps the rule), choosable (as eligible;
        where no point is, those with the fewest broken texts).

    Raises:
        UserError: missing columns, other rows than validation, no steered texts.

    >>> written = pd.DataFrame({"kind": ["baseline", "emotion"], "alpha": [0, 0.1], "layer": [-1, 3], "emotion": "joy"})
    >>> broken_shares(written.assign(split="validation", **{"fluency/broken": [False, True]})).values.tolist()
    [[3, 0.1, 1.0, False, True]]
    """
    check_columns(written, ["kind", "split", "emotion", *STRENGTH, "fluency/broken"], "the sweep")
    if set(written["split"]) != {"validation"}:
        raise UserError(f"expected validation rows only, got {', '.join(sorted(set(written['split'])))}")
    steered = written[written["kind"] == "emotion"]
    if steered.empty:
        raise UserError("expected steered rows to choose a layer and alpha from, got none; give an alpha other than 0")
    base = float(written.loc[written["kind"] == "baseline", "fluency/broken"].mean())
    shares = steered.groupby([*STRENGTH, "emotion"])["fluency/broken"].mean().groupby(STRENGTH).max()
    table = shares.rename("broken").reset_index()
    table["eligible"] = table["broken"] <= base + broken_margin + ROUNDING
    fewest = table["broken"] == table["broken"].min()
    return table.assign(choosable=table["eligible"] if table["eligible"].any() else fewest)


def _usable(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of styles that count and have a variance over texts."""
    enough = cells.groupby("style")["text"].transform("nunique") >= 2
    usable = cells[enough & (cells["style"] != IDIOMATIC)]
    if usable.empty:
        raise UserError("expected at least two validation texts of one style to choose a layer and alpha by, got fewer")
    return usable


def _score(cells: pd.DataFrame) -> float:
    """The sum over emotions in standard errors, mean over styles; 0 where all values are equal but for rounding."""
    per_emotion = cells.groupby([*CELL, "emotion"], sort=False)["specific"].mean()
    summed = per_emotion.groupby(CELL, sort=False).sum().rename("specific").reset_index()
    scores = []
    for _, part in summed.groupby("style", sort=True):
        found = crossed_mean(part)
        flat = not found["se"] > ROUNDING * float(part["specific"].abs().max())
        scores.append(0.0 if flat else found["mean"] / found["se"])
    return float(np.mean(scores))
