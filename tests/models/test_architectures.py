"""Which models the native engine reads, that it reads them to the last detail, and what becomes of the others."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, WINDOW, Case, assert_same_until_near_tie, plain_network, plain_text, tiny_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from emolib.base.errors import UserError
from emolib.engine.generation import generate
from emolib.engine.native import NativeRunner
from emolib.engine.parity import check_batching
from emolib.interventions import AblateHead, Edits, Steer, record_heads
from emolib.models.architectures import blueprint_of
from emolib.models.blueprint import Blueprint, Projection
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left

SENTENCE = "The new shop by the old bridge opens again"
PROMPTS = [SENTENCE, SENTENCE[8:], SENTENCE[:5], "I"]
N_NEW = 8
TOLERANCE = 2e-4  # float32; logits of these models have a spread of 1 to 2
OPT = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "ffn_dim": 96,
    "max_position_embeddings": 256,
    "word_embed_proj_dim": 48,
    "init_std": 0.2,
}


@contextlib.contextmanager
def options(architecture: str, **changed: object) -> Iterator[None]:
    """Tiny models of an architecture with other options than usual, inside the context."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, architecture, {**ARCHITECTURES.get(architecture, {}), **changed})
        yield


def network_with(architecture: str, **changed: object) -> nn.Module:
    with options(architecture, **changed):
        return plain_network(architecture)


def model_with(architecture: str, **changed: object) -> Case:
    with options(architecture, **changed):
        return Case(architecture, tiny_model(architecture), plain_network(architecture))


def rows_and_fed(lm: LanguageModel, n_steps: int = 3) -> tuple[list[list[int]], Tensor]:
    """Prompts of 1 to 42 tokens, and tokens to feed after each: `[row, step]`."""
    rows = encode(lm, PROMPTS)
    assert max(map(len, rows)) > 2 * WINDOW
    return rows, torch.randint(0, 256, (len(rows), n_steps), generator=torch.Generator().manual_seed(0))


def native_logits(lm: LanguageModel, rows: Sequence[Sequence[int]], fed: Tensor) -> Tensor:
    """`[row, step, vocabulary]`, all rows padded into one batch."""
    ids, mask = pad_left(rows, lm.tokenizer.pad_token_id)
    n_new = fed.shape[1] + 1
    edits = Edits(lm, [None] * len(rows), [len(row) for row in rows], ids.shape[1], n_new)
    with torch.inference_mode():
        runner = NativeRunner(lm, ids, mask, edits, fed.shape[1])
        return torch.stack([runner.start().clone(), *(runner.step(tokens).clone() for tokens in fed.T)], dim=1)


def plain_logits(network: nn.Module, rows: Sequence[Sequence[int]], fed: Tensor) -> Tensor:
    """The same by the network alone, one row after the other, without cache or padding."""
    found = []
    for row, tokens in zip(rows, fed.tolist(), strict=True):
        with torch.inference_mode():
            logits = network(torch.tensor([[*row, *tokens]]), use_cache=False).logits[0]
        found.append(logits[len(row) - 1 :])
    return torch.stack(found)


# Options that are read


LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0}
SHORT = {"original_max_position_embeddings": 32}
READ: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # architecture, options, options that differ
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}, {}),
    "llama with llama3 rotation": ("llama", {"rope_parameters": {**LLAMA3, **SHORT}}, {}),
    "llama with yarn rotation": ("llama", {"rope_parameters": {**YARN, **SHORT}}, {}),
    "llama with heads wider than d_model": ("llama", {"head_dim": 16}, {"head_dim": 16, "rms_norm_eps": 0.1}),
    "qwen3 with biases": ("qwen3", {"attention_bias": True}, {}),
    "qwen3 with sliding windows in some layers": (
        "qwen3",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
        {},
    ),
    "neox with a quarter rotated": ("gpt_neox", {"rotary_pct": 0.25}, {"rotary_pct": 1.0}),
    "neox with all rotated": ("gpt_neox", {"rotary_pct": 1.0}, {"rotary_pct": 0.25}),
    "gpt2 with scores scaled by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, {}),
    "gpt2 with untied embeddings": ("gpt2", {"tie_word_embeddings": False}, {}),
    "gemma3 with another scale of scores": ("gemma3_text", {"query_pre_attn_scalar": 100}, {}),
}


