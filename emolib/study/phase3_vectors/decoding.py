"""What Phase 3 reads out of activations: probes against what the words already tell, projections against scores,
and the projection of every token of a few texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from emolib.base import store
from emolib.base.parameters import VectorParameters
from emolib.data.activations import Activations
from emolib.directions.vectors import EmotionVectors
from emolib.engine.extraction import extract_activations
from emolib.readout.information import cross_style_table, information_table
from emolib.readout.leaks import shuffled_within
from emolib.readout.probes import probe_table
from emolib.scoring import goemotions, version_of
from emolib.scoring.corpora import CORPUS, corpus_folder, read_goemotions
from emolib.scoring.measures import with_targets
from emolib.statistics.auc import auc_interval
from emolib.study import phase2_activations
from emolib.study.phase3_vectors import fitting
from emolib.study.run import Run

N_PERMUTATIONS = 1000
SPLITS = ("train", "validation", "test")
N_EXAMPLES = 2  # texts per label whose tokens are coloured


# probes


def probes(run: Run, position: str) -> pd.DataFrame:
    """Probe AUC on validation and test scenarios at every layer, trained on the training scenarios."""
    params = run.params

    def compute() -> pd.DataFrame:
        held_out = {split: fitting.split_of(run, position, split) for split in SPLITS[1:]}
        return probe_table(
            fitting.training(run, position),
            held_out,
            neutral=params.neutral,
            n_shuffles=params.n_shuffles,
            seed=params.seed,
        )

    matched = {**fitting.inputs(run, position), "n_shuffles": params.n_shuffles, "seed": params.seed}
    return run.artifacts.table(run.paths.vector_table(f"probes_{position}"), matched, compute)


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


def _sets(run: Run) -> list[Activations]:
    return [fitting.training(run, "mean"), *(fitting.split_of(run, "mean", split) for split in SPLITS[1:])]


def _probe_settings(params: VectorParameters) -> dict[str, int]:
    return {"n_shuffles": params.n_shuffles, "n_resamples": params.n_bootstrap, "seed": params.seed}


def information(run: Run) -> pd.DataFrame:
    """Does the residual stream know more than the words do? See `emolib.readout.probes.information_table`."""

    def compute() -> pd.DataFrame:
        sets = _sets(run)
        embedding = [acts.values["resid_pre"][0] for acts in sets]
        return information_table(*sets, embedding=embedding, neutral=run.params.neutral, **_probe_settings(run.params))

    matched = {**fitting.inputs(run, "mean"), **_probe_settings(run.params)}
    return run.artifacts.table(run.paths.vector_table("information"), matched, compute)


def cross_style(run: Run) -> pd.DataFrame:
    """Probes trained on explicit texts and tested on implicit ones, and the other way round."""

    def compute() -> pd.DataFrame:
        return cross_style_table(*_sets(run), neutral=run.params.neutral, **_probe_settings(run.params))

    matched = {**fitting.inputs(run, "mean"), **_probe_settings(run.params)}
    return run.artifacts.table(run.paths.vector_table("cross_style"), matched, compute)


# projections and scores


def projection_correlations(run: Run, position: str, chosen: pd.DataFrame) -> pd.DataFrame:
    """Spearman correlation, over test texts, of the projection on each emotion's vector with every score.

    The layer of each emotion is the probe's, chosen on validation; `null` is the 97.5th percentile of the correlation
    with the emotion's own score when the scores are shuffled within scenarios.
    """
    acts = fitting.split_of(run, position, "test")
    scored = with_targets(run.scored(acts.texts), run.emotions)
    rng = np.random.default_rng(run.params.seed)
    order = np.arange(len(acts.texts))
    shuffles = np.stack([shuffled_within(order, acts.texts["scenario"], rng) for _ in range(N_PERMUTATIONS)])
    return _correlations(run.emotions, acts, scored, chosen, fitting.vectors(run, position), shuffles)


def _correlations(
    emotions: Sequence[str],
    acts: Activations,
    scored: pd.DataFrame,
    chosen: pd.DataFrame,
    vecs: EmotionVectors,
    shuffles: np.ndarray,
) -> pd.DataFrame:
    named = [name for name in (*(f"target/{e}" for e in emotions), "valence", "politeness/score") if name in scored]
    rows = []
    for emotion, layer in zip(chosen["emotion"], chosen["layer"], strict=True):
        along = acts.layer("resid_pre", layer) @ vecs[emotion][layer].values
        row = {"emotion": emotion, "layer": int(layer), "n": len(along)}
        ranks = _standard_ranks(along)
        row |= {name: float(_standard_ranks(scored[name]) @ ranks) for name in named}
        if f"target/{emotion}" in scored:
            by_chance = _standard_ranks(scored[f"target/{emotion}"])[shuffles] @ ranks
            row["null"] = float(np.quantile(by_chance, 0.975))
        rows.append(row)
    return pd.DataFrame(rows)


def _standard_ranks(values: np.ndarray | pd.Series) -> np.ndarray:
    """Ranks of mean 0 and length 1: the product of two is Spearman's correlation; NaN where all values are the same."""
    centred = rankdata(values) - (len(values) + 1) / 2
    length = np.linalg.norm(centred)
    return centred / length if length else np.full(len(centred), np.nan)


