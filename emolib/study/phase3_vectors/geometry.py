"""Where many labels lie to each other: components and valence, dissimilarities, and vectors of like valence.

Needs the data set's companions; with another data set every function here gives None. Makes `emotion_geometry/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from emolib.data.valence import human_valence
from emolib.directions.dissimilarities import dissimilarities, dissimilarity_reliability
from emolib.directions.noise_free_cosines import noise_free_cosines
from emolib.directions.valence_axis import N_COMPONENTS, ValenceAxis, difference, label_orders, valence_axis
from emolib.directions.vectors import EmotionVectors, fit_emotion_vectors, scenario_cube
from emolib.study.phase3_vectors import companion_activations, fitting
from emolib.study.run import Run, kept

EMBEDDING = -1  # stands for the embedding where layers are numbered
N_PERMUTATIONS = 9999


def geometry_layer(run: Run) -> int:
    """The layer that the questions are asked at, named before any number is seen: half of the model's depth."""
    return run.lm.n_layers // 2


@kept
def _labels(run: Run) -> tuple[str, ...]:
    """All labels in the cube's order, neutral first."""
    texts = companion_activations.chosen(run, "fifteen")
    assert texts is not None
    return (run.params.neutral, *(name for name in dict.fromkeys(texts["emotion"]) if name != run.params.neutral))


@kept
def _cubes(run: Run, kind: str) -> np.ndarray:
    """`[layer + 1, scenario, label, d_model]`, the embedding first; neutral is the first label."""
    acts = companion_activations.activations(run, kind)
    whole, _, _ = scenario_cube(acts, run.params.neutral)
    embedded = {"resid_pre": companion_activations.embedding(run, kind)[None]}
    first, _, _ = scenario_cube(replace(acts, values=embedded), run.params.neutral)
    return np.concatenate([first, whole])


def _places(run: Run, kind: str) -> Iterator[tuple[int, np.ndarray]]:
    """The embedding and every layer with its cube `[scenario, label, d_model]`."""
    for number, cube in enumerate(_cubes(run, kind), start=EMBEDDING):
        yield number, cube.astype(np.float64)


def label_valence(run: Run) -> dict[str, float] | None:
    """What people say of each label's word; NaN of one that nobody rated. None where there are no companions."""
    if companion_activations.texts(run) is None:
        return None
    rated = human_valence(_labels(run)[1:])
    return {label: rated[label].mean if label in rated else float("nan") for label in _labels(run)[1:]}


# components and valence


def valence_table(run: Run) -> pd.DataFrame | None:
    """The first component of the labels' vectors against the valence of their words, at the embedding and every layer.

    Returns:
        layer (-1: the embedding), pearson, low, high, spearman, p, reliability, pearson_2, pearson_3 (of the further
        components, which were no question beforehand), share_1 to share_3, the embedding's pearson, low, high, p and
        reliability as embedding, embedding_low, …, difference from it with difference_low and difference_high,
        n_labels (with a known valence), n_scenarios. See `ValenceAxis`.
    """
    if companion_activations.texts(run) is None:
        return None
    valence = label_valence(run)
    matched = {
        **companion_activations.inputs(run, "fifteen"),
        "valence": [repr(value) for value in (valence or {}).values()],
    }
    matched |= {"seed": run.params.seed, "n_permutations": N_PERMUTATIONS}
    return run.artifacts.table(run.paths.companion_table("valence"), matched, lambda: _valence_table(run))


def _valence_table(run: Run) -> pd.DataFrame:
    valence = np.array(list((label_valence(run) or {}).values()))
    n_known = int(np.isfinite(valence).sum())
    orders = label_orders(n_known, n_permutations=N_PERMUTATIONS, seed=run.params.seed)
    null: ValenceAxis | None = None
    rows = []
    for layer, cube in _places(run, "fifteen"):
        found = valence_axis(cube[:, 1:], valence, orders=orders)
        null = found if null is None else null
        gap, low, high = difference(found, null)
        rows.append(
            {
                "layer": layer,
                **_of_axis(found),
                **{f"pearson_{i + 1}": found.pearson[i] for i in range(1, N_COMPONENTS)},
                **{f"share_{i + 1}": found.shares[i] for i in range(N_COMPONENTS)},
                **{f"embedding_{name}": value for name, value in _of_axis(null).items()},
                **{"difference": gap, "difference_low": low, "difference_high": high},
                **{"n_labels": n_known, "n_scenarios": len(cube)},
            }
        )
    return pd.DataFrame(rows)


