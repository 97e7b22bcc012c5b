"""The low-rank covariance against the one written out, and against scikit-learn where that computes the same."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from emolib.base.errors import UserError
from emolib.directions.covariance import fit_within_covariance


def sample(n: int, d_model: int, *, n_labels: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Texts of labels that lie far apart, with falling variances and correlated dimensions within labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_labels
    mixing = rng.standard_normal((d_model, d_model)) / np.sqrt(d_model)
    x = rng.standard_normal((n, d_model)) * np.arange(1, d_model + 1) ** -0.5 @ mixing
    return x + 50 * rng.standard_normal((n_labels, d_model))[labels], labels


def dense(x: np.ndarray, labels: np.ndarray, shrinkage: float) -> np.ndarray:
    """Σ written out from its definition, given δ."""
    centred = np.concatenate([x[labels == name] - x[labels == name].mean(0) for name in np.unique(labels)])
    pooled = centred.T @ centred / (len(x) - len(np.unique(labels)))
    return (1 - shrinkage) * pooled + shrinkage * np.trace(pooled) / x.shape[1] * np.eye(x.shape[1])


@pytest.mark.parametrize(("n", "d_model"), [(30, 60), (200, 20)])
def test_powers_equal_those_of_the_covariance_written_out(n, d_model):
    x, labels = sample(n, d_model)
    fitted = fit_within_covariance(x, labels)
    written = dense(x, labels, fitted.shrinkage)
    v = np.random.default_rng(1).standard_normal((3, 2, d_model))
    values, axes = np.linalg.eigh(written)
    for method, exponent in ((fitted.inverse, -1), (fitted.inverse_root, -0.5), (fitted.root, 0.5)):
        np.testing.assert_allclose(method(v), v @ (axes * values**exponent) @ axes.T, rtol=1e-8)
    assert 0 < fitted.shrinkage < 1 and fitted.freedom == n - 4
    assert fitted.mean_variance == pytest.approx(np.trace(written) / d_model)
    assert fitted.axes.shape == (min(n - 4, d_model), d_model)  # nothing of d_model × d_model where texts are few
    others = dense(x, np.zeros(n, int), fitted.shrinkage)  # control: label means left in
    assert not np.allclose(fitted.root(v), v @ np.linalg.cholesky(others), rtol=0.5)
    assert np.trace(others) > 100 * np.trace(written)


@pytest.mark.parametrize("d_model", [10, 80])
def test_the_intensity_is_that_of_ledoit_and_wolf_for_a_known_mean(d_model):
    """Two texts per label differ by √2 times one draw with mean 0: there scikit-learn computes the same."""
    x, labels = sample(60, d_model, n_labels=30)
    fitted = fit_within_covariance(x, labels)
    differences = np.stack([np.subtract(*x[labels == name]) for name in range(30)]) / np.sqrt(2)
    written, shrinkage = ledoit_wolf(differences, assume_centered=True)
    assert fitted.shrinkage == pytest.approx(shrinkage, rel=1e-9)
    np.testing.assert_allclose(dense(x, labels, fitted.shrinkage), written, atol=1e-10)
    naive = ledoit_wolf(np.concatenate([differences, -differences]), assume_centered=True)[1]
    assert naive < 0.9 * shrinkage or shrinkage == 1  # control: counting every residual as a text shrinks too little


def test_white_data_shrink_to_the_identity_and_correlated_data_do_not():
    rng = np.random.default_rng(0)
    labels = np.arange(2000) % 4
    white = fit_within_covariance(rng.standard_normal((2000, 30)), labels)
    v = rng.standard_normal(30)
    for power in (white.inverse, white.inverse_root, white.root):
        np.testing.assert_allclose(power(v), v, rtol=0.1, atol=0.02)
    assert white.shrinkage > 0.8
    stretched = fit_within_covariance(rng.standard_normal((2000, 30)) * np.linspace(0.5, 3, 30), labels)
    assert stretched.shrinkage < 0.05
    assert (stretched.inverse(v) / v)[0] > 2 * (white.inverse(v) / v)[0]  # the narrow dimension is weighed up


def test_shrinking_brings_the_estimate_nearer_to_the_true_covariance_than_the_sample_is():
    rng = np.random.default_rng(2)
    sd = np.linspace(0.5, 2, 60)
    fitted = fit_within_covariance(rng.standard_normal((40, 60)) * sd, np.arange(40) % 2)
    estimate = fitted.root(fitted.root(np.eye(60)))
    unshrunk = (fitted.axes.T * fitted.variances) @ fitted.axes
    assert np.linalg.norm(estimate - np.diag(sd**2)) < 0.6 * np.linalg.norm(unshrunk - np.diag(sd**2))


def test_whitening_the_texts_leaves_unit_variance_along_every_axis_that_was_measured_well():
    rng = np.random.default_rng(1)
    mixing = np.linalg.qr(rng.standard_normal((12, 12)))[0] * np.linspace(0.5, 2, 12)
    x, labels = rng.standard_normal((4000, 12)) @ mixing, np.arange(4000) % 4
    white = fit_within_covariance(x, labels).inverse_root(x)
    np.testing.assert_allclose(dense(white, labels, 0), np.eye(12), atol=0.1)
    assert not np.allclose(dense(x, labels, 0), np.eye(12), atol=0.1)


def test_standardising_keeps_the_other_dimensions_in_sight_of_a_massive_one():
    rng = np.random.default_rng(2)
    labels, v = np.arange(300) % 4, rng.standard_normal((4, 10))
    massive = rng.standard_normal((300, 10)) * np.where(np.arange(10) == 3, 1e3, 1.0)
    plain, standardised = (fit_within_covariance(massive, labels, standardise=flag) for flag in (False, True))
    scale = standardised.scale
    np.testing.assert_allclose(scale, np.sqrt(np.diag(dense(massive, labels, 0))), rtol=1e-9)
    correlations = dense(massive / scale, labels, standardised.shrinkage)
    written = correlations * np.outer(scale, scale)
    np.testing.assert_allclose(standardised.inverse(v), np.linalg.solve(written, v.T).T, rtol=1e-6)
    np.testing.assert_allclose(standardised.inverse_root(standardised.root(v)), v, rtol=1e-6)
    roots = standardised.root(np.eye(10))
    np.testing.assert_allclose(roots.T @ roots, written, rtol=1e-6, atol=1e-8)
    others = np.arange(10) != 3
    kept = [np.linalg.norm(c.inverse(v)[:, others]) / np.linalg.norm(v[:, others]) for c in (standardised, plain)]
    assert kept[0] == pytest.approx(1, abs=0.2) and kept[1] < 0.1  # their variance is 1: Σ⁻¹ leaves them as they are


def test_labels_with_a_single_text_say_nothing_about_the_spread():
    x, labels = sample(30, 8)
    alone = np.concatenate([x, [x.mean(0) + 1e3]])
    with_it = fit_within_covariance(alone, [*labels, 99])
    without = fit_within_covariance(x, labels)
    assert with_it.shrinkage == pytest.approx(without.shrinkage)
    np.testing.assert_allclose(with_it.variances, without.variances)
    assert fit_within_covariance(alone, [*labels, 0]).variances[0] > 100 * without.variances[0]


def test_texts_that_differ_along_one_line_stay_invertible():
    """All residuals have one length and one axis: Ledoit and Wolf's δ is 0 and the covariance of rank 1."""
    x = np.outer([1, -1, 1, -1, 1, -1, 1, -1], [3.0, 4.0, 0.0])
    fitted = fit_within_covariance(x, [0, 0, 0, 0, 1, 1, 1, 1])
    assert len(fitted.variances) == 1
    found = fitted.inverse(np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]))
    assert np.isfinite(found).all() and found[1, 2] > 1e3 * np.linalg.norm(found[0])


def test_bad_input_is_refused_in_one_line():
    x, labels = sample(12, 5)
    with pytest.raises(UserError, match=r"at least 2 texts beyond one per label, got 12 texts of 11 labels"):
        fit_within_covariance(x, [0, 0, *range(1, 11)])
    with pytest.raises(UserError, match="with a label each"):
        fit_within_covariance(x, labels[:-1])
    with pytest.raises(UserError, match="all the same activations"):
        fit_within_covariance(np.full((12, 5), 0.1), labels)
    with pytest.raises(UserError, match="expected vectors of 5 dimensions"):
        fit_within_covariance(x, labels).inverse(np.ones(4))
    x[0, 0] = np.inf
    with pytest.raises(UserError, match="not finite"):
        fit_within_covariance(x, labels)
