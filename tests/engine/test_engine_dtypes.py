"""The native engine in 16 bits, and its steps as a graph would hold them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, WINDOW, Case, byte_tokenizer, plain_network
from torch import Tensor, nn

from emolib.engine.generation import generate
from emolib.engine.native import NativeRunner
from emolib.interventions import (
    AblateDirection,
    AblateHead,
    Cap,
    Clamp,
    Decay,
    Edits,
    Intervention,
    PatchHead,
    Steer,
    SubspaceSteer,
    first_layer,
    record_heads,
)
from emolib.models.language_model import LanguageModel, wrap
from emolib.models.loading import spec_of
from emolib.models.tokens import encode, pad_left

SENTENCE = "The new shop by the old bridge opens again"
PROMPTS = [SENTENCE, SENTENCE[3:], SENTENCE[8:], SENTENCE[:5], "I"]
N_NEW = 6
# greatest difference of two logits, in standard deviations of all; rounding at every layer of an untrained model
TOLERANCES = {torch.bfloat16: 0.25, torch.float16: 0.04}
BATCHED = {torch.bfloat16: 0.15, torch.float16: 0.02}
GRAPH_TOLERANCE = 3e-5  # float32; logits of these models have a spread of 1 to 2


def in_dtype(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Weights alone, as when they are loaded; angles of the rotation stay in float32."""
    for parameter in network.parameters():
        parameter.data = parameter.data.to(dtype)
    return network


@pytest.fixture(scope="module", params=[(a, d) for d in TOLERANCES for a in ARCHITECTURES], ids=str)
def small(request: pytest.FixtureRequest) -> Case:
    """A tiny model of each architecture in each 16-bit dtype, beside the same weights unwrapped."""
    architecture, dtype = request.param
    network = in_dtype(plain_network(architecture), dtype)
    lm = wrap(network, byte_tokenizer(), spec_of(network.config, f"tiny-{architecture}"), "seed0")
    assert lm.dtype == dtype
    return Case(architecture, lm, in_dtype(plain_network(architecture), dtype))


def rows_and_fed(lm: LanguageModel, prompts: Sequence[str] = PROMPTS) -> tuple[list[list[int]], Tensor]:
    """Prompts as token ids, and what is fed after each: `[row, step]`."""
    rows = encode(lm, prompts)
    assert max(map(len, rows)) > 2 * WINDOW
    return rows, torch.randint(0, 256, (len(rows), N_NEW - 1), generator=torch.Generator().manual_seed(0))


def native_logits(
    lm: LanguageModel, rows: Sequence[Sequence[int]], fed: Tensor, acts: Sequence[Intervention] = (), **settings: bool
) -> Tensor:
    """`[row, step, vocabulary]` in float32, all rows padded into one batch."""
    ids, mask = pad_left(rows, lm.tokenizer.pad_token_id)
    edits = Edits(lm, list(acts) or [None] * len(rows), [len(row) for row in rows], ids.shape[1], N_NEW)
    with torch.inference_mode():
        runner = NativeRunner(lm, ids, mask, edits, N_NEW - 1, **settings)
        return torch.stack([runner.start().clone(), *(runner.step(t).clone() for t in fed.T)], dim=1).float()


def plain_logits(network: nn.Module, rows: Sequence[Sequence[int]], fed: Tensor) -> Tensor:
    """The same by the network alone, every row and step anew, without cache or padding."""
    with torch.inference_mode():
        return torch.stack(
            [
                torch.stack(
                    [
                        network(torch.tensor([[*row, *tokens[:step]]]), use_cache=False).logits[0, -1]
                        for step in range(N_NEW)
                    ]
                )
                for row, tokens in zip(rows, fed.tolist(), strict=True)
            ]
        ).float()


def distance(a: Tensor, b: Tensor) -> float:
    """Greatest difference, in standard deviations of `b`."""
    return float((a - b).abs().max() / b.std())


# 16 bits


def test_logits_in_16_bits_are_near_the_plain_networks(small: Case) -> None:
    rows, fed = rows_and_fed(small.lm)
    mine, theirs = native_logits(small.lm, rows, fed), plain_logits(small.plain, rows, fed)
    assert torch.isfinite(mine).all()
    assert distance(mine, theirs) < TOLERANCES[small.lm.dtype]
    assert distance(mine[:, 1:], theirs[:, :-1]) > 2, "logits of other steps are as near"
    assert distance(mine[1:], theirs[:-1]) > 2, "logits of other prompts are as near"


def test_16_bits_are_as_far_from_float32_as_the_plain_network_is(small: Case) -> None:
    rows, fed = rows_and_fed(small.lm)
    exact_network = plain_network(small.name)
    exact_network.load_state_dict(small.plain.state_dict())
    exact = plain_logits(exact_network, rows, fed)
    mine, theirs = native_logits(small.lm, rows, fed), plain_logits(small.plain, rows, fed)
    errors = [float((logits - exact).square().mean().sqrt()) for logits in (mine, theirs)]
    assert 0 < errors[0] < 1.5 * errors[1]