@pytest.mark.parametrize(("architecture", "changed", "otherwise"), READ.values(), ids=READ)
def test_an_option_is_read(architecture: str, changed: dict, otherwise: dict) -> None:
    case = model_with(architecture, **changed)
    rows, fed = rows_and_fed(case.lm)
    expected = plain_logits(case.plain, rows, fed)
    assert (native_logits(case.lm, rows, fed) - expected).abs().max() < TOLERANCE
    other = network_with(architecture, **otherwise)
    other.load_state_dict(case.plain.state_dict(), strict=False)
    assert (plain_logits(other, rows, fed) - expected).abs().max() > 100 * TOLERANCE, "the option changes nothing"


# Models that are left alone


UNREAD: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2 with upcast scores": ("gpt2", {"reorder_and_upcast_attn": True}),
    "neox with one residual after the other": ("gpt_neox", {"use_parallel_residual": False}),
    "llama with dynamic rotation": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}},
    ),
    "gemma3 with capped scores": ("gemma3_text", {"attn_logit_softcapping": 5.0}),
    "gemma3 with capped logits": ("gemma3_text", {"final_logit_softcapping": 5.0}),
}


@pytest.mark.parametrize(("architecture", "changed"), UNREAD.values(), ids=UNREAD)
def test_an_unusual_option_gives_no_blueprint(architecture: str, changed: dict) -> None:
    assert blueprint_of(plain_network(architecture)) is not None
    assert blueprint_of(network_with(architecture, **changed)) is None


# capped scores are left out: transformers reads that option of Gemma 3 and does not apply it, the bridge does
@pytest.mark.parametrize(
    ("architecture", "changed"), [UNREAD[name] for name in UNREAD if name != "gemma3 with capped scores"]
)
def test_a_model_without_blueprint_gives_the_texts_of_the_plain_loop(architecture: str, changed: dict) -> None:
    case = model_with(architecture, **changed)
    assert case.lm.blueprint is None
    for out in generate(case.lm, PROMPTS, max_new_tokens=N_NEW):
        assert_same_until_near_tie(out.token_ids, plain_text(case.plain, out.prompt_ids, N_NEW, case.lm.stop_ids))


class QuantisedLinear(nn.Linear):
    """Stands for a quantiser's layer: a linear layer by name, with arithmetic of its own."""


