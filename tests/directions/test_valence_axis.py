"""The first component against valence, on labels whose place is planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from emolib.base.errors import UserError
from emolib.directions.valence_axis import components, difference, label_orders, valence_axis

LABELS, WIDTH = 20, 40


def planted(
    *, on_axis: float, axis: float = 3.0, noise: float = 1.0, scenarios: int = 30, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels along one wide axis that has a known correlation with valence, and seven narrower ones that have none.

    Returns:
        cube, valence, and the labels' places without noise.
    """
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(np.column_stack([np.ones(LABELS), rng.standard_normal((LABELS, 9))]))[0][:, 1:] * LABELS**0.5
    valence, other = basis[:, 0], basis[:, 1]
    means = np.zeros((LABELS, WIDTH))
    means[:, 0] = axis * (on_axis * valence + np.sqrt(1 - on_axis**2) * other)
    means[:, 1:8] = 0.5 * basis[:, 2:9]
    shared = 3 * rng.standard_normal((scenarios, 1, WIDTH))
    return means + shared + noise * rng.standard_normal((scenarios, LABELS, WIDTH)), valence, means


def test_without_noise_the_planted_correlation_and_shares_come_out() -> None:
    cube, valence, means = planted(on_axis=0.7, noise=0.0)
    found = valence_axis(cube, valence)
    assert found.pearson[0] == pytest.approx(0.7, abs=1e-6)
    assert found.shares[0] == pytest.approx(9 / (9 + 7 * 0.25), abs=1e-6)
    assert found.spearman[0] == pytest.approx(stats.spearmanr(means[:, 0], valence).statistic, abs=1e-6)
    assert found.reliability == pytest.approx(1.0)


def test_a_valence_axis_is_found_and_one_without_valence_is_not() -> None:
    cube, valence, _ = planted(on_axis=0.9)
    found = valence_axis(cube, valence)
    assert found.low > 0.7 and found.p < 0.001 and found.reliability > 0.9
    cube, valence, _ = planted(on_axis=0.05)
    nothing = valence_axis(cube, valence)
    assert nothing.p > 0.5 and nothing.high < 0.4 and nothing.reliability > 0.9


def test_where_the_labels_do_not_differ_nothing_is_reliable() -> None:
    rng = np.random.default_rng(3)
    found = valence_axis(rng.standard_normal((30, LABELS, WIDTH)), np.linspace(-3, 3, LABELS))
    assert found.reliability < 0.7


def test_the_sign_is_chosen_once_so_that_scenarios_can_speak_against_it() -> None:
    """With pure noise the sample's correlation is never negative; leaving scenarios out must be able to make it so."""
    rng = np.random.default_rng(0)
    found = valence_axis(rng.standard_normal((8, LABELS, WIDTH)), np.linspace(-3, 3, LABELS))
    assert found.pearson[0] >= 0 > found.left_out.min()


def test_neutral_cancels_and_labels_without_valence_still_shape_the_components() -> None:
    cube, valence, _ = planted(on_axis=0.8)
    neutral = np.random.default_rng(5).standard_normal((len(cube), 1, WIDTH))
    assert valence_axis(cube - neutral, valence).pearson == pytest.approx(valence_axis(cube, valence).pearson)
    unknown = valence.copy()
    unknown[:4] = np.nan
    partly = valence_axis(cube, unknown)
    assert partly.scores.shape == (LABELS, 3) and np.isfinite(partly.pearson).all()
    assert np.abs(partly.scores[:, 0]) == pytest.approx(np.abs(valence_axis(cube, valence).scores[:, 0]))


@pytest.mark.parametrize("noise", [1.0, 2.5])
def test_the_intervals_cover_what_is_there_without_noise(noise: float) -> None:
    covered, of_difference = [], []
    for seed in range(60):
        cube, valence, _ = planted(on_axis=0.8, noise=noise, seed=seed)
        lower, _, _ = planted(on_axis=0.5, noise=noise, seed=seed)
        one, other = valence_axis(cube, valence), valence_axis(lower, valence)
        covered.append(one.low <= 0.8 <= one.high)
        _, low, high = difference(one, other)
        of_difference.append(low <= 0.3 <= high)
    assert np.mean(covered) >= 0.85 and np.mean(of_difference) >= 0.85


def test_a_difference_from_the_same_place_is_nothing() -> None:
    cube, valence, _ = planted(on_axis=0.8)
    same = valence_axis(cube, valence)
    assert difference(same, same) == (0.0, 0.0, 0.0)


def test_permuted_valence_is_seldom_significant() -> None:
    cube, valence, _ = planted(on_axis=0.8)
    rng = np.random.default_rng(0)
    p = [valence_axis(cube[:6], rng.permutation(valence)).p for _ in range(200)]
    assert np.mean(np.array(p) <= 0.05) <= 0.1


def test_few_labels_are_permuted_in_every_order() -> None:
    assert len(np.unique(label_orders(5), axis=0)) == 120
    rng = np.random.default_rng(0)
    valence = np.arange(5.0)
    cube = rng.standard_normal((6, 5, 8)) * 0.01 + np.outer(valence, np.eye(8)[0])
    assert valence_axis(cube, valence).p == pytest.approx(2 / 120)  # itself and its mirror image


def test_components_are_those_of_an_svd() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((10, 30))
    scores, shares = components(vectors)
    left, values, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    assert np.abs(scores) == pytest.approx(np.abs(left * values)[:, :3])
    assert shares == pytest.approx((values**2 / (values**2).sum())[:3])


def test_too_little_is_told() -> None:
    cube, valence, _ = planted(on_axis=0.8)
    with pytest.raises(UserError, match="at least 4 scenarios"):
        valence_axis(cube[:3], valence)
    with pytest.raises(UserError, match="at least 5 labels with a known valence, got 4"):
        valence_axis(cube, np.where(np.arange(LABELS) < 4, valence, np.nan))
