"""The agreement of two models' tables of dissimilarities, on planted labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from emolib.directions.agreement import agreement
from emolib.directions.dissimilarities import dissimilarities


def planted(width: int, noise: float, seed: int, n_labels: int = 12) -> np.ndarray:
    """Labels of one geometry in a model's own coordinates of that width, with noise of its own."""
    shared = np.random.default_rng(0).standard_normal((n_labels, 5))
    rng = np.random.default_rng(seed)
    own = shared @ np.linalg.qr(rng.standard_normal((width, 5)))[0].T
    return dissimilarities(own + noise * rng.standard_normal((n_labels, width)) / np.sqrt(width))


def test_models_of_unlike_width_agree_where_their_labels_lie_alike() -> None:
    found = agreement(planted(576, 0.3, 1), planted(640, 0.3, 2))
    assert found.correlation > 0.9 and found.p == 1 / 10000
    upper = np.triu_indices(12, 1)
    spearman = stats.spearmanr(planted(576, 0.3, 1)[upper], planted(640, 0.3, 2)[upper]).statistic
    assert found.correlation == pytest.approx(spearman)


def test_unrelated_labels_reach_a_small_p_as_seldom_as_they_should() -> None:
    rng = np.random.default_rng(3)
    tables = [dissimilarities(rng.standard_normal((10, 40))) for _ in range(400)]
    p = [agreement(a, b, n_permutations=199).p for a, b in zip(tables[::2], tables[1::2], strict=True)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.1
    assert 0.4 < np.mean(p) < 0.6


def test_few_labels_take_every_order_and_a_table_without_values_says_nothing() -> None:
    table = planted(8, 0.1, 1, n_labels=4)
    assert agreement(table, table).p >= 1 / 24 and round(agreement(table, table).p * 24, 9) % 1 == 0
    none = np.full((4, 4), np.nan)
    assert np.isnan(agreement(table, none).correlation) and np.isnan(agreement(np.ones((4, 4)), table).p)
