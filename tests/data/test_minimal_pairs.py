"""Scenarios by what the data set says of them: minimal pairs, others, or nothing said."""

from __future__ import annotations

import pandas as pd
import pytest

from emolib.data.minimal_pairs import pair_kinds

DATA = pd.DataFrame({"scenario": list("aabbcc"), "minimal_pair": [True, True, False, False, True, True]})


@pytest.mark.parametrize(
    ("scenarios", "code", "minimal", "other"),
    [("abc", "both", "ac", "b"), ("ac", "minimal", "ac", ""), ("b", "other", "", "b")],
)
def test_scenarios_by_kind(scenarios, code, minimal, other):
    found = pair_kinds(DATA, scenarios)
    assert (found.code, found.minimal, found.other) == (code, frozenset(minimal), frozenset(other))


def test_a_data_set_that_does_not_say_has_neither_kind():
    found = pair_kinds(DATA.drop(columns="minimal_pair"), "abc")
    assert (found.code, found.minimal, found.other) == ("not_stated", frozenset(), frozenset())
