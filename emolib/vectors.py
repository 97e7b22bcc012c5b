"""Emotion vectors: differences of mean activations, their norms, cosines and stability.

Source of the method: difference of class means in the residual stream (Turner et al. 2023, arXiv 2308.10248;
Rimsky et al. 2023, arXiv 2312.06681; Tigges et al. 2023, arXiv 2310.15154).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib.activations import Activations, LayerVectors
from emolib.errors import UserError, nearest


@dataclass(frozen=True)
class EmotionVectors:
    """The vectors of every emotion at every layer of one model.

    `vecs[emotion]` is `[n_layers + 1, d_model]`; `vecs[emotion][layer]` is a `LayerVector`.
    """

    values: dict[str, Float[np.ndarray, "layer d_model"]]
    neutral_norms: Float[np.ndarray, "layer"]
    pooled_sd: Float[np.ndarray, "layer d_model"]
    model: str
    revision: str
    position: str

    def __getitem__(self, emotion: str) -> LayerVectors:
        if emotion not in self.values:
            raise UserError(f"unknown emotion {emotion!r}: {nearest(emotion, self.values)}")
        return LayerVectors(self.values[emotion], self.model, self.revision, self.position, self.neutral_norms)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    @property
    def emotions(self) -> tuple[str, ...]:
        return tuple(self.values)

    @property
    def n_layers(self) -> int:
        return len(self.neutral_norms) - 1


def fit_emotion_vectors(acts: Activations, *, neutral: str = "neutral") -> EmotionVectors:
    """`vec[l] = mean(resid_pre[l] of an emotion) − mean(resid_pre[l] of neutral)`, for every other label.

    Args:
        acts: activations of the training texts only; the caller selects the split.
        neutral: the reference label.

    Raises:
        UserError: no neutral texts, no other label, or activations that are not finite.
    """
    labels = acts.texts["emotion"].to_numpy()
    names = list(dict.fromkeys(labels))
    if neutral not in names:
        raise UserError(f"no texts with the neutral label {neutral!r}: {nearest(neutral, names)}")
    emotions = [name for name in names if name != neutral]
    if not emotions:
        raise UserError(f"expected at least one label beside {neutral!r}, found none")
    resid = acts.values["resid_pre"]
    if not np.isfinite(resid).all():
        raise UserError("the activations hold values that are not finite; extract them in float32")
    centre = resid[:, labels == neutral].mean(axis=1, dtype=np.float64)
    means = {emotion: resid[:, labels == emotion].mean(axis=1, dtype=np.float64) for emotion in emotions}
    return EmotionVectors(
        values={emotion: (mean - centre).astype(np.float32) for emotion, mean in means.items()},
        neutral_norms=acts.where(labels == neutral).median_norms(),
        pooled_sd=_pooled_sd(resid, labels),
        model=acts.model,
        revision=acts.revision,
        position=acts.position,
    )


def _pooled_sd(resid: np.ndarray, labels: np.ndarray) -> Float[np.ndarray, "layer d_model"]:
    """Within-label standard deviation of every dimension, pooled over labels."""
    total, freedom = 0.0, 0
    for name in dict.fromkeys(labels):
        group = resid[:, labels == name]
        if group.shape[1] > 1:
            total = total + group.var(axis=1, ddof=1, dtype=np.float64) * (group.shape[1] - 1)
            freedom += group.shape[1] - 1
    if not freedom:
        return np.ones((resid.shape[0], resid.shape[2]), np.float32)
    return np.sqrt(total / freedom).astype(np.float32)


def massive_dimensions(vecs: EmotionVectors, layer: int, count: int = 3) -> np.ndarray:
    """Indices of the residual dimensions with the largest within-label spread at a layer."""
    return np.argsort(vecs.pooled_sd[layer])[::-1][:count]


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine along the last axis."""
    return (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


def cosine_table(vecs: EmotionVectors, *, trimmed: int = 3) -> pd.DataFrame:
    """Cosine of every pair of emotions at every layer, three ways: raw, standardised, trimmed.

    `standardised` divides each dimension by the pooled within-label sd; `trimmed` leaves out the dimensions with the
    largest spread, which otherwise dominate a raw cosine.
    """
    rows = []
    for i, first in enumerate(vecs.emotions):
        for second in vecs.emotions[i + 1 :]:
            for layer in range(vecs.n_layers + 1):
                a, b = vecs.values[first][layer], vecs.values[second][layer]
                sd = np.maximum(vecs.pooled_sd[layer], 1e-6)
                keep = np.setdiff1d(np.arange(len(a)), massive_dimensions(vecs, layer, trimmed))
                rows.append(
                    {
                        "pair": f"{first}–{second}",
                        "layer": layer,
                        "raw": float(cosine(a, b)),
                        "standardised": float(cosine(a / sd, b / sd)),
                        "trimmed": float(cosine(a[keep], b[keep])),
                    }
                )
    return pd.DataFrame(rows)


def norm_table(vecs: EmotionVectors) -> pd.DataFrame:
    """L1 and L2 norm per emotion and layer, and the L2 norm as a share of the median residual norm."""
    rows = []
    for emotion in vecs.emotions:
        values = vecs.values[emotion]
        for layer in range(vecs.n_layers + 1):
            l2 = float(np.linalg.norm(values[layer]))
            rows.append(
                {
                    "emotion": emotion,
                    "layer": layer,
                    "l1": float(np.abs(values[layer]).sum()),
                    "l2": l2,
                    "resid_norm": float(vecs.neutral_norms[layer]),
                    "l2_share": l2 / float(vecs.neutral_norms[layer]),
                }
            )
    return pd.DataFrame(rows)


def split_half_stability(
    acts: Activations, *, neutral: str = "neutral", n_halves: int = 50, seed: int = 0
) -> pd.DataFrame:
    """Cosine between vectors fitted on two random halves of the scenarios, per emotion and layer.

    Beside the true labels stand labels shuffled within scenarios: what the same procedure gives without an emotion.

    Returns:
        emotion, layer, mean, low, high (2.5 and 97.5 % over the random halves), shuffled (mean under the null).
    """
    rng = np.random.default_rng(seed)
    cube, scenarios, labels = scenario_cube(acts, neutral)
    result = []
    real, null = [], []
    for _ in range(n_halves):
        order = rng.permutation(len(scenarios))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        real.append(_half_cosines(cube, halves))
        shuffled = np.take_along_axis(cube, rng.permuted(_label_index(cube), axis=1)[None, :, :, None], axis=2)
        null.append(_half_cosines(shuffled, halves))
    real, null = np.stack(real), np.stack(null)
    for i, emotion in enumerate(labels):
        for layer in range(cube.shape[0]):
            low, high = np.quantile(real[:, layer, i], [0.025, 0.975])
            result.append(
                {
                    "emotion": emotion,
                    "layer": layer,
                    "mean": float(real[:, layer, i].mean()),
                    "low": float(low),
                    "high": float(high),
                    "shuffled": float(null[:, layer, i].mean()),
                }
            )
    return pd.DataFrame(result)


def _label_index(cube: np.ndarray) -> np.ndarray:
    return np.tile(np.arange(cube.shape[2]), (cube.shape[1], 1))


def _half_cosines(cube: np.ndarray, halves: tuple[np.ndarray, np.ndarray]) -> Float[np.ndarray, "layer emotion"]:
    first, second = (cube[:, half, 1:].mean(1) - cube[:, half, :1].mean(1) for half in halves)
    return cosine(first, second)


def scenario_cube(
    acts: Activations, neutral: str
) -> tuple[Float[np.ndarray, "layer scenario label d_model"], list, list]:
    """Activations as a cube over the scenarios that have every label, with their names and the emotions' names.

    Label 0 of the cube is neutral, the others follow in the order of the emotions.
    """
    texts = acts.texts.assign(row=np.arange(len(acts.texts)))
    table = texts.pivot(index="scenario", columns="emotion", values="row").dropna()
    if len(table) < 4:
        raise UserError(f"expected at least 4 scenarios that have every label, found {len(table)}")
    emotions = [name for name in dict.fromkeys(texts["emotion"]) if name != neutral]
    index = table[[neutral, *emotions]].to_numpy(dtype=int)
    return acts.values["resid_pre"][:, index], list(table.index), emotions


def probe_table(
    train: Activations,
    held_out: Mapping[str, Activations],
    *,
    neutral: str = "neutral",
    n_shuffles: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """AUC of a logistic probe, emotion against neutral, trained on one set of scenarios and tested on others.

    Args:
        held_out: name → activations of scenarios that are not in `train`.

    Returns:
        emotion, layer, split (the name), auc, shuffled_mean and shuffled_max over `n_shuffles` fits on labels
        shuffled within scenarios.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for emotion in (name for name in dict.fromkeys(train.texts["emotion"]) if name != neutral):
        fit_on, *test_on = (_against(part, emotion, neutral) for part in (train, *held_out.values()))
        target = (fit_on.texts["emotion"] == emotion).to_numpy()
        targets = [target, *(_swap_within(fit_on.texts["scenario"], target, rng) for _ in range(n_shuffles))]
        for layer in range(train.n_layers + 1):
            probes = [_fitted_probe(fit_on.values["resid_pre"][layer], y) for y in targets]
            for split, part in zip(held_out, test_on, strict=True):
                truth = part.texts["emotion"] == emotion
                x = part.values["resid_pre"][layer]
                own, *null = (float(roc_auc_score(truth, probe.decision_function(x))) for probe in probes)
                found = {"auc": own, "shuffled_mean": float(np.mean(null)), "shuffled_max": float(np.max(null))}
                rows.append({"emotion": emotion, "layer": layer, "split": split, **found})
    return pd.DataFrame(rows)


def _against(acts: Activations, emotion: str, neutral: str) -> Activations:
    return acts.where(acts.texts["emotion"].isin([emotion, neutral]))


def _fitted_probe(x: np.ndarray, y: np.ndarray) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, solver="liblinear")).fit(x, y)


def _swap_within(scenarios: pd.Series, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flips both labels of a random half of the scenarios."""
    codes = pd.factorize(scenarios)[0]
    return np.where(rng.random(codes.max() + 1)[codes] < 0.5, ~target, target)


def principal_components(acts: Activations, layer: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates `[text, count]` on the leading principal components and the share of variance of each."""
    from sklearn.decomposition import PCA

    count = min(count, len(acts.texts), acts.d_model)
    fitted = PCA(count, random_state=0).fit(acts.values["resid_pre"][layer])
    return fitted.transform(acts.values["resid_pre"][layer]), fitted.explained_variance_ratio_
