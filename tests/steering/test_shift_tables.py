"""The design of prompts, texts, labels and acts, and its rows with their shifts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.steering.shift_tables import KEYS, crossed_cells, label_shifts, shift_rows, shift_table

LABELS = ("joy", "sadness", "neutral")
PROMPTS, TEXTS = [f"p{i}" for i in range(6)], [f"t{i}" for i in range(6)]


def made_rows(*, acts: tuple[str, ...] = ("joy", "sadness"), labels: tuple[str, ...] = LABELS) -> pd.DataFrame:
    """Six texts after two of six prompts each, all labels under all acts."""
    texts = pd.DataFrame(
        [{"scenario": text, "label": label, "style": "implicit"} for text in TEXTS for label in labels]
    )
    given = pd.DataFrame({"act": list(acts), "layer": 3, "alpha": 0.2})
    return shift_rows(crossed_cells(PROMPTS, TEXTS, per_text=2), texts, given)


def made_shifts(values: np.ndarray, n_tokens: np.ndarray | int = 4) -> pd.DataFrame:
    """As `emolib.continuation_shift` gives them."""
    counts = np.broadcast_to(n_tokens, values.shape)
    return pd.DataFrame(
        {
            "row": np.arange(len(values)),
            "n_tokens": counts,
            "n_characters": 5 * counts,
            "logprob": values - 3,
            "logprob_unpatched": -3.0,
            "shift": values,
            "shift_sum": values * counts,
        }
    )


def test_every_text_stands_after_as_many_prompts_and_every_prompt_before_as_many_texts() -> None:
    for n_prompts, n_texts, per_text in ((24, 24, 4), (6, 12, 3), (8, 6, 4)):
        cells = crossed_cells([f"p{i}" for i in range(n_prompts)], [f"t{i}" for i in range(n_texts)], per_text=per_text)
        assert not cells.duplicated().any()
        assert (cells.groupby("text").size() == per_text).all()
        assert cells.groupby("prompt").size().nunique() == 1 and cells["prompt"].nunique() == n_prompts
    drawn = [crossed_cells(PROMPTS, TEXTS, per_text=2, seed=seed) for seed in (0, 0, 1)]
    pd.testing.assert_frame_equal(drawn[0], drawn[1])
    assert not drawn[0].equals(drawn[2])


def test_rows_hold_every_label_under_every_act_in_every_cell() -> None:
    rows = made_rows()
    assert len(rows) == 12 * 3 * 2 and not rows.duplicated(KEYS).any() and list(rows) == KEYS
    assert set(rows.groupby(["prompt", "text"]).size()) == {6}


def test_shifts_stand_beside_their_rows_in_every_unit() -> None:
    rows = made_rows()
    values = np.random.default_rng(0).standard_normal(len(rows))
    table = shift_table(rows, made_shifts(values))
    np.testing.assert_allclose(table["shift"], values)
    np.testing.assert_allclose(table["shift_sum"], 4 * values)
    np.testing.assert_allclose(table["shift_per_character"], values / 5)
    pd.testing.assert_frame_equal(table[KEYS], rows)


def test_over_the_shortest_text_s_length_the_surplus_tokens_do_not_count() -> None:
    rows = made_rows()
    counts = rows["label"].map({"joy": 5, "sadness": 2, "neutral": 3}).to_numpy()
    row = np.repeat(np.arange(len(rows)), counts)
    position = np.concatenate([np.arange(1, count + 1) for count in counts])
    shift = np.where(position <= 2, 1.0, 10.0)  # only what comes after the shortest text's end is large
    tokens = pd.DataFrame({"row": row, "position": position, "logprob": shift - 4, "logprob_unpatched": -4.0})
    means = pd.Series(shift).groupby(row).mean().to_numpy()
    table = shift_table(rows, made_shifts(means, counts), tokens)
    assert (table["shift_shortest"] == 1).all() and table["shift"].max() > 5


def test_a_label_s_shift_is_taken_over_the_neutral_text_of_its_scenario() -> None:
    rows = made_rows()
    scenario = rows["text"].map({text: i for i, text in enumerate(TEXTS)}).to_numpy(float)
    own = (rows["label"] == rows["act"]).to_numpy(float)
    found = label_shifts(shift_table(rows, made_shifts(scenario + 0.5 * own)))
    assert set(found["label"]) == {"joy", "sadness"}
    np.testing.assert_allclose(found["over_neutral"], 0.5 * (found["label"] == found["act"]), atol=1e-12)
    assert len(found) == 12 * 2 * 2


def test_bad_tables_are_told_in_one_line() -> None:
    rows, texts = made_rows(), pd.DataFrame({"scenario": ["t0"], "label": ["joy"], "style": ["implicit"]})
    acts, shifts = pd.DataFrame({"act": ["joy"], "layer": 3, "alpha": 0.2}), made_shifts(np.zeros(len(rows)))
    table = shift_table(rows, shifts)
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("'a' is in both", lambda: crossed_cells(["a", "b"], ["c", "a"], per_text=1)),
        ("'b' twice", lambda: crossed_cells(["b", "b"], ["c"], per_text=1)),
        ("got none", lambda: crossed_cells([], ["c"])),
        ("per_text from 1 to 2", lambda: crossed_cells(["a", "b"], ["c", "d"], per_text=3)),
        ("multiple of 4", lambda: crossed_cells(list("abcd"), list("efg"), per_text=2)),
        ("'t1' has none", lambda: shift_rows(crossed_cells(["p"], ["t0", "t1"], per_text=1), texts, acts)),
        (
            "there is no style",
            lambda: shift_rows(crossed_cells(["p"], ["t0"], per_text=1), texts[["scenario", "label"]], acts),
        ),
        ("got 3 for 72", lambda: shift_table(rows, shifts[:3])),
        ("in its order", lambda: shift_table(rows, shifts[::-1])),
        ("twice there is", lambda: shift_table(pd.concat([rows[:1]] * 2), shifts[:2])),
        ("rows from a table", lambda: shift_table([1], shifts)),
        ("'calm' in every cell, there are none", lambda: label_shifts(table, neutral="calm")),
        ("'neutral' in every cell, {'prompt'", lambda: label_shifts(table.drop(index=2 * 2))),
    ]
    for said, call in cases:
        with pytest.raises(UserError, match=said.replace("{", r"\{")) as told:
            call()
        assert "\n" not in str(told.value)


def test_the_arithmetic_of_shifts_knows_no_model_library() -> None:
    code = (
        "import sys; import emolib.steering.shift_tables, emolib.steering.specific_shift, emolib.steering.shift_parts; "
        "print(sorted({'torch', 'transformers', 'transformer_lens'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