def _of_axis(found: ValenceAxis) -> dict[str, float]:
    row = {"pearson": found.pearson[0], "low": found.low, "high": found.high, "spearman": found.spearman[0]}
    return {name: float(value) for name, value in (row | {"p": found.p, "reliability": found.reliability}).items()}


def label_places(run: Run) -> pd.DataFrame | None:
    """The labels on the first two components of `geometry_layer`, in the embedding and in the model.

    Returns:
        layer, label, valence, pc1, pc2 (the sign of each makes its correlation with the valence positive), share_1,
        share_2.
    """
    if companion_activations.texts(run) is None:
        return None
    known = label_valence(run) or {}
    rows = []
    for layer, cube in _places(run, "fifteen"):
        if layer in (EMBEDDING, geometry_layer(run)):
            found = valence_axis(cube[:, 1:], np.array(list(known.values())))
            shares = {"share_1": found.shares[0], "share_2": found.shares[1]}
            for (label, valence), at in zip(known.items(), found.scores, strict=True):
                rows.append({"layer": layer, "label": label, "valence": valence, "pc1": at[0], "pc2": at[1], **shares})
    return pd.DataFrame(rows)


# dissimilarities


def label_dissimilarities(run: Run) -> pd.DataFrame | None:
    """How unlike every two labels are (neutral too), at the embedding and every layer: what models are compared by.

    Returns:
        layer (-1: the embedding), first, second, dissimilarity (see `dissimilarities`), and reliability, which is the
        whole table's of that layer and stands in each of its rows.
    """
    if companion_activations.texts(run) is None:
        return None

    def compute() -> pd.DataFrame:
        labels, rows = _labels(run), []
        for layer, cube in _places(run, "fifteen"):
            table, reliability = dissimilarities(cube.mean(axis=0)), dissimilarity_reliability(cube)
            rows += [
                {"layer": layer, "first": labels[i], "second": labels[j], "dissimilarity": table[i, j]}
                | {"reliability": reliability}
                for i, j in combinations(range(len(labels)), 2)
            ]
        return pd.DataFrame(rows)

    matched = companion_activations.inputs(run, "fifteen")
    return run.artifacts.table(run.paths.companion_table("dissimilarities"), matched, compute)


# vectors of like valence


def companion_vectors(run: Run) -> EmotionVectors | None:
    """Vectors at the mean of the data set's emotions and of the five labels of like valence, fitted on the same
    training scenarios; stored as Phase 3's other vectors are."""
    if companion_activations.texts(run) is None:
        return None
    fitted = _fitted(run)
    return fitting.kept_vectors(run, run.paths.companion_vectors(), fitted, companion_activations.inputs(run, "five"))


@kept
def _fitted(run: Run) -> EmotionVectors:
    return fit_emotion_vectors(companion_activations.activations(run, "five"), neutral=run.params.neutral, whiten=True)


def likeness(run: Run) -> pd.DataFrame | None:
    """Cosines of the data set's emotions with the labels of like valence, at every layer above 0.

    Returns:
        emotion, companion, layer, plain, corrected (without the sample's noise) with low and high, reliability (the
        lower of the two vectors'), n_scenarios. See `noise_free_cosines`.
    """
    if companion_activations.texts(run) is None:
        return None

    def compute() -> pd.DataFrame:
        names = companion_labels(run)
        emotions, rows = _five_emotions(run), []
        for layer, cube in _places(run, "five"):
            if layer > 0:
                found = noise_free_cosines(cube[:, 1:] - cube[:, :1])
                for emotion, companion in ((a, b) for a in run.emotions for b in names):
                    i, j = emotions.index(emotion), emotions.index(companion)
                    row = {"emotion": emotion, "companion": companion, "layer": layer, "n_scenarios": len(cube)}
                    parts = {key: getattr(found, key)[i, j] for key in ("plain", "corrected", "low", "high")}
                    rows.append({**row, **parts, "reliability": min(found.reliability[[i, j]])})
        return pd.DataFrame(rows)

    return run.artifacts.table(
        run.paths.companion_table("likeness"), companion_activations.inputs(run, "five"), compute
    )


def _five_emotions(run: Run) -> list[str]:
    texts = companion_activations.chosen(run, "five")
    assert texts is not None
    return [name for name in dict.fromkeys(texts["emotion"]) if name != run.params.neutral]


def companion_labels(run: Run) -> list[str]:
    """The labels of like valence."""
    return [name for name in _five_emotions(run) if name not in run.emotions]