class Adapted(nn.Module):
    """Stands for an adapter around a linear layer: shows the base layer's weight, and adds something of its own."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base_layer, self.in_features, self.out_features = base, base.in_features, base.out_features
        self.added = nn.Linear(base.in_features, base.out_features, bias=False)

    weight = property(lambda self: self.base_layer.weight)
    bias = property(lambda self: self.base_layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.added(x)


def quantised(base: nn.Linear) -> nn.Module:
    layer = QuantisedLinear(base.in_features, base.out_features, bias=False)
    layer.weight.data = base.weight.data
    return layer


@pytest.mark.parametrize("replacement", [quantised, Adapted])
@pytest.mark.parametrize("name", ["self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"])
def test_a_layer_that_is_not_a_plain_linear_one_gives_no_blueprint(
    name: str, replacement: Callable[[nn.Linear], nn.Module]
) -> None:
    network = plain_network("llama")
    block = network.model.layers[1]
    block.set_submodule(name, replacement(block.get_submodule(name)))
    assert blueprint_of(network) is None


def test_integer_weights_give_no_blueprint() -> None:
    network = plain_network("llama")
    weight = network.model.layers[1].self_attn.o_proj.weight
    network.model.layers[1].self_attn.o_proj.weight = nn.Parameter(weight.data.to(torch.int8), requires_grad=False)
    assert blueprint_of(network) is None


# An architecture that the engine does not know


@pytest.fixture(scope="module")
def opt() -> Case:
    return model_with("opt", **OPT)


def loop(network: nn.Module, prompt_ids: Sequence[int], stop_ids: frozenset[int]):
    return plain_text(network, prompt_ids, N_NEW, stop_ids)


@contextlib.contextmanager
def changed_input(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    handle = module.register_forward_pre_hook(
        lambda _, args, kwargs: (
            ((change(args[0]), *args[1:]), kwargs)
            if args
            else (args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])})
        ),
        with_kwargs=True,
    )
    try:
        yield
    finally:
        handle.remove()


def test_an_unknown_architecture_generates_as_a_plain_loop_does(opt: Case) -> None:
    assert opt.lm.blueprint is None and blueprint_of(opt.plain) is None
    outs = generate(opt.lm, PROMPTS, max_new_tokens=N_NEW)
    references = [loop(opt.plain, out.prompt_ids, opt.lm.stop_ids) for out in outs]
    assert len({reference.tokens for reference in references}) > 2, "texts that do not vary prove nothing"
    for out, reference in zip(outs, references, strict=True):
        assert_same_until_near_tie(out.token_ids, reference)


def test_an_unknown_architecture_is_refused_by_the_native_engine(opt: Case) -> None:
    with pytest.raises(UserError, match=r"OPTForCausalLM.*engine='bridge'") as caught:
        generate(opt.lm, PROMPTS, max_new_tokens=N_NEW, engine="native")
    assert len(str(caught.value).splitlines()) == 1


def test_a_steer_of_an_unknown_architecture_equals_a_hook_by_hand(opt: Case) -> None:
    vector = np.random.default_rng(0).standard_normal(opt.lm.d_model).astype(np.float32)
    act = Steer(1, vector, 2.0, unit="vector", window=3)
    outs = generate(opt.lm, PROMPTS, [act] * len(PROMPTS), max_new_tokens=N_NEW)
    unpatched = generate(opt.lm, PROMPTS, max_new_tokens=N_NEW)
    for out in outs:
        first = max(len(out.prompt_ids) - 3, min(1, len(out.prompt_ids) - 1))

        def steered(hidden: Tensor, first: int = first) -> Tensor:
            columns = torch.arange(hidden.shape[1]) >= first
            return hidden + columns[:, None] * torch.tensor(2 * vector)

        with changed_input(opt.plain.model.decoder.layers[1], steered):
            assert_same_until_near_tie(out.token_ids, loop(opt.plain, out.prompt_ids, opt.lm.stop_ids))
    assert all(out.delta_ratio > 0 for out in outs)
    assert sum(a.token_ids != b.token_ids for a, b in zip(outs, unpatched, strict=True)) >= 3


def test_a_head_ablation_of_an_unknown_architecture_equals_a_hook_by_hand(opt: Case) -> None:
    layer, head, d_head = 1, 2, opt.lm.d_head
    outs = generate(opt.lm, PROMPTS, [AblateHead(layer, head)] * len(PROMPTS), max_new_tokens=N_NEW)
    unpatched = generate(opt.lm, PROMPTS, max_new_tokens=N_NEW)
    for out in outs:
        first = min(1, len(out.prompt_ids) - 1)

        def ablated(z: Tensor, first: int = first) -> Tensor:
            z = z.clone()
            z[:, first:, head * d_head : (head + 1) * d_head] = 0
            return z

        with changed_input(opt.plain.model.decoder.layers[layer].self_attn.out_proj, ablated):
            assert_same_until_near_tie(out.token_ids, loop(opt.plain, out.prompt_ids, opt.lm.stop_ids))
    assert any(a.token_ids != b.token_ids for a, b in zip(outs, unpatched, strict=True))


def test_heads_of_an_unknown_architecture_are_recorded(opt: Case) -> None:
    seen: list[Tensor] = []
    for record in record_heads(opt.lm, PROMPTS, "1:2,2:0"):
        for layer, head in ((1, 2), (2, 0)):
            projection = opt.plain.model.decoder.layers[layer].self_attn.out_proj
            keep = projection.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
            with torch.inference_mode():
                opt.plain(torch.tensor([record.prompt_ids]), use_cache=False)
            keep.remove()
            part = slice(head * opt.lm.d_head, (head + 1) * opt.lm.d_head)
            expected = seen[-1].view(-1, opt.lm.d_model)[:, part].numpy()
            np.testing.assert_allclose(record.z[layer, head], expected, atol=1e-4)
            pattern = record.patterns[layer, head]
            np.testing.assert_allclose(pattern.sum(1), 1, atol=1e-5)
            np.testing.assert_allclose(pattern @ record.values[layer, head], expected, atol=1e-4)
            assert not np.triu(pattern, 1).any() and np.abs(expected).max() > 0.01


# Memory that the blueprint and the model share


def projections(net: Blueprint) -> dict[str, Projection]:
    found = {"head": net.head}
    for number, layer in enumerate(net.layers):
        found |= {f"{number}.{name}": getattr(layer, name) for name in ("qkv", "out", "up", "down")}
    return found


def by_storage(tensors: Iterable[Tensor]) -> dict[int, Tensor]:
    """The memory behind the tensors as flat ones, each once."""
    return {t.untyped_storage().data_ptr(): t.data.new_empty(0).set_(t.untyped_storage()) for t in tensors}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_module_is_followed_by_one_projection_of_the_blueprint(architecture: str) -> None:
    network = plain_network(architecture)
    found = projections(blueprint_of(network))
    followed: set[str] = set()
    for module in (module for module in network.modules() if isinstance(module, nn.Linear | Conv1D)):
        for part in ("weight", "bias"):
            if getattr(module, part) is None:
                continue
            tensors = {key: getattr(p, part) for key, p in found.items() if getattr(p, part) is not None}
            before = {key: tensor.clone() for key, tensor in tensors.items()}
            getattr(module, part).data.mul_(2)
            (changed,) = [key for key, tensor in tensors.items() if not torch.equal(tensor, before[key])]
            followed.add(changed)
    assert followed == set(found)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_that_are_changed_in_place_change_the_engines_logits(architecture: str) -> None:
    lm, plain = tiny_model(architecture), plain_network(architecture)
    rows, fed = rows_and_fed(lm)
    before = native_logits(lm, rows, fed)
    for matrices in (by_storage(p for p in network.parameters() if p.ndim == 2) for network in (lm.network, plain)):
        for flat in matrices.values():
            flat.mul_(1.2)
    after = native_logits(lm, rows, fed)
    assert (after - plain_logits(plain, rows, fed)).abs().max() < 2 * TOLERANCE
    assert (after - before).abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reading_the_weights_does_not_double_them(architecture: str) -> None:
    network = plain_network(architecture)
    before = sum(flat.nbytes for flat in by_storage(network.parameters()).values())
    net = blueprint_of(network)
    held = [t for p in projections(net).values() for t in (p.weight, p.bias) if t is not None]
    together = by_storage(
        [*network.parameters(), *held, net.embedding, *([] if net.positions is None else [net.positions])]
    )
    assert sum(flat.nbytes for flat in together.values()) == before


# The check of a blueprint against the model's own code


def broken(lm: LanguageModel, part: str, change: Callable[[Tensor], Tensor]) -> LanguageModel:
    """The same model with another weight at one place of its blueprint's second block, or at its end."""
    net = lm.blueprint
    holder = net if part in ("head", "final_norm") else net.layers[1]
    module = getattr(holder, part)
    other = dataclasses.replace(holder, **{part: dataclasses.replace(module, weight=change(module.weight))})
    if holder is not net:
        other = dataclasses.replace(net, layers=(net.layers[0], other, *net.layers[2:]))
    return dataclasses.replace(lm, blueprint=other)


