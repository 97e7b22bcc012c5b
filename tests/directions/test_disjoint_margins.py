"""Matched minus mismatched on disjoint scenarios: what is the same is found, what only shares its texts is not."""

from __future__ import annotations

import numpy as np
import pytest

from emolib.base.errors import UserError
from emolib.directions.disjoint_margins import (
    disjoint_margins,
    half_means,
    margins,
    scenario_halves,
    upper_limit,
)

N, LABELS, WIDTH = 16, 6, 48


@pytest.fixture
def halves() -> np.ndarray:
    return scenario_halves(N, n_splits=4, seed=1)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_halves_come_with_their_rest_and_are_the_same_for_one_seed(halves: np.ndarray) -> None:
    assert halves.shape == (8, N) and (halves.sum(axis=1) == N // 2).all()
    assert (halves[0::2] == ~halves[1::2]).all()
    assert (halves == scenario_halves(N, n_splits=4, seed=1)).all()
    assert not (halves == scenario_halves(N, n_splits=4, seed=2)).all()


def test_half_means_are_the_means_of_the_scenarios_that_are_in(halves: np.ndarray) -> None:
    values = drawn(0, N, LABELS, WIDTH)
    found = half_means(values, halves)
    for number, half in enumerate(halves):
        np.testing.assert_allclose(found[number], values[half].mean(axis=0))


def test_two_models_with_the_same_truth_reach_what_one_model_reaches_with_itself(halves: np.ndarray) -> None:
    truth = drawn(1, 1, LABELS, WIDTH)
    a, b = truth + drawn(2, N, LABELS, WIDTH), truth + drawn(3, N, LABELS, WIDTH)
    between, within = disjoint_margins(a, b, halves), disjoint_margins(a, a, halves)
    assert (between[:, 1] > 0).all() and np.abs(between[:, 0] - within[:, 0]).max() < 0.15


def test_what_two_models_share_in_single_texts_alone_is_not_found(halves: np.ndarray) -> None:
    """The same noise in both models, no truth: from the same texts they look the same, on disjoint ones they do not."""
    shared = drawn(4, N, LABELS, WIDTH)
    on_the_same_texts = margins(shared.mean(axis=0)[None], shared.mean(axis=0)[None])
    assert (on_the_same_texts > 0.9).all()
    found = disjoint_margins(shared, shared, halves)
    assert found[:, 0].mean() < 0.1 and (found[:, 1] < 0).mean() > 0.5


def test_the_interval_is_the_jackknife_done_by_hand(halves: np.ndarray) -> None:
    truth = drawn(5, 1, LABELS, WIDTH)
    a, b = truth + drawn(6, N, LABELS, WIDTH), truth + drawn(7, N, LABELS, WIDTH)
    left_out = []
    for scenario in range(N):
        inside = np.arange(N) != scenario
        means = [(a[half & inside].mean(axis=0), b[~half & inside].mean(axis=0)) for half in halves]
        left_out.append(margins(np.stack([m for m, _ in means]), np.stack([n for _, n in means])))
    values = np.stack(left_out)
    se = np.sqrt((N - 1) / N * ((values - values.mean(axis=0)) ** 2).sum(axis=0))
    found = disjoint_margins(a, b, halves)
    np.testing.assert_allclose(found[:, 3], se, rtol=1e-9)
    np.testing.assert_allclose(found[:, 2] - found[:, 0], 2.1314495 * se, rtol=1e-6)  # t of 15 degrees of freedom
    np.testing.assert_allclose(upper_limit(found, N), found[:, 0] + 1.7530504 * se, rtol=1e-6)


def test_a_statistic_of_the_cosines_takes_the_margins_place(halves: np.ndarray) -> None:
    truth = drawn(8, 1, LABELS, WIDTH)
    a, b = truth + drawn(9, N, LABELS, WIDTH), truth + drawn(10, N, LABELS, WIDTH)

    def gap(cosines: np.ndarray) -> np.ndarray:
        return (cosines[..., 0, 0] - cosines[..., 0, 1])[..., None]

    found = disjoint_margins(a, b, halves, statistic=gap)
    assert found.shape == (1, 4) and found[0, 1] > 0


def test_too_few_scenarios_have_a_margin_and_no_interval() -> None:
    values = drawn(11, 2, LABELS, WIDTH)
    found = disjoint_margins(values, values, scenario_halves(2, n_splits=1))
    assert np.isfinite(found[:, 0]).all() and np.isnan(found[:, 1:]).all()


@pytest.mark.parametrize("shape", [(N, LABELS), (N - 1, LABELS, WIDTH), (N, LABELS + 1, WIDTH)])
def test_other_scenarios_or_labels_are_refused(halves: np.ndarray, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="same scenarios and labels twice"):
        disjoint_margins(drawn(0, N, LABELS, WIDTH), drawn(0, *shape), halves)