def corpus_correlations(run: Run, chosen: pd.DataFrame) -> pd.DataFrame:
    """The same on comments that people labelled, far from the data set: correlations, and the AUC for people's labels.

    Returns:
        As `projection_correlations`, and human_auc with human_low and human_high (texts resampled) and n_human (texts
        that people gave one of the emotion's labels); empty where the file is not at hand.
    """
    folder = corpus_folder(run.params.corpus)
    if folder is None:
        return pd.DataFrame()
    params = run.params
    layer_of = {emotion: int(layer) for emotion, layer in zip(chosen["emotion"], chosen["layer"], strict=True)}
    matched = {**fitting.inputs(run, "mean"), "corpus": store.sha256_of(folder / CORPUS), "n": params.n_corpus}
    matched |= {"seed": params.seed, "n_resamples": params.n_bootstrap}
    matched |= {"layers": layer_of, "scorers": version_of(params.backend)}

    def compute() -> pd.DataFrame:
        texts, labels = read_goemotions(folder, Path(CORPUS).stem)
        picked = np.sort(np.random.default_rng(params.seed).permutation(len(texts))[: params.n_corpus])
        table = pd.DataFrame({"text": [texts[i] for i in picked]})
        table = table.assign(id=[f"corpus-{i}" for i in picked], scenario=[f"corpus-{i}" for i in picked])
        run.progress.begin("corpus", len(table))
        acts = extract_activations(
            run.lm,
            table.assign(emotion="unlabelled"),
            sites=("resid_pre",),
            positions="mean",
            layers=sorted(set(layer_of.values())),
            batch_size=params.extraction_batch,
            on_batch=lambda done: run.progress.advance(done - run.progress.done),
        )
        scored = with_targets(run.scored(table), run.emotions)
        rng = np.random.default_rng(params.seed)
        shuffles = np.stack([rng.permutation(len(table)) for _ in range(N_PERMUTATIONS)])
        vecs = fitting.vectors(run, "mean")
        rows = _correlations(run.emotions, acts, scored, chosen, vecs, shuffles)
        human = _human(acts, labels[picked], chosen, vecs, n_resamples=params.n_bootstrap, seed=params.seed)
        return rows.merge(human, on="emotion", how="left")

    return run.artifacts.table(run.paths.vector_table("corpus_projections"), matched, compute)


