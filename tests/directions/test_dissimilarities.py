"""Tables of dissimilarities, their reliability, and cosines without noise, on planted labels."""

from __future__ import annotations

import numpy as np
import pytest

from emolib.directions.dissimilarities import dissimilarities, dissimilarity_reliability
from emolib.directions.noise_free_cosines import noise_free_cosines


def test_dissimilarities_do_not_depend_on_rotation_scale_or_a_common_shift() -> None:
    rng = np.random.default_rng(0)
    means = rng.standard_normal((6, 10))
    turned = 3 * means @ np.linalg.qr(rng.standard_normal((10, 10)))[0] + 5
    assert dissimilarities(turned) == pytest.approx(dissimilarities(means))
    assert np.diag(dissimilarities(means)) == pytest.approx(0)


def test_a_table_of_different_labels_is_reliable_and_one_of_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((30, 12, 40))
    assert abs(dissimilarity_reliability(noise)) < 0.5
    assert dissimilarity_reliability(noise + 2 * rng.standard_normal((12, 40))) > 0.95


def test_labels_that_do_not_differ_at_all_have_no_table() -> None:
    assert np.isnan(dissimilarity_reliability(np.ones((6, 4, 8))))


@pytest.mark.parametrize(("shared", "size"), [(0.0, 0.6), (2.0, 0.3)])
def test_the_cosine_without_noise_is_the_planted_one_where_the_plain_one_is_not(shared: float, size: float) -> None:
    """Own noise lowers a plain cosine, the neutral texts' common noise raises it; the corrected one minds neither."""
    first, second = np.zeros(50), np.zeros(50)
    first[0], second[:2] = 1.0, (0.6, 0.8)
    plain, corrected, covered = [], [], []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((30, 2, 50)) + shared * rng.standard_normal((30, 1, 50))
        found = noise_free_cosines(np.stack([first, second]) + size * noise)
        plain.append(found.plain[0, 1])
        corrected.append(found.corrected[0, 1])
        covered.append(found.low[0, 1] <= 0.6 <= found.high[0, 1])
    assert np.mean(corrected) == pytest.approx(0.6, abs=0.04)
    assert abs(np.mean(plain) - 0.6) > 0.05
    assert np.mean(covered) >= 0.88


def test_one_vector_twice_is_not_told_apart_and_noise_alone_has_no_cosine() -> None:
    rng = np.random.default_rng(0)
    same = noise_free_cosines(rng.standard_normal((30, 2, 40)) * 0.5 + np.eye(40)[0])
    assert same.high[0, 1] > 1 and same.plain[0, 1] < 0.95
    assert same.reliability == pytest.approx([0.75, 0.75], abs=0.15)
    nothing = noise_free_cosines(np.zeros((5, 2, 4)))
    assert np.isnan(nothing.corrected).all() and np.isnan(nothing.reliability).all()