@pytest.mark.parametrize("part", ["attn_norm", "qkv", "out", "mlp_norm", "up", "down", "final_norm", "head"])
def test_a_weight_that_does_not_match_the_network_is_noticed(part: str, tiny: LanguageModel) -> None:
    check_batching(broken(tiny, part, lambda weight: weight.clone()))
    for change in (torch.zeros_like, lambda weight: weight.flip(0), lambda weight: weight * float("nan")):
        with pytest.raises(RuntimeError, match=r"differ from the model's own on each text .* use engine='bridge'"):
            check_batching(broken(tiny, part, change))


def test_a_model_that_fails_the_check_runs_through_the_bridge_alone(tiny: LanguageModel) -> None:
    wrong = broken(tiny, "down", torch.zeros_like)
    for engine in ("auto", "native"):
        with pytest.raises(RuntimeError, match=tiny.spec.name):
            generate(wrong, PROMPTS, max_new_tokens=2, engine=engine)
    expected = [out.token_ids for out in generate(tiny, PROMPTS, max_new_tokens=N_NEW, engine="bridge")]
    assert [out.token_ids for out in generate(wrong, PROMPTS, max_new_tokens=N_NEW, engine="bridge")] == expected


@contextlib.contextmanager
def without(lm: LanguageModel, name: str) -> Iterator[None]:
    """The network never hears of one of its inputs."""
    forward = lm.network.forward
    lm.network.forward = lambda *args, **given: forward(*args, **{k: v for k, v in given.items() if k != name})
    try:
        yield
    finally:
        del lm.network.forward


def test_a_padded_batch_is_held_against_each_text_alone_on_both_routes(tiny: LanguageModel) -> None:
    for native in (True, False):
        check_batching(dataclasses.replace(tiny), native=native)
    with without(tiny, "attention_mask"), pytest.raises(RuntimeError, match=r"padded batch .* cannot be batched"):
        generate(dataclasses.replace(tiny), PROMPTS, max_new_tokens=2, engine="bridge")


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neo"])
def test_a_model_with_learned_positions_fails_the_check_without_position_ids(architecture: str) -> None:
    lm = tiny_model(architecture)
    check_batching(dataclasses.replace(lm), native=False)
    with without(lm, "position_ids"), pytest.raises(RuntimeError, match="padded batch"):
        check_batching(dataclasses.replace(lm), native=False)


def test_a_model_is_checked_once(tiny: LanguageModel) -> None:
    lm, passes = dataclasses.replace(tiny), []
    handle = lm.network.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        for _ in range(3):
            generate(lm, PROMPTS, max_new_tokens=2)
    finally:
        handle.remove()
    assert len(passes) == 2  # each of its texts alone
