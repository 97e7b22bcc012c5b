"""A circuit in feature coordinates as the weights of a Hugging Face GPT-2 or Llama."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from emolib.selftest.planted import words
from emolib.selftest.planted.circuit import N_HEADS, N_LAYERS, N_NEURONS, N_POSITIONS, Circuit
from emolib.selftest.planted.features import CONSTANT, TYPICAL_NORM

WIDTHS = {"gpt2": 224, "llama": 256}  # wide enough for a random direction to lie far from every planted one
SILU_SHARPNESS = 2.0  # silu(2x)/2 bends about as sharply as GPT-2's gelu
ROTARY_BASE = 1e8  # the slowest pair of dimensions turns by less than 1e-4 over all positions


def d_head_of(form: str) -> int:
    return WIDTHS[form] // N_HEADS


def build_network(form: str, circuit: Circuit, basis: Float[np.ndarray, "d_model feature"]) -> nn.Module:
    """The circuit as a `GPT2LMHeadModel` or `LlamaForCausalLM` in float32; biases are zero."""
    with torch.random.fork_rng(devices=[]):  # what the network is first filled with is not to move anyone's draws
        network = _FORMS[form](basis.shape[0])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for module in network.modules():
            if "Norm" in type(module).__name__:
                module.weight.fill_(TYPICAL_NORM / np.sqrt(basis.shape[0]))
        (_fill_gpt2 if form == "gpt2" else _fill_llama)(network, circuit, basis)
    return network.eval()


def _special_ids() -> dict[str, int]:
    ids = {word: i for i, word in enumerate(words.vocabulary())}
    return {"pad_token_id": ids[words.PAD], "bos_token_id": ids[words.BEGIN], "eos_token_id": ids[words.END]}


def _gpt2(d_model: int) -> nn.Module:
    config = GPT2Config(
        vocab_size=len(words.vocabulary()),
        n_positions=N_POSITIONS,
        n_embd=d_model,
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        n_inner=N_NEURONS,
        tie_word_embeddings=False,
        attn_implementation="eager",
        **_special_ids(),
    )
    return GPT2LMHeadModel(config)


def _llama(d_model: int) -> nn.Module:
    config = LlamaConfig(
        vocab_size=len(words.vocabulary()),
        max_position_embeddings=N_POSITIONS,
        hidden_size=d_model,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=N_HEADS,
        num_key_value_heads=N_HEADS,
        intermediate_size=N_NEURONS,
        rope_parameters={"rope_type": "default", "rope_theta": ROTARY_BASE},
        tie_word_embeddings=False,
        attn_implementation="eager",
        **_special_ids(),
    )
    return LlamaForCausalLM(config)


_FORMS: dict[str, Callable[[int], nn.Module]] = {"gpt2": _gpt2, "llama": _llama}


def _set(parameter: torch.Tensor, values: np.ndarray) -> None:
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))


def _projections(
    circuit: Circuit, layer: int, basis: np.ndarray, slots: np.ndarray
) -> dict[str, Float[np.ndarray, "..."]]:
    """Queries, keys, values `[d_model, head·d_head]` and the output `[head·d_head, d_model]` of one layer.

    Args:
        slots: the order in which a head's dimensions take its query and key columns.
    """
    d_model, d_head = basis.shape[0], len(slots)
    found = {name: np.zeros((N_HEADS, d_model, d_head)) for name in ("query", "key", "value")}
    output = np.zeros((N_HEADS, d_head, d_model))
    for h in range(N_HEADS):
        head = circuit.heads[layer, h]
        taken = slots[: head.query.shape[1]]
        found["query"][h][:, taken] = np.sqrt(d_head) * basis @ head.query  # attention divides by √d_head
        found["key"][h][:, taken] = basis @ head.key
        found["value"][h][:, : head.value.shape[1]] = basis @ head.value
        output[h][: head.output.shape[0]] = head.output @ basis.T
    side_by_side = {name: np.concatenate(list(parts), axis=1) for name, parts in found.items()}
    return side_by_side | {"output": output.reshape(-1, d_model)}


def _fill_gpt2(network: Any, circuit: Circuit, basis: np.ndarray) -> None:
    body = network.transformer
    _set(body.wte.weight, circuit.embedding @ basis.T)
    _set(body.wpe.weight, circuit.positions @ basis.T)
    _set(network.lm_head.weight, circuit.unembedding @ basis.T)
    for layer, block in enumerate(body.h):
        parts = _projections(circuit, layer, basis, np.arange(d_head_of("gpt2")))
        _set(block.attn.c_attn.weight, np.concatenate([parts["query"], parts["key"], parts["value"]], axis=1))
        _set(block.attn.c_proj.weight, parts["output"])
        neurons = circuit.neurons[layer]
        n = len(neurons.read)
        _set(block.mlp.c_fc.weight[:, :n], basis @ neurons.read.T)
        _set(block.mlp.c_proj.weight[:n], neurons.write @ basis.T)


def _fill_llama(network: Any, circuit: Circuit, basis: np.ndarray) -> None:
    body = network.model
    _set(body.embed_tokens.weight, circuit.embedding @ basis.T)
    _set(network.lm_head.weight, circuit.unembedding @ basis.T)
    half = d_head_of("llama") // 2
    slowest_first = np.arange(half)[::-1].repeat(2) + np.tile([0, half], half)  # dimension i turns together with i+half
    always_on = circuit.layout.axis("constant") / CONSTANT
    for layer, block in enumerate(body.layers):
        parts = _projections(circuit, layer, basis, slowest_first)
        for name, part in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("o_proj", "output")):
            _set(getattr(block.self_attn, name).weight, parts[part].T)
        neurons = circuit.neurons[layer]
        n = len(neurons.read)
        _set(block.mlp.gate_proj.weight[:n], SILU_SHARPNESS * neurons.read @ basis.T)
        _set(block.mlp.up_proj.weight[:n], np.tile(basis @ always_on, (n, 1)))
        _set(block.mlp.down_proj.weight[:, :n], basis @ neurons.write.T / SILU_SHARPNESS)
