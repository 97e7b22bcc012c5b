"""Vectors from planted activations: what was put in is found, and is not found where nothing was put in."""

import numpy as np
import pandas as pd
import pytest

from emolib import vectors
from emolib.activations import Activations
from emolib.errors import UserError

LAYERS, D_MODEL, SCENARIOS = 4, 16, 40
EMOTIONS = ("neutral", "gratitude", "anger")


def planted(strength: float = 2.0, seed: int = 0) -> tuple[Activations, dict[str, np.ndarray]]:
    """Activations `[layer, text, d_model]` whose emotions differ from neutral by known directions from layer 1 on."""
    rng = np.random.default_rng(seed)
    directions = {name: np.eye(D_MODEL)[i + 2] * strength for i, name in enumerate(EMOTIONS[1:])}
    rows, values = [], []
    for scenario in range(SCENARIOS):
        shared = rng.standard_normal(D_MODEL)
        for emotion in EMOTIONS:
            added = directions.get(emotion, np.zeros(D_MODEL))
            noise = rng.standard_normal((LAYERS + 1, D_MODEL))
            values.append(shared + noise + added * (np.arange(LAYERS + 1) > 0)[:, None])
            split = "train" if scenario < 28 else "test"
            rows.append({"id": f"{scenario}-{emotion}", "scenario": f"s{scenario}", "emotion": emotion, "split": split})
    texts = pd.DataFrame(rows)
    resid = np.stack(values, axis=1).astype(np.float32)
    norms = np.repeat(np.linalg.norm(resid, axis=2), 3, axis=1).astype(np.float32)
    offsets = np.arange(0, 3 * len(texts) + 1, 3)
    return Activations({"resid_pre": resid}, texts, norms, offsets, "mean", "planted", "r0"), directions


def test_the_vector_is_the_difference_of_means_by_hand():
    acts, directions = planted()
    vecs = vectors.fit_emotion_vectors(acts)
    mask = acts.texts["emotion"].to_numpy()
    by_hand = acts.values["resid_pre"][3, mask == "anger"].mean(0) - acts.values["resid_pre"][
        3, mask == "neutral"
    ].mean(0)
    np.testing.assert_allclose(vecs["anger"][3].values, by_hand, atol=1e-5)
    assert vecs["anger"].shape == (LAYERS + 1, D_MODEL)
    assert vectors.cosine(vecs["anger"][3].values, directions["anger"]) > 0.9
    assert vectors.cosine(vecs["anger"][0].values, directions["anger"]) < 0.6  # nothing was planted at layer 0


def test_arithmetic_between_layers_models_or_positions_is_refused():
    vecs = vectors.fit_emotion_vectors(planted()[0])
    total = vecs["anger"][1] + vecs["gratitude"][1]
    np.testing.assert_allclose(total.values, vecs["anger"][1].values + vecs["gratitude"][1].values)
    with pytest.raises(UserError, match="one model, layer and position"):
        vecs["anger"][1] - vecs["gratitude"][2]
    with pytest.raises(UserError, match="out of range"):
        vecs["anger"][LAYERS + 1]
    with pytest.raises(UserError, match="did you mean 'anger'"):
        vecs["angre"]


def test_missing_neutral_or_emotion_and_non_finite_values_are_refused():
    acts, _ = planted()
    with pytest.raises(UserError, match="no texts with the neutral label"):
        vectors.fit_emotion_vectors(acts, neutral="calm")
    with pytest.raises(UserError, match="at least one label beside"):
        vectors.fit_emotion_vectors(acts.where(acts.texts["emotion"] == "neutral"))
    acts.values["resid_pre"][0, 0, 0] = np.nan
    with pytest.raises(UserError, match="not finite"):
        vectors.fit_emotion_vectors(acts)


def test_trimming_and_standardising_undo_a_massive_dimension():
    acts, _ = planted()
    acts.values["resid_pre"][:, :, 0] *= 100  # one dimension of huge spread, which says nothing about emotion
    table = vectors.cosine_table(vectors.fit_emotion_vectors(acts))
    row = table[table["layer"] == 3].iloc[0]
    assert abs(row["raw"]) > 0.8 > 0.5 > abs(row["trimmed"])
    assert abs(row["standardised"]) < 0.6
    assert vectors.massive_dimensions(vectors.fit_emotion_vectors(acts), 3)[0] == 0


def test_split_halves_agree_where_a_direction_is_planted_and_not_under_shuffled_labels():
    table = vectors.split_half_stability(planted()[0], n_halves=10)
    inner = table[table["layer"] > 0]
    assert inner["low"].min() > 0.5
    assert table["shuffled"].abs().max() < 0.4
    assert table.loc[table["layer"] == 0, "mean"].abs().max() < 0.5


def test_the_probe_reads_a_planted_direction_and_stays_at_chance_without_one():
    for strength, low, high in ((6.0, 0.9, 1.0), (0.0, 0.2, 0.8)):
        acts, _ = planted(strength)
        train, test = (acts.where(acts.texts["split"] == split) for split in ("train", "test"))
        table = vectors.probe_table(train, {"test": test}, n_shuffles=3)
        inner = table[table["layer"] > 0]["auc"]
        assert low <= inner.min() and inner.max() <= high
        assert 0.2 < table["shuffled_mean"].mean() < 0.8


def test_where_keeps_values_norms_and_texts_together():
    acts, _ = planted()
    part = acts.where(acts.texts["emotion"] == "anger")
    assert len(part.texts) == SCENARIOS and part.token_norms.shape[1] == 3 * SCENARIOS
    text = 5
    row = int(np.flatnonzero(acts.texts["id"] == part.texts.loc[text, "id"])[0])
    np.testing.assert_array_equal(part.values["resid_pre"][:, text], acts.values["resid_pre"][:, row])
    start, end = acts.offsets[row], acts.offsets[row + 1]
    np.testing.assert_array_equal(
        part.token_norms[:, part.offsets[text] : part.offsets[text + 1]], acts.token_norms[:, start:end]
    )


def test_median_norms_leave_out_each_first_token():
    acts, _ = planted()
    loud = acts.token_norms.copy()
    loud[:, acts.offsets[:-1]] = 1e6
    np.testing.assert_array_equal(
        Activations(acts.values, acts.texts, loud, acts.offsets, "mean", "m", "r").median_norms(), acts.median_norms()
    )
    loud[:, acts.offsets[:-1] + 1] = 1e6
    assert (
        Activations(acts.values, acts.texts, loud, acts.offsets, "mean", "m", "r").median_norms() > acts.median_norms()
    ).any()
