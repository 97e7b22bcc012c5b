"""Intervals, rank p values and power against independent routes and known cases."""

import numpy as np
import pytest
from scipy import stats

from emolib.base.errors import UserError
from emolib.statistics import intervals


def test_the_interval_covers_the_mean_it_was_drawn_around_and_excludes_a_far_one():
    rng = np.random.default_rng(1)
    covered = [
        (found := intervals.bootstrap_mean(rng.normal(0.5, 1, 45), n_resamples=300, seed=i)).low <= 0.5 <= found.high
        for i in range(60)
    ]
    assert np.mean(covered) > 0.85
    assert intervals.bootstrap_mean(rng.normal(3, 1, 24)).low > 0


def test_the_interval_is_close_to_the_t_interval_on_normal_data():
    x = np.random.default_rng(0).normal(1, 2, 200)
    found = intervals.bootstrap_mean(x)
    low, high = stats.t.interval(0.95, len(x) - 1, loc=x.mean(), scale=x.std(ddof=1) / np.sqrt(len(x)))
    assert abs(found.low - low) < 0.05 and abs(found.high - high) < 0.05
    assert found.se == pytest.approx(x.std(ddof=1) / np.sqrt(len(x)))


def test_a_difference_with_next_to_no_variation_is_degenerate():
    assert intervals.bootstrap_mean(np.zeros(24)).degenerate
    assert intervals.bootstrap_mean(np.array([1.0] * 4 + [0.0] * 20)).degenerate
    assert not intervals.bootstrap_mean(np.array([1.0] * 5 + [0.0] * 19)).degenerate
    tiny = np.random.default_rng(0).normal(5, 1e-4, 24)
    assert intervals.bootstrap_mean(tiny, reference_sd=1.0).degenerate
    assert not intervals.bootstrap_mean(tiny, reference_sd=1e-4).degenerate


def test_the_rank_p_counts_controls_at_or_above_the_effect():
    controls = np.arange(59) / 59
    assert intervals.rank_p(2.0, controls) == pytest.approx(1 / 60)
    assert intervals.rank_p(-1.0, controls) == 1.0
    assert intervals.rank_p(controls[-1], controls) == pytest.approx(2 / 60)  # a tie counts against the effect


def test_the_detectable_effect_at_24_scenarios_is_the_known_one_and_falls_with_n():
    assert intervals.minimum_detectable_effect(24) == pytest.approx(0.60, abs=0.01)
    assert intervals.minimum_detectable_effect(45) == pytest.approx(0.43, abs=0.01)


def test_bad_samples_are_refused():
    for bad in (np.array([1.0]), np.array([1.0, np.nan]), np.ones((2, 2))):
        with pytest.raises(UserError, match="at least 2 finite"):
            intervals.bootstrap_mean(bad)
    with pytest.raises(UserError, match="finite"):
        intervals.rank_p(float("nan"), np.zeros(3))
