"""Phase 3: emotion vectors at three positions and emotion subspaces: their size, likeness, stability and worth.

Needs Phase 2. Makes `emotion_vectors/<model>_vectors_<position>.safetensors`, `emotion_subspaces/…` and the tables
beside them. What can be read out of the activations (probes, projections) is in `emolib.study.phase3_vectors.decoding`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.data.activations import Activations
from emolib.directions.covariates import CovariateFit, fit_covariates, regress_out
from emolib.directions.stability import split_half_stability
from emolib.directions.subspace_choice import choose_k
from emolib.directions.subspace_null import overlap_excess
from emolib.directions.subspaces import (
    Subspaces,
    fit_subspaces,
    pca_overlap_table,
    subspace_stability,
)
from emolib.directions.vector_tables import (
    column_auc,
    cosine_table,
    distance_table,
    norm_table,
    separation_table,
)
from emolib.directions.vectors import (
    VARIANTS,
    EmotionVectors,
    cosine,
    fit_emotion_vectors,
    principal_components,
    projection_direction,
)
from emolib.readout import leaks, surface
from emolib.statistics.auc import auc_interval
from emolib.study import phase1_dataset, phase2_activations
from emolib.study.run import Run

__all__ = ["principal_components"]
FEWEST_SCENARIOS = 2  # of a style, for vectors of its own
FEWEST_TRIGGERS = 2  # texts of every emotion with an emotion word, for vectors at the trigger
FEWEST_CROSSED = 4  # validation and test scenarios, for subspaces of their own
N_NULL = 100  # permutations for the subspaces


# activations of the splits


def training(run: Run, position: str, *, style: str = "all") -> Activations:
    """Activations of the training scenarios, of one style or all."""
    return _of_texts(run, position, "train", style)


def split_of(run: Run, position: str, split: str) -> Activations:
    return _of_texts(run, position, split, "all")


def _of_texts(run: Run, position: str, split: str, style: str) -> Activations:
    acts = run.once(f"activations/{position}", lambda: phase2_activations.activations(run, position))
    ids = run.once(f"ids/{split}/{style}", lambda: set(run.texts(split, style=style)["id"]))
    return acts.where(acts.texts["id"].isin(ids))


def positions(run: Run) -> tuple[str, ...]:
    """The positions at which vectors are fitted: the trigger only where every emotion has enough texts with one."""
    if "trigger" not in phase2_activations.usual_positions(run):
        return ("mean", "last")
    counts = training(run, "trigger").texts["emotion"].value_counts()
    enough = all(counts.get(emotion, 0) >= FEWEST_TRIGGERS for emotion in run.emotions)
    return ("mean", "last", "trigger") if enough else ("mean", "last")


# vectors


def vectors(run: Run, position: str, *, style: str = "all") -> EmotionVectors:
    """The vectors fitted on the training scenarios; stored, then read back."""
    train = training(run, position, style=style)
    reference = training(run, "mean", style=style) if position == "trigger" else None
    name = position if style == "all" else f"{position}_{style}"
    fitted = run.once(
        f"vectors/{name}",
        lambda: fit_emotion_vectors(train, neutral=run.params.neutral, reference=reference, whiten=True),
    )
    matched = {"texts": store.digest(train.texts["id"].tolist()), "position": position, **inputs(run, position)}
    tensors = {f"vector/{e}": fitted.values[e] for e in fitted}
    tensors |= {f"whitened/{e}": fitted.whitened[e].astype(np.float32) for e in fitted}
    tensors |= {f"discriminant/{e}": fitted.discriminants[e].astype(np.float32) for e in fitted}
    tensors |= {"neutral_norms": fitted.neutral_norms.astype(np.float32), "pooled_sd": fitted.pooled_sd}
    about = {"model": fitted.model, "revision": fitted.revision, "emotions": ",".join(fitted.emotions)}
    path = run.artifacts.obtain(run.paths.vectors(name), matched, lambda: store.tensor_bytes(tensors, about))
    with store.open_tensors(path) as view:
        read = {kind: {e: view.get_tensor(f"{kind}/{e}") for e in fitted} for kind in _KINDS}
        return EmotionVectors(
            values=read["vector"],
            neutral_norms=view.get_tensor("neutral_norms"),
            pooled_sd=view.get_tensor("pooled_sd"),
            model=fitted.model,
            revision=fitted.revision,
            position=position,
            whitened=read["whitened"],
            discriminants=read["discriminant"],
        )


_KINDS = ("vector", "whitened", "discriminant")


def norms(run: Run, position: str) -> pd.DataFrame:
    vecs = vectors(run, position)
    return run.artifacts.table(
        run.paths.vector_table(f"norms_{position}"), inputs(run, position), lambda: norm_table(vecs)
    )


def position_norms(run: Run) -> pd.DataFrame:
    """The size of the vectors at every position, as a share of the median residual norm."""
    parts = [norms(run, position).assign(position=position) for position in positions(run)]
    return pd.concat(parts, ignore_index=True)


def cosines(run: Run, position: str) -> pd.DataFrame:
    vecs = vectors(run, position)
    return run.artifacts.table(
        run.paths.vector_table(f"cosines_{position}"), inputs(run, position), lambda: cosine_table(vecs)
    )


def distances(run: Run, position: str) -> pd.DataFrame:
    vecs, neutral = vectors(run, position), run.params.neutral
    path = run.paths.vector_table(f"distances_{position}")
    return run.artifacts.table(path, inputs(run, position), lambda: distance_table(vecs, neutral=neutral))


def stability(run: Run, position: str) -> pd.DataFrame:
    params = run.params
    return run.artifacts.table(
        run.paths.vector_table(f"stability_{position}"),
        {**inputs(run, position), "n_halves": params.n_halves, "seed": params.seed},
        lambda: split_half_stability(
            training(run, position), neutral=params.neutral, n_halves=params.n_halves, seed=params.seed
        ),
    )


def separation(run: Run, position: str) -> pd.DataFrame:
    """How well the projection on each variant of each vector tells held-out texts apart, at every layer.

    Vectors of the trigger are read at the mean over tokens: held-out neutral texts have no trigger.
    """
    at = _read_at(position)

    def compute() -> pd.DataFrame:
        held_out = {split: split_of(run, at, split) for split in ("validation", "test")}
        return separation_table(vectors(run, position), held_out, neutral=run.params.neutral)

    return run.artifacts.table(run.paths.vector_table(f"separation_{position}"), inputs(run, position), compute)


def _read_at(position: str) -> str:
    return "mean" if position == "trigger" else position


def chosen_separation(run: Run) -> pd.DataFrame:
    """`separation` at the chosen layers, stored."""
    params = run.params
    matched = {position: inputs(run, position) for position in positions(run)}
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
    for position in positions(run):
        table, vecs = separation(run, position), vectors(run, position)
        test = split_of(run, _read_at(position), "test")
        for emotion in vecs:
            pair = test.where(test.texts["emotion"].isin([emotion, run.params.neutral]))
            truth = (pair.texts["emotion"] == emotion).to_numpy()
            orders = _shuffled_orders(run, truth, pair.texts["scenario"])
            for variant in VARIANTS:
                best = _best_layer(table[(table["emotion"] == emotion) & (table["variant"] == variant)])
                layer = int(best["layer"])
                along = pair.values["resid_pre"][layer] @ projection_direction(vecs, emotion, layer, variant)
                found = dict(zip(("auc", "low", "high"), _interval(run, along, truth, pair), strict=True))
                row = {"position": position, "emotion": emotion, "variant": variant, "layer": layer}
                rows.append(
                    {**row, "validation_auc": float(best["auc"]), **found, **_nulls(run, pair, truth, orders, layer)}
                )
    return pd.DataFrame(rows)


def _best_layer(table: pd.DataFrame) -> pd.Series:
    """The validation row with the highest AUC, the lowest layer of equals."""
    validation = table[table["split"] == "validation"].dropna(subset=["auc"])
    return validation.sort_values(["auc", "layer"], ascending=[False, True]).iloc[0]


def _interval(run: Run, scores: np.ndarray, truth: np.ndarray, acts: Activations) -> tuple[float, float, float]:
    params = run.params
    return auc_interval(scores, truth, acts.texts["scenario"], n_resamples=params.n_bootstrap, seed=params.seed)


def _shuffled_orders(run: Run, truth: np.ndarray, scenarios: pd.Series) -> np.ndarray:
    """`[text, null]`: the texts in an order in which those come first that permuted labels call positive."""
    rng = np.random.default_rng(run.params.seed)
    shuffled = [leaks.shuffled_within(truth, scenarios, rng) for _ in range(N_NULL)]
    return np.stack([np.argsort(~labels, kind="stable") for labels in shuffled], axis=1)


def _nulls(run: Run, pair: Activations, truth: np.ndarray, orders: np.ndarray, layer: int) -> dict[str, float]:
    """Test AUC of random directions, and of the mean difference under permuted labels, at one layer.

    Training and test labels are both permuted: against the true test labels a vector of permuted ones is no null where
    the emotions make up most of the variance, since it then lies along them and tells them apart perfectly, either way.
    """
    directions = run.once(f"nulls/{layer}/{pair.position}", lambda: _null_directions(run, pair.position, layer))
    along = {name: pair.values["resid_pre"][layer] @ d.T for name, d in directions.items()}
    shuffled, count = np.take_along_axis(along["shuffled"], orders, axis=0), truth.sum()
    found = {
        "random": column_auc(along["random"][truth], along["random"][~truth]),
        "shuffled": column_auc(shuffled[:count], shuffled[count:]),
    }
    return {f"{name}_high": float(np.quantile(auc, 0.975)) for name, auc in found.items()}


def _null_directions(run: Run, position: str, layer: int) -> dict[str, np.ndarray]:
    """`[null, d_model]` each: isotropic directions, and mean differences of labels permuted within scenarios."""
    rng = np.random.default_rng([run.params.seed, layer])
    train = training(run, position)
    train = train.where(train.texts["scenario"].map(train.texts["scenario"].value_counts()) > 1)
    x, labels = train.values["resid_pre"][layer], train.texts["emotion"].to_numpy()
    shuffled = []
    for _ in range(N_NULL):
        mixed = leaks.shuffled_within(labels, train.texts["scenario"], rng)
        shuffled.append(x[mixed == run.emotions[0]].mean(0) - x[mixed == run.params.neutral].mean(0))
    return {"random": rng.standard_normal((N_NULL, x.shape[1])), "shuffled": np.stack(shuffled)}


# vectors from some of the texts, or without what the surface explains


def style_agreement(run: Run, position: str) -> pd.DataFrame:
    """Cosine between vectors from explicit and from implicit training texts, per emotion and layer; empty without."""
    fitted = [_style_vectors(run, position, style) for style in ("explicit", "implicit")]
    if any(vecs is None for vecs in fitted):
        return pd.DataFrame(columns=["emotion", "layer", "cosine"])
    rows = [
        {"emotion": e, "layer": layer, "cosine": float(c)}
        for e in fitted[0]
        for layer, c in enumerate(cosine(fitted[0].values[e], fitted[1].values[e]))
    ]
    return pd.DataFrame(rows)


def _style_vectors(run: Run, position: str, style: str) -> EmotionVectors | None:
    """Vectors from the training texts of one style; None where there are too few."""
    train = training(run, position)
    part = train.where(train.texts["style"] == style)
    complete = part.texts.groupby("scenario")["emotion"].nunique() == train.texts["emotion"].nunique()
    if complete.sum() < FEWEST_SCENARIOS:
        return None
    return fit_emotion_vectors(part, neutral=run.params.neutral)


def restricted_vectors(run: Run) -> dict[str, tuple[EmotionVectors, CovariateFit | None]]:
    """Vectors at the mean by what they were fitted on: all texts, implicit ones alone, surface features regressed out.

    The last only where Phase 1 finds that pronouns, punctuation and length tell labels apart; with it come the
    coefficients' fit. Each value: vectors, and the fit or None.
    """
    found: dict[str, tuple[EmotionVectors, CovariateFit | None]] = {"all": (vectors(run, "mean"), None)}
    implicit = _style_vectors(run, "mean", "implicit")
    if implicit is not None:
        found["implicit"] = (implicit, None)
    if phase1_dataset.adjusted(run):
        train = training(run, "mean")
        features = surface_features(train.texts)
        fit = fit_covariates(train, features)
        found["adjusted"] = (fit_emotion_vectors(train, neutral=run.params.neutral, covariates=features), fit)
    return found


def surface_features(texts: pd.DataFrame) -> np.ndarray:
    """Pronouns, punctuation and length of every text, `[text, feature]`."""
    return np.asarray(leaks.feature_sets(texts)["surface"], dtype=float)


def restricted_table(run: Run) -> pd.DataFrame:
    """What the restricted vectors share with those from all texts, and how well they tell test texts apart.

    Returns:
        emotion, fitted_on (all, implicit, adjusted), layer (chosen on validation for each), cosine (with the vector
        from all texts at that layer), tested_on (all, explicit, implicit), auc, low, high, n. Under `adjusted` the
        test activations are adjusted by the training texts' fit too.
    """
    everything, rows = vectors(run, "mean"), []
    for fitted_on, (vecs, fit) in restricted_vectors(run).items():
        held = {split: _adjusted(split_of(run, "mean", split), fit) for split in ("validation", "test")}
        table = separation_table(vecs, held, neutral=run.params.neutral)
        for emotion in vecs:
            layer = int(_best_layer(table[(table["emotion"] == emotion) & (table["variant"] == "raw")])["layer"])
            shared = float(cosine(vecs.values[emotion][layer], everything.values[emotion][layer]))
            place = {"emotion": emotion, "fitted_on": fitted_on, "layer": layer, "cosine": shared}
            rows += [
                {**place, **found}
                for found in _by_style(run, held["test"], emotion, vecs.values[emotion][layer], layer)
            ]
    return pd.DataFrame(rows)


def _adjusted(acts: Activations, fit: CovariateFit | None) -> Activations:
    return acts if fit is None else regress_out(acts, fit, surface_features(acts.texts))


def _by_style(run: Run, test: Activations, emotion: str, direction: np.ndarray, layer: int) -> list[dict]:
    rows = []
    for style in surface.styles(test.texts):
        kept = test.texts["emotion"].isin([emotion, run.params.neutral])
        part = test.where(kept if style == "all" else kept & (test.texts["style"] == style))
        truth = (part.texts["emotion"] == emotion).to_numpy()
        if truth.sum() >= 2 and (~truth).sum() >= 2:
            auc, low, high = _interval(run, part.values["resid_pre"][layer] @ direction, truth, part)
            rows.append({"tested_on": style, "auc": auc, "low": low, "high": high, "n": len(truth)})
    return rows


# subspaces


def subspaces(run: Run, position: str = "mean") -> Subspaces:
    """The emotions' subspaces from the training scenarios; stored, then read back."""
    train = training(run, position)
    k = min(run.params.k_max, train.texts["scenario"].nunique())
    fitted = fit_subspaces(train, k=k, neutral=run.params.neutral)
    parts = {"basis": fitted.bases, "target": fitted.targets, "neutral": fitted.neutrals, "share": fitted.shares}
    tensors = {f"{part}/{e}": np.ascontiguousarray(values[e]) for part, values in parts.items() for e in fitted}
    matched = {**inputs(run, position), "k": k, "texts": store.digest(train.texts["id"].tolist())}
    path = run.artifacts.obtain(run.paths.subspaces(position), matched, lambda: store.tensor_bytes(tensors))
    with store.open_tensors(path) as view:
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
    matched = {**inputs(run, "mean"), "n_halves": params.n_halves, "seed": params.seed, "k": params.k_max}
    return run.artifacts.table(
        run.paths.subspace_table("stability"),
        matched,
        lambda: subspace_stability(
            training(run, "mean"), k=params.k_max, neutral=params.neutral, n_halves=params.n_halves, seed=params.seed
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
    matched = {**inputs(run, "mean"), "layers": layers, "k": k_max, "seed": params.seed, "null": N_NULL}
    return run.artifacts.table(
        run.paths.subspace_table(f"overlap_{split}"),
        matched,
        lambda: overlap_excess(
            training(run, "mean"),
            split_of(run, "mean", split),
            k_max=k_max,
            neutral=params.neutral,
            n_null=N_NULL,
            seed=params.seed,
            layers=layers,
        ),
    )


def topic_overlap(run: Run, layers: Mapping[str, int]) -> pd.DataFrame:
    """Overlap of plain PCA subspaces of each label with the neutral one's, at each emotion's layer (k up to 3)."""
    table = pca_overlap_table(training(run, "mean"), k=3, neutral=run.params.neutral)
    return table[table["layer"] == table["emotion"].map(layers)].reset_index(drop=True)


def inputs(run: Run, position: str) -> dict[str, str | int]:
    """What the tables are made from: the hashes of the stored residuals, the labels of their texts, and which of them
    are trained on. (A text that changes its label or its scenario keeps its activations to the last byte.)"""
    phase2_activations.ensure(run, phase2_activations.usual_positions(run))
    folder = run.paths.activations() / position
    made = {
        path.name: sha for path, sha in run.artifacts.made.items() if path.parent == folder and "resid_pre" in path.name
    }
    about = {"labels": phase2_activations.digest(run), "neutral": run.params.neutral, "n_train": run.params.n_train}
    return {"activations": store.digest(made), **about}
