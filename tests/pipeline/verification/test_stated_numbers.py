"""Which numbers a report states, and when they count as found."""

from __future__ import annotations

import pandas as pd
import pytest

from emolib.pipeline.verification.stated_numbers import SPOKEN, Pool, numbers


def pool_of(*values: float) -> Pool:
    pool = Pool()
    pool.add(values)
    return pool


def stated(text: str) -> list[float]:
    return [number.value for number in numbers(text)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("AUC 0.94 [−0.10, +1.00]", [0.94, -0.1, 1.0]),
        ("層 18・α = 1、4 シナリオ", [18, 1, 4]),
        ("1,050 テキスト", [1050]),
        ("12.5 % である", [12.5]),
        ("`n=3` と Phase 5 と v2.1b は数でない", []),
        ("2e-05 より小さい", [2e-05]),
    ],
)
def test_numbers_are_read_as_they_are_written(text: str, values: list[float]) -> None:
    assert stated(text) == values


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.94", 0.93852), ("−0.10", 0.1), ("94 %", 0.9385), ("6 %", 0.94), ("0.06", 0.94), ("24", 24.0)],
)
def test_a_number_is_found_as_rounded_as_it_is_stated(text: str, value: float) -> None:
    (number,) = numbers(text)
    assert pool_of(value).has(number)
    assert not pool_of(1.5 * value + 0.2).has(number)


def test_tables_give_their_numbers_and_counts_but_no_names() -> None:
    pool = Pool()
    pool.add_table(
        pd.DataFrame({"emotion": ["joy", "joy", "fear"], "auc": [0.71, 0.82, 0.93], "id": ["a7", "a8", "a9"]})
    )
    for text in ("0.71", "0.93", "3", "2"):  # rows; texts of joy, emotions
        assert pool.has(next(numbers(text))), text
    assert not pool.has(next(numbers("8.00")))
    assert not pool.has(next(numbers("0.75")))


def test_only_computed_prose_states() -> None:
    assert SPOKEN.search("outcome = study.outcome(run)\nsay.conclusion(outcome)")
    assert SPOKEN.search("say.sentence_gates(gates)") and SPOKEN.search("say.discussion_vectors(a)")
    assert not SPOKEN.search("say.table_claims(outcome.claims)")
