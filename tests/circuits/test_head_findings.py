"""Codes of a head patching: what numbers make each of them, and what does not."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from emolib.circuits.head_findings import interaction_code, share_code, steering_code, uniformity_code


@pytest.mark.parametrize(
    ("share", "code"),
    [
        ((0.5, 0.1, 0.9), "carried"),
        ((0.5, -0.1, 0.9), "open"),
        ((0.05, -0.1, 0.19), "nothing"),
        ((-0.5, -0.9, -0.1), "nothing"),
        ((math.nan, math.nan, math.nan), "not_measurable"),
    ],
)
def test_a_share_is_judged_by_its_interval(share: tuple[float, float, float], code: str) -> None:
    assert share_code(*share) == code


def test_an_interaction_must_beat_0_and_random_pairs() -> None:
    row = pd.Series({"mean": 0.3, "ci_low": 0.1, "ci_high": 0.5, "p_null": 0.05, "degenerate": False})
    assert interaction_code(row) == "more"
    assert interaction_code(pd.Series({**row, "mean": -0.3, "ci_low": -0.5, "ci_high": -0.1})) == "less"
    assert interaction_code(pd.Series({**row, "p_null": 0.2})) == "open"
    assert interaction_code(pd.Series({**row, "p_null": math.nan})) == "open"
    assert interaction_code(pd.Series({**row, "degenerate": True})) == "not_measurable"


def test_steering_by_heads_is_cheaper_only_at_equal_effect() -> None:
    equal = {"s_residual": 1.0, "ci_low": -0.1, "ci_high": 0.15}
    better = {"broken_low": -0.5, "broken_high": -0.1, "nll_low": -0.2, "nll_high": 0.1}
    same = {"broken_low": 0.0, "broken_high": 0.3, "nll_low": -0.2, "nll_high": 0.1}
    for way, damage, code in (
        (equal, better, "cheaper"),
        (equal, same, "no_cheaper"),
        (equal, {**better, "broken_high": 0.1}, "open"),
        ({**equal, "ci_low": -0.6}, better, "open"),
        ({**equal, "ci_low": -0.6, "ci_high": -0.1}, better, "weaker"),
        ({**equal, "ci_low": 0.1}, better, "stronger"),
        ({**equal, "ci_low": math.nan}, better, "not_measurable"),
    ):
        assert steering_code(pd.Series(way), pd.Series(damage)) == code


def test_few_p_values_say_nothing() -> None:
    assert uniformity_code({"n": 7, "p_ks": 0.9}) == "few"
    assert (
        uniformity_code({"n": 8, "p_ks": 0.9}) == "uniform" and uniformity_code({"n": 8, "p_ks": 0.01}) == "not_uniform"
    )
