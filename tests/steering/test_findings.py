"""Verdicts and what they hang on: every code, on rows whose answer is known, and the one overall rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from emolib.steering import findings as deciding
from emolib.steering.findings import detectable, findings, judged, overall, scorer_dependence, verdict
from emolib.steering.robustness import BESIDE

FAMILIES = ("isotropic", "covariance", "shuffled")


def claim(**given: Any) -> dict[str, Any]:
    """A row of the claims table that reaches its bar, unless told otherwise."""
    row = {"emotion": "gratitude", "metric": "keywords/gratitude", "vs_others": 0.7, "ci_low": 0.4, "ci_high": 1.1}
    row |= {"degenerate": False, "n": 24, "rank_p": 1 / 60, "bar": 1 / 60, "random_max": 0.3, "median": 0.5}
    row |= {"beats_others": True, "supported": True, "unfiltered_largest": 0.1}
    row |= {"n_nonzero": 24, "p_sign": 0.001, "p_flip": 0.001, **given}
    return {**{f"unfiltered_{key}": row[key] for key in BESIDE}, **row}


def controls(count: int = 59, **fewer: int) -> pd.DataFrame:
    """The rows of a test sweep that a verdict reads: which control directions there are."""
    counts = dict.fromkeys(FAMILIES, count) | fewer
    rows = [{"kind": family, "index": i} for family, n in counts.items() for i in range(n)]
    return pd.DataFrame([*rows, {"kind": "emotion", "index": 0}])


def found(*rows: dict[str, Any], sweep: pd.DataFrame | None = None, smallest_d: float = 0.5) -> pd.DataFrame:
    return findings(pd.DataFrame(rows), controls() if sweep is None else sweep, smallest_d=smallest_d)


def code(*args: Any, **given: Any) -> tuple[str, str]:
    row = found(*args, **given).iloc[0]
    return row["verdict"], row["reason"]


MISSED = {"supported": False, "beats_others": False}
WIDE = {**MISSED, "vs_others": 0.1, "ci_low": -0.2, "ci_high": 0.4}
NO_SIZE = {"degenerate": True, "ci_low": np.nan, "ci_high": np.nan}
FEW = {**MISSED, **NO_SIZE, "n_nonzero": 4, "p_sign": 1 / 16}
FLAT = {**MISSED, **NO_SIZE, "n_nonzero": 24, "p_sign": 0.4}
REACHED = {"supported": False, "rank_p": 0.25}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("supported", "bar_reached")),
        ({"n": 9}, ("underpowered", "few_scenarios")),  # though the bar is reached
        (FEW, ("not_supported", "few_nonzero")),
        (FLAT, ("not_supported", "flat")),  # 24 of them: not few
        ({**NO_SIZE, "p_sign": 2**-24}, ("supported", "bar_reached")),  # the same in every scenario: evidence
        ({**NO_SIZE, **REACHED, "p_sign": 2**-24}, ("not_supported", "controls_reach_it")),
        (MISSED | {"p_flip": 0.03}, ("underpowered", "permutation_missed")),  # its interval lies above 0
        (REACHED, ("not_supported", "controls_reach_it")),
        (WIDE, ("underpowered", "too_small_to_detect")),
        (WIDE | {"n": 45}, ("not_supported", "bar_missed")),  # 45 scenarios do detect d_z = 0.5
        (WIDE | {"ci_high": -0.1}, ("not_supported", "bar_missed")),
        (WIDE | {"ci_low": np.nan, "ci_high": np.nan}, ("underpowered", "too_small_to_detect")),
    ],
)
def test_every_verdict_and_its_reason(given: dict[str, Any], expected: tuple[str, str]):
    assert code(claim(**given)) == expected
    assert expected[0] in deciding.VERDICTS and expected[1] in deciding.REASONS


def test_the_control_directions_are_counted_where_they_were_run():
    """Their number is that of the smallest family in the sweep, not the one that a parameter asks for."""
    few = found(claim(**REACHED), sweep=controls(59, shuffled=20)).iloc[0]
    assert (few["verdict"], few["reason"], few["n_controls"]) == ("underpowered", "few_controls", 20)
    assert code(claim(**REACHED)) == ("not_supported", "controls_reach_it")
    none = controls()[lambda table: table["kind"] == "emotion"]
    assert code(claim(), sweep=none) == ("underpowered", "few_controls")


def test_more_directions_than_the_bar_needs_change_nothing():
    assert code(claim(), sweep=controls(60)) == ("supported", "bar_reached")
    assert code(claim(), sweep=controls(58)) == ("underpowered", "few_controls")


def test_the_smallest_effect_of_interest_decides_what_is_underpowered():
    assert code(claim(**WIDE), smallest_d=0.7) == ("not_supported", "bar_missed")  # 24 scenarios detect d_z = 0.6
    assert code(claim(**WIDE), smallest_d=0.5)[0] == "underpowered"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "supported"),
        ({"met": False}, "not_supported"),
        ({"met": False, "low": -0.1}, "underpowered"),
        ({"met": False, "low": -0.1, "detectable_d": 0.4}, "not_supported"),
        ({"met": False, "low": -0.3, "high": -0.1}, "not_supported"),
        ({"met": False, "low": np.nan, "high": np.nan}, "underpowered"),
        ({"met": False, "low": np.nan, "high": np.nan, "degenerate": True, "n_nonzero": 2}, "not_supported"),
        ({"p_best": 0.03}, "underpowered"),  # not even a perfect score could have been told
        ({"p_best": 0.02}, "supported"),
        ({"n": 9}, "underpowered"),
        ({"rank_bar": 1 / 60, "n_controls": 58}, "underpowered"),
        ({"rank_bar": 1 / 60, "n_controls": 59, "rank_p": 1 / 60}, "supported"),
    ],
)
def test_the_rule_of_verdicts(change: dict[str, object], expected: str):
    row = {"met": True, "low": 0.1, "high": 0.3, "reference": 0.0, "n": 24, "detectable_d": 0.6, "degenerate": False}
    assert verdict({**deciding.TESTS, **row, "rank_bar": None, **change}, 0.5)[0] == expected


def test_the_reference_of_an_interval_is_not_always_0():
    row = {"met": False, "low": 0.4, "high": 0.8, "n": 24}
    assert judged({**row, "reference": 0.5}, smallest_d=0.5)["verdict"] == "underpowered"
    assert judged({**row, "reference": 0.9}, smallest_d=0.5)["verdict"] == "not_supported"


def test_the_smallest_detectable_effect_falls_with_the_number_and_has_no_end_for_two():
    assert detectable(2) == np.inf
    assert detectable(24) == pytest.approx(0.597, abs=1e-3)
    assert detectable(45) == pytest.approx(0.427, abs=1e-3) and detectable(45, level=0.01) > 0.5


# an emotion, from its measures


@pytest.mark.parametrize(
    ("second", "expected"),
    [({}, "supported"), (WIDE, "underpowered"), (REACHED, "not_supported"), (FLAT, "not_supported")],
)
def test_an_emotion_is_as_weak_as_its_weakest_measure(second: dict[str, Any], expected: str):
    table = found(claim(), claim(metric="target/gratitude", **second), claim(emotion="anger", metric="target/anger"))
    assert overall(table).to_dict() == {"gratitude": expected, "anger": "supported"}
    worse = found(claim(**WIDE), claim(**REACHED))
    assert overall(worse).to_dict() == {"gratitude": "not_supported"}


# what a verdict hangs on


def test_a_verdict_hangs_on_broken_texts_where_the_two_ways_of_counting_differ():
    table = found(claim(), claim(unfiltered_supported=False, unfiltered_rank_p=0.5, unfiltered_largest=0.5))
    assert table["hangs_on_broken"].tolist() == [False, True] and table["one_scenario"].tolist() == [False, True]
    assert table["verdict"].tolist() == ["supported"] * 2
    assert table["unfiltered_verdict"].tolist() == ["supported", "not_supported"]
    assert table["unfiltered_reason"].tolist() == ["bar_reached", "controls_reach_it"]
    assert overall(table, column="unfiltered_verdict").to_dict() == {"gratitude": "not_supported"}


def test_a_mean_that_the_median_scenario_does_not_share_is_told_of_supported_rows_alone():
    table = found(claim(median=0.004), claim(median=-0.006), claim(median=0.0, **WIDE))
    assert table["few_scenarios_move"].tolist() == [True, False, False]


def test_a_table_without_robustness_has_its_verdicts_alone():
    bare = {key: value for key, value in claim().items() if not key.startswith("unfiltered")}
    table = found(bare)
    assert table["verdict"].tolist() == ["supported"] and not set(table) & {"unfiltered_verdict", "hangs_on_broken"}


def scorers(lexical: dict[str, Any], encoder: dict[str, Any], combined: dict[str, Any]) -> pd.Series:
    families = {"target_lexical": lexical, "target_encoder": encoder, "target": combined}
    rows = [claim(family=family, metric=f"{family}/gratitude", **given) for family, given in families.items()]
    (found_row,) = scorer_dependence(found(*rows)).to_dict("records")
    return pd.Series(found_row)


def test_a_verdict_that_one_model_alone_does_not_share_is_told():
    same = scorers({"own": 0.3}, {"own": 0.3}, {"own": 0.3})
    assert same["differs"] == () and same["verdict"] == "supported" and same["rests_on"] == "neither"
    alone = scorers({"own": 0.3, **REACHED}, {"own": 0.3}, {"own": 0.3})
    assert alone["differs"] == ("target_lexical",) and alone["target_lexical_verdict"] == "not_supported"
    more = scorers({"own": 0.3}, {"own": 0.3, **WIDE}, {"own": 0.3, **REACHED})
    assert more["differs"] == ("target_lexical",)  # the other is not supported either, for another reason
    assert scorer_dependence(found(claim(family="target", own=0.1))).empty


@pytest.mark.parametrize(
    ("lexical", "encoder", "on"),
    [
        (0.3, 0.3, "neither"),
        (0.31, 0.1, "target_lexical"),
        (0.3, 0.1, "neither"),  # three times, no more
        (-0.05, 0.2, "target_encoder"),  # of opposite sign
        (0.0, 0.09, "neither"),  # too small to speak of
    ],
)
def test_what_a_large_change_rests_on(lexical: float, encoder: float, on: str):
    assert scorers({"own": lexical}, {"own": encoder}, {"own": 0.2})["rests_on"] == on


def test_a_stock_phrase_is_half_of_the_successes_and_more_than_the_unpatched_texts_have_of_theirs():
    table = pd.DataFrame({"own_share": [0.5, 0.5, 0.49, np.nan], "baseline_share": [0.4, 0.5, 0.0, 0.0]})
    assert deciding.stock_phrase(table).tolist() == [True, False, False, False]
