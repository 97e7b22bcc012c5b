"""The null of a subspace: how far the subspaces of two disjoint sets of scenarios coincide, beyond what the same fit
gives once labels are permuted within scenarios and hold nothing of the emotions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from emolib.base.errors import UserError, shown
from emolib.data.activations import Activations
from emolib.directions.subspaces import complete_cube, overlaps_from_gram, pair_gram, text_gram


def overlap_excess(
    train: Activations,
    validation: Activations,
    *,
    k_max: int = 8,
    neutral: str = "neutral",
    n_null: int = 20,
    n_resamples: int = 200,
    seed: int = 0,
    layers: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Overlap of every emotion's training subspace with its validation subspace, less its null, for k = 1…k_max.

    The null permutes all labels within every scenario of both sets and refits. The standard error resamples whole
    scenarios of both sets and refits; the null's mean is held. A resample repeats scenarios, so its overlaps lie below
    those of as many distinct scenarios, and spread more: their level is not used, and the standard error is rather
    too large than too small, which favours a small k. Permutations and resamples are the same for every layer and
    emotion, and do not depend on which layers are asked for.

    Args:
        train, validation: of one model and position, with the same labels and no scenario in common.
        k_max: no more than half the scenarios of the smaller set are used (a resample has few distinct ones).
        n_null, n_resamples: how many refits; at least 1 and 2.
        layers: None for all.

    Returns:
        emotion, layer, k, overlap, null (mean), null_high (97.5 %), null_max (97.5 % of the largest excess over all k
        that a permutation gives: what a best k has to beat), excess (overlap − null), se. Where two sets have
        no directions (all differences zero, as at layer 0 if a scenario's texts end alike) all are 0.

    Raises:
        UserError: sets that do not fit together, fewer than two labels beside the neutral one (permuting two labels
            only turns signs, to which the subspace is blind), or a number out of range.
    """
    sets, emotions = _matching_cubes(train, validation, neutral)
    sizes = [cube.shape[1] for cube in sets]
    k = _usable_k(k_max, sizes, train.d_model)
    if n_null < 1 or n_resamples < 2:
        raise UserError(f"expected n_null of at least 1 and n_resamples of at least 2, got {n_null} and {n_resamples}")
    n_labels = len(emotions) + 1
    true = np.arange(sum(sizes) * n_labels).reshape(-1, n_labels)  # [scenario of both sets, label] → row of the Gram
    shuffled = np.random.default_rng([seed, 0]).permuted(np.tile(true, (n_null, 1, 1)), axis=2)
    drawn = _resampled(sizes, n_resamples, np.random.default_rng([seed, 1]))
    chosen = _checked_layers(layers, train.n_layers)
    tables: dict[str, list[pd.DataFrame]] = {emotion: [] for emotion in emotions}
    for layer in chosen:
        gram = text_gram(np.concatenate([cube[layer] for cube in sets]))
        for i, emotion in enumerate(emotions, 1):
            differences = pair_gram(gram, true[:, i], true[:, 0])
            permuted = pair_gram(gram, shuffled[..., i], shuffled[..., 0])
            found = _excess(differences, permuted, drawn, sizes[0], k)
            tables[emotion].append(pd.DataFrame({"emotion": emotion, "layer": layer, **found}))
    return pd.concat([table for emotion in emotions for table in tables[emotion]], ignore_index=True)


def _excess(
    differences: Float[np.ndarray, "pair pair"],
    permuted: Float[np.ndarray, "null pair pair"],
    drawn: Int[np.ndarray, "resample pair"],
    first: int,
    k: int,
) -> dict[str, np.ndarray]:
    """One emotion's columns at one layer, from the Gram matrices of its true and its permuted differences."""
    own, null = overlaps_from_gram(differences, first, k), overlaps_from_gram(permuted, first, k)
    resampled = overlaps_from_gram(_weighted(differences, drawn), first, k)
    return {
        "k": np.arange(1, k + 1),
        "overlap": own,
        "null": null.mean(0),
        "null_high": np.quantile(null, 0.975, axis=0),
        "null_max": np.quantile((null - null.mean(0)).max(axis=1), 0.975),
        "excess": own - null.mean(0),
        "se": resampled.std(axis=0, ddof=1),
    }


def _matching_cubes(
    train: Activations, validation: Activations, neutral: str
) -> tuple[list[Float[np.ndarray, "layer scenario label d_model"]], list[str]]:
    """Both sets as cubes with the labels in one order, and the emotions' names."""
    mine, other = ((a.model, a.revision, a.position, a.n_layers, a.d_model) for a in (train, validation))
    if mine != other:
        raise UserError(f"expected two sets of one model and position, got {mine} and {other}")
    if shared := sorted(set(train.texts["scenario"]) & set(validation.texts["scenario"]), key=str):
        raise UserError(
            f"expected no scenario in both sets, got {len(shared)}, such as {shown(shared[0])}: split by scenario"
        )
    (first, _, emotions), (second, _, names) = (complete_cube(part, neutral) for part in (train, validation))
    if set(emotions) != set(names):
        raise UserError(f"expected the same labels in both sets, got {', '.join(emotions)} and {', '.join(names)}")
    if len(emotions) < 2:
        raise UserError(
            f"expected at least two labels beside {shown(neutral)}, got one: permuting two labels is no null"
        )
    return [first, second[:, :, [0, *(1 + names.index(emotion) for emotion in emotions)]]], emotions


def _usable_k(k_max: int, sizes: Sequence[int], d_model: int) -> int:
    if not 1 <= k_max <= d_model:
        raise UserError(f"expected k_max from 1 to {d_model} (d_model), got {k_max}")
    return min(k_max, min(sizes) // 2)


def _checked_layers(layers: Sequence[int] | None, last: int) -> list[int]:
    chosen = list(range(last + 1)) if layers is None else list(dict.fromkeys(layers))
    if wrong := [layer for layer in chosen if not 0 <= layer <= last]:
        raise UserError(f"expected layers from 0 to {last}, got {wrong[0]}")
    if not chosen:
        raise UserError(f"expected at least one layer from 0 to {last}, got none")
    return chosen


def _resampled(sizes: Sequence[int], count: int, rng: np.random.Generator) -> Int[np.ndarray, "resample scenario"]:
    """How often each scenario is drawn, with replacement within its own set."""
    return np.concatenate([rng.multinomial(n, np.full(n, 1 / n), size=count) for n in sizes], axis=1)


def _weighted(
    gram: Float[np.ndarray, "pair pair"], drawn: Int[np.ndarray, "resample pair"]
) -> Float[np.ndarray, "resample pair pair"]:
    """A row that is drawn w times counts like one row √w as long: DᵀD, and so its directions, are the same."""
    root = np.sqrt(drawn)
    return gram * root[:, :, None] * root[:, None, :]
