"""Vectors from planted activations: what was put in is found, and is not found where nothing was put in."""

from dataclasses import replace

import numpy as np
import pytest
from planted_activations import D_MODEL, LAYERS, SCENARIOS, planted
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression

from emolib.base.errors import UserError
from emolib.data.activations import Activations
from emolib.directions import vectors
from emolib.directions.covariance import fit_within_covariance
from emolib.directions.covariates import fit_covariates, regress_out


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


def trigger_like(acts: Activations) -> Activations:
    """Emotion texts alone, gratitude in scenarios 0–19, anger in 10–29: as at a token that not every text has."""
    number = acts.texts["scenario"].str[1:].astype(int)
    gratitude = (acts.texts["emotion"] == "gratitude") & (number < 20)
    anger = (acts.texts["emotion"] == "anger") & number.between(10, 29)
    return replace(acts.where(gratitude | anger), position="trigger")


def test_without_neutral_texts_each_emotion_is_measured_from_its_own_scenarios_in_the_reference():
    acts, _ = planted()
    trigger = trigger_like(acts)
    vecs = vectors.fit_emotion_vectors(trigger, reference=acts)
    resid, number = acts.values["resid_pre"], acts.texts["scenario"].str[1:].astype(int)
    for emotion, low, high in (("gratitude", 0, 19), ("anger", 10, 29)):
        own = number.between(low, high).to_numpy()
        mean, centre = (
            resid[:, own & (acts.texts["emotion"] == name).to_numpy()].mean(1) for name in (emotion, "neutral")
        )
        np.testing.assert_allclose(vecs.values[emotion], mean - centre, atol=1e-5)
    shared = acts.where((acts.texts["emotion"] == "neutral") & (number < 30))
    np.testing.assert_array_equal(vecs.neutral_norms, shared.median_norms())
    assert vecs.position == "trigger"
    moved = acts.where(np.ones(len(acts.texts), bool))
    moved.values["resid_pre"][:, (number >= 30).to_numpy()] += 100  # scenarios that no trigger text has
    moved.values["resid_pre"][:, (acts.texts["emotion"] != "neutral").to_numpy()] += 100
    again = vectors.fit_emotion_vectors(trigger, reference=moved)
    np.testing.assert_array_equal(again.values["anger"], vecs.values["anger"])
    moved.values["resid_pre"][:, (number == 25).to_numpy()] += 100  # of anger's scenarios alone
    again = vectors.fit_emotion_vectors(trigger, reference=moved)
    assert np.abs(again.values["anger"] - vecs.values["anger"]).min() > 1
    np.testing.assert_array_equal(again.values["gratitude"], vecs.values["gratitude"])


def test_a_reference_is_asked_for_and_checked_and_is_not_used_beside_own_neutral_texts():
    acts, _ = planted()
    trigger = trigger_like(acts)
    with pytest.raises(UserError, match='give reference=activations at position "mean"'):
        vectors.fit_emotion_vectors(trigger)
    with pytest.raises(UserError, match="expected a reference of planted"):
        vectors.fit_emotion_vectors(trigger, reference=replace(acts, model="another"))
    late = acts.where(acts.texts["scenario"].str[1:].astype(int) >= 20)
    with pytest.raises(UserError, match="no 'neutral' texts in the scenarios of 'gratitude'"):
        vectors.fit_emotion_vectors(trigger, reference=late)
    with pytest.raises(UserError, match="no column 'scenario'"):
        vectors.fit_emotion_vectors(trigger, reference=replace(acts, texts=acts.texts.drop(columns="scenario")))
    with pytest.raises(UserError, match="leave out covariates or reference"):
        vectors.fit_emotion_vectors(trigger, reference=acts, covariates=np.ones((len(trigger.texts), 1)))
    shifted = replace(acts, values={"resid_pre": acts.values["resid_pre"] + 100})
    own = vectors.fit_emotion_vectors(acts, reference=shifted)
    np.testing.assert_array_equal(own.values["anger"], vectors.fit_emotion_vectors(acts).values["anger"])


