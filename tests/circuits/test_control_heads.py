"""Controls of chosen heads: of their layer, of their norm, and what they carry beside them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from planted_contrasts import few_contrasts

from emolib.base.errors import UserError
from emolib.circuits.attribution import sources_of
from emolib.circuits.contrasts import pack
from emolib.circuits.control_heads import CONTROLLED, against_controls, change_norms, matched_heads
from emolib.circuits.screening import Exact
from emolib.engine.packed_ablation import find_targets
from emolib.models.language_model import LanguageModel


def test_norms_are_those_of_what_leaves_the_output_matrix(tiny: LanguageModel) -> None:
    """Against the ablation itself: one head replaced, every other as it was, behind W_O."""
    table = few_contrasts(1)
    found = change_norms(tiny, table)
    given = pack(tiny, table)
    targets = find_targets(tiny, given.packed, "resample", sources_of(given, "resample"))
    layer = tiny.n_layers - 1
    with torch.inference_mode():
        hidden = given.packed.start()
        for at in range(layer):
            hidden = given.packed.after_heads(at, hidden, given.packed.heads_of(at, hidden))
        z, out = given.packed.heads_of(layer, hidden), tiny.blueprint.layers[layer].out
        for head in range(tiny.n_heads):
            moved = out(targets.replaced(layer, z, [head]).flatten(1)) - out(z.flatten(1))
            wanted = float(moved[targets.factor > 0].square().sum(-1).mean().sqrt())
            assert found[layer, head] == pytest.approx(wanted, rel=1e-3)
    assert np.unique(found.round(6)).size > found.size / 2
    with pytest.raises(UserError, match="at least one contrast"):
        change_norms(tiny, few_contrasts(0))


def test_a_control_is_of_the_layer_and_norm_and_never_a_chosen_head() -> None:
    norms = np.array([[1.0, 1.1, 0.9, 5.0], [1.0, 7.0, 3.0, 8.0]])
    drawn = {matched_heads([(0, 0)], norms, seed=seed)[0, 0] for seed in range(20)}
    assert drawn == {(0, 1), (0, 2)}, "either of the two that are near, never the far one"
    assert matched_heads([(1, 0)], norms) == {(1, 0): (1, 2)}, "none is near: the nearest"
    both = matched_heads([(0, 0), (0, 1)], norms)
    assert sorted(both.values()) == [(0, 2), (0, 3)]
    assert matched_heads([(0, head) for head in range(4)], norms) == {}
    with pytest.raises(UserError, match="got 2:0"):
        matched_heads([(2, 0)], norms)


def test_a_head_is_held_against_its_control_scenario_by_scenario() -> None:
    shared = np.linspace(-0.3, 0.3, 8)  # what scenarios have in common falls out
    changes = np.stack([-0.5 + shared, shared + 0.01 * np.arange(8), shared], axis=1)
    units = pd.DataFrame({"scenario": [f"s{n}" for n in range(8)], "emotion": "anger", "other": "neutral"})
    exact = Exact(units, (((0, 0),), ((0, 1),), ((0, 2),)), changes)
    norms = np.ones((1, 3))
    row = against_controls(exact, {(0, 0): (0, 1)}, norms).iloc[0]
    assert row["difference"] == pytest.approx(0.535) and 0 < row["low"] < row["difference"] < row["high"]
    assert row["p"] == pytest.approx(2 / 2**8) and row["control"] == 1
    same = against_controls(exact, {(0, 1): (0, 2)}, norms).iloc[0]
    assert abs(same["difference"]) < 0.05
    assert against_controls(exact, {}, norms).columns.tolist()[: len(CONTROLLED)] == CONTROLLED
    with pytest.raises(UserError, match="ablation of head 5:5"):
        against_controls(exact, {(0, 0): (5, 5)}, norms)
