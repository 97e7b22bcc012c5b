"""The bulk norm: the L2 norm of normal coordinates, untouched by a few that are huge."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from emolib.data.bulk_norms import NORMAL_MEDIAN, bulk_norm
from tests.planted_activations import with_massive_dimension


def test_it_is_the_scaled_median_of_absolute_values() -> None:
    values = np.array([[[1.0, -2.0, 3.0, -100.0], [0.0, 0.0, 0.0, 5.0]]])
    assert norm.ppf(0.75) == pytest.approx(NORMAL_MEDIAN, rel=1e-12)
    np.testing.assert_allclose(bulk_norm(values), [[2 * 2.5 / NORMAL_MEDIAN, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 2, 7, 576, 640, 641])
def test_it_is_numpys_median_to_the_last_bit(width: int, dtype: type) -> None:
    rng = np.random.default_rng(width)
    tokens = (rng.standard_normal((5, 30, width)) * rng.lognormal(0, 2, width)).astype(dtype)
    tokens[0, 0, 0], tokens[1, 1, -1], tokens[2, 2] = np.nan, np.inf, 0.0
    given = tokens.copy()
    found = bulk_norm(tokens)
    scale = np.sqrt(width) / NORMAL_MEDIAN
    np.testing.assert_array_equal(found, np.median(np.abs(tokens), axis=-1) * scale)
    assert np.isnan(found).sum() == 1 and np.isnan(found[0, 0])
    np.testing.assert_array_equal(tokens, given)


@pytest.mark.parametrize("width", [576, 641])
def test_it_is_the_l2_norm_where_coordinates_are_normal(width: int) -> None:
    tokens = 3.0 * np.random.default_rng(0).standard_normal((2000, width))
    ratio = bulk_norm(tokens) / np.linalg.norm(tokens, axis=-1)
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    assert ratio.std() < 2 / np.sqrt(width), "the median's sampling error is about 1.17 / sqrt(d)"
    heavy = np.random.default_rng(0).standard_t(1.5, (2000, width))
    assert np.median(bulk_norm(heavy) / np.linalg.norm(heavy, axis=-1)) < 0.7  # control: not so elsewhere


def test_a_massive_dimension_moves_the_unit_resid_and_not_the_unit_bulk() -> None:
    small, large = with_massive_dimension(30.0), with_massive_dimension(3000.0)
    np.testing.assert_allclose(small.median_bulk_norms(), large.median_bulk_norms(), rtol=0.03)
    assert (large.median_norms() > 50 * small.median_norms()).all()
