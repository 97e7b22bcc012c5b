"""Sign flips over many cells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from emolib.base.errors import UserError
from emolib.statistics.sign_flips import sign_flip_test


def test_p_values_are_those_of_scipy_s_permutation_test() -> None:
    values = np.random.default_rng(0).standard_normal((8, 3)) + 0.5
    found = sign_flip_test(values)
    for cell in range(3):
        wanted = stats.permutation_test(
            (values[:, cell],),
            lambda x, axis: np.abs(stats.ttest_1samp(x, 0, axis=axis).statistic),
            permutation_type="samples",
            alternative="greater",
            vectorized=True,
            n_resamples=10_000,
        )
        assert found["p"][cell] == pytest.approx(wanted.pvalue)
    np.testing.assert_allclose(found["t"], stats.ttest_1samp(values, 0).statistic)


def test_the_corrected_p_holds_the_family_wise_rate_and_finds_a_real_one() -> None:
    generator, false, found = np.random.default_rng(1), 0, 0
    for _ in range(200):
        values = generator.standard_normal((10, 40)) * generator.exponential(1, 40)
        false += bool((sign_flip_test(values)["p_max"] <= 0.05).any())
        values[:, 7] = 3 + generator.standard_normal(10)
        found += bool(sign_flip_test(values)["p_max"][7] <= 0.05)
    assert false <= 17 and found > 150


def test_cells_without_differences_are_no_evidence_and_constant_ones_are() -> None:
    found = sign_flip_test(np.column_stack([np.zeros(6), np.full(6, 0.5)]))
    assert found["p"].tolist() == [1.0, 2 / 64] and found["t"][0] == 0
    many = sign_flip_test(np.full((20, 1), 0.5), n_flips=99)
    assert many["p"][0] == pytest.approx(0.01)
    with pytest.raises(UserError, match="at least two units"):
        sign_flip_test(np.zeros((1, 3)))
    with pytest.raises(UserError, match="finite"):
        sign_flip_test(np.array([[1.0], [np.nan]]))
