"""Strengths at which directions do as much as a steer: found on known curves, and counted where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from emolib.base.errors import UserError
from emolib.steering.kl_search import MOST_STEPS, equal_kl_strengths


def test_every_curve_is_followed_to_its_own_kl_in_few_steps() -> None:
    curves = [lambda a: 0.05 * a**2, lambda a: 0.3 * a**1.2, lambda a: 0.4 * np.tanh(a**2 / 3), lambda a: 2 * a**2]
    asked: list[int] = []

    def measure(which: list[int], alphas: np.ndarray) -> np.ndarray:
        asked.extend(which)
        return np.array([curves[i](alpha) for i, alpha in zip(which, alphas, strict=True)])

    table = equal_kl_strengths(measure, [1.0] * 4, [0.1, 0.2, 0.3, 0.5])
    assert table["reached"].all() and (abs(table["kl"] / table["wanted"] - 1) <= 0.05).all()
    assert table["kl"].tolist() == pytest.approx([curves[i](a) for i, a in enumerate(table["alpha"])])
    assert table["steps"].max() <= 5 and len(asked) == table["steps"].sum()


def test_what_is_not_reached_at_four_times_the_strength_is_told() -> None:
    table = equal_kl_strengths(lambda which, alphas: 0.01 * alphas**2, [1.0, 1.0], [0.16, 1.0])
    assert table["reached"].tolist() == [True, False] and table["alpha"].tolist() == pytest.approx([4.0, 4.0])


def test_a_curve_that_jumps_is_closed_in_on_and_given_up() -> None:
    table = equal_kl_strengths(lambda which, alphas: np.where(alphas < 0.7, 0.01, 1.0), [1.0], [0.1])
    assert not table["reached"].any() and table["steps"].tolist() == [MOST_STEPS]
    assert abs(table["alpha"][0] - 0.7) < 0.1


def test_searches_need_strengths_and_kls_above_zero() -> None:
    with pytest.raises(UserError, match="above 0"):
        equal_kl_strengths(lambda which, alphas: alphas, [1.0], [0.0])
