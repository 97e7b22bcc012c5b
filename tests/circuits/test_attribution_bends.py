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


def with_constant_scale(lm: LanguageModel) -> LanguageModel:
    """The same model, in whose first block the norm before the MLP divides by (nearly) one number."""
    first, *later = lm.native.layers
    norm = replace(first.mlp_norm, eps=1e8, weight=first.mlp_norm.weight * 1e4)
    return replace(lm, blueprint=replace(lm.native, layers=[replace(first, mlp_norm=norm), *later]))


def test_both_ends_are_those_of_ablation_and_attribution(tiny: LanguageModel) -> None:
    table, layers = few_contrasts(1), [0, tiny.n_layers - 1]
    exact = exact_changes(tiny, table, single_heads(tiny, layers)).changes.mean(0)  # first: it fills the workspace
    found = attribution_bends(tiny, table, layers)
    assert found.columns.tolist() == COLUMNS and len(found) == 2 * tiny.n_heads
    np.testing.assert_allclose(found["exact"], exact, atol=2e-5)
    first = attribute(tiny, table).heads["atp"].mean(0)[layers].ravel()
    np.testing.assert_allclose(found["first_order"], first, atol=2e-5)
    apart = np.abs(found["first_order"] - found["exact"]).max()
    assert apart > 1e-3, "where nothing bends, nothing can be told"
    assert np.abs(found["start"] - found["first_order"]).max() < max(0.35 * apart, 2e-3)
    assert found["scale_frozen"].isna().all() == tiny.native.parallel


def test_the_longer_the_stream_the_better_first_order_is(tiny_models: dict[str, LanguageModel]) -> None:
    table, lm = few_contrasts(2), tiny_models["llama"]
    short, long = (attribution_bends(with_stream(lm, factor), table, [0]) for factor in (0.05, 300.0))
    apart = [np.abs(found[["first_order", "half"]].sub(found["exact"], axis=0)).max() for found in (short, long)]
    assert short["moved"].min() > 0.2 and long["moved"].max() < 0.05
    size = [np.sqrt((found["exact"] ** 2).mean()) for found in (short, long)]
    assert (apart[0] / size[0]).max() > 0.3 and (apart[1] / size[1]).max() < 0.2
    assert bend_summary(long)["cause"].item() == "agrees"


def test_a_norm_that_divides_by_one_number_leaves_nothing_to_its_scale(tiny_models: dict[str, LanguageModel]) -> None:
    table, lm = few_contrasts(1), with_stream(tiny_models["llama"], 0.05)
    own, constant = (attribution_bends(one, table, [0]) for one in (lm, with_constant_scale(lm)))
    apart = [np.abs(found["scale_frozen"] - found["exact"]).max() for found in (own, constant)]
    size = [np.sqrt((found["exact"] ** 2).mean()) for found in (own, constant)]
    assert apart[0] > 0.05 * size[0] and apart[1] < 0.01 * size[1]


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
