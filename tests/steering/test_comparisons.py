"""What is larger than what: every code, on numbers whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from emolib.steering import comparisons
from emolib.steering.comparisons import direct_findings, dose_findings, lead, rival_findings, topic_findings

NO_LEAD = {"ahead": np.nan, "ahead_low": np.nan, "ahead_high": np.nan, "ahead_degenerate": np.nan}


def rival(kind: str, effect: float, **given: Any) -> dict[str, Any]:
    """A method's row; the vector that it is compared with moves the measure by 0.5 and breaks no text."""
    row = {"kind": kind, "emotion": "anger", "metric": "keywords/anger", "effect": effect, "base": 0.125}
    row |= {"low": effect - 0.2, "high": effect + 0.2, "degenerate": False, "broken": 0.0}
    ahead = {"ahead": 0.5 - effect, "ahead_low": 0.3 - effect, "ahead_high": 0.7 - effect, "ahead_degenerate": False}
    row |= NO_LEAD if kind in ("emotion", "prompting") else ahead
    return {"broken_gap": given.get("broken", 0.0), **row, **given}


def beside(*rows: dict[str, Any], margin: float = 0.1) -> pd.DataFrame:
    return rival_findings(pd.DataFrame([rival("emotion", 0.5), *rows]), margin=margin).iloc[1:]


@pytest.mark.parametrize(
    ("row", "larger"),
    [
        (rival("pca", 0.1), "vector"),
        (rival("pca", 0.9), "rival"),
        (rival("pca", 0.4), "undecided"),
        (rival("pca", 0.1, ahead_degenerate=True, ahead_low=np.nan, ahead_high=np.nan), "no_interval"),
        (rival("emotion", 0.5), "not_compared"),
    ],
)
def test_the_larger_of_two_is_named_only_where_the_interval_says_so(row: dict[str, Any], larger: str):
    assert lead(pd.DataFrame([row])).tolist() == [larger]
    assert lead(pd.DataFrame()).empty


def test_a_method_is_comparable_where_it_breaks_about_as_many_texts():
    table = beside(rival("pca", 0.1, broken=0.1), rival("probe", 0.1, broken_gap=-0.125), rival("prompting", 1.0))
    assert table["comparable"].tolist() == [True, False, False]
    assert beside(rival("pca", 0.1, broken=0.25), margin=0.3)["comparable"].all()


def test_a_measure_that_no_method_moves_says_so_and_whether_its_texts_are_broken():
    still = [rival("emotion", 0.01, broken=0.6, broken_gap=0.0), rival("pca", -0.019)]
    table = rival_findings(pd.DataFrame(still), margin=0.1)
    assert not table["moved"].any() and table["vector_mostly_broken"].all()
    assert beside(rival("pca", 0.0))["moved"].all() and not beside(rival("pca", 0.0))["vector_mostly_broken"].any()


@pytest.mark.parametrize(
    ("asked", "vector", "code"),
    [
        (rival("prompting", 2.0), {}, "rival"),
        (rival("prompting", -1.0), {}, "vector"),
        (rival("prompting", 0.6), {}, "undecided"),
        (rival("prompting", 2.0, degenerate=True, low=np.nan, high=np.nan), {}, "no_interval"),
        (rival("prompting", 0.03, base=0.47), {"base": 0.03}, "format"),
        (rival("prompting", 2.0, base=0.3), {"base": 0.125}, "rival"),  # not three times the vector's
        (rival("prompting", 2.0, base=0.09), {"base": 0.01}, "rival"),  # more than three times, but next to nothing
    ],
)
def test_asking_is_compared_unless_the_format_alone_says_it(asked: dict, vector: dict, code: str):
    table = rival_findings(pd.DataFrame([rival("emotion", 0.5, **vector), asked]), margin=0.1)
    assert table["larger"].tolist() == ["not_compared", code]


