"""How well the vectors tell test texts apart in scenarios that are minimal pairs, and in the others. Exploratory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.data.minimal_pairs import PairKinds, pair_kinds
from emolib.directions.vectors import projection_direction
from emolib.statistics.auc import auc_gap, auc_interval
from emolib.study.phase3_vectors import fitting
from emolib.study.run import Run

FEWEST = 6  # scenarios of a kind, below which resampling them says too little
COLUMNS = (
    *("emotion", "layer", "n_minimal", "minimal", "minimal_low", "minimal_high"),
    *("n_other", "other", "other_low", "other_high", "difference", "difference_low", "difference_high"),
)


@dataclass(frozen=True)
class PairSeparation:
    """The test scenarios by kind, and what the projections do in each.

    Attributes:
        kinds: of the test scenarios.
        table: the columns of `COLUMNS`, a row per emotion; empty unless there are both kinds.
    """

    kinds: PairKinds
    table: pd.DataFrame


def minimal_pair_separation(run: Run, separation: pd.DataFrame) -> PairSeparation:
    """Test AUC against neutral of the projection on each raw vector, on minimal pairs and on the other scenarios.

    Args:
        separation: of `chosen_separation`: the layer of each emotion is that of its raw vector at the mean over tokens.

    Returns:
        Per emotion: layer; for both kinds of scenarios their number and the AUC with its 95 % interval (scenarios
        resampled); the AUC on minimal pairs minus that on the others with its interval (`auc_gap`). NaN where a kind
        has fewer than 2 scenarios or one label alone; intervals NaN where one has fewer than `FEWEST` scenarios.
    """
    test = fitting.split_of(run, "mean", "test")
    kinds = pair_kinds(run.data, test.texts["scenario"])
    if kinds.code != "both":
        return PairSeparation(kinds, pd.DataFrame(columns=list(COLUMNS)))
    vecs, rows = fitting.vectors(run, "mean"), []
    chosen = separation[(separation["position"] == "mean") & (separation["variant"] == "raw")]
    for emotion, layer in zip(chosen["emotion"], chosen["layer"].astype(int), strict=True):
        pair = test.where(test.texts["emotion"].isin([emotion, run.params.neutral]))
        along = pair.values["resid_pre"][layer] @ projection_direction(vecs, emotion, layer, "raw")
        found = _apart(pair.texts, along, emotion, kinds, n_resamples=run.params.n_bootstrap, seed=run.params.seed)
        rows.append({"emotion": emotion, "layer": layer, **found})
    return PairSeparation(kinds, pd.DataFrame(rows, columns=list(COLUMNS)))


def _apart(
    texts: pd.DataFrame, along: np.ndarray, emotion: str, kinds: PairKinds, *, n_resamples: int, seed: int
) -> dict[str, float]:
    truth, scenarios = (texts["emotion"] == emotion).to_numpy(), texts["scenario"].to_numpy()
    minimal = texts["scenario"].isin(kinds.minimal).to_numpy()
    resampling = {"n_resamples": n_resamples, "seed": seed}
    row: dict[str, float] = {}
    for name, kept in (("minimal", minimal), ("other", ~minimal)):
        row[f"n_{name}"] = len(set(scenarios[kept]))
        try:
            ends = auc_interval(along[kept], truth[kept], scenarios[kept], **resampling)
        except UserError:  # one scenario, or one label alone
            ends = (float("nan"),) * 3
        if row[f"n_{name}"] < FEWEST:
            ends = (ends[0], float("nan"), float("nan"))
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    try:
        gap = auc_gap(along, truth, scenarios, minimal, **resampling)
    except UserError:
        gap = (float("nan"),) * 3
    if min(row["n_minimal"], row["n_other"]) < FEWEST:
        gap = (gap[0], float("nan"), float("nan"))
    return row | dict(zip(("difference", "difference_low", "difference_high"), gap, strict=True))