def test_whitening_fills_both_views_from_the_within_label_covariance():
    acts, _ = planted()
    vecs = vectors.fit_emotion_vectors(acts, whiten=True)
    x, labels = acts.values["resid_pre"][3], acts.texts["emotion"]
    covariance = fit_within_covariance(x, labels, standardise=True)
    np.testing.assert_allclose(vecs.whitened["anger"][3], covariance.inverse_root(vecs.values["anger"][3]), atol=1e-4)
    np.testing.assert_allclose(vecs.discriminants["anger"][3], covariance.inverse(vecs.values["anger"][3]), atol=1e-4)
    assert vectors.cosine(vecs.whitened["anger"][3], vecs.whitened["anger"][2]) < 0.999  # a layer's own covariance
    assert not vectors.fit_emotion_vectors(acts).whitened and not vectors.fit_emotion_vectors(acts).discriminants


def test_a_layer_where_all_texts_coincide_has_no_whitened_view_and_spoils_no_other():
    acts, _ = planted()
    acts.values["resid_pre"][0] = np.linspace(0.1, 3, D_MODEL)  # as the embedding of one final mark
    vecs = vectors.fit_emotion_vectors(acts, whiten=True)
    assert np.isnan(vecs.whitened["anger"][0]).all() and np.isfinite(vecs.whitened["anger"][1:]).all()
    assert not vecs.values["anger"][0].any()
    assert not vectors.projection_direction(vecs, "anger", 0, "raw").any()


def surface_confounded(effect: float) -> tuple[Activations, np.ndarray]:
    """Planted activations plus a feature that is higher in anger and writes along dimension 9."""
    acts, _ = planted()
    rng = np.random.default_rng(5)
    length = rng.standard_normal(len(acts.texts)) + 1.5 * (acts.texts["emotion"] == "anger").to_numpy()
    features = np.stack([40 + 12 * length, rng.standard_normal(len(length)), np.full(len(length), 7.0)], axis=1)
    acts.values["resid_pre"][:, :, 9] += (effect * length).astype(np.float32)
    return acts, features


def test_covariates_take_out_what_a_feature_explains_and_leave_the_planted_direction():
    acts, features = surface_confounded(effect=4.0)
    plain = vectors.fit_emotion_vectors(acts).values["anger"]
    adjusted = vectors.fit_emotion_vectors(acts, covariates=features).values["anger"]
    assert plain[:, 9].min() > 5 > 1.2 > np.abs(adjusted[:, 9]).max()
    assert adjusted[1:, 3].min() > 1.4  # the emotion's own dimension keeps its 2
    unrelated = vectors.fit_emotion_vectors(
        acts, covariates=np.random.default_rng(9).standard_normal((len(features), 2))
    )
    assert unrelated.values["anger"][1:, 9].min() > 5  # a feature that explains nothing takes nothing away


def test_the_adjusted_vector_is_the_coefficient_of_the_label_in_one_regression_on_label_and_features():
    """Without the penalty the two are equal (Frisch and Waugh); with 120 texts a penalty of 1 moves little."""
    acts, features = surface_confounded(effect=2.0)
    labels = acts.texts["emotion"].to_numpy()
    design = np.column_stack([labels == "anger", labels == "gratitude", features[:, :2]]).astype(float)
    regression = LinearRegression().fit(design, acts.values["resid_pre"][3])
    adjusted = vectors.fit_emotion_vectors(acts, covariates=features).values
    np.testing.assert_allclose(adjusted["anger"][3], regression.coef_[:, 0], atol=0.05)
    np.testing.assert_allclose(adjusted["gratitude"][3], regression.coef_[:, 1], atol=0.05)
    plain = vectors.fit_emotion_vectors(acts).values["anger"][3]
    assert np.abs(plain - regression.coef_[:, 0]).max() > 1


