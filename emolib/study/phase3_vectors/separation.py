"""How well projections on the emotion vectors tell held-out texts apart: every layer on validation, once on test."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.base.parameters import VectorParameters
from emolib.data.activations import Activations
from emolib.directions.vector_tables import column_auc, separation_table
from emolib.directions.vectors import VARIANTS, projection_direction
from emolib.readout.leaks import shuffled_within
from emolib.statistics.auc import auc_interval
from emolib.study.phase3_vectors import fitting
from emolib.study.run import Run, kept

N_NULL = 100  # random directions, and permutations of the labels


def separations(run: Run, position: str) -> pd.DataFrame:
    """How well the projection on each variant of each vector tells held-out texts apart, at every layer.

    Vectors of the trigger are read at the mean over tokens: held-out neutral texts have no trigger.
    """
    at = _read_at(position)

    def compute() -> pd.DataFrame:
        held_out = {split: fitting.split_of(run, at, split) for split in ("validation", "test")}
        return separation_table(fitting.vectors(run, position), held_out, neutral=run.params.neutral)

    return run.artifacts.table(run.paths.vector_table(f"separation_{position}"), fitting.inputs(run, position), compute)


def _read_at(position: str) -> str:
    return "mean" if position == "trigger" else position


def chosen_separation(run: Run) -> pd.DataFrame:
    """`separations` at the chosen layers, stored."""
    params = run.params
    matched = {position: fitting.inputs(run, position) for position in fitting.positions(run)}
    matched |= {"n_bootstrap": params.n_bootstrap, "n_null": N_NULL, "seed": params.seed}
    return run.artifacts.table(run.paths.vector_table("chosen_separation"), matched, lambda: _chosen_separation(run))


def _chosen_separation(run: Run) -> pd.DataFrame:
    """Per position, emotion and variant: the layer with the best validation AUC, and once its AUC on test.

    Returns:
        position, emotion, variant, layer, validation_auc, auc with low and high (scenarios resampled), random_high and
        shuffled_high: the 97.5 % quantiles of the test AUC of random directions, and of vectors refitted and tested
        on labels permuted within scenarios, at the same layer.
    """
    rows = []
    for position in fitting.positions(run):
        table, vecs = separations(run, position), fitting.vectors(run, position)
        test = fitting.split_of(run, _read_at(position), "test")
        for emotion in vecs:
            pair = test.where(test.texts["emotion"].isin([emotion, run.params.neutral]))
            truth = (pair.texts["emotion"] == emotion).to_numpy()
            orders = _shuffled_orders(truth, pair.texts["scenario"], seed=run.params.seed)
            for variant in VARIANTS:
                best = best_layer(table[(table["emotion"] == emotion) & (table["variant"] == variant)])
                layer = int(best["layer"])
                along = pair.values["resid_pre"][layer] @ projection_direction(vecs, emotion, layer, variant)
                found = dict(zip(("auc", "low", "high"), interval(along, truth, pair, params=run.params), strict=True))
                row = {"position": position, "emotion": emotion, "variant": variant, "layer": layer}
                rows.append(
                    {**row, "validation_auc": float(best["auc"]), **found, **_nulls(run, pair, truth, orders, layer)}
                )
    return pd.DataFrame(rows)


def best_layer(table: pd.DataFrame) -> pd.Series:
    """The validation row with the highest AUC, the lowest layer of equals."""
    validation = table[table["split"] == "validation"].dropna(subset=["auc"])
    return validation.sort_values(["auc", "layer"], ascending=[False, True]).iloc[0]


def interval(
    scores: np.ndarray, truth: np.ndarray, acts: Activations, *, params: VectorParameters
) -> tuple[float, float, float]:
    """AUC of scores with its 95 % interval, scenarios resampled as often as the parameters say."""
    return auc_interval(scores, truth, acts.texts["scenario"], n_resamples=params.n_bootstrap, seed=params.seed)


def _shuffled_orders(truth: np.ndarray, scenarios: pd.Series, *, seed: int) -> np.ndarray:
    """`[text, null]`: the texts in an order in which those come first that permuted labels call positive."""
    rng = np.random.default_rng(seed)
    shuffled = [shuffled_within(truth, scenarios, rng) for _ in range(N_NULL)]
    return np.stack([np.argsort(~labels, kind="stable") for labels in shuffled], axis=1)


def _nulls(run: Run, pair: Activations, truth: np.ndarray, orders: np.ndarray, layer: int) -> dict[str, float]:
    """Test AUC of random directions, and of the mean difference under permuted labels, at one layer.

    Training and test labels are both permuted: against the true test labels a vector of permuted ones is no null where
    the emotions make up most of the variance, since it then lies along them and tells them apart perfectly, either way.
    """
    directions = _null_directions(run, pair.position, layer)
    along = {name: pair.values["resid_pre"][layer] @ d.T for name, d in directions.items()}
    shuffled, count = np.take_along_axis(along["shuffled"], orders, axis=0), truth.sum()
    found = {
        "random": column_auc(along["random"][truth], along["random"][~truth]),
        "shuffled": column_auc(shuffled[:count], shuffled[count:]),
    }
    return {f"{name}_high": float(np.quantile(auc, 0.975)) for name, auc in found.items()}


@kept
def _null_directions(run: Run, position: str, layer: int) -> dict[str, np.ndarray]:
    """`[null, d_model]` each: isotropic directions, and mean differences of labels permuted within scenarios."""
    rng = np.random.default_rng([run.params.seed, layer])
    train = fitting.training(run, position)
    train = train.where(train.texts["scenario"].map(train.texts["scenario"].value_counts()) > 1)
    x, labels = train.values["resid_pre"][layer], train.texts["emotion"].to_numpy()
    shuffled = []
    for _ in range(N_NULL):
        mixed = shuffled_within(labels, train.texts["scenario"], rng)
        shuffled.append(x[mixed == run.emotions[0]].mean(0) - x[mixed == run.params.neutral].mean(0))
    return {"random": rng.standard_normal((N_NULL, x.shape[1])), "shuffled": np.stack(shuffled)}
