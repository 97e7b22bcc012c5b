"""Rows of the two effects: whose values stand for what is held, and that tables of contrasts give the same effect."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.circuits.contrasts import context_contrasts, pack, steer_contrasts
from emolib.circuits.effect_rows import context_effect_rows, steer_effect_rows
from emolib.circuits.kept_nodes import circuit_effect
from emolib.circuits.node_norms import node_norms
from emolib.circuits.nodes import Node, all_nodes
from emolib.engine.packed_ablation import ablate_packed, find_targets
from emolib.interventions import Steer
from emolib.models.language_model import LanguageModel


def made_up() -> pd.DataFrame:
    """Scenarios that share no word, short enough for a tiny model."""
    rows = []
    for number, letter in enumerate("abcdefgh"):
        for label in ("neutral", "gratitude", "anger"):
            text = f"{letter * 3}{label[:2]} {letter * 4} {letter * 5}{number} {letter * 2}{label[0]} {letter * 6}."
            rows.append((f"s{number}", f"t{number % 2}", label, "explicit", text))
    return pd.DataFrame(rows, columns=["scenario", "topic", "emotion", "style", "text"])


def contexts() -> pd.DataFrame:
    data = made_up()
    return context_contrasts(data, ["gratitude"], ["s0", "s1", "s2"], pool=sorted(set(data["scenario"])))


def steered(width: int) -> tuple[pd.DataFrame, dict[str, Steer]]:
    data = made_up()
    table = steer_contrasts(data, ["gratitude", "anger"], ["s0", "s1"], pool=sorted(set(data["scenario"])))
    rng = np.random.default_rng(0)
    acts = {
        name: Steer(1, rng.standard_normal(width), 0.8, unit="resid", resid_norm=5.0) for name in ("gratitude", "anger")
    }
    return table, acts


@pytest.fixture
def llama(tiny_models: dict[str, LanguageModel]) -> LanguageModel:
    return tiny_models["llama"]


def test_the_whole_effect_is_that_of_the_contrasts(llama: LanguageModel) -> None:
    table = contexts()
    found = circuit_effect(llama, context_effect_rows(table), all_nodes(llama)).whole
    given = pack(llama, table)
    bare = ablate_packed(llama, given.packed, find_targets(llama, given.packed, "resample", given.sources), [])
    np.testing.assert_allclose(found, given.effects(bare.base), atol=2e-4)
    cut = circuit_effect(llama, context_effect_rows(table.assign(most_tokens=2)), all_nodes(llama)).whole
    assert np.abs(cut - found).max() > 1e-4  # fewer tokens are read


def test_s_is_that_of_both_steers_and_nothing_without_them(llama: LanguageModel) -> None:
    table, acts = steered(llama.d_model)
    effect = circuit_effect(llama, steer_effect_rows(table, acts), all_nodes(llama, 1))
    assert np.abs(effect.without).max() < 1e-5 < np.abs(effect.whole).max()
    same = circuit_effect(llama, steer_effect_rows(table, dict.fromkeys(acts, acts["anger"])), all_nodes(llama, 1))
    assert np.abs(same.whole).max() < 1e-5


def test_held_values_are_of_the_same_text_behind_another_prompt() -> None:
    table = contexts()
    rows = context_effect_rows(table)
    assert [row.source for row in rows[:2]] == [
        (table["source_prompt"][0], table["text_with"][0]),
        (table["source_prompt"][0], table["text_without"][0]),
    ]
    assert all(row.without == table["prompt_without"][i // 2] for i, row in enumerate(rows))
    assert [row.source for row in context_effect_rows(table, "own")] == [None] * len(rows)
    with pytest.raises(UserError, match="'another'"):
        context_effect_rows(table, "another")  # type: ignore[arg-type]


def test_what_a_node_writes_grows_with_its_weights(llama: LanguageModel) -> None:
    texts = made_up()["text"].tolist()
    norms = node_norms(llama, texts)
    assert set(norms) == set(all_nodes(llama)) and min(norms.values()) > 0
    before = llama.native.layers[1].out.weight.clone()
    try:
        llama.native.layers[1].out.weight.mul_(2)
        doubled = node_norms(llama, texts)
    finally:
        llama.native.layers[1].out.weight.copy_(before)
    assert doubled[Node(1, "head", 0)] == pytest.approx(2 * norms[Node(1, "head", 0)], rel=1e-4)
    assert doubled[Node(0, "head", 0)] == pytest.approx(norms[Node(0, "head", 0)], rel=1e-4)
