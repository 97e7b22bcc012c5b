"""Pairs of heads: what is left when both effects are taken off, and its rank among random pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.circuits.head_conditions import HeadCondition, head_names
from emolib.circuits.head_interactions import (
    interactions,
    nearest_pairs,
    pair_conditions,
    pairs_of,
    single_conditions,
    single_means,
    with_null,
)
from emolib.circuits.head_patching import Trials, described
from emolib.interventions import Head

A, B, C = (1, 0), (2, 3), (3, 1)
SINGLE = {A: 0.3, B: 0.5, C: 0.1}


def trials(together: dict[tuple[Head, Head], float], n: int = 20) -> Trials:
    """Single effects of `SINGLE`, pairs with an effect beyond their sum, noise of 0.02 that the parts share."""
    rng = np.random.default_rng(0)
    noise = 0.02 * rng.standard_normal(n)
    rows = []

    def add(condition: HeadCondition, effect: np.ndarray) -> None:
        place = {"style": "explicit", "prompt": "p", "third": "c", "emotion": "joy", **described(condition)}
        rows.extend({**place, "text": f"s{i}", "delta": value} for i, value in enumerate(effect))

    for condition in single_conditions([*SINGLE]):
        add(condition, SINGLE[condition.heads[0]] + noise)
    for pair, extra in together.items():
        own = 0.01 * rng.standard_normal(n)
        add(pair_conditions([pair])[0], SINGLE[pair[0]] + SINGLE[pair[1]] + 2 * noise + extra + own)
    return Trials(pd.DataFrame(), pd.DataFrame(rows))


def test_an_interaction_is_what_the_pair_does_beyond_the_sum() -> None:
    found = interactions(trials({(A, B): -0.2, (A, C): 0.0}), [(A, B), (A, C)], n_resamples=200).set_index("pair")
    together, apart = found.loc[head_names([A, B])], found.loc[head_names([A, C])]
    assert together["ci_low"] < -0.2 < together["ci_high"] < -0.15
    assert apart["ci_low"] < 0 < apart["ci_high"] and abs(apart["mean"]) < 0.01
    assert together["delta_ab"] == pytest.approx(0.6, abs=0.03)
    ranked = with_null(found, pd.DataFrame({"mean": [0.01, -0.02, 0.005]}))
    assert ranked["p_null"].tolist() == [0.25, pytest.approx(1.0, abs=0.51)]
    assert with_null(found, pd.DataFrame({"mean": []}))["p_null"].isna().all()


def test_random_pairs_are_those_of_nearest_single_effects() -> None:
    singles = {(1, 1): 0.31, (1, 2): 0.9, (2, 1): 0.49, (2, 2): -0.5}
    assert nearest_pairs(singles, [(0.5, 0.3)], 2) == [((1, 1), (2, 1)), ((1, 1), (1, 2))]
    assert len(nearest_pairs(singles, [(0.5, 0.3)], 99)) == 6
    assert single_means(trials({}), [A, C]) == {A: pytest.approx(0.3, abs=0.02), C: pytest.approx(0.1, abs=0.02)}


def test_every_pair_is_named_once_and_a_missing_one_is_refused() -> None:
    assert pairs_of([A, B, C]) == [(A, B), (A, C), (B, C)]
    assert pairs_of([A]) == [] and pairs_of([A, A]) == []
    with pytest.raises(UserError, match=r"there are none of 1:0\+3:1"):
        interactions(trials({(A, B): 0.0}), [(A, C)])
