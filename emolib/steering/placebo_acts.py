"""Directions that hold no emotion: topics, an emotion's word where nobody feels it, formality and other ways of saying
the same, and valence. Differences of mean activations, each with the norm of the vector in whose place it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from emolib.base.errors import UserError, shown
from emolib.data.activations import Activations, LayerVectors
from emolib.data.pairs import LEXICAL_ROLES
from emolib.data.valence import human_valence
from emolib.directions.vectors import check_labelled

FORMALITY = {"frequency": "formality", "courtesy": "courtesy"}  # kinds of pairs whose b is the more formal text
FEWEST_TEXTS = 4  # on each side of a difference


def topic_vectors(acts: Activations, *, like: LayerVectors, neutral: str = "neutral") -> dict[str, LayerVectors]:
    """`topic:<topic>`: neutral texts of a topic minus neutral texts of all others.

    Args:
        acts: of training texts, with a column `topic`.
        like: whose norm at each layer every vector has, and whose units.
        neutral: the label of the texts.

    Returns:
        Name → vectors, for the topics with at least 4 neutral texts.

    Raises:
        UserError: no column `topic`, other activations than those of `like`, fewer than two topics.
    """
    check_labelled("acts", acts, neutral)
    if "topic" not in acts.texts:
        raise UserError("expected activations of texts with a column 'topic', found none; add it to the texts")
    is_neutral = (acts.texts["emotion"] == neutral).to_numpy()
    topics = acts.texts["topic"].to_numpy()
    counts = acts.texts.loc[is_neutral, "topic"].value_counts()
    kept = [topic for topic in dict.fromkeys(topics) if counts.get(topic, 0) >= FEWEST_TEXTS]
    if len(kept) < 2:
        raise UserError(f"expected at least two topics with {FEWEST_TEXTS} neutral texts each, found {len(kept)}")
    masks = {f"topic:{topic}": (is_neutral & (topics == topic), is_neutral & (topics != topic)) for topic in kept}
    return _differences(acts, masks, like)


def pair_vectors(acts: Activations, *, like: LayerVectors) -> dict[str, LayerVectors]:
    """`lexical:<emotion>` from pairs with an emotion's word that nobody feels, `<kind>` from pairs of placebo texts.

    The first is the texts with the word minus those with another in its place; the second the texts of role b minus
    those of role a, under the name `formality` for the kind `frequency` (common words for rare ones).

    Args:
        acts: of the texts of `emolib.data.pairs.load_lexical` or `load_placebo`, with their columns.
        like: as of `topic_vectors`.

    Raises:
        UserError: no columns kind and role, other activations than those of `like`, fewer than 4 pairs of a kind.
    """
    for name in ("kind", "role"):
        if name not in acts.texts:
            raise UserError(f"expected activations of texts with a column {shown(name)}, found none; add it")
    texts = acts.texts
    role = texts["role"].to_numpy()
    masks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind in dict.fromkeys(texts["kind"]):
        of_kind = (texts["kind"] == kind).to_numpy()
        if kind == "lexical":
            for emotion in dict.fromkeys(texts.loc[of_kind, "emotion"]):
                mine = of_kind & (texts["emotion"] == emotion).to_numpy()
                masks[f"lexical:{emotion}"] = (mine & (role == "with"), mine & (role == "without"))
        elif kind not in LEXICAL_ROLES:
            masks[FORMALITY.get(str(kind), str(kind))] = (of_kind & (role == "b"), of_kind & (role == "a"))
    return _differences(acts, masks, like)


def valence_vector(
    acts: Activations, *, like: LayerVectors, labels: Collection[str] | None = None
) -> dict[str, LayerVectors]:
    """`valence`: the mean over labels of pleasant emotions minus the mean over those of unpleasant ones.

    Labels count alike, and only scenarios that have all of them. Which are pleasant is what people said of their words
    (`emolib.data.valence`).

    Args:
        acts: of texts of several labels on the same scenarios, such as companions.
        like: as of `topic_vectors`.
        labels: that are taken; None takes all whose word was rated. Leave out the emotions in whose place it stands.

    Raises:
        UserError: no label on one of the two sides, other activations than those of `like`.
    """
    texts = acts.texts
    for name in ("scenario", "emotion"):
        if name not in texts:
            raise UserError(f"expected activations of texts with a column {shown(name)}, found none; add it")
    rated = human_valence(dict.fromkeys(texts["emotion"]) if labels is None else labels)
    pleasant = [label for label, found in rated.items() if found.mean > 0]
    unpleasant = [label for label, found in rated.items() if found.mean < 0]
    if not pleasant or not unpleasant:
        raise UserError("expected labels of pleasant and of unpleasant emotions, one side has none")
    used = texts[texts["emotion"].isin(rated)]
    whole = used.groupby("scenario")["emotion"].nunique()
    inside = texts["scenario"].isin(whole.index[whole == len(rated)]).to_numpy()
    means = {label: _mean(acts, inside & (texts["emotion"] == label).to_numpy(), label) for label in rated}
    difference = np.mean([means[label] for label in pleasant], axis=0)
    difference = difference - np.mean([means[label] for label in unpleasant], axis=0)
    return {"valence": _scaled(acts, difference, like)}


def _differences(
    acts: Activations,
    masks: Mapping[str, tuple[Bool[np.ndarray, " text"], Bool[np.ndarray, " text"]]],
    like: LayerVectors,
) -> dict[str, LayerVectors]:
    return {
        name: _scaled(acts, _mean(acts, one, name) - _mean(acts, other, name), like)
        for name, (one, other) in masks.items()
    }


def _mean(acts: Activations, mask: Bool[np.ndarray, " text"], name: str) -> Float[np.ndarray, "layer d_model"]:
    if mask.sum() < FEWEST_TEXTS:
        raise UserError(f"expected at least {FEWEST_TEXTS} texts on each side of {shown(name)}, found {mask.sum()}")
    found: np.ndarray = acts.values["resid_pre"][:, mask].mean(axis=1, dtype=np.float64)
    return found


def _scaled(acts: Activations, difference: Float[np.ndarray, "layer d_model"], like: LayerVectors) -> LayerVectors:
    """The difference with the norm of `like` at every layer; zero where it is zero."""
    mine, theirs = (acts.model, acts.revision, acts.position), (like.model, like.revision, like.position)
    if mine != theirs or difference.shape != like.shape:
        raise UserError(f"expected activations of the model, position and layers of `like`, got {mine} and {theirs}")
    norms = np.linalg.norm(difference, axis=1)
    factor = np.where(norms > 0, like.norms / np.where(norms > 0, norms, 1.0), 0.0)
    return replace(like, values=(difference * factor[:, None]).astype(np.float32))
