"""Verdicts of an alignment: every code has its case, and one number away from it another."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.steering.alignment_verdicts import (
    ALIGNMENT_REASONS,
    ALIGNMENT_VERDICTS,
    alignment_verdict,
    alignment_verdicts,
)

PASSED = {"margin": 0.5, "low": 0.3, "high": 0.7, "ceiling": 0.8, "ceiling_low": 0.6, "n_scenarios": 30, "bar": 0.4}
CASES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "common", "above_every_null"),
    ({"n_scenarios": 9}, "underpowered", "few_scenarios"),
    ({"ceiling_low": 0.0}, "not_measurable", "own_vector_not_found"),
    ({"ceiling_low": float("nan")}, "not_measurable", "own_vector_not_found"),
    ({"bar": 0.5}, "underpowered", "interval_holds_the_bar"),
    ({"low": 0.0}, "underpowered", "interval_holds_the_bar"),
    ({"bar": 0.7}, "not_shown", "below_the_bar"),
    ({"bar": 0.69, "ceiling": 0.69}, "underpowered", "ceiling_below_the_bar"),
]


@pytest.mark.parametrize(("changed", "verdict", "reason"), CASES)
def test_the_verdict_follows_from_margin_null_and_ceiling(changed: dict[str, Any], verdict: str, reason: str) -> None:
    assert alignment_verdict(PASSED | changed) == (verdict, reason)


def test_every_code_and_reason_has_its_case() -> None:
    assert {verdict for _, verdict, _ in CASES} == set(ALIGNMENT_VERDICTS)
    assert {reason for *_, reason in CASES} == set(ALIGNMENT_REASONS)


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    row = {key: value for key, value in PASSED.items() if key != "bar"}
    margins = pd.DataFrame([{"style": style, "label": "joy", **row} for style in ("all", "implicit")])
    nulls = pd.DataFrame(
        [
            {"style": style, "label": "joy", "null": null, "null_95": value}
            for style, values in {"all": (0.1, 0.45), "implicit": (0.55, 0.2)}.items()
            for null, value in zip(("permuted", "embeddings"), values, strict=True)
        ]
    )
    return margins, nulls


def test_the_largest_null_is_the_bar_of_its_own_style() -> None:
    found = alignment_verdicts(*tables()).set_index("style")
    assert found["hardest_null"].to_dict() == {"all": "embeddings", "implicit": "permuted"}
    assert found["bar"].to_dict() == {"all": 0.45, "implicit": 0.55}
    assert found["verdict"].to_dict() == {"all": "common", "implicit": "underpowered"}


def test_missing_columns_are_named() -> None:
    margins, nulls = tables()
    with pytest.raises(UserError, match="no ceiling"):
        alignment_verdicts(margins.drop(columns="ceiling"), nulls)
