"""Tables about emotion vectors: norms, cosines, distances, how well projections separate, and massive dimensions."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

from emolib.base.errors import UserError, shown
from emolib.data.activations import Activations
from emolib.directions.vectors import (
    VARIANTS,
    EmotionVectors,
    massive_dimensions,
    projection_direction,
    within_label_sd,
)


def cosine_table(vecs: EmotionVectors, *, trimmed: int = 3) -> pd.DataFrame:
    """Cosine of every pair of emotions at every layer, in up to four views: raw, standardised, trimmed, whitened.

    `standardised` divides each dimension by the pooled within-label sd; `trimmed` leaves out the dimensions with the
    largest spread, which otherwise dominate a raw cosine; `whitened` divides by the whole within-label covariance
    (Σ^(−1/2) v) and is left out for vectors that were fitted without it.
    """
    views: dict[str, list[np.ndarray]] = {"raw": [], "standardised": [], "trimmed": []}
    for layer in range(vecs.n_layers + 1):
        raw = np.stack([vecs.values[e][layer] for e in vecs]).astype(np.float64)
        keep = np.setdiff1d(np.arange(raw.shape[1]), massive_dimensions(vecs, layer, trimmed))
        views["raw"].append(_pair_cosines(raw))
        views["standardised"].append(_pair_cosines(raw / np.maximum(vecs.pooled_sd[layer], 1e-6)))
        views["trimmed"].append(_pair_cosines(raw[:, keep]))
        if vecs.whitened:
            views.setdefault("whitened", []).append(_pair_cosines(np.stack([vecs.whitened[e][layer] for e in vecs])))
    return _pair_table(vecs.emotions, {name: np.stack(found, axis=1) for name, found in views.items()})


def distance_table(vecs: EmotionVectors, *, neutral: str = "neutral") -> pd.DataFrame:
    """Euclidean distance between every pair of label means at every layer; the neutral mean is the zero vector.

    Returns:
        pair, first, second, layer, distance (activation units), share (of the median norm over neutral tokens).
        Vectors that were fitted against each emotion's own neutral texts are compared as vectors, not as label means.
    """
    vectors = np.stack([np.zeros_like(next(iter(vecs.values.values()))), *vecs.values.values()]).astype(np.float64)
    distances = np.stack([pdist(vectors[:, layer]) for layer in range(vecs.n_layers + 1)], axis=1)
    columns = {"distance": distances, "share": distances / vecs.neutral_norms}
    return _pair_table((neutral, *vecs.emotions), columns)


def _pair_cosines(vectors: Float[np.ndarray, "emotion d_model"]) -> Float[np.ndarray, " pair"]:
    """In the order of `combinations`; NaN where a vector is zero."""
    with np.errstate(invalid="ignore"):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(vectors), 1)]


def _pair_table(names: Iterable[str], columns: dict[str, Float[np.ndarray, "pair layer"]]) -> pd.DataFrame:
    pairs = list(combinations(names, 2))
    n_layers = next(iter(columns.values())).shape[1]
    named = {"pair": [f"{a}–{b}" for a, b in pairs], "first": [a for a, _ in pairs], "second": [b for _, b in pairs]}
    places = {name: np.repeat(found, n_layers) for name, found in named.items()}
    places["layer"] = np.tile(np.arange(n_layers), len(pairs))
    return pd.DataFrame({**places, **{name: values.ravel() for name, values in columns.items()}})


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


def separation_table(
    vecs: EmotionVectors, held_out: Mapping[str, Activations], *, neutral: str = "neutral"
) -> pd.DataFrame:
    """How well the projection on an emotion's vector alone tells its texts from neutral ones.

    Args:
        held_out: name → activations of texts that the vectors were not fitted on, of the same model; adjust them with
            the same `CovariateFit` where the vectors were fitted with covariates.

    Returns:
        emotion, layer, split (the name), variant (see `projection_direction`; `whitened` only for vectors that have
        it), auc: the share of pairs of texts that the projection puts in order, ties counting half.

    Raises:
        UserError: activations of another model, or without texts of an emotion or of the neutral label.
    """
    variants = [v for v in VARIANTS if v != "whitened" or vecs.discriminants]
    layers = range(vecs.n_layers + 1)
    found = []
    for split, acts in held_out.items():
        _check_held_out(vecs, acts, split, neutral)
        found.append([_layer_separation(vecs, acts, layer, variants, neutral) for layer in layers])
    auc = np.array(found).transpose(2, 1, 0, 3)  # emotion, layer, split, variant
    levels: dict[str, Sequence[Hashable]] = {
        "emotion": vecs.emotions,
        "layer": layers,
        "split": list(held_out),
        "variant": variants,
    }
    index = pd.MultiIndex.from_product(list(levels.values()), names=list(levels))
    return pd.DataFrame({"auc": auc.ravel()}, index=index).reset_index()


def _check_held_out(vecs: EmotionVectors, acts: Activations, split: str, neutral: str) -> None:
    if (acts.model, acts.revision, acts.n_layers) != (vecs.model, vecs.revision, vecs.n_layers):
        raise UserError(
            f"expected activations of {vecs.model} {vecs.revision[:12]} in {shown(split)}, got {acts.model} "
            f"{acts.revision[:12]}"
        )
    there = set(acts.texts["emotion"])
    for name in (neutral, *vecs):
        if name not in there:
            raise UserError(
                f"no texts of {shown(name)} in {shown(split)}: a separation needs every emotion and {shown(neutral)}"
            )


def _layer_separation(
    vecs: EmotionVectors, acts: Activations, layer: int, variants: list[str], neutral: str
) -> Float[np.ndarray, "emotion variant"]:
    labels = acts.texts["emotion"].to_numpy()
    x = acts.values["resid_pre"][layer].astype(np.float64)
    found = []
    for emotion in vecs:
        directions = np.stack([projection_direction(vecs, emotion, layer, variant) for variant in variants])
        found.append(column_auc(x[labels == emotion] @ directions.T, x[labels == neutral] @ directions.T))
    return np.stack(found)


def column_auc(positive: Float[np.ndarray, "text column"], negative: Float[np.ndarray, "text column"]) -> np.ndarray:
    """Mann and Whitney's U as a share, per column, by ranks (ties get their mean rank)."""
    n = len(positive)
    ranks = rankdata(np.concatenate([positive, negative]), axis=0)[:n].sum(0)
    return (ranks - n * (n + 1) / 2) / (n * len(negative))


