"""Gold contexts as a design, and what they do to a real model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.data.dataset import load_dataset
from emolib.engine.continuation import context_logprobs, continuation_shift
from emolib.models.language_model import LanguageModel
from emolib.steering.gold import (
    CONTEXT_COLUMNS,
    ROW_COLUMNS,
    context_lexicon,
    context_rows,
    context_shifts,
    gold_contexts,
    joined,
)
from emolib.steering.shift_measures import measured_cells
from emolib.steering.shift_parts import token_table
from emolib.steering.shift_tables import KEYS, crossed_cells, shift_table
from emolib.steering.third_scenarios import third_scenarios

OWN = ("gratitude", "anger", "apology")


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return load_dataset().query("split == 'validation'")


def made_contexts(data: pd.DataFrame, n: int, style: str = "explicit", per_text: int = 2) -> pd.DataFrame:
    names = {
        kind: data.loc[data["style"] == kind, "scenario"].drop_duplicates().tolist()
        for kind in ("explicit", "implicit")
    }
    cells = crossed_cells(names["implicit"][:n], names[style][-n:], per_text=per_text)
    choice = third_scenarios(cells, data, OWN, pool=data["scenario"].unique())
    assert choice.left_out.empty
    return gold_contexts(choice.cells, data, OWN)


def test_a_context_stands_beside_its_own_scenarios_neutral_text(data: pd.DataFrame) -> None:
    contexts = made_contexts(data, 6)
    assert contexts.columns.tolist() == CONTEXT_COLUMNS and len(contexts) == 12 * 3
    text_of = data.set_index(["scenario", "emotion"])["text"]
    for row in contexts.itertuples():
        assert row.context == text_of[row.third, row.act] and row.reference == text_of[row.third, "neutral"]
    assert contexts.groupby(["prompt", "text"])["third"].nunique().max() == 1, "labels of a cell share their topic"


def test_the_rows_are_those_of_acts(data: pd.DataFrame) -> None:
    contexts = made_contexts(data, 4)
    rows = context_rows(contexts, data, [*OWN, "neutral"])
    assert rows.columns.tolist() == ROW_COLUMNS and len(rows) == len(contexts) * 4 * 2
    assert not rows.duplicated(KEYS).any() and (rows["layer"] == -1).all()
    assert rows.groupby("position")["alpha"].unique().map(list).to_dict() == {"a": [1.0], "b": [2.0]}
    text_of = data.set_index(["scenario", "emotion"])["text"]
    for row in rows.itertuples():
        prompt, context = text_of[row.prompt, "neutral"], text_of[row.third, row.act]
        assert row.prompt_with == (f"{prompt} {context}" if row.position == "a" else f"{context} {prompt}")
        assert row.words == text_of[row.text, row.label]
    assert joined("p", "c", "a") == "p c"


def roomy(tiny_models: dict[str, LanguageModel]) -> LanguageModel:
    """One with positions enough for a prompt, a context and a text of the tiny tokenizer's short tokens."""
    return next(lm for lm in tiny_models.values() if lm.limits.positions is None)


@pytest.mark.filterwarnings("ignore:.*was trained on texts of up to")
def test_a_context_s_shift_is_what_two_separate_runs_say(
    data: pd.DataFrame, tiny_models: dict[str, LanguageModel]
) -> None:
    lm = roomy(tiny_models)
    contexts = made_contexts(data, 2, per_text=1)
    rows = context_rows(contexts, data, OWN)
    shifts, tokens = context_shifts(lm, rows)
    after, before = (
        continuation_shift(lm, rows[f"prompt_{name}"].tolist(), rows["words"].tolist(), batch_size=1)
        for name in ("with", "without")
    )
    np.testing.assert_allclose(shifts["shift"], after["logprob"] - before["logprob"], atol=1e-5)
    assert shifts["shift"].abs().max() > 1e-4
    assert shifts[["n_tokens", "n_characters"]].equals(after[["n_tokens", "n_characters"]])
    np.testing.assert_allclose(shifts["shift_sum"], shifts["shift"] * shifts["n_tokens"], atol=1e-9)
    table, told = shift_table(rows, shifts, tokens), token_table(rows, tokens, data["text"])
    np.testing.assert_allclose(told.groupby("row")["shift"].mean(), table["shift"], atol=1e-9)
    assert len(measured_cells(table, own=True)) == 2 * 6 * 2 * 2  # cells, pairs, positions, measures


