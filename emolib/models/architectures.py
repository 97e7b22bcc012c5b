"""Reads the weights of a Hugging Face model into a `Blueprint`: GPT-2, GPT-NeoX (Pythia), GPT-Neo, Llama (SmolLM2),
Qwen3 and Gemma 3.

What this file does not know for sure (another class, a quantised layer, an unusual option) it leaves alone: such a
model runs through its own code. Projections that read the same input are fused; the model's own modules become views
of the fused weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from emolib.models.blueprint import Blueprint, Layer, LayerNorm, Projection, RMSNorm

STATIC_ROTARY = {"default", "linear", "llama3", "yarn"}  # angles that depend on the position alone


def blueprint_of(network: nn.Module) -> Blueprint | None:
    """The network's weights, or None where this file does not know the architecture to the last detail."""
    reader = _READERS.get(type(network).__name__)
    if reader is None or not _plain(network):
        return None
    try:
        return reader(network)
    except _UnknownModule:
        return None


class _UnknownModule(Exception):
    """A projection that is neither a plain linear layer nor GPT-2's transposed one (an adapter, for example)."""


def _plain(network: nn.Module) -> bool:
    """Plain floating-point weights in memory: nothing quantised or off-loaded."""
    plain = all(type(p.data) is Tensor and p.is_floating_point() for p in network.parameters())
    return (
        plain and all(p.device.type != "meta" for p in network.parameters()) and not hasattr(network, "hf_device_map")
    )


def _projection(module: nn.Module) -> Projection:
    if type(module) is nn.Linear:
        return Projection(module.weight.data, _data(module.bias))
    if type(module) is not Conv1D:
        raise _UnknownModule(type(module).__name__)
    return Projection(module.weight.data.t(), _data(module.bias))  # GPT-2's Conv1D keeps [in, out]


def _data(parameter: nn.Parameter | None) -> Tensor | None:
    return None if parameter is None else parameter.data


def _fused(modules: Sequence[nn.Linear]) -> Projection:
    """Several projections of one input as one; the modules' own weights become views of it, so nothing is doubled."""
    if any(type(module) is not nn.Linear for module in modules):
        raise _UnknownModule([type(module).__name__ for module in modules])
    weight = torch.cat([module.weight.data for module in modules])
    sizes = [module.out_features for module in modules]
    for module, part in zip(modules, weight.split(sizes), strict=True):
        module.weight.data = part
    if modules[0].bias is None:
        return Projection(weight)
    bias = torch.cat([module.bias.data for module in modules])
    for module, part in zip(modules, bias.split(sizes), strict=True):
        module.bias.data = part
    return Projection(weight, bias)


def _layer_norm(module: nn.LayerNorm) -> LayerNorm:
    return LayerNorm(module.weight.data, _data(module.bias), module.eps)


def _gpt2(network: Any) -> Blueprint | None:
    config, body = network.config, network.transformer
    if config.add_cross_attention or config.reorder_and_upcast_attn:
        return None
    layers = tuple(
        Layer(
            attn_norm=_layer_norm(block.ln_1),
            qkv=_projection(block.attn.c_attn),
            out=_projection(block.attn.c_proj),
            mlp_norm=_layer_norm(block.ln_2),
            up=_projection(block.mlp.c_fc),
            down=_projection(block.mlp.c_proj),
            activation=block.mlp.act,
            scale=block.attn.scaling,
        )
        for block in body.h
    )
    d_head = config.n_embd // config.n_head
    return Blueprint(
        body.wte.weight.data,
        layers,
        _layer_norm(body.ln_f),
        _projection(network.lm_head),
        config.n_head,
        config.n_head,
        d_head,
        positions=body.wpe.weight.data,
    )


def _gpt_neo(network: Any) -> Blueprint:
    config, body = network.config, network.transformer
    layers = tuple(
        Layer(
            attn_norm=_layer_norm(block.ln_1),
            qkv=_fused(
                [
                    block.attn.attention.q_proj,
                    block.attn.attention.k_proj,
                    block.attn.attention.v_proj,
                ]
            ),
            out=_projection(block.attn.attention.out_proj),
            mlp_norm=_layer_norm(block.ln_2),
            up=_projection(block.mlp.c_fc),
            down=_projection(block.mlp.c_proj),
            activation=block.mlp.act,
            scale=1.0,
            window=config.window_size if block.attn.attention_type == "local" else None,
        )
        for block in body.h
    )
    d_head = config.hidden_size // config.num_heads
    return Blueprint(
        body.wte.weight.data,
        layers,
        _layer_norm(body.ln_f),
        _projection(network.lm_head),
        config.num_heads,
        config.num_heads,
        d_head,
        positions=body.wpe.weight.data,
        upcast=True,
    )


