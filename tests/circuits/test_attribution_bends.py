"""Where first order errs: the parts agree with what they are made of, and a planted cause is found where it was put."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted_contrasts import few_contrasts

from emolib.base.errors import UserError
from emolib.circuits.attribution import attribute
from emolib.circuits.attribution_bends import (
    CAUSES,
    CHANGES,
    COLUMNS,
    attribution_bends,
    bend_cause,
    bend_summary,
)
from emolib.circuits.screening import exact_changes, single_heads
from emolib.models.language_model import LanguageModel


def with_stream(lm: LanguageModel, factor: float) -> LanguageModel:
    """The same model with a longer or shorter embedding: the heads of its first layer read and write the same."""
    return replace(lm, blueprint=replace(lm.native, embedding=lm.native.embedding * factor))


def test_both_ends_are_those_of_ablation_and_attribution(tiny: LanguageModel) -> None:
    table, layers = few_contrasts(1), [0, tiny.n_layers - 1]
    found = attribution_bends(tiny, table, layers)
    assert found.columns.tolist() == COLUMNS and len(found) == 2 * tiny.n_heads
    exact = exact_changes(tiny, table, single_heads(tiny, layers)).changes.mean(0)
    np.testing.assert_allclose(found["exact"], exact, atol=2e-5)
    first = attribute(tiny, table).heads["atp"].mean(0)[layers].ravel()
    np.testing.assert_allclose(found["first_order"], first, atol=2e-5)
    apart = np.abs(found["first_order"] - found["exact"]).max()
    assert apart > 1e-3, "where nothing bends, nothing can be told"
    assert np.abs(found["start"] - found["first_order"]).max() < max(0.35 * apart, 2e-3)
    assert found["scale_frozen"].isna().all() == tiny.native.parallel


def test_a_short_stream_makes_first_order_too_large_and_the_norm_s_scale_is_named(
    tiny_models: dict[str, LanguageModel],
) -> None:
    table, lm = few_contrasts(2), tiny_models["llama"]
    short, long = (bend_summary(attribution_bends(with_stream(lm, f), table, [0])).iloc[0] for f in (0.05, 300.0))
    assert short["moved"] > 0.5 and long["moved"] < 0.05
    assert short["first_order"] > 3 and short["scale_frozen"] > 1.5
    for name in CHANGES[1:]:
        assert long[name] == pytest.approx(1, abs=0.15), name
    assert short["start"] > short["half"] > 1, "the slope flattens on the way"
    assert short["cause"] == "scale" and long["cause"] == "agrees"


def test_sizes_are_told_beside_the_exact_change() -> None:
    values = {name: [1.0, -1.0] for name in CHANGES} | {"first_order": [30.0, 40.0], "moved": [0.5, 1.5]}
    found = bend_summary(pd.DataFrame({"kind": "zero", "layer": 0, "head": [0, 1], **values})).iloc[0]
    assert found["exact"] == 1 and found["first_order"] == pytest.approx(np.sqrt(1250)) and found["half"] == 1
    assert found["moved"] == 1.0 and found["n"] == 2


def test_the_piece_that_makes_half_of_the_error_is_named() -> None:
    sizes = {"first_order": 100.0, "block_linear": 1.0, "behind_linear": 1.0, "scale_frozen": 1.0}
    wanted = {
        "agrees": {"first_order": 1.2},
        "scale": {"block_linear": 0.02, "scale_frozen": 30.0},
        "block": {"block_linear": 50.0, "scale_frozen": float("nan")},
        "behind": {"behind_linear": 20.0},
        "both": {"behind_linear": 20.0, "block_linear": 20.0},
        "together": {"behind_linear": 5.0, "block_linear": 5.0},
    }
    assert set(wanted) == set(CAUSES)
    for cause, changed in wanted.items():
        assert bend_cause(sizes | changed) == cause


def test_bad_input_is_told(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["llama"]
    with pytest.raises(UserError, match=r"layers of 0-2, got 1 and \[3\]"):
        attribution_bends(lm, few_contrasts(1), [3])
    with pytest.raises(UserError, match="got 0 and"):
        attribution_bends(lm, few_contrasts(0), [0])
