"""Holm's correction, held against its definition written out."""

from __future__ import annotations

import numpy as np
import pytest

from emolib.statistics.corrections import holm


def by_definition(p: np.ndarray, test: int) -> float:
    """The largest of (how many p values are no smaller) times p over all that are not above this one."""
    below = p[p <= p[test]]
    return min(1.0, max((p >= value).sum() * value for value in below))


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_p_values_are_corrected_as_defined(n: int) -> None:
    p = np.random.default_rng(n).beta(0.3, 2, n)
    p[: n // 3] = p[0]  # ties
    corrected = holm(p)
    np.testing.assert_allclose(corrected, [by_definition(p, test) for test in range(n)])
    assert (corrected >= p).all() and (n == 1 or corrected.max() > p.min())


def test_nothing_to_correct_stays_nothing() -> None:
    assert holm(np.zeros(0)).shape == (0,)
