"""Small plants of every kind, in both forms: what the rule of S claims and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pytest

from emolib.selftest.null_acts import NULLS, UNFLAGGED, data_sets_of, null_act_rows, null_act_table
from emolib.selftest.processes import one_thread
from emolib.selftest.shifts import DataSet, Judged, Sizes, build_model, claimed, judge, make_plant
from emolib.selftest.shifts.steadier_texts import steadier_claims
from emolib.steering import claims as rule

FORMS = ("gpt2", "llama")
SMALL = Sizes(test=24, fitted=28, training=12, prompts=12, control_texts=12, kl_directions=2, kl_prompts=4)
STRONG = 2.5  # how far texts lean where few of them have to be enough


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


def judged(form: str, kind: str, seed: int, style: str = "implicit", **given) -> Judged:
    plant = make_plant(kind, seed, tilt=given.pop("tilt", None))
    return judge(DataSet(build_model(form, plant, seed), plant, seed, (style,), SMALL), **given)


@pytest.mark.parametrize("form", FORMS)
def test_an_emotion_in_implicit_texts_is_claimed(form: str) -> None:
    assert claimed(judged(form, "emotion", 0, tilt=STRONG).claims, "implicit").any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", NULLS)
def test_no_null_is_claimed_as_an_emotion(form: str, kind: str) -> None:
    plant = make_plant(kind, 1)
    data = DataSet(build_model(form, plant, 1), plant, 1, sizes=SMALL, flagged=kind == "phrase")
    assert not claimed(judge(data).claims, "implicit").any()


def test_an_act_that_moves_words_alone_is_claimed_as_words() -> None:
    plant = make_plant("words", 1)
    data = DataSet(build_model("gpt2", plant, 1), plant, 1, ("explicit",), replace(SMALL, control_texts=24))
    assert claimed(judge(data).claims, "explicit").any()


def test_without_the_contextual_condition_words_alone_are_claimed_as_an_emotion() -> None:
    assert claimed(judged("llama", "words", 1, measures=("raw", "adjusted", "own")).claims, "implicit").any()


def test_without_the_adjusted_condition_flattening_is_above_the_others() -> None:
    whole = judged("llama", "flattens", 0)
    raw = judged("llama", "flattens", 0, measures=("raw",))
    kept, by_raw = (
        found.conditions.query("emotion == 'gratitude' and other == 'apology' and measure == 'adjusted'")
        for found in (whole, raw)
    )
    assert by_raw["p"].item() < 0.05 < kept["p"].item()


def test_a_rule_that_claims_whatever_it_sees_misses_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule, "_by_numbers", lambda row: (rule.SUPPORTED, "bar_reached"))
    table = null_act_table("llama", "steadier", repeats=2, sizes=SMALL)
    rows = list(null_act_rows("llama", "steadier", table))
    assert [row.met for row in rows if row.met is not None] == [False]


def test_a_score_that_every_text_has_rises_where_acts_break_less() -> None:
    plant = make_plant("steadier", 0)
    data = DataSet(build_model("llama", plant, 0), plant, 0, sizes=replace(SMALL, controls=2))
    found = steadier_claims(data).set_index("emotion")
    assert found.loc["gratitude", "own_effect"] > found.loc["apology", "own_effect"]
    assert found.loc["gratitude", "own_effect"] > 0.1
    assert (found["own_effect_unfiltered"] == 0).all()


# the rows


def told(kind: str, claims: list[bool], style: str = "implicit") -> pd.DataFrame:
    above = {f"above/{name}": True for name in ("raw", "adjusted", "contextual", "own")}
    return pd.DataFrame(
        {
            "data_set": range(len(claims)),
            "style": style,
            "claimed": claims,
            "reason": "few_controls",
            "d_z": 0.8,
            **above,
        }
    )


def test_nine_of_two_hundred_data_sets_meet_the_bar_and_ten_do_not() -> None:
    for wrong, met in ((9, True), (10, False)):
        [row] = [
            r
            for r in null_act_rows("llama", "valence", told("valence", [True] * wrong + [False] * (200 - wrong)))
            if r.met is not None
        ]
        assert row.met is met


def test_what_has_to_be_claimed_has_to_be_so_in_nine_of_ten() -> None:
    for share, met in ((180, True), (179, False)):
        claims = [True] * share + [False] * (200 - share)
        assert [r.met for r in null_act_rows("gpt2", "emotion", told("emotion", claims)) if r.met is not None] == [met]
        words = pd.concat([told("words", [False] * 200), told("words", claims, "explicit")])
        assert [r.met for r in null_act_rows("gpt2", "words", words) if r.met is not None] == [True, met]


def test_what_has_no_bar_is_only_told() -> None:
    [row] = null_act_rows("gpt2", UNFLAGGED, told(UNFLAGGED, [True] * 6))
    assert row.met is None and row.value == 1
    assert [data_sets_of(kind, 200) for kind in ("emotion", "valence", UNFLAGGED)] == [67, 200, 20]
