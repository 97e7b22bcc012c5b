"""`narrow`: which hidden units of a BERT stay, and that the weights out of them make up for those that went."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from emolib.scoring.encoder import load_encoder
from emolib.scoring.expressed import load_expressed
from emolib.scoring.narrow import STEP, Sensitivity, apply_narrowing, chosen_units, leaving, refitted, sensitivities
from emolib.scoring.packed_bert import PackedBert

CPU = torch.device("cpu")
WIDTH, UNITS = 32, 128
TEXTS = [
    f"{who} {did} the {what} {when}."
    for who in ("I", "You", "Nobody", "My sister")
    for did in ("broke", "found")
    for what in ("lamp", "old letter", "key to the shed")
    for when in ("", "today", "on the way home")
]


class Probe(nn.Module):
    """Three logits from the mean of the last states."""

    def __init__(self) -> None:
        super().__init__()
        self.outer = nn.Linear(WIDTH, 3)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        real = mask[..., None].to(states.dtype)
        logits: Tensor = self.outer((states * real).sum(1) / real.sum(1))
        return logits


@pytest.fixture
def doubled() -> Any:
    """A small BERT whose hidden units of either layer stand there twice, with other weights out of them."""
    torch.manual_seed(0)
    vocabulary = load_encoder(CPU).network.config.vocab_size
    sizes = {"hidden_size": WIDTH, "intermediate_size": UNITS, "num_hidden_layers": 2, "num_attention_heads": 4}
    network = BertModel(BertConfig(vocab_size=vocabulary, **sizes)).eval().requires_grad_(False)
    for layer in network.encoder.layer:
        inner, half = layer.intermediate.dense, UNITS // 2
        inner.weight.normal_(std=0.5)
        inner.bias.normal_(std=0.5)
        inner.weight[half:], inner.bias[half:] = inner.weight[:half].clone(), inner.bias[:half].clone()
        layer.output.dense.weight.normal_(std=0.2)
    return network


def packed(network: Any) -> PackedBert:
    return PackedBert(network, load_encoder(CPU).tokenizer, most=64)


def blocks() -> list[tuple[Tensor, Tensor]]:
    given = load_encoder(CPU).tokenizer(TEXTS, padding=True, return_tensors="pt")
    half = len(TEXTS) // 2
    ids, mask = given["input_ids"], given["attention_mask"]
    return [(ids[:half], mask[:half]), (ids[half:], mask[half:])]


def states(network: Any) -> np.ndarray:
    """`[text, width]`: the means of the last layer."""
    found = np.empty((len(TEXTS), WIDTH), np.float32)
    for places, by_layer in packed(network).states(TEXTS, [2]):
        found[places] = by_layer[2].mean(1)
    return found


def test_without_half_of_units_that_stand_there_twice_the_network_gives_what_it_gave(doubled: Any):
    torch.manual_seed(1)
    found = sensitivities(doubled, Probe(), blocks(), seed=0)
    kept = chosen_units(found, [layer.output.dense.weight for layer in doubled.encoder.layer], mean=UNITS // 2)
    assert sum(len(places) for places in kept) == UNITS
    narrow, cut = copy.deepcopy(doubled), copy.deepcopy(doubled)
    stored = refitted(packed(doubled), kept, list(packed(doubled).packs(TEXTS)))
    apply_narrowing(narrow, stored)
    for layer, places in zip(cut.encoder.layer, kept, strict=True):  # the same units, with the weights they had
        gone = torch.ones(UNITS, dtype=torch.bool)
        gone[places] = False
        layer.output.dense.weight[:, gone] = 0
    wanted = states(doubled)
    assert np.abs(states(narrow) - wanted).max() < 0.05
    assert np.abs(states(cut) - wanted).max() > 0.2
    assert all(value.dtype == (np.int16 if name.endswith("kept") else np.float16) for name, value in stored.items())


def test_the_gradients_and_units_of_every_layer_are_those_of_the_network(doubled: Any):
    torch.manual_seed(1)
    probe = Probe()
    found = sensitivities(doubled, probe, blocks(), seed=0)
    (ids, mask), half = blocks()[0], len(TEXTS) // 2
    with torch.no_grad():
        probe.outer.weight[1:], probe.outer.bias[1:] = 0, 0  # one logit, so signs do not matter
    single = sensitivities(doubled, probe, [(ids, mask)], seed=0)
    last = doubled.encoder.layer[1]
    out: list[Tensor] = []
    hook = last.output.dense.register_forward_hook(lambda _module, _given, given: out.append(given.requires_grad_()))
    logits = probe(doubled(input_ids=ids, attention_mask=mask).last_hidden_state, mask)
    hook.remove()
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), out)
    wanted = torch.einsum("rti,rtj->ij", gradient, gradient) / half
    torch.testing.assert_close(single[1].output, wanted, rtol=1e-4, atol=1e-7)
    assert len(found) == 2 and all(one.units.shape == (UNITS, UNITS) for one in found)


def moments(size: int, seed: int, scale: float) -> Sensitivity:
    x = torch.randn(4 * size, size, generator=torch.Generator().manual_seed(seed))
    return Sensitivity(x.T @ x / len(x), scale * torch.eye(WIDTH))


def test_what_a_step_costs_is_the_least_squares_error_of_doing_without_its_units():
    found = moments(UNITS, 0, 1.0)
    weight = torch.randn(WIDTH, UNITS, generator=torch.Generator().manual_seed(1))
    order, costs = leaving(found, weight, fewest=UNITS - 2 * STEP)
    assert [len(step) for step in order] == [STEP, STEP] and len(set(torch.cat(order).tolist())) == 2 * STEP
    firm = found.units + 1e-3 * found.units.diagonal().mean() * torch.eye(UNITS)
    there = torch.ones(UNITS, dtype=torch.bool)
    for step in range(2):
        there[order[step]] = False
        best = torch.linalg.solve(firm[there][:, there], firm[there] @ weight.T)
        error = weight @ firm @ weight.T - best.T @ firm[there][:, there] @ best
        assert sum(costs[: step + 1]) == pytest.approx(float(error.trace()), rel=1e-3)


def test_the_layer_that_says_less_loses_more_units():
    found = [moments(UNITS, 0, 1.0), moments(UNITS, 1, 0.01)]
    weights = [torch.randn(WIDTH, UNITS, generator=torch.Generator().manual_seed(k)) for k in (2, 3)]
    kept = chosen_units(found, weights, mean=96)
    assert [len(places) for places in kept] == [UNITS, UNITS - 2 * STEP]


def test_matrices_of_other_sizes_and_units_that_are_not_there_are_refused(doubled: Any):
    kept = [torch.arange(64), torch.arange(64)]
    stored = refitted(packed(doubled), kept, list(packed(doubled).packs(TEXTS[:4])))
    for name, value in (
        ("encoder.layer.1.kept", np.full(64, UNITS, np.int16)),
        ("encoder.layer.0.outer.weight", np.zeros((WIDTH, 63), np.float16)),
    ):
        with pytest.raises(RuntimeError, match="expected"):
            apply_narrowing(copy.deepcopy(doubled), stored | {name: value})


def test_the_committed_scorer_has_half_of_the_encoders_hidden_units():
    wide, narrow = load_encoder(CPU).packed, load_expressed(CPU).encoder
    units = [sum(layer.inner.out_features for layer in network.layers) for network in (wide, narrow)]
    assert narrow.n_layers == wide.n_layers and 0 < units[1] <= units[0] / 2