def massive_table(acts: Activations, layers: Iterable[int] | None = None, count: int = 3) -> pd.DataFrame:
    """The residual dimensions with the largest mean absolute value, per layer.

    Args:
        layers: all where None.
        count: dimensions per layer.

    Returns:
        layer, rank (from 1), dimension, mean_abs, ratio (to the median dimension's mean absolute value), share (of the
        mean squared norm), spread_rank (the dimension's place by within-label spread, from 1: `trimmed` views leave
        out the first ones).

    Raises:
        UserError: a layer that these activations do not have.
    """
    resid, labels = acts.values["resid_pre"], acts.texts["emotion"].to_numpy()
    chosen = list(range(len(resid)) if layers is None else layers)
    for layer in chosen:
        if not 0 <= layer < len(resid):
            raise UserError(f"layer {layer} is out of range: these activations have layers 0-{len(resid) - 1}")
    rows = []
    for layer in chosen:
        x = resid[layer].astype(np.float64)
        size, energy = np.abs(x).mean(0), (x**2).mean(0)
        spread = rankdata(-within_label_sd(resid[layer][None], labels)[0], method="ordinal")
        median = float(np.median(size))
        for rank, dimension in enumerate(np.argsort(-size, kind="stable")[:count], 1):
            found = {"layer": layer, "rank": rank, "dimension": int(dimension), "mean_abs": float(size[dimension])}
            found["ratio"] = float(size[dimension]) / median if median else float("nan")
            found["share"] = float(energy[dimension] / max(energy.sum(), np.finfo(float).tiny))
            rows.append({**found, "spread_rank": int(spread[dimension])})
    return pd.DataFrame(rows)
