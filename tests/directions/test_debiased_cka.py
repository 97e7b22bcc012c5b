"""Debiased linear CKA beside its formula written out, and on activations whose relation is known."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_anchors import coloured, isometry

from emolib.base.errors import UserError
from emolib.directions.debiased_cka import CkaSums, debiased_cka, hollow_grams


def unbiased_by_u_statistic(k: np.ndarray, m: np.ndarray) -> float:
    """HSIC as a U-statistic: the mean over all ordered quadruples of different rows (Song et al. 2012, equation 6)."""
    n, total, count = len(k), 0.0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
                        count += 1
    return total / count


def test_it_is_the_ratio_of_u_statistics() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 4)), rng.standard_normal((9, 6))
    y[:, 0] += 2 * x[:, 0]
    k, m = x @ x.T, y @ y.T
    expected = unbiased_by_u_statistic(k, m) / np.sqrt(unbiased_by_u_statistic(k, k) * unbiased_by_u_statistic(m, m))
    assert debiased_cka(x, y) == pytest.approx(expected)


def test_a_rotated_copy_is_1_and_an_unrelated_model_0_where_the_biased_estimate_is_not() -> None:
    x = coloured(150, 400)
    assert debiased_cka(x, 5 * x @ isometry(420, 400) + 3) == pytest.approx(1)
    rng = np.random.default_rng(3)
    first, second = (rng.standard_normal((150, 400)) for _ in range(2))
    grams = [(z - z.mean(0)) @ (z - z.mean(0)).T for z in (first, second)]
    biased = (grams[0] * grams[1]).sum() / np.sqrt((grams[0] ** 2).sum() * (grams[1] ** 2).sum())
    assert biased > 0.6 and abs(debiased_cka(first, second)) < 0.05


def test_the_mean_over_blocks_is_about_that_of_all_rows() -> None:
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((2000, 5))
    x, y = (np.hstack([shared, rng.standard_normal((2000, 20))]) for _ in range(2))
    sums = CkaSums(1, 1)
    sums.add([hollow_grams(x, 250)], [hollow_grams(y, 250)])
    assert sums.n_rows == 2000
    assert sums.values()[0, 0] == pytest.approx(debiased_cka(x, y), abs=0.02)


@pytest.mark.parametrize("rows", [(3, 3), (8, 9)])
def test_too_few_or_unlike_rows_are_told(rows: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="same 4 or more rows"):
        debiased_cka(np.ones((rows[0], 2)), np.ones((rows[1], 2)))
    with pytest.raises(UserError, match="not finite"):
        debiased_cka(np.full((5, 2), np.nan), np.ones((5, 2)))
    assert np.isnan(debiased_cka(np.ones((5, 2)), np.ones((5, 2))))