def test_held_out_texts_are_adjusted_by_the_training_fit():
    acts, features = surface_confounded(effect=4.0)
    train = (acts.texts["split"] == "train").to_numpy()
    fit = fit_covariates(acts.where(train), features[train])
    held_out = acts.where(~train)
    adjusted = regress_out(held_out, fit, features[~train])
    along = [part.values["resid_pre"][3, :, 9] for part in (held_out, adjusted)]
    related = [abs(np.corrcoef(values, features[~train, 0])[0, 1]) for values in along]
    assert related[0] > 0.8 > 0.5 > related[1]
    np.testing.assert_allclose(fit.adjust(np.zeros((LAYERS + 1, 1, D_MODEL)), fit.mean[None]), 0)
    assert fit.scale[2] == 1 and not fit.coefficients[:, 2].any()  # constant within labels: nothing to learn from
    assert adjusted.values["resid_pre"].dtype == np.float32 and list(adjusted.values) == ["resid_pre"]


def test_covariates_that_do_not_fit_the_texts_are_refused():
    acts, features = surface_confounded(effect=1.0)
    with pytest.raises(UserError, match="with 120 rows, got shape"):
        vectors.fit_emotion_vectors(acts, covariates=features[:-1])
    with pytest.raises(UserError, match="not finite"):
        vectors.fit_emotion_vectors(acts, covariates=np.where(features == 7, np.nan, features))
    with pytest.raises(UserError, match="expected 3 features and 5 layers"):
        fit_covariates(acts, features).adjust(acts.values["resid_pre"], features[:, :2])


def test_each_projection_direction_is_the_discriminant_of_its_view():
    acts, _ = planted()
    acts.values["resid_pre"][:, :, 4] *= 30
    vecs = vectors.fit_emotion_vectors(acts, whiten=True)
    found = {variant: vectors.projection_direction(vecs, "anger", 3, variant) for variant in vectors.VARIANTS}
    v, sd = vecs.values["anger"][3].astype(float), vecs.pooled_sd[3].astype(float)
    covariance = fit_within_covariance(acts.values["resid_pre"][3], acts.texts["emotion"], standardise=True)
    by_hand = {
        "raw": v,
        "standardised": v / sd**2,
        "trimmed": np.where(np.isin(np.arange(D_MODEL), np.argsort(sd)[-3:]), 0, v),
        "whitened": covariance.inverse(v),
    }
    for variant, direction in by_hand.items():
        np.testing.assert_allclose(found[variant], direction / np.linalg.norm(direction), atol=1e-6)
    assert found["trimmed"][4] == 0 and abs(found["whitened"][4]) < 0.02 < abs(found["raw"][4])
    np.testing.assert_array_equal(vecs.values["anger"][3], v.astype(np.float32))  # and the vectors are left alone


def test_the_whitened_direction_is_that_of_linear_discriminant_analysis():
    acts, _ = planted()
    vecs = vectors.fit_emotion_vectors(acts, whiten=True)
    covariance = fit_within_covariance(acts.values["resid_pre"][3], acts.texts["emotion"], standardise=True)
    analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=covariance.shrinkage)
    analysis.fit(acts.values["resid_pre"][3] / covariance.scale, acts.texts["emotion"])
    by_name = dict(zip(analysis.classes_, analysis.coef_ / covariance.scale, strict=True))
    anger, neutral = by_name["anger"], by_name["neutral"]
    ours = vectors.projection_direction(vecs, "anger", 3, "whitened")
    assert vectors.cosine(ours, anger - neutral) > 0.9999
    assert vectors.cosine(vectors.projection_direction(vecs, "anger", 3, "raw"), anger - neutral) < 0.99


def test_an_unknown_variant_and_a_missing_view_are_refused():
    vecs = vectors.fit_emotion_vectors(planted()[0])
    with pytest.raises(UserError, match="did you mean 'whitened'"):
        vectors.projection_direction(vecs, "anger", 1, "whitend")
    with pytest.raises(UserError, match="whiten=True"):
        vectors.projection_direction(vecs, "anger", 1, "whitened")


def test_a_cube_needs_neutral_texts():
    acts, _ = planted()
    with pytest.raises(UserError, match="no texts with the neutral label"):
        vectors.scenario_cube(acts, "calm")
    assert vectors.scenario_cube(acts, "neutral")[0].shape == (LAYERS + 1, SCENARIOS, 3, D_MODEL)


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
