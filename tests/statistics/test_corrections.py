"""Holm's correction, held against an independent program."""

from __future__ import annotations

import numpy as np
import pingouin
import pytest

from emolib.statistics.corrections import holm


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_p_values_are_corrected_as_by_another_program(n: int) -> None:
    p = np.random.default_rng(n).beta(0.3, 2, n)
    p[: n // 3] = p[0]  # ties
    np.testing.assert_allclose(holm(p), pingouin.multicomp(p, method="holm")[1])
    assert (holm(p) >= p).all() and (n == 1 or holm(p).max() > p.min())


def test_nothing_to_correct_stays_nothing() -> None:
    assert holm(np.zeros(0)).shape == (0,)