def test_what_a_context_does_to_a_word_anywhere_is_its_lexical_part(
    data: pd.DataFrame, tiny_models: dict[str, LanguageModel]
) -> None:
    lm = roomy(tiny_models)
    rows = context_rows(made_contexts(data, 2, per_text=1), data, OWN, positions=["a"])
    shifts, tokens = context_shifts(lm, rows)
    neutral = context_rows(made_contexts(data, 2, "implicit", per_text=1), data, ["neutral"], positions=["a"])
    lexical = context_lexicon(lm, neutral, tokens["token_id"].unique())
    one = lexical.iloc[0]
    mine = neutral[neutral["act"] == one["act"]]
    after, before = (
        context_logprobs(
            lm, mine[f"prompt_{name}"].tolist(), mine["words"].tolist(), [int(one["token_id"])], batch_size=1
        )
        for name in ("with", "without")
    )
    assert one["lexical"] == pytest.approx((after - before).mean(), abs=1e-5) and abs(one["lexical"]) > 1e-6
    told = token_table(rows, tokens, data["text"])
    cells = measured_cells(shift_table(rows, shifts), tokens=told, lexical=lexical)
    assert set(cells["measure"]) == {"raw", "contextual"}
    both = cells.pivot_table(index="measure", columns=["emotion", "other"], values="specific")
    assert (both.loc["raw"] - both.loc["contextual"]).abs().max() > 1e-6, "the lexical part was taken off"


def test_a_context_that_is_its_reference_does_nothing(
    data: pd.DataFrame, tiny_models: dict[str, LanguageModel]
) -> None:
    contexts = made_contexts(data, 2, per_text=1)
    rows = context_rows(contexts.assign(context=contexts["reference"]), data, OWN, positions=["a"])
    shifts, _ = context_shifts(roomy(tiny_models), rows)
    assert (shifts["shift"] == 0).all()


def test_the_bundled_model_s_s_sees_a_feeling_right_before_the_text(data: pd.DataFrame, bundled: LanguageModel) -> None:
    contexts = made_contexts(data, 6, per_text=1)
    rows = context_rows(contexts, data, OWN, positions=["a"])
    shifts, _ = context_shifts(bundled, rows)
    cells = measured_cells(shift_table(rows, shifts), pairs=[("gratitude", "anger"), ("gratitude", "apology")])
    assert cells["specific"].mean() > 0.02
    mixed = {"gratitude": "anger", "anger": "apology", "apology": "gratitude"}
    turned = shift_table(rows.assign(act=rows["act"].map(mixed)), shifts)
    control = measured_cells(turned, pairs=[("gratitude", "anger"), ("gratitude", "apology")])
    assert control["specific"].mean() < 0, "control: under another's name the same contexts have none"


def test_bad_contexts_are_told_in_one_line(data: pd.DataFrame) -> None:
    contexts = made_contexts(data, 2, per_text=1)
    cells = contexts[["prompt", "text", "style", "third"]].drop_duplicates()
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("has no 'calm'", lambda: gold_contexts(cells, data, ["calm"])),
        ("has no 'calm'", lambda: context_rows(contexts, data, ["calm"])),
        ("position", lambda: context_rows(contexts, data, OWN, positions=["c"])),
        ("twice there is", lambda: context_rows(pd.concat([contexts, contexts]), data, OWN)),
        ("twice there is", lambda: gold_contexts(cells, pd.concat([data, data[:1]]), OWN)),
        ("there is no third", lambda: gold_contexts(cells.drop(columns="third"), data, OWN)),
    ]
    for said, call in cases:
        with pytest.raises(UserError, match=said) as told:
            call()
        assert "\n" not in str(told.value)
