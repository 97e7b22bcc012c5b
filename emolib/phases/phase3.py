"""Phase 3: emotion vectors, their norms, cosines, stability, and how well a probe tells the labels apart.

Needs Phase 2. Makes `emotion_vectors/<model>_vectors_<position>.safetensors` and the tables beside them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from emolib import store
from emolib.activations import Activations
from emolib.phases import phase2
from emolib.phases.run import Run
from emolib.phases.scores import with_targets
from emolib.vectors import (
    EmotionVectors,
    cosine,
    cosine_table,
    fit_emotion_vectors,
    norm_table,
    principal_components,
    probe_table,
    split_half_stability,
)

__all__ = ["principal_components"]
N_PERMUTATIONS = 1000


def training(run: Run, position: str, *, style: str = "all") -> Activations:
    """Activations of the training scenarios, of one style or all."""
    acts = phase2.activations(run, position)
    chosen = set(run.texts("train", style=style)["id"])
    return acts.where(acts.texts["id"].isin(chosen))


def split_of(run: Run, position: str, split: str) -> Activations:
    acts = phase2.activations(run, position)
    chosen = set(run.texts(split)["id"])
    return acts.where(acts.texts["id"].isin(chosen))


def vectors(run: Run, position: str, *, style: str = "all") -> EmotionVectors:
    """The vectors fitted on the training scenarios; stored, then read back."""
    train = training(run, position, style=style)
    fitted = fit_emotion_vectors(train, neutral=run.params.neutral)
    name = position if style == "all" else f"{position}_{style}"
    matched = {"texts": store.digest(train.texts["id"].tolist()), "position": position, "data": run.dataset_digest}
    tensors = {f"vector/{e}": fitted.values[e] for e in fitted}
    tensors |= {"neutral_norms": fitted.neutral_norms.astype(np.float32), "pooled_sd": fitted.pooled_sd}
    path = run.obtain(run.paths.vectors(name), matched, lambda: store.tensor_bytes(tensors))
    with store.open_tensors(path) as view:
        return EmotionVectors(
            values={e: view.get_tensor(f"vector/{e}") for e in fitted},
            neutral_norms=view.get_tensor("neutral_norms"),
            pooled_sd=view.get_tensor("pooled_sd"),
            model=fitted.model,
            revision=fitted.revision,
            position=position,
        )


def norms(run: Run, position: str) -> pd.DataFrame:
    vecs = vectors(run, position)
    return run.table(run.paths.vector_table(f"norms_{position}"), _inputs(run, position), lambda: norm_table(vecs))


def cosines(run: Run, position: str) -> pd.DataFrame:
    vecs = vectors(run, position)
    return run.table(run.paths.vector_table(f"cosines_{position}"), _inputs(run, position), lambda: cosine_table(vecs))


def stability(run: Run, position: str) -> pd.DataFrame:
    params = run.params
    return run.table(
        run.paths.vector_table(f"stability_{position}"),
        {**_inputs(run, position), "n_halves": params.n_halves, "seed": params.seed},
        lambda: split_half_stability(
            training(run, position), neutral=params.neutral, n_halves=params.n_halves, seed=params.seed
        ),
    )


def probes(run: Run, position: str) -> pd.DataFrame:
    """Probe AUC on validation and test scenarios, trained on the training scenarios."""
    params = run.params

    def compute() -> pd.DataFrame:
        held_out = {split: split_of(run, position, split) for split in ("validation", "test")}
        return probe_table(
            training(run, position),
            held_out,
            neutral=params.neutral,
            n_shuffles=params.n_shuffles,
            seed=params.seed,
        )

    matched = {**_inputs(run, position), "n_shuffles": params.n_shuffles, "seed": params.seed}
    return run.table(run.paths.vector_table(f"probes_{position}"), matched, compute)


def chosen_probe_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The layer with the best validation AUC per emotion (the lowest of equals), and its test AUC."""
    rows = []
    for emotion, part in table.groupby("emotion", sort=False):
        validation = part[part["split"] == "validation"].sort_values(["auc", "layer"], ascending=[False, True])
        layer = int(validation.iloc[0]["layer"])
        test = part[(part["split"] == "test") & (part["layer"] == layer)].iloc[0]
        rows.append(
            {
                "emotion": emotion,
                "layer": layer,
                "validation_auc": float(validation.iloc[0]["auc"]),
                "test_auc": float(test["auc"]),
                "shuffled_mean": float(test["shuffled_mean"]),
                "shuffled_max": float(test["shuffled_max"]),
            }
        )
    return pd.DataFrame(rows)


def projection_correlations(run: Run, position: str, chosen: pd.DataFrame) -> pd.DataFrame:
    """Spearman correlation, over test texts, of the projection on each emotion's vector with every score.

    The layer of each emotion is the probe's, chosen on validation; `null` is the 97.5th percentile of the correlation
    with the emotion's own score when the scores are shuffled within scenarios.
    """
    acts = split_of(run, position, "test")
    scored = with_targets(run.scored(acts.texts), run.emotions)
    named = [name for name in (*(f"target/{e}" for e in run.emotions), "valence", "politeness/score") if name in scored]
    vecs = vectors(run, position)
    rng = np.random.default_rng(run.params.seed)
    scenario = pd.factorize(acts.texts["scenario"])[0]
    order = np.argsort(scenario, kind="stable")
    # within every scenario the places are put into a random order, for all shuffles at once
    shuffles = np.lexsort((rng.random((N_PERMUTATIONS, len(scenario))), np.tile(scenario, (N_PERMUTATIONS, 1))), axis=1)
    rows = []
    for emotion, layer in zip(chosen["emotion"], chosen["layer"], strict=True):
        along = acts.values["resid_pre"][layer] @ vecs[emotion][layer].values
        row = {"emotion": emotion, "layer": int(layer), "n": len(along)}
        row |= {name: float(spearmanr(along, scored[name]).statistic) for name in named}
        if f"target/{emotion}" in scored:
            ranks, own = (rankdata(values) - (len(along) + 1) / 2 for values in (along, scored[f"target/{emotion}"]))
            by_chance = own[shuffles] @ ranks[order] / np.sqrt((own @ own) * (ranks @ ranks))
            row["null"] = float(np.quantile(by_chance, 0.975))
        rows.append(row)
    return pd.DataFrame(rows)


def style_agreement(run: Run, position: str) -> pd.DataFrame:
    """Cosine between vectors from explicit and from implicit training texts, per emotion and layer."""
    train = training(run, position)
    halves = [
        fit_emotion_vectors(train.where(train.texts["style"] == style), neutral=run.params.neutral)
        for style in ("explicit", "implicit")
    ]
    rows = [
        {"emotion": e, "layer": layer, "cosine": float(c)}
        for e in halves[0]
        for layer, c in enumerate(cosine(halves[0].values[e], halves[1].values[e]))
    ]
    return pd.DataFrame(rows)


def _inputs(run: Run, position: str) -> dict[str, str]:
    """What the tables are made from: the hash of the stored activations."""
    path = run.paths.activations(position)
    if path not in run.made:
        phase2.activations(run, position)
    return {"activations": run.made[path]}
