"""Tests that divide by no spread, against their definition and programs of others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from emolib.base.errors import UserError
from emolib.statistics import exact_tests
from emolib.statistics.exact_tests import ALTERNATIVES, sign_flip_p, sign_test_p


def by_definition(values: np.ndarray, alternative: str) -> float:
    """The share of all choices of signs whose sum is as far out."""
    sums = np.array([np.dot(values, signs) for signs in itertools.product((1, -1), repeat=len(values))])
    own, near = values.sum(), 1e-9
    reached = {"greater": sums >= own - near, "less": sums <= own + near, "two-sided": abs(sums) >= abs(own) - near}
    return float(reached[alternative].mean())


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_all_permutations_of_signs_are_counted(alternative: str) -> None:
    generator = np.random.default_rng(0)
    rows = [generator.normal(0.4, 1, 9), generator.integers(-2, 3, 9).astype(float), np.full(9, 0.1), np.zeros(9)]
    found = sign_flip_p(np.array(rows), alternative=alternative)
    assert found == pytest.approx([by_definition(row, alternative) for row in rows])
    assert found[-1] == 1


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_the_sign_test_is_scipys(alternative: str) -> None:
    rows = np.random.default_rng(1).integers(-1, 3, (12, 10)).astype(float)
    wanted = [
        stats.binomtest(int((row > 0).sum()), int((row != 0).sum()), alternative=alternative).pvalue for row in rows
    ]
    assert sign_test_p(rows, alternative=alternative) == pytest.approx(wanted)


def test_drawn_permutations_agree_with_counted_ones_and_hang_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(2).normal(0.3, 1, (6, 20))
    exact = sign_flip_p(rows)
    monkeypatch.setattr(exact_tests, "EXACT_FLIPS", 10)
    drawn = sign_flip_p(rows)
    assert np.abs(drawn - exact).max() < 0.02 and (drawn != exact).any()
    assert (sign_flip_p(rows) == drawn).all() and (sign_flip_p(rows, seed=1) != drawn).any()
    assert (sign_flip_p(rows[3:4]) == drawn[3:4]).all()  # whatever stands beside a row


def test_what_cannot_be_asked_has_no_p() -> None:
    many, none = np.ones((1, 46)), np.full((1, 4), np.nan)
    assert np.isnan(sign_flip_p(many)).all() and np.isnan(sign_flip_p(none)).all() and np.isnan(sign_test_p(none)).all()
    assert sign_test_p(many, alternative="greater") == pytest.approx(0.5**46)
    gaps = np.array([[1.0, np.nan, 2.0, 0.0]])
    assert sign_flip_p(gaps, alternative="greater") == pytest.approx([0.25])
    with pytest.raises(UserError, match="alternative"):
        sign_test_p(many, alternative="up")


def test_the_permutation_of_signs_holds_its_level_where_the_interval_does_not() -> None:
    """A mean of 0, 24 scenarios: the share of p at most 0.025."""
    nulls = np.random.default_rng(3).normal(0, 1, (2000, 24))
    share = (sign_flip_p(nulls, alternative="greater") <= 0.025).mean()
    assert abs(share - 0.025) < 3 * np.sqrt(0.025 * 0.975 / 2000)
    assert (sign_flip_p(nulls[:200] + 0.8, alternative="greater") <= 0.025).mean() > 0.8