def _gpt_neox(network: Any) -> Blueprint | None:
    config, body = network.config, network.gpt_neox
    if not config.use_parallel_residual or config.rope_parameters["rope_type"] not in STATIC_ROTARY:
        return None
    layers = tuple(
        Layer(
            attn_norm=_layer_norm(block.input_layernorm),
            qkv=_projection(block.attention.query_key_value),
            out=_projection(block.attention.dense),
            mlp_norm=_layer_norm(block.post_attention_layernorm),
            up=_projection(block.mlp.dense_h_to_4h),
            down=_projection(block.mlp.dense_4h_to_h),
            activation=block.mlp.act,
            scale=block.attention.scaling,
            interleaved=True,
            rotary="all",
        )
        for block in body.layers
    )
    return Blueprint(
        body.embed_in.weight.data,
        layers,
        _layer_norm(body.final_layer_norm),
        _projection(network.get_output_embeddings()),
        config.num_attention_heads,
        config.num_attention_heads,
        config.hidden_size // config.num_attention_heads,
        parallel=True,
        angles={"all": _angles(body.rotary_emb)},
    )


def _llama(network: Any) -> Blueprint | None:
    """Llama, and Qwen3: the same blocks with a norm on every query and key head, and windows in some layers."""
    config, body = network.config, network.model
    if config.rope_parameters["rope_type"] not in STATIC_ROTARY:
        return None
    layers = tuple(
        Layer(
            attn_norm=_rms(block.input_layernorm),
            mlp_norm=_rms(block.post_attention_layernorm),
            rotary="all",
            **_gated_block(block, config, block.mlp.act_fn),
        )
        for block in body.layers
    )
    return Blueprint(
        body.embed_tokens.weight.data,
        layers,
        _rms(body.norm),
        _projection(network.lm_head),
        config.num_attention_heads,
        config.num_key_value_heads,
        layers[0].out.weight.shape[1] // config.num_attention_heads,
        angles={"all": _angles(body.rotary_emb)},
    )


def _gemma3(network: Any) -> Blueprint | None:
    config, body = network.config, network.model
    types = sorted(set(config.layer_types))
    known = all(config.rope_parameters[name]["rope_type"] in STATIC_ROTARY for name in types)
    softcapped = config.attn_logit_softcapping or config.final_logit_softcapping
    if not known or softcapped or config.use_bidirectional_attention:
        return None
    layers = tuple(
        Layer(
            attn_norm=_gemma_norm(block.input_layernorm),
            attn_post_norm=_gemma_norm(block.post_attention_layernorm),
            mlp_norm=_gemma_norm(block.pre_feedforward_layernorm),
            mlp_post_norm=_gemma_norm(block.post_feedforward_layernorm),
            rotary=block.self_attn.layer_type,
            **_gated_block(block, config, block.mlp.act_fn),
        )
        for block in body.layers
    )
    embedding = body.embed_tokens
    return Blueprint(
        embedding.weight.data,
        layers,
        _gemma_norm(body.norm),
        _projection(network.lm_head),
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        embedding_scale=embedding.embed_scale.to(embedding.weight.dtype),
        angles={name: _angles(body.rotary_emb, name) for name in types},
    )


def _gated_block(block: Any, config: Any, activation: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """What Llama's, Qwen3's and Gemma 3's blocks have in common."""
    attention = block.self_attn
    return {
        "qkv": _fused([attention.q_proj, attention.k_proj, attention.v_proj]),
        "out": _projection(attention.o_proj),
        "up": _fused([block.mlp.gate_proj, block.mlp.up_proj]),
        "down": _projection(block.mlp.down_proj),
        "activation": activation,
        "scale": attention.scaling,
        "gated": True,
        "qk_norm": _qk_norm(attention, config) if hasattr(attention, "q_norm") else None,
        "window": getattr(attention, "sliding_window", None),
    }


def _rms(module: Any) -> RMSNorm:
    return RMSNorm(module.weight.data, module.variance_epsilon)


def _gemma_norm(module: Any) -> RMSNorm:
    return RMSNorm(1 + module.weight.data.float(), module.eps, cast_first=False)


def _qk_norm(attention: Any, config: Any) -> RMSNorm:
    """The norms of query and key heads as one, with a row of weights per head."""
    build = _rms if hasattr(attention.q_norm, "variance_epsilon") else _gemma_norm
    query, key = build(attention.q_norm), build(attention.k_norm)
    rows = [query.weight.expand(config.num_attention_heads, -1), key.weight.expand(config.num_key_value_heads, -1)]
    return RMSNorm(torch.cat(rows), query.eps, query.cast_first)


def _angles(module: Any, *layer_type: str) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Cosines and sines `[row, pos, 1, rotated]` by the model's own module; the sines' first half negated, so that a
    rotation is x·cos + swap_halves(x)·sin."""

    def of(positions: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = module(like, positions, *layer_type)
        half = sin.shape[-1] // 2
        return cos[:, :, None], torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)[:, :, None]

    return of


_READERS: dict[str, Callable[[Any], Blueprint | None]] = {
    "GPT2LMHeadModel": _gpt2,
    "GPTNeoForCausalLM": _gpt_neo,
    "GPTNeoXForCausalLM": _gpt_neox,
    "LlamaForCausalLM": _llama,
    "Qwen3ForCausalLM": _llama,
    "Gemma3ForCausalLM": _gemma3,
}
