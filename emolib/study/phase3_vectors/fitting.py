"""Phase 3: emotion vectors at three positions: how they are fitted, their size, likeness and stability.

Needs Phase 2. Makes `emotion_vectors/<model>_vectors_<position>.safetensors` and the tables beside them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emolib.base import store, tensor_files
from emolib.data.activations import Activations
from emolib.directions.stability import split_half_stability
from emolib.directions.vector_tables import cosine_table, distance_table, norm_table
from emolib.directions.vectors import EmotionVectors, fit_emotion_vectors
from emolib.study import phase2_activations
from emolib.study.run import Run, kept

FEWEST_TRIGGERS = 2  # texts of every emotion with an emotion word, for vectors at the trigger
_KINDS = ("vector", "whitened", "discriminant")


def joined(labels: Sequence[str]) -> str:
    """The labels as one line, in their order: with commas between them, or as JSON where one of them holds a comma."""
    return json.dumps(list(labels)) if any("," in label for label in labels) else ",".join(labels)


def parted(line: str, labels: Collection[str]) -> list[str]:
    """What `joined` made a line of; `labels` are the same ones, in any order.

    >>> parted(joined(["calm, quiet", "joy"]), {"joy", "calm, quiet"})
    ['calm, quiet', 'joy']
    """
    names = line.split(",")
    if set(names) == set(labels):
        return names
    try:
        names = json.loads(line)
    except ValueError:
        names = []
    return names if set(names) == set(labels) else sorted(labels)  # an older file says no order


# activations of the splits


def training(run: Run, position: str, *, style: str = "all") -> Activations:
    """Activations of the training scenarios, of one style or all."""
    return _of_texts(run, position, "train", style)


def split_of(run: Run, position: str, split: str) -> Activations:
    return _of_texts(run, position, split, "all")


def _of_texts(run: Run, position: str, split: str, style: str) -> Activations:
    acts = _activations(run, position)
    return acts.where(acts.texts["id"].isin(_ids(run, split, style)))


@kept
def _activations(run: Run, position: str) -> Activations:
    return phase2_activations.activations(run, position)


@kept
def _ids(run: Run, split: str, style: str) -> set[str]:
    return set(run.texts(split, style=style)["id"])


def positions(run: Run) -> tuple[str, ...]:
    """The positions at which vectors are fitted: the trigger only where every emotion has enough texts with one."""
    if "trigger" not in phase2_activations.usual_positions(run):
        return ("mean", "last")
    counts = training(run, "trigger").texts["emotion"].value_counts()
    enough = all(counts.get(emotion, 0) >= FEWEST_TRIGGERS for emotion in run.emotions)
    return ("mean", "last", "trigger") if enough else ("mean", "last")


# vectors


@kept
def vectors(run: Run, position: str, *, style: str = "all") -> EmotionVectors:
    """The vectors fitted on the training scenarios; stored, then read back."""
    train = training(run, position, style=style)
    name = position if style == "all" else f"{position}_{style}"
    fitted = _fitted(run, position, style)
    matched = {"texts": store.digest(train.texts["id"].tolist()), "position": position, **inputs(run, position)}
    return kept_vectors(run, run.paths.vectors(name), fitted, matched)


def kept_vectors(run: Run, path: Path, fitted: EmotionVectors, matched: Mapping[str, Any]) -> EmotionVectors:
    """The vectors as they are read back from their artifact, which is made where it is missing.

    Args:
        matched: what they are fitted on.
    """
    tensors = {f"vector/{e}": fitted.values[e] for e in fitted}
    tensors |= {f"whitened/{e}": fitted.whitened[e].astype(np.float32) for e in fitted}
    tensors |= {f"discriminant/{e}": fitted.discriminants[e].astype(np.float32) for e in fitted}
    tensors |= {"neutral_norms": fitted.neutral_norms.astype(np.float32), "pooled_sd": fitted.pooled_sd}
    if fitted.neutral_bulk_norms is not None:
        tensors["neutral_bulk_norms"] = fitted.neutral_bulk_norms.astype(np.float32)
    about = {"model": fitted.model, "revision": fitted.revision, "emotions": joined(fitted.emotions)}
    run.artifacts.obtain(path, matched, lambda: tensor_files.tensor_bytes(tensors, about))
    with tensor_files.open_tensors(path) as view:
        read = {kind: {e: view.get_tensor(f"{kind}/{e}") for e in fitted} for kind in _KINDS}
        return EmotionVectors(
            values=read["vector"],
            neutral_norms=view.get_tensor("neutral_norms"),
            pooled_sd=view.get_tensor("pooled_sd"),
            model=fitted.model,
            revision=fitted.revision,
            position=fitted.position,
            whitened=read["whitened"],
            discriminants=read["discriminant"],
            neutral_bulk_norms=None if fitted.neutral_bulk_norms is None else view.get_tensor("neutral_bulk_norms"),
        )


@kept
def _fitted(run: Run, position: str, style: str) -> EmotionVectors:
    reference = training(run, "mean", style=style) if position == "trigger" else None
    train = training(run, position, style=style)
    return fit_emotion_vectors(train, neutral=run.params.neutral, reference=reference, whiten=True)


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


@kept
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
