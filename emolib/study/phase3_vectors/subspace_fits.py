"""The emotions' subspaces: fitted on the training scenarios, their stability, and how many dimensions they have.

Makes `emotion_subspaces/<model>_subspaces_<position>.safetensors` and the tables beside them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from emolib.base import store, tensor_files
from emolib.directions.subspace_choice import choose_k
from emolib.directions.subspace_null import overlap_excess
from emolib.directions.subspaces import Subspaces, fit_subspaces, pca_overlap_table, subspace_stability
from emolib.study.phase3_vectors import fitting
from emolib.study.run import Run

FEWEST_CROSSED = 4  # validation and test scenarios, for subspaces of their own
N_NULL = 100  # permutations of the labels


def subspaces(run: Run, position: str = "mean") -> Subspaces:
    """The emotions' subspaces from the training scenarios; stored, then read back."""
    train = fitting.training(run, position)
    k = min(run.params.k_max, train.texts["scenario"].nunique())
    fitted = fit_subspaces(train, k=k, neutral=run.params.neutral)
    parts = {"basis": fitted.bases, "target": fitted.targets, "neutral": fitted.neutrals, "share": fitted.shares}
    tensors = {f"{part}/{e}": np.ascontiguousarray(values[e]) for part, values in parts.items() for e in fitted}
    matched = {**fitting.inputs(run, position), "k": k, "texts": store.digest(train.texts["id"].tolist())}
    path = run.artifacts.obtain(run.paths.subspaces(position), matched, lambda: tensor_files.tensor_bytes(tensors))
    with tensor_files.open_tensors(path) as view:
        read = {part: {e: view.get_tensor(f"{part}/{e}") for e in fitted} for part in parts}
    return Subspaces(
        read["basis"], read["target"], read["neutral"], read["share"], fitted.model, fitted.revision, position
    )


def subspace_shares(run: Run) -> pd.DataFrame:
    """Share of the squared paired differences that the first k directions keep: emotion, layer, k, share."""
    subs = subspaces(run)
    return pd.DataFrame(
        [
            {"emotion": e, "layer": layer, "k": k + 1, "share": float(subs.shares[e][layer, k])}
            for e in subs
            for layer in range(len(subs.shares[e]))
            for k in range(subs.k)
        ]
    )


def subspace_halves(run: Run) -> pd.DataFrame:
    """Split-half stability of the subspaces and its null."""
    params = run.params
    matched = {**fitting.inputs(run, "mean"), "n_halves": params.n_halves, "seed": params.seed, "k": params.k_max}
    return run.artifacts.table(
        run.paths.subspace_table("stability"),
        matched,
        lambda: subspace_stability(
            fitting.training(run, "mean"),
            k=params.k_max,
            neutral=params.neutral,
            n_halves=params.n_halves,
            seed=params.seed,
        ),
    )


def chosen_k(run: Run, layers: Mapping[str, int]) -> pd.DataFrame:
    """k by the rule (smallest within one standard error of the best validation excess), then its overlap on test.

    Args:
        layers: each emotion's layer, chosen on validation.

    Returns:
        `choose_k`'s columns and test_overlap, test_null, test_null_high at that k; empty where only one label stands
        beside the neutral one (permuting two labels is no null for a subspace), or where validation or test have fewer
        than `FEWEST_CROSSED` scenarios.
    """
    params = run.params
    fewest = min(params.n_validation, params.n_test)
    if len(run.emotions) < 2 or fewest < FEWEST_CROSSED:
        return pd.DataFrame()
    k_max = min(params.k_max, fewest // 2)  # what is chosen on one split must exist on the other
    excess = {split: _excess(run, split, sorted(set(layers.values())), k_max) for split in ("validation", "test")}
    table = choose_k(excess["validation"], layer_of=layers)
    names = {"overlap": "test_overlap", "null": "test_null", "null_high": "test_null_high"}
    test = excess["test"].rename(columns=names)[["emotion", "layer", "k", *names.values()]]
    return table.merge(test, how="left", on=["emotion", "layer", "k"]).assign(n_null=N_NULL, k_max=k_max)


def _excess(run: Run, split: str, layers: list[int], k_max: int) -> pd.DataFrame:
    params = run.params
    matched = {**fitting.inputs(run, "mean"), "layers": layers, "k": k_max, "seed": params.seed, "null": N_NULL}
    return run.artifacts.table(
        run.paths.subspace_table(f"overlap_{split}"),
        matched,
        lambda: overlap_excess(
            fitting.training(run, "mean"),
            fitting.split_of(run, "mean", split),
            k_max=k_max,
            neutral=params.neutral,
            n_null=N_NULL,
            seed=params.seed,
            layers=layers,
        ),
    )


def topic_overlap(run: Run, layers: Mapping[str, int]) -> pd.DataFrame:
    """Overlap of plain PCA subspaces of each label with the neutral one's, at each emotion's layer (k up to 3)."""
    table = pca_overlap_table(fitting.training(run, "mean"), k=3, neutral=run.params.neutral)
    return table[table["layer"] == table["emotion"].map(layers)].reset_index(drop=True)
