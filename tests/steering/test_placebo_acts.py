"""Directions that hold no emotion, on planted activations: each finds what its texts differ in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.data.activations import Activations, LayerVectors
from emolib.data.pairs import load_lexical, load_placebo
from emolib.steering.placebo_acts import pair_vectors, topic_vectors, valence_vector

N_LAYERS, WIDTH = 3, 16
AXES = np.eye(WIDTH)


def activations(texts: pd.DataFrame, planted: np.ndarray) -> Activations:
    """Noise, and a planted vector per text, growing with the layer."""
    generator = np.random.default_rng(0)
    layers = np.arange(1, N_LAYERS + 2)[:, None, None]
    values = 0.1 * generator.standard_normal((N_LAYERS + 1, len(texts), WIDTH)) + layers * planted
    offsets = np.arange(len(texts) + 1)
    norms = np.linalg.norm(values, axis=-1)
    return Activations({"resid_pre": values.astype(np.float32)}, texts, norms, offsets, "mean", "planted", "1")


@pytest.fixture(scope="module")
def like() -> LayerVectors:
    values = np.outer(np.arange(1.0, N_LAYERS + 2), AXES[15]).astype(np.float32)
    return LayerVectors(values, "planted", "1", "mean", np.full(N_LAYERS + 1, 8.0))


def test_topics_are_told_apart_in_neutral_texts(like: LayerVectors) -> None:
    topics = ["work", "home", "rare"]
    rows = [
        (topic, label) for topic in topics for label in ("neutral", "anger") for _ in range(2 if topic == "rare" else 8)
    ]
    texts = pd.DataFrame(rows, columns=["topic", "emotion"])
    planted = AXES[texts["topic"].map({"work": 0, "home": 1, "rare": 2})] + np.outer(
        texts["emotion"] == "anger", AXES[9]
    )
    found = topic_vectors(activations(texts, planted), like=like)
    assert set(found) == {"topic:work", "topic:home"}, "two texts are no topic"
    for name, axis in (("topic:work", 0), ("topic:home", 1)):
        assert int(np.argmax(found[name][2].values)) == axis
        np.testing.assert_allclose(found[name].norms, like.norms, rtol=1e-5)
        assert abs(found[name][2].direction[9]) < 0.1 and found[name][2].neutral_norm == 8.0


def test_pairs_give_the_direction_of_what_they_differ_in(like: LayerVectors) -> None:
    lexical = load_lexical().query("kind == 'lexical'").reset_index(drop=True)
    axis = lexical["emotion"].map({"gratitude": 0, "anger": 1, "apology": 2})
    planted = AXES[axis] * (lexical["role"] == "with").to_numpy(float)[:, None]
    found = pair_vectors(activations(lexical, planted), like=like)
    assert [int(np.argmax(found[f"lexical:{name}"][1].values)) for name in ("gratitude", "anger", "apology")] == [
        0,
        1,
        2,
    ]
    placebo = load_placebo().assign(emotion="neutral")
    kinds = {kind: i for i, kind in enumerate(placebo["kind"].unique())}
    planted = AXES[placebo["kind"].map(kinds)] * (placebo["role"] == "b").to_numpy(float)[:, None]
    found = pair_vectors(activations(placebo, planted), like=like)
    assert set(found) == (set(kinds) - {"frequency"}) | {"formality"}
    assert int(np.argmax(found["formality"][1].values)) == kinds["frequency"]


def test_valence_is_what_pleasant_labels_share(like: LayerVectors) -> None:
    labels = ["joy", "admiration", "sadness", "fear", "neutral"]
    texts = pd.DataFrame([{"scenario": f"k{i}", "emotion": label} for i in range(12) for label in labels])
    pleasant = texts["emotion"].map({"joy": 1.0, "admiration": 1.0, "sadness": -1.0, "fear": -1.0, "neutral": 0.0})
    planted = np.outer(pleasant, AXES[3]) + 0.5 * AXES[4 + texts["emotion"].map(labels.index)]
    acts = activations(texts, planted)
    found = valence_vector(acts, like=like)["valence"]
    assert found[2].direction[3] > 0.9
    np.testing.assert_allclose(found.norms, like.norms, rtol=1e-5)
    alone = valence_vector(acts, like=like, labels=["joy", "fear"])["valence"]
    assert abs(alone[2].direction[5]) < 0.1 < abs(alone[2].direction[4]), "labels that are left out have no part"


def test_other_activations_are_refused(like: LayerVectors) -> None:
    texts = pd.DataFrame({"scenario": ["k"] * 8, "emotion": ["joy"] * 4 + ["calm"] * 4})
    acts = activations(texts, np.zeros((8, WIDTH)))
    with pytest.raises(UserError, match="one side has none"):
        valence_vector(acts, like=like)
    with pytest.raises(UserError, match="column 'topic'"):
        topic_vectors(acts, like=like, neutral="calm")
    with pytest.raises(UserError, match="column 'kind'"):
        pair_vectors(acts, like=like)
    lexical = load_lexical().query("kind == 'lexical'").reset_index(drop=True)
    strange = LayerVectors(like.values, "another", "1", "mean", like.neutral_norms)
    with pytest.raises(UserError, match="expected activations of the model"):
        pair_vectors(activations(lexical, np.zeros((len(lexical), WIDTH))), like=strange)
