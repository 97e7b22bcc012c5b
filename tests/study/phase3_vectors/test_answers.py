"""The bars of phase 3 as codes: each is met only where its numbers say so, and nothing is said without numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from emolib.study.phase3_vectors import answers

NAN = float("nan")


@pytest.mark.parametrize(
    ("low", "random", "shuffled", "code"),
    [(0.8, 0.7, 0.7, "above"), (0.8, 0.9, 0.7, "not_above"), (0.8, 0.7, 0.9, "not_above"), (NAN, 0.7, 0.7, "unknown")],
)
def test_separation_needs_an_interval_above_both_nulls(low, random, shuffled, code):
    table = pd.DataFrame({"low": [low], "random_high": [random], "shuffled_high": [shuffled]})
    assert answers.separation_codes(table)["code"].tolist() == [code]


@pytest.mark.parametrize(
    ("low", "high", "auc", "p", "best", "code", "ceiling"),
    [
        (0.05, 0.3, 0.9, 0.02, 0.001, "more", False),
        (0.05, 0.3, 1.0, 0.02, 0.001, "more", True),
        (0.05, 0.3, 0.9, 0.03, 0.001, "no_difference", False),  # the permutation does not follow the interval
        (0.05, 0.3, 1.0, 0.02, 0.03, "no_room", True),  # a score without errors would not be told from the words
        (-0.3, -0.05, 0.9, 1.0, 0.001, "less", False),
        (-0.1, 0.1, 0.9, 0.5, 0.001, "no_difference", False),
        (NAN, NAN, NAN, NAN, NAN, "unknown", False),
    ],
)
def test_more_than_the_words_needs_an_interval_beyond_zero_and_a_permutation(low, high, auc, p, best, code, ceiling):
    own = {"emotion": "anger", "source": "residual", "style": "implicit", "auc": auc}
    bag = {**own, "source": "words", "auc": 0.7, "advantage_low": low, "advantage_high": high}
    bag |= {"advantage_p": p, "advantage_best_p": best}
    explicit = {**bag, "style": "explicit"}
    found = answers.information_codes(pd.DataFrame([own, bag, explicit]))
    assert found[["style", "code", "near_ceiling"]].to_numpy().tolist() == [["implicit", code, ceiling]]


@pytest.mark.parametrize(
    ("auc", "low", "words", "code"),
    [
        (0.9, 0.8, 0.6, "beyond_words"),
        (0.9, 0.8, 0.9, "words_too"),
        (0.9, 0.4, 0.6, "not_carried"),
        (NAN, NAN, 0.6, "unknown"),
    ],
)
def test_a_probe_carries_over_by_itself_or_as_the_words_do(auc, low, words, code):
    place = {"emotion": "anger", "trained_on": "explicit", "tested_on": "implicit", "shuffled_max": 0.7}
    own = {**place, "source": "residual", "auc": auc, "low": low}
    bag = {**place, "source": "words", "auc": words, "low": 0.3}
    within = {**own, "tested_on": "explicit"}
    found = answers.cross_style_codes(pd.DataFrame([own, bag, within]))
    assert found["code"].tolist() == [code] and found["words"].tolist() == [words]


@pytest.mark.parametrize(
    ("own", "null", "other", "code", "mixed"),
    [
        (0.6, 0.2, 0.3, "own_most", False),
        (0.6, 0.2, 0.7, "other_more", True),
        (0.1, 0.2, 0.3, "chance", True),
        (0.6, 0.2, NAN, "alone", False),
        (NAN, NAN, 0.3, "unknown", False),
    ],
)
def test_a_projection_is_its_emotion_s_own_only_above_chance_and_the_others(own, null, other, code, mixed):
    table = pd.DataFrame({"emotion": ["anger"], "target/anger": own, "target/joy": other, "null": null})
    row = answers.projection_codes(table).iloc[0]
    assert (row["code"], row["mixed"]) == (code, mixed)


def test_an_emotion_without_a_score_has_no_answer():
    table = pd.DataFrame({"emotion": ["calm"], "target/joy": [0.3]})
    row = answers.projection_codes(table).iloc[0]
    assert row["code"] == "unknown" and not row["mixed"]


def test_stability_is_read_at_the_layer_of_validation_or_where_it_is_largest():
    layers = {"layer": range(4), "mean": [0.9, 0.3, 0.6, 0.5], "low": [0.8, 0.1, 0.5, 0.1], "high": 0.9}
    table = pd.DataFrame({"emotion": "anger", **layers, "shuffled_high": 0.2})
    at, largest = (answers.stability_codes(table, chosen).iloc[0] for chosen in ({"anger": 3}, {}))
    assert (at["layer"], at["code"], at["by_validation"], at["failed"]) == (3, "not_above", True, (1, 3))
    assert (largest["layer"], largest["code"], largest["by_validation"]) == (
        2,
        "above",
        False,
    )  # layer 0 does not count
    assert (at["n_met"], at["n_known"]) == (1, 3)
    embedding = answers.stability_codes(table, {"anger": 0}).iloc[0]  # unless validation chose it
    assert (embedding["layer"], embedding["code"], embedding["by_validation"]) == (0, "above", True)
    assert answers.stability_codes(table.assign(low=NAN), {})["code"].tolist() == ["unknown"]


@pytest.mark.parametrize(
    ("found", "overlap", "code"),
    [(True, 0.6, "above"), (True, 0.3, "not_above"), (True, NAN, "unknown"), (False, 0.6, "no_subspace")],
)
def test_a_subspace_is_found_on_validation_and_confirmed_on_test(found, overlap, code):
    table = pd.DataFrame({"found": [found], "test_overlap": overlap, "test_null_high": 0.4})
    assert answers.subspace_codes(table)["code"].tolist() == [code]


def test_no_table_of_k_has_no_codes():
    assert answers.subspace_codes(pd.DataFrame()).empty
