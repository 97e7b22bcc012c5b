"""The layer and strength at which a sweep is reported: chosen on validation scenarios, for all emotions together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.steering.effects import specific_difference

ROUNDING = 1e-9  # a spread below it, relative to the values, is what adding up in floating point leaves


@dataclass(frozen=True)
class OperatingPoint:
    """The layer and alpha chosen on validation scenarios, for all emotions together.

    Attributes:
        score: the criterion at the chosen point, see `choose_operating_point`.
        eligible: whether any point kept to the rule on broken texts; if False the point with the fewest is taken.
        table: every candidate with its score and broken shares.
    """

    layer: int
    alpha: float
    score: float
    eligible: bool
    table: pd.DataFrame


def choose_operating_point(
    sweep: pd.DataFrame, measures: Mapping[str, Sequence[str]], *, broken_margin: float = 0.1
) -> OperatingPoint:
    """Chooses one layer and alpha on validation rows.

    The criterion is the mean over emotions and their measures of [effect of the emotion's own vector − mean effect of
    the other vectors], broken texts counted as 0, each term divided by its standard error over scenarios so that rare
    and frequent words, counts and probabilities weigh alike. Eligible are points at which every emotion's broken share
    lies at most `broken_margin` above the baseline's. Ties go to the smaller alpha, then the lower layer.

    Args:
        measures: per emotion the metric columns that tell whether a text expresses it.
    """
    if set(sweep["split"]) != {"validation"}:
        raise UserError(f"expected validation rows only, got {', '.join(sorted(set(sweep['split'])))}")
    steered = sweep[sweep["kind"] == "emotion"]
    if steered.empty:
        raise UserError("expected steered rows to choose a layer and alpha from, got none; give an alpha other than 0")
    base_broken = float(sweep.loc[sweep["kind"] == "baseline", "fluency/broken"].mean())
    rows = []
    for (layer, alpha), cell in steered.groupby(["layer", "alpha"], sort=True):
        row = {"layer": int(layer), "alpha": float(alpha)}
        terms = []
        for emotion, metric in ((e, m) for e, names in measures.items() for m in names):
            difference = specific_difference(cell, emotion, metric, list(measures))
            row[f"difference/{metric}"] = float(difference.mean())
            terms.append(_in_standard_errors(difference))
        shares = cell.groupby("emotion")["fluency/broken"].mean()
        row["score"] = float(np.mean(terms))
        row["broken"] = float(shares.max())
        row["eligible"] = bool(shares.max() <= base_broken + broken_margin + 1e-9)
        rows.append(row)
    table = pd.DataFrame(rows)
    any_eligible = bool(table["eligible"].any())
    pool = table[table["eligible"]] if any_eligible else table[table["broken"] == table["broken"].min()]
    best = pool.sort_values(["score", "alpha", "layer"], ascending=[False, True, True], kind="stable").iloc[0]
    return OperatingPoint(int(best["layer"]), float(best["alpha"]), float(best["score"]), any_eligible, table)


def _in_standard_errors(difference: pd.Series) -> float:
    """The mean over its standard error; 0 where all values are equal but for rounding, which is not divided by."""
    spread = float(difference.std(ddof=1))
    if not spread > ROUNDING * float(difference.abs().max()):
        return 0.0
    return float(difference.mean() / spread * np.sqrt(len(difference)))