def test_batched_equals_single_in_16_bits(small: Case) -> None:
    rows, fed = rows_and_fed(small.lm)
    together = native_logits(small.lm, rows, fed)
    alone = torch.cat([native_logits(small.lm, [row], fed[i : i + 1]) for i, row in enumerate(rows)])
    assert distance(together, alone) < BATCHED[small.lm.dtype]
    assert distance(together.flip(0), alone) > 2, "another row's logits are as near"


def test_texts_in_16_bits_come_from_the_native_engine_and_are_steered(
    small: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("emolib.engine.decoding_job.BridgeRunner")
    vector = np.random.default_rng(0).standard_normal(small.lm.d_model).astype(np.float32)
    acts = [Steer(1, vector, 4.0, unit="vector"), AblateHead(1, 1), None, None, None]
    outs = generate(small.lm, PROMPTS, acts, max_new_tokens=N_NEW)
    unpatched = generate(small.lm, PROMPTS, max_new_tokens=N_NEW)
    assert all(len(out.token_ids) == N_NEW or out.finish_reason == "stop" for out in outs)
    assert outs[0].token_ids != unpatched[0].token_ids
    assert [np.isfinite(out.delta_ratio) and out.delta_ratio > 0 for out in outs] == [True] * 2 + [False] * 3
    assert len({out.token_ids for out in unpatched}) > 2


# Steps with tensors for numbers


def acts_of_every_kind(lm: LanguageModel) -> list[Intervention]:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((4, lm.d_model)).astype(np.float32)
    basis = np.linalg.qr(rng.standard_normal((lm.d_model, 3)))[0].astype(np.float32)
    (source,) = record_heads(lm, ["It rained and rained"], "1:1,2:3")
    steer = Steer(1, vectors[0], 1.0, unit="vector")
    return [
        None,
        steer,
        Steer(0, vectors[1], 0.5, unit="vector", schedule=Decay(0.7), window=5),
        Steer(2, vectors[2], 1.0, unit="vector", schedule=(0.0, 1.0, 0.0, 0.5), steps=4),
        Steer(1, vectors[3], 1.0, unit="vector", site="attn_out"),
        Steer(2, vectors[3], 1.0, unit="vector", site="mlp_out", steps=2),
        Steer(lm.n_layers, vectors[0], 1.0, unit="vector"),
        SubspaceSteer(1, basis, np.array([1, -2, 3], np.float32)),
        AblateDirection(2, vectors[1], center=vectors[2]),
        Clamp(1, vectors[2], 4.0),
        Cap(2, vectors[0], low=3.0),
        Steer(1, rng.standard_normal(lm.d_head), 3.0, unit="vector", site="z", head=2),
        AblateHead(1, 2),
        AblateHead(2, 0, how="mean", mean=rng.standard_normal(lm.d_head).astype(np.float32)),
        PatchHead(1, 1, source, mode="v_only", steps=None),
        PatchHead(2, 3, source, mode="pattern_v", steps=2),
        PatchHead(1, 1, source, mode="result"),
        (steer, PatchHead(1, 1, source, mode="v_only", steps=None), AblateHead(1, 1, schedule=(0.5, 0.5))),
        (steer, Steer(1, vectors[2], -1.0, unit="vector", window=1)),
    ]


def test_steps_with_tensors_for_numbers_give_the_same_logits(
    tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts = sorted(acts_of_every_kind(tiny), key=lambda act: first_layer(act, tiny.n_layers))
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(len(acts))]
    rows, fed = rows_and_fed(tiny, prompts)
    plain = native_logits(tiny, rows, fed, acts, as_graph=False)
    kinds: list[type] = []
    original = Edits.stream

    def spied(edits: Edits, site: str, layer: int, hidden: Tensor, columns: slice | Tensor) -> Tensor:
        kinds.append(type(columns))
        return original(edits, site, layer, hidden, columns)

    monkeypatch.setattr(Edits, "stream", spied)
    graph = native_logits(tiny, rows, fed, acts, as_graph=True)
    assert set(kinds) == {slice, Tensor} and kinds[-1] is Tensor, "the steps were not those of a graph"
    assert (graph - plain).abs().amax(dim=(0, 2)).max() < GRAPH_TOLERANCE
    unpatched = native_logits(tiny, rows, fed)
    moved = (graph - unpatched).abs().amax(dim=2)
    for act, steps in zip(acts, moved, strict=True):
        assert (steps.max() < GRAPH_TOLERANCE) == (act is None), f"{act!r:.60} moved logits by {steps.max():.2g}"
