"""Placebos: what holds no emotion passes seldom; what an act does to one of them is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted_shifts import OTHERS, OWN, design, noisy, own_texts

from emolib.base.errors import UserError
from emolib.data.pairs import load_placebo
from emolib.steering.instruments import judged_pairs, passes, placebo_rows
from emolib.steering.placebos import (
    placebo_act_passes,
    placebo_text_passes,
    placebo_text_rows,
    placebo_words,
    word_counts,
)
from emolib.steering.shift_tables import crossed_cells, shift_rows
from emolib.steering.text_gold import text_score_cells

THREE = {"gratitude": ("anger", "apology"), "anger": ("gratitude", "apology"), "apology": ("gratitude", "anger")}


@pytest.fixture(scope="module")
def text_rows() -> pd.DataFrame:
    """The placebo pairs after four of ten prompts each, under three acts."""
    texts = placebo_text_rows(load_placebo())
    parts = [
        crossed_cells([f"prompt {i}" for i in range(10)], part["scenario"].unique().tolist())
        for _, part in texts.groupby("style")
    ]
    acts = pd.DataFrame({"act": list(OWN), "layer": 8, "alpha": 0.2})
    return shift_rows(pd.concat(parts), texts, acts)


def test_the_pairs_are_texts_of_a_design(text_rows: pd.DataFrame) -> None:
    assert len(text_rows) == 200 * 2 * 4 * 3
    assert sorted(text_rows["label"].unique()) == ["a", "b"] and text_rows["style"].nunique() == 6
    assert text_rows.loc[text_rows["style"] == "calendar", "words"].str.contains("Tuesday").any()


def test_placebo_texts_pass_seldom_where_acts_do_nothing_to_them(text_rows: pd.DataFrame) -> None:
    table = text_rows.assign(shift=noisy(text_rows, 0))
    found = placebo_text_passes(table, THREE)
    assert len(found) == 216
    row = placebo_rows(found.assign(measure="raw", style="all", instrument="placebo_texts")).iloc[0]
    assert not row["passed"] and row["verdict"] == "failed" and row["n"] == 216


def test_an_act_that_moves_courteous_texts_is_seen_among_the_placebos(text_rows: pd.DataFrame) -> None:
    courteous = (text_rows["style"] == "courtesy") & (text_rows["label"] == "b") & (text_rows["act"] == "gratitude")
    found = placebo_text_passes(text_rows.assign(shift=noisy(text_rows, 1) + 0.4 * courteous), THREE)
    hit = found["kind"].eq("courtesy") & found["direction"].eq("b_for_a") & found["emotion"].eq("gratitude")
    assert found.loc[hit, "passed"].all() and found.loc[~hit, "passed"].mean() < 0.08


@pytest.fixture(scope="module")
def act_rows() -> pd.DataFrame:
    placebos = tuple(f"topic:{i}" for i in range(8))
    labels = ("gratitude", "anger", "apology")
    return design(labels, (*labels, *placebos))


def test_directions_of_topics_pass_seldom(act_rows: pd.DataFrame) -> None:
    placebos = [act for act in act_rows["act"].unique() if act.startswith("topic")]
    table = act_rows.assign(shift=noisy(act_rows, 0) + 0.3 * own_texts(act_rows))
    found = placebo_act_passes(table, placebos, THREE, n=60)
    assert found.columns.tolist() == ["style", "emotion", "draw", "passed"] and len(found) == 60
    assert found["passed"].mean() <= 0.08
    beside = placebo_act_passes(table, placebos, THREE, n=30, keep_others=True)
    assert beside["passed"].mean() > 0.9, "S is owed to the others' acts where these stay in place"


def test_no_draw_of_directions_comes_twice_and_draws_end_where_there_are_no_more(act_rows: pd.DataFrame) -> None:
    placebos = [act for act in act_rows["act"].unique() if act.startswith("topic")]
    table = act_rows.assign(shift=noisy(act_rows, 0))
    found = placebo_act_passes(table, placebos[:3], THREE, n=204)
    assert len(found) == 3 * 6, "three directions stand in six orders for an emotion and two others"
    assert len(placebo_act_passes(table, placebos, THREE, n=204)) == 204
    assert placebo_act_passes(table, placebos, THREE, n=204).groupby("emotion").size().tolist() == [68] * 3


def test_a_draw_is_the_emotions_direction_against_each_of_the_others(act_rows: pd.DataFrame) -> None:
    acts = ["topic:0", "topic:1"]
    rows = act_rows[act_rows["act"].isin(acts)]
    hit = (rows["act"] == "topic:0") & (rows["label"] == "gratitude")
    table = rows.assign(shift=noisy(rows, 0) * 1e-3 + hit)
    found = placebo_act_passes(table, acts, {"gratitude": ("anger",)}, n=9)
    assert sorted(found["passed"]) == [False, True], "one of the two orders"


def test_a_text_without_a_word_counts_none() -> None:
    assert placebo_words(["", "so late"], 2) == ["late", "so"]
    assert word_counts(["", "so late, so"], ["so"])["so"].tolist() == [0, 2]


def test_placebos_of_the_own_contrast_stand_against_a_third_act(
    text_rows: pd.DataFrame, act_rows: pd.DataFrame
) -> None:
    courteous = (text_rows["style"] == "courtesy") & (text_rows["label"] == "b")
    noise = noisy(text_rows, 1)
    by_anger = text_rows.assign(shift=noise + 0.4 * (courteous & (text_rows["act"] == "anger")))
    found = {own: placebo_text_passes(by_anger, {"gratitude": ("anger",)}, own=own) for own in (False, True)}
    hit = found[False]["kind"].eq("courtesy") & found[False]["direction"].eq("a_for_b")
    assert found[False].loc[hit, "passed"].all(), "S credits gratitude with what anger's act does"
    assert found[True].loc[hit, "passed"].mean() < 0.5, "the third act is apology's, which does nothing"
    placebos = [act for act in act_rows["act"].unique() if act.startswith("topic")]
    table = act_rows.assign(shift=noisy(act_rows, 0) + 0.3 * own_texts(act_rows))
    assert placebo_act_passes(table, placebos, THREE, n=60, own=True)["passed"].mean() <= 0.08
    with pytest.raises(UserError, match="third label"):
        placebo_act_passes(table, placebos, {"gratitude": ("anger",)}, n=1, own=True)


def test_a_direction_that_is_an_emotion_is_seen_among_the_acts(act_rows: pd.DataFrame) -> None:
    placebos = [act for act in act_rows["act"].unique() if act.startswith("topic")]
    hidden = dict(zip(placebos[:3], OWN, strict=True))
    is_own = act_rows["act"].map(hidden) == act_rows["label"]
    found = placebo_act_passes(act_rows.assign(shift=noisy(act_rows, 2) + 0.4 * is_own), placebos[:3], THREE, n=60)
    assert 0.05 < found["passed"].mean() < 0.5, "when each of the three has drawn its own name"


def test_placebo_words_are_common_and_no_emotion_words() -> None:
    texts = [
        "So sorry, so very sorry",
        "So thankful for the bus",
        "The bus is late, I hate the bus",
        "furious, joyful bus",
    ]
    assert placebo_words(texts, 3) == ["bus", "so", "the"]
    every = placebo_words(texts, 99)
    assert not {"sorry", "thankful", "hate", "furious", "joyful"} & set(every) and {"for", "late", "i"} <= set(every)
    assert "bus" not in placebo_words(texts, 99, labels=["bus"])
    assert word_counts(texts, ["bus", "so"])["bus"].tolist() == [0, 1, 2, 1]


def test_words_of_steered_texts_are_judged_by_the_rule_of_scores() -> None:
    generator = np.random.default_rng(0)
    rows = [
        {"scenario": f"k{i}", "emotion": label, "style": "explicit", "said": "so " * int(label == "gratitude")}
        for i in range(24)
        for label in (*OWN, "neutral")
    ]
    texts = pd.DataFrame(rows)
    texts["text"] = [f"{said}{' '.join(generator.permutation(['the', 'bus']))}" for said in texts["said"]]
    words = placebo_words(texts["text"], 3)
    scores = pd.concat([texts, word_counts(texts["text"], words)], axis=1)
    cells = text_score_cells(scores, dict.fromkeys(OWN, words)).assign(instrument="placebo_words")
    found = passes(judged_pairs(cells), ["measure", "emotion"])
    assert found.loc[found["passed"], ["measure", "emotion"]].values.tolist() == [["so", "gratitude"]]


def test_bad_tables_are_told(act_rows: pd.DataFrame, text_rows: pd.DataFrame) -> None:
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("at least 3 placebo acts", lambda: placebo_act_passes(act_rows.assign(shift=0.0), ["topic:0"], THREE)),
        ("the act 'joy' in every cell", lambda: placebo_text_passes(text_rows.assign(shift=0.0), OTHERS)),
        ("there is no shift", lambda: placebo_text_passes(text_rows, THREE)),
    ]
    for said, call in cases:
        with pytest.raises(UserError, match=said) as told:
            call()
        assert "\n" not in str(told.value)


def test_a_text_that_is_empty_has_no_words():
    assert placebo_words(["", "So the bus"], 2) == ["bus", "so"]
    assert word_counts(["", "so late, so dark"], ["so"]).values.tolist() == [[0], [2]]