@pytest.mark.parametrize(
    ("effects", "broken", "course"),
    [
        ([-0.5, 0.0, 0.4, 0.9], [0.9, 0.0, 0.0, 0.5], "rises"),  # what the opposite sign breaks is not asked here
        ([0.2, 0.0, -0.4, -0.9], [0.0] * 4, "falls"),
        ([0.0, 0.0, 0.9, 0.4], [0.0] * 4, "not_monotone"),
        ([0.9, 0.0, 0.019, 0.0], [0.0] * 4, "none"),
        ([0.0, 0.0, 0.019, 0.0], [0.0, 0.0, 0.6, 0.0], "none_or_broken"),
        ([0.0, 0.0, 0.4, 0.9], [0.0, 0.0, 0.51, 0.0], "broken"),
    ],
)
def test_the_course_of_an_effect_over_strength(effects: list[float], broken: list[float], course: str):
    rows = zip((-0.3, 0.0, 0.2, 0.3), effects, broken, strict=True)
    table = pd.DataFrame(rows, columns=["alpha", "effect", "broken"])
    table = table.assign(emotion="anger", metric="keywords/anger", unfiltered=table["effect"] + 0.25)
    (row,) = dose_findings(table).to_dict("records")
    assert row["course"] == course and row["first_alpha"] == 0.0 and row["last_effect"] == effects[-1]
    assert row["farthest_effect"] == max(effects[1:], key=abs)
    assert dose_findings(table.assign(metric="valence")).empty


def test_the_direct_path_is_held_against_the_effect_as_far_as_it_is_told():
    row = {"metric": "target/anger", "own_effect": 0.015, "own_effect_unfiltered": 0.06}
    rows = [(0.02, 0.018), (0.019, 0.0154), (0.07, 0.0), (0.0604, 0.0)]
    given = [{**row, "direct_path": direct, "direct_path_counted": counted} for direct, counted in rows]
    table = direct_findings(pd.DataFrame(given))
    assert table["direct_large"].tolist() == [True, False, True, True]  # a third of 0.06
    assert table["direct_ahead"].tolist() == [False, False, True, False]
    assert table["direct_ahead_counted"].tolist() == [True, False, False, False]
    words = direct_findings(pd.DataFrame([{**given[2], "metric": "keywords/anger", "direct_path": 0.064}]))
    assert not words["direct_ahead"].any()  # 0.06 words each, to two places


def test_broken_shares_are_held_against_the_unpatched_texts_and_layers_make_one_share():
    rows = [("baseline", "none", 0.05, 24), ("emotion", "anger", 0.0, 24), ("emotion", "anger", 0.4, 8)]
    rows += [("emotion", "apology", 0.16, 24), ("direct_path", "anger", 0.5, 24)]
    table = pd.DataFrame(rows, columns=["kind", "emotion", "broken", "n"])
    found = comparisons.broken_findings(table, margin=0.1)
    assert found["share"].to_dict() == pytest.approx({"anger": 0.1, "apology": 0.16})
    assert found["within"].to_dict() == {"anger": True, "apology": False}
    assert found["limit"].unique() == pytest.approx([0.15])
    assert comparisons.broken_findings(table, margin=2)["limit"].unique() == [1.0]
    assert comparisons.broken_shares(table, "direct_path").to_dict() == {"anger": 0.5}


def test_a_text_leaves_its_topic_where_the_whole_interval_lies_below_0():
    row = {"kind": "emotion", "topic_change": -0.2, "topic_se": 0.09}
    table = pd.DataFrame([{**row, "n_topic": 24}, {**row, "n_topic": 5}, {**row, "kind": "baseline", "n_topic": 24}])
    found = topic_findings(table)
    assert found["leaves_topic"].tolist() == [True, False]  # 2.07 standard errors, 2.78
    assert found["topic_low"].iloc[1] == pytest.approx(-0.4499, abs=1e-3)


def test_a_label_that_rises_more_than_the_emotions_own_is_found():
    table = pd.DataFrame({"gratitude": [0.3, 0.0], "annoyance": [0.1, 0.2], "joy": [0.2, 0.3]})
    table.index = ["gratitude", "anger"]
    own = {"gratitude": ("gratitude",), "anger": ("annoyance",)}
    (row,) = comparisons.other_labels(table, own).to_dict("records")
    assert row == {"emotion": "anger", "label": "joy", "change": 0.3, "own_label": "annoyance", "own_change": 0.2}
    assert comparisons.other_labels(table, {"gratitude": ()}).empty
