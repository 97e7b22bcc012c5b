"""Attributions: the derivative of exact ablations, what corrects them, and what they miss on planted models."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from planted_contrasts import NAMES, few_contrasts, planted_contrasts

from emolib.base.errors import UserError
from emolib.circuits.attribution import attribute, bounded, missed_bound, sources_of
from emolib.circuits.contrasts import pack
from emolib.circuits.screening import exact_changes, single_heads
from emolib.engine.packed_ablation import find_targets
from emolib.engine.packed_gradients import backward, packed_difference
from emolib.interventions import Steer
from emolib.models.language_model import LanguageModel
from emolib.selftest.planted import Planted, plant


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("gpt2", noise=0.1)


def acts_of(lm: LanguageModel) -> dict[str, Steer]:
    numbers = np.random.default_rng(3)
    return {name: Steer(1, numbers.standard_normal(lm.d_model), 1.0, unit="vector") for name in NAMES}


@pytest.mark.parametrize("steered", [False, True])
def test_the_estimate_is_the_derivative_of_the_ablation(tiny: LanguageModel, steered: bool) -> None:
    """A small part of the way to the target changes the effect by that part of the estimate, either way."""
    table, acts = few_contrasts(), acts_of(tiny) if steered else None
    found = attribute(tiny, table, acts=acts).heads["atp"]
    given = pack(tiny, table, acts)
    targets = find_targets(tiny, given.packed, "resample", given.sources)
    step, wanted = 0.005, np.zeros_like(found)
    with torch.inference_mode():
        for layer, head in product(range(tiny.n_layers), range(tiny.n_heads)):
            ends = []
            for sign in (1, -1):

                def change(
                    at: int, z: torch.Tensor, sign: int = sign, layer: int = layer, head: int = head
                ) -> torch.Tensor:
                    if at != layer:
                        return z
                    moved = z.clone()
                    moved[:, head] += sign * step * packed_difference(targets, at, z)[:, head]
                    return moved

                final = given.packed.through(0, given.packed.start(), change)
                ends.append(given.effects(given.packed.logprobs(final).double().numpy()))
            wanted[:, layer, head] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(found, wanted, rtol=0.03, atol=1e-3)
    assert np.abs(found).max() > 1e-2


def test_estimates_of_mlps_and_neurons_agree_and_add_up(tiny: LanguageModel) -> None:
    table = few_contrasts()
    found = attribute(tiny, table, neurons=True)
    assert found.neurons is not None and found.neurons.shape[:2] == found.mlps.shape
    if all(layer.mlp_post_norm is None for layer in tiny.native.layers):  # else the norm behind the MLP lies between
        np.testing.assert_allclose(found.neurons.sum(-1), found.mlps, rtol=1e-3, atol=1e-4)
    else:
        assert np.abs(found.neurons.sum(-1) - found.mlps).max() > 1e-3


def test_integrated_estimates_add_up_to_ablating_the_layer(tiny: LanguageModel) -> None:
    table = few_contrasts()
    whole = [tuple((layer, head) for head in range(tiny.n_heads)) for layer in range(tiny.n_layers)]
    exact = exact_changes(tiny, table, whole).changes
    off = {}
    for steps in (1, 8):
        found = attribute(tiny, table, ["integrated"], steps=steps).heads["integrated"]
        off[steps] = np.abs(found.sum(-1) - exact).mean()
    first = attribute(tiny, table).heads["atp"].sum(-1)
    assert off[8] < 0.35 * np.abs(first - exact).mean() and off[8] < np.abs(exact).mean()


def test_dropping_a_layer_leaves_the_layers_behind_it_alone(tiny: LanguageModel) -> None:
    table = few_contrasts()
    found = attribute(tiny, table, ["star"]).heads
    last = tiny.n_layers - 1
    np.testing.assert_allclose(found["dropped"][:, last], np.abs(found["atp"][:, last]), rtol=1e-4, atol=1e-6)
    assert (found["dropped"] >= 0).all()
    assert np.abs(found["dropped"][:, 0] - np.abs(found["atp"][:, 0])).max() > 1e-4


def test_the_corrected_query_and_key_are_exact_in_the_softmax(tiny: LanguageModel) -> None:
    """In the last layer nothing lies behind a pattern but what is linear in first order: the plain estimate is the
    corrected one's derivative."""
    table = few_contrasts()
    given = pack(tiny, table)
    targets = find_targets(tiny, given.packed, "resample", given.sources)
    back = backward(given.packed, given.weights)
    layer = tiny.n_layers - 1
    hidden = back.held.resid[layer].detach()
    with torch.no_grad():
        net_layer = given.packed.net.layers[layer]
        q, k, v = given.packed.queries_keys_values(net_layer, hidden)
        z = given.packed.attended(net_layer, q, k, v)
        torch.testing.assert_close(z, back.held.z[layer].detach(), atol=1e-4, rtol=1e-3)
    nodes = attribute(tiny, table, ["star"]).heads
    assert np.isfinite(nodes["query"]).all() and np.isfinite(nodes["key_linear"]).all()
    corrected, plain = nodes["query"], nodes["query_linear"]
    assert np.abs(corrected - plain).max() > 1e-4  # peaked softmaxes bend
    assert np.abs(nodes["value"]).max() > 1e-3
    assert targets.index is not None


