"""The permutation of two scores' ranks, at the ceiling and below it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import rankdata

from emolib.statistics.auc import auc_difference, auc_swap_p, pair_wins


def made(seed: int, n: int, strength: tuple[float, float], shared: float = 0.7) -> tuple[np.ndarray, ...]:
    """Two scores of n scenarios with a text of each label, the labels, and the scenarios."""
    generator = np.random.default_rng(seed)
    truth, names = np.tile([True, False], n), np.repeat(np.arange(n), 2)
    common = generator.normal(size=2 * n)
    scores = [s * truth + shared * common + (1 - shared) * generator.normal(size=2 * n) for s in strength]
    return scores[0], scores[1], truth, names


def test_p_is_the_share_of_all_swaps_within_scenarios() -> None:
    a, b, truth, names = made(0, 8, (1.0, 0.3))
    ranks = np.array([rankdata(a), rankdata(b)])

    def gap(swapped: np.ndarray) -> float:
        one, other = np.where(swapped, ranks[1], ranks[0]), np.where(swapped, ranks[0], ranks[1])
        return float(pair_wins(one, truth).mean() - pair_wins(other, truth).mean())

    gaps = [gap(np.repeat(choice, 2)) for choice in itertools.product((False, True), repeat=8)]
    assert gaps[0] == pytest.approx(auc_difference(a, b, truth, names, n_resamples=2)[0])
    assert auc_swap_p(a, b, truth, names) == pytest.approx(np.mean(np.array(gaps) >= gaps[0] - 1e-9))


def test_a_perfect_score_beside_one_with_a_single_error_is_no_evidence() -> None:
    """Its interval may not hold 0, since only one scenario has anything to resample."""
    truth, names = np.tile([True, False], 24), np.repeat(np.arange(24), 2)
    perfect = truth * 1.0
    flawed = perfect.copy()
    flawed[:2] = [0.0, 1.0]
    assert auc_swap_p(perfect, flawed, truth, names) > 0.025
    assert auc_swap_p(perfect, perfect, truth, names) == 1
    poor = np.where(names % 2 == 0, perfect, 1 - perfect)
    assert auc_swap_p(perfect, poor, truth, names) < 0.001


def test_equal_scores_pass_no_more_often_than_the_level_near_the_ceiling() -> None:
    p = [auc_swap_p(*made(seed, 24, (2.6, 2.6), shared=0.3)) for seed in range(400)]
    assert np.mean(np.array(p) <= 0.025) <= 0.025 + 2 * np.sqrt(0.025 * 0.975 / 400)
    better = [auc_swap_p(*made(seed, 24, (3.0, 0.5))) for seed in range(40)]
    assert np.mean(np.array(better) <= 0.025) > 0.8