def _human(
    acts: Activations, labels: np.ndarray, chosen: pd.DataFrame, vecs: EmotionVectors, *, n_resamples: int, seed: int
) -> pd.DataFrame:
    """How well each projection finds the texts that people gave the emotion's labels."""
    rows = []
    for emotion, layer in zip(chosen["emotion"], chosen["layer"], strict=True):
        own = [goemotions.LABELS.index(name) for name in goemotions.matching_labels(emotion)]
        truth = labels[:, own].any(axis=1) if own else np.zeros(len(labels), dtype=bool)
        row = {"emotion": emotion, "n_human": int(truth.sum())}
        if 0 < truth.sum() < len(truth):
            along = acts.layer("resid_pre", layer) @ vecs[emotion][layer].values
            ends = auc_interval(along, truth, acts.texts["scenario"], n_resamples=n_resamples, seed=seed)
            row |= dict(zip(("human_auc", "human_low", "human_high"), ends, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


# tokens


class TokenProjections(NamedTuple):
    """One text's tokens, and each one's projection on an emotion's direction, `[token]`."""

    emotion: str
    style: str
    tokens: list[str]
    along: np.ndarray


def token_projections(run: Run, chosen: pd.DataFrame, emotion: str) -> list[TokenProjections]:
    """The projection of every token of a few test texts on an emotion's direction.

    The texts are the first scenario's of each style, in every label. The unit is the median norm of neutral tokens at
    the layer; the neutral test texts' mean projection is taken off, and first tokens, whose norm is of another size,
    are set to 0.
    """
    layer = int(chosen.set_index("emotion")["layer"][emotion])
    vec = fitting.vectors(run, "mean")[emotion][layer]
    texts = run.texts("test")
    first = texts.drop_duplicates("style")["scenario"].head(N_EXAMPLES)
    texts = texts[texts["scenario"].isin(first)].reset_index(drop=True)
    acts = extract_activations(run.lm, texts, sites=("resid_pre",), positions="all", layers=[layer])
    neutral = fitting.split_of(run, "mean", "test")
    neutral = neutral.where(neutral.texts["emotion"] == run.params.neutral)
    centre = float((neutral.values["resid_pre"][layer] @ vec.direction).mean())
    along = (acts.layer("resid_pre", layer) @ vec.direction - centre) / vec.neutral_norm
    strings = phase2_activations.texts_table(run).set_index("id")["token_strings"]
    rows = []
    for i, row in enumerate(texts.to_dict("records")):
        values = along[acts.offsets[i] : acts.offsets[i + 1]].copy()
        values[0] = 0.0
        rows.append(TokenProjections(row["emotion"], row["style"], list(strings[row["id"]]), values))
    return rows


def trigger_projections(run: Run, chosen: pd.DataFrame) -> pd.DataFrame:
    """How much of a text's projection stands at its emotion word, over the test texts that have one.

    Returns:
        emotion, layer, n, at_word and overall: the mean projection on the emotion's direction at the trigger and at
        the mean over tokens, less that of the neutral texts, in units of the layer's median neutral norm; share: of a
        text's summed projection, how much the one trigger token carries. Empty where no text has a trigger.
    """
    if "trigger" not in phase2_activations.usual_positions(run):
        return pd.DataFrame()
    held, mean = fitting.split_of(run, "trigger", "test"), fitting.split_of(run, "mean", "test")
    rows = []
    for emotion, layer in zip(chosen["emotion"], chosen["layer"], strict=True):
        own = held.where(held.texts["emotion"] == emotion)
        if own.texts.empty:
            continue
        vec = fitting.vectors(run, "mean")[emotion][int(layer)]
        same = mean.where(mean.texts["id"].isin(set(own.texts["id"])))
        neutral = mean.where(mean.texts["emotion"] == run.params.neutral)
        at_word, overall, centre = (
            float((acts.values["resid_pre"][layer] @ vec.direction).mean()) / vec.neutral_norm
            for acts in (own, same, neutral)
        )
        row = {"emotion": emotion, "layer": int(layer), "n": len(own.texts)}
        counted = float((own.texts["n_tokens"] - 1).mean())  # first tokens are left out of means
        share = (at_word - centre) / (counted * (overall - centre)) if overall != centre else float("nan")
        rows.append({**row, "at_word": at_word - centre, "overall": overall - centre, "share": share})
    return pd.DataFrame(rows)
