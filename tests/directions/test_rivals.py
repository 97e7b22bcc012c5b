"""Other ways to a direction, PCA of differences and a probe: whether they find what was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib.data.activations import Activations
from emolib.directions.rivals import KINDS, alternative_vectors
from emolib.directions.vectors import EmotionVectors, fit_emotion_vectors

EMOTIONS = ("gratitude", "anger")
N_SCENARIOS, D_MODEL, LAYER = 60, 16, 1
PLANTED = {"gratitude": np.eye(D_MODEL)[0], "anger": (np.eye(D_MODEL)[1] + np.eye(D_MODEL)[2]) / np.sqrt(2)}


def activations(*, sign: float = 1.0, scales: np.ndarray | None = None, seed: int = 0) -> Activations:
    """Emotional texts lie a varying way along the planted direction, whatever else their scenario does to them."""
    rng = np.random.default_rng(seed)
    rows, values = [], []
    for scenario in range(N_SCENARIOS):
        scene = rng.normal(size=(3, D_MODEL))
        for label in ("neutral", *EMOTIONS):
            way = sign * rng.uniform(1, 5) * PLANTED[label] if label in PLANTED else 0.0
            values.append(scene + way + rng.normal(scale=0.3, size=(3, D_MODEL)))
            rows.append({"scenario": f"s{scenario:02d}", "emotion": label})
    stacked = np.stack(values, axis=1) * (np.ones(D_MODEL) if scales is None else scales)
    offsets = np.arange(0, 2 * len(rows) + 1, 2)
    norms = rng.uniform(1, 2, (3, offsets[-1]))
    return Activations(
        {"resid_pre": stacked.astype(np.float32)}, pd.DataFrame(rows), norms, offsets, "mean", "made-up", "0"
    )


def found_by(kind: str, acts: Activations, layers: tuple[int, ...] = (LAYER,)) -> tuple[EmotionVectors, EmotionVectors]:
    vecs = fit_emotion_vectors(acts, whiten=True)
    return alternative_vectors(kind, acts, vecs, layers=layers), vecs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_planted_direction_is_found_with_its_sign_and_the_norm_of_the_mean_difference(kind, sign):
    other, vecs = found_by(kind, activations(sign=sign))
    assert other.emotions == vecs.emotions == EMOTIONS
    for emotion, direction in PLANTED.items():
        assert other[emotion][LAYER].direction @ direction * sign > 0.9
        wrong = next(PLANTED[e] for e in EMOTIONS if e != emotion)
        assert abs(other[emotion][LAYER].direction @ wrong) < 0.3
        assert other[emotion][LAYER].norm == pytest.approx(vecs[emotion][LAYER].norm, rel=1e-5)
        assert not np.allclose(other[emotion][LAYER].values, vecs[emotion][LAYER].values, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_layers_asked_for_are_filled_and_nothing_of_the_mean_difference_is_left(kind):
    other, vecs = found_by(kind, activations(), layers=(LAYER, 2))
    assert (other.values["anger"][0] == 0).all() and (other.values["anger"][[LAYER, 2]] != 0).all()
    assert vecs.whitened and not other.whitened and not other.discriminants
    assert (other.model, other.revision, other.position) == (vecs.model, vecs.revision, vecs.position)
    np.testing.assert_array_equal(other.neutral_norms, vecs.neutral_norms)


def test_pca_takes_the_variation_of_the_differences_and_not_their_mean():
    """The mean difference lies along one axis, its variation along another."""
    acts = activations()
    values = acts.values["resid_pre"].copy()
    rng = np.random.default_rng(3)
    own = (acts.texts["emotion"] == "gratitude").to_numpy()
    values[:, own, 5] += 20
    values[:, own, 7] += 1 + 10 * rng.normal(size=own.sum())
    shifted = Activations(
        {"resid_pre": values}, acts.texts, acts.token_norms, acts.offsets, "mean", acts.model, acts.revision
    )
    other, vecs = found_by("pca", shifted)
    assert abs(other["gratitude"][LAYER].direction[7]) > 0.98 and abs(vecs["gratitude"][LAYER].direction[5]) > 0.9
    assert other["gratitude"][LAYER].values @ vecs["gratitude"][LAYER].values > 0


def test_the_probe_is_read_back_into_activation_units():
    acts = activations(scales=np.geomspace(0.1, 30, D_MODEL))
    other, _ = found_by("probe", acts)
    labels = acts.texts["emotion"].to_numpy()
    x = acts.values["resid_pre"][LAYER].astype(np.float64)
    chosen = np.isin(labels, ["neutral", "anger"])
    x, y = x[chosen], labels[chosen] == "anger"
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, solver="liblinear")).fit(x, y)
    says = probe.decision_function(x)
    assert np.corrcoef(x @ other["anger"][LAYER].values, says)[0, 1] > 0.999
    assert np.corrcoef(x @ probe[-1].coef_[0], says)[0, 1] < 0.99  # control: the weights on standardised values