def test_the_writer_is_first_by_attribution_and_ablation(planted: Planted) -> None:
    writer = (planted.truth.write_layer, planted.truth.write_head)
    table = planted_contrasts(planted, 6)
    lm = planted.lm
    both = [tuple({head, planted.truth.distractors["backup"]}) for head in product(range(4), range(4))]
    exact = exact_changes(lm, table, both)
    names = list(product(range(4), range(4)))
    change = dict(zip(names, exact.changes.mean(0), strict=True))
    assert min(change, key=lambda head: change[head]) == writer
    assert exact.units["base"].mean() > 0.5 and change[writer] < -0.8 * exact.units["base"].mean()
    atp = attribute(lm, table).heads["atp"].mean(0)
    assert np.unravel_index(np.abs(atp).argmax(), atp.shape) == writer
    single = exact_changes(lm, table, single_heads(lm))
    alone = dict(zip(names, single.changes.mean(0), strict=True))
    for role in ("topic", "unread"):
        assert abs(alone[planted.truth.distractors[role]]) < 0.1 * abs(change[writer])
    assert alone[writer] > 0.6 * change[writer], "the backup head did not stand in for the writer"


def test_attribution_misses_the_saturated_head_and_the_bound_covers_it(planted: Planted) -> None:
    """It lifts all emotions alike, so it is looked at in what it does to m after the emotional context alone."""
    lm, m_alone = planted.lm, np.array([[1.0, -1.0], [0.0, 0.0]])
    table = planted_contrasts(planted, 4)
    head = planted.truth.distractors["saturated"]
    exact = exact_changes(lm, table, [(head,)], kind="zero", weights=m_alone).changes.mean()
    atp = attribute(lm, table, kind="zero", weights=m_alone).heads["atp"].mean(0)[head]
    assert exact < -0.3 and abs(atp) < 0.1 * abs(exact)
    others = [one for one in product(range(4), range(4)) if one != (1, 2)]
    bound = bounded(lm, table, others, kind="zero", n_sets=60, share=0.2, weights=m_alone)
    place = bound.heads.index(head)
    assert bound.upper[place] > 0.9 * abs(exact)
    small = [one for one in others if one != head]
    without = bounded(lm, table, small, kind="zero", n_sets=60, share=0.2, weights=m_alone)
    assert bound.largest >= bound.upper[place] and without.confidence == 0.95


def test_the_bound_holds_and_is_no_wider_than_noise_asks_for() -> None:
    generator, heads = np.random.default_rng(0), [(0, head) for head in range(20)]
    members = generator.random((400, 20)) < 0.3
    true = np.zeros(20)
    true[3] = -0.5
    held = []
    for _ in range(40):
        changes = members @ true + 0.2 * generator.standard_normal(400)
        found = missed_bound(changes, members, heads)
        held.append(found.upper[3] >= 0.5 and found.upper[[0, 1, 2]].min() >= 0)
        assert found.upper[3] < 0.7 and np.median(found.upper) < 0.15
    assert np.mean(held) >= 0.9
    with pytest.raises(UserError, match="at least two sets"):
        missed_bound(np.zeros(4), np.ones((4, 2), dtype=bool), heads[:2])


def test_bad_input_is_told_in_one_line(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["llama"]
    with pytest.raises(UserError, match="unknown method"):
        attribute(lm, few_contrasts(), ["second_order"])
    with pytest.raises(UserError, match="at least one contrast"):
        attribute(lm, few_contrasts(0))
    with pytest.raises(UserError, match="expected an act for every emotion"):
        attribute(lm, few_contrasts(), acts={"gratitude": None})
    given = pack(lm, few_contrasts())
    assert sources_of(given, "context") is given.own and sources_of(given, "zero") is given.sources
