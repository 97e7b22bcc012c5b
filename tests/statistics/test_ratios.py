"""Fieller's interval: it covers as stated, and there is none where the denominator is not told from 0."""

from __future__ import annotations

import numpy as np

from emolib.statistics.ratios import fieller


def interval_of(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    n = len(x)
    covariance = np.cov(x, y) / n
    return fieller(
        float(x.mean()),
        float(y.mean()),
        var_x=float(covariance[0, 0]),
        var_y=float(covariance[1, 1]),
        covariance=float(covariance[0, 1]),
        df=n - 1,
    )


def test_it_covers_the_true_ratio_in_95_of_100_samples() -> None:
    rng, covered = np.random.default_rng(0), []
    for _ in range(1000):
        shared = rng.standard_normal(20)
        y = 2.0 + shared + 0.5 * rng.standard_normal(20)
        x = 1.0 + shared + 0.5 * rng.standard_normal(20)
        _, low, high = interval_of(x, y)
        covered.append(low <= 0.5 <= high)
    assert 0.93 < np.mean(covered) < 0.97


def test_the_same_numbers_twice_have_the_ratio_1_and_no_width() -> None:
    y = np.random.default_rng(1).standard_normal(30) + 3
    value, low, high = interval_of(y, y)
    assert value == 1.0 and high - low < 1e-6


def test_no_interval_where_the_denominator_may_be_0() -> None:
    rng = np.random.default_rng(2)
    found = interval_of(rng.standard_normal(30) + 3, rng.standard_normal(30) * 5)
    assert all(np.isnan(found))


def test_the_interval_is_where_the_difference_is_within_t_standard_errors() -> None:
    given = {"var_x": 0.04, "var_y": 0.02, "covariance": 0.01, "df": 12}
    value, low, high = fieller(1.2, 1.5, **given)
    for theta in (low, high):
        t = abs(1.2 - theta * 1.5) / np.sqrt(0.04 - 2 * theta * 0.01 + theta**2 * 0.02)
        assert abs(t - 2.1788128) < 1e-5  # t of 12 degrees of freedom
    assert low < value < high
