"""How many directions an emotion's subspace has: the smallest k that does about as well as the best beyond the null.

The rule is the one-standard-error rule (Breiman et al. 1984; Hastie, Tibshirani and Friedman 2009, section 7.10).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pandas as pd

from emolib.base.errors import UserError, nearest, shown

NORMAL = 1.96  # standard errors on each side of a 95 % interval


def choose_k(table: pd.DataFrame, *, layer_of: Mapping[str, int] | int) -> pd.DataFrame:
    """The smallest k whose excess is within one standard error (that of the best) of the best excess.

    Args:
        table: of `overlap_excess`.
        layer_of: the layer at which to choose, one for all emotions or one per emotion.

    Returns:
        emotion, layer, k, excess (at k), best_k, best_excess, se (at best_k), null_max, found: whether the 95 %
        interval of the best excess (1.96 se) is above null_max. Where it is not there is no subspace to speak of,
        whatever k says.

    Raises:
        UserError: not such a table, an emotion without a layer, or a layer or emotion that the table does not have.
    """
    needed = {"emotion", "layer", "k", "overlap", "null_max", "excess", "se"}
    if missing := sorted(needed - set(table.columns)):
        raise UserError(f"expected the table of overlap_excess, got one without the columns {', '.join(missing)}")
    emotions = list(dict.fromkeys(table["emotion"]))
    layer_of = layer_of if isinstance(layer_of, Mapping) else dict.fromkeys(emotions, layer_of)
    if unknown := [name for name in layer_of if name not in emotions]:
        raise UserError(f"unknown emotion {shown(unknown[0])} in layer_of: {nearest(unknown[0], emotions)}")
    if without := [emotion for emotion in emotions if emotion not in layer_of]:
        raise UserError(f"expected a layer for every emotion, got none for {', '.join(without)}: add it to layer_of")
    return pd.DataFrame([_chosen_row(table, emotion, layer_of[emotion]) for emotion in emotions])


def _chosen_row(table: pd.DataFrame, emotion: str, layer: int) -> dict[str, object]:
    of_emotion = table[table["emotion"] == emotion]
    rows = of_emotion[of_emotion["layer"] == layer].sort_values("k")
    if rows.empty:
        held = ", ".join(map(str, sorted(set(of_emotion["layer"]))))
        raise UserError(f"no layer {layer} in the table for {shown(emotion)}: it has {held}")
    best = cast(pd.Series, rows.loc[cast(int, rows["excess"].idxmax())])
    pick = rows[rows["excess"] >= best["excess"] - best["se"]].iloc[0]
    return {
        "emotion": emotion,
        "layer": int(layer),
        "k": int(pick["k"]),
        "excess": float(pick["excess"]),
        "best_k": int(best["k"]),
        "best_excess": float(best["excess"]),
        "se": float(best["se"]),
        "null_max": float(best["null_max"]),
        "found": bool(best["excess"] - NORMAL * best["se"] > best["null_max"]),
    }
