"""Reads the weights of a Hugging Face model into a `Blueprint`: GPT-2, GPT-NeoX (Pythia), GPT-Neo, Llama (SmolLM2),
Qwen3 and Gemma 3.

What this file does not know for sure (another class, a quantised layer, an unusual option) it leaves alone: such a
model runs through its own code. Projections that read the same input are fused; the model's own modules become views
of the fused weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from emolib.models.blueprint import Angles, Blueprint, Layer, LayerNorm, Projection, RMSNorm

if TYPE_CHECKING:
    from transformers import (
        Gemma3ForCausalLM,
        GPT2LMHeadModel,
        GPTNeoForCausalLM,
        GPTNeoXForCausalLM,
        LlamaForCausalLM,
        PretrainedConfig,
        PreTrainedModel,
        Qwen3ForCausalLM,
    )
    from transformers.models.gemma3.modeling_gemma3 import Gemma3Attention, Gemma3DecoderLayer, Gemma3RMSNorm
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block
    from transformers.models.gpt_neo.modeling_gpt_neo import GPTNeoBlock
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3DecoderLayer, Qwen3RMSNorm

STATIC_ROTARY = {"default", "linear", "llama3", "yarn"}  # angles that depend on the position alone


def blueprint_of(network: PreTrainedModel) -> Blueprint | None:
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


def _plain(network: PreTrainedModel) -> bool:
    """Plain floating-point weights in memory: nothing quantised or off-loaded."""
    plain = all(type(p.data) is Tensor and p.is_floating_point() for p in network.parameters())
    return (
        plain and all(p.device.type != "meta" for p in network.parameters()) and not hasattr(network, "hf_device_map")
    )


def _projection(module: nn.Module) -> Projection:
    if type(module) is nn.Linear:
        return Projection(module.weight.data, _data(module.bias))
    from transformers.pytorch_utils import Conv1D

    if not isinstance(module, Conv1D) or type(module) is not Conv1D:
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


def _gpt2(network: GPT2LMHeadModel) -> Blueprint | None:
    config = network.config
    if config.add_cross_attention or config.reorder_and_upcast_attn:
        return None
    layers = [
        _layer_with_learned_positions(
            block, _projection(block.attn.c_attn), _projection(block.attn.c_proj), scale=block.attn.scaling
        )
        for block in network.transformer.h
    ]
    return _with_learned_positions(network, layers, config.n_head, config.n_embd)


def _gpt_neo(network: GPTNeoForCausalLM) -> Blueprint:
    config, layers = network.config, []
    for block in network.transformer.h:
        attention = block.attn.attention
        qkv = _fused([attention.q_proj, attention.k_proj, attention.v_proj])
        window = config.window_size if block.attn.attention_type == "local" else None
        out = _projection(attention.out_proj)
        layers.append(_layer_with_learned_positions(block, qkv, out, scale=1.0, window=window))
    return _with_learned_positions(network, layers, config.num_heads, config.hidden_size, upcast=True)


def _layer_with_learned_positions(
    block: GPT2Block | GPTNeoBlock, qkv: Projection, out: Projection, *, scale: float, window: int | None = None
) -> Layer:
    """What GPT-2's and GPT-Neo's blocks have in common around their attention."""
    return Layer(
        attn_norm=_layer_norm(block.ln_1),
        qkv=qkv,
        out=out,
        mlp_norm=_layer_norm(block.ln_2),
        up=_projection(block.mlp.c_fc),
        down=_projection(block.mlp.c_proj),
        activation=block.mlp.act,
        scale=scale,
        window=window,
    )


def _with_learned_positions(
    network: GPT2LMHeadModel | GPTNeoForCausalLM,
    layers: Sequence[Layer],
    n_heads: int,
    d_model: int,
    *,
    upcast: bool = False,
) -> Blueprint:
    """GPT-2 and GPT-Neo around their blocks."""
    body = network.transformer
    return Blueprint(
        body.wte.weight.data,
        tuple(layers),
        _layer_norm(body.ln_f),
        _projection(network.lm_head),
        n_heads,
        n_heads,
        d_model // n_heads,
        positions=body.wpe.weight.data,
        upcast=upcast,
    )


def _gpt_neox(network: GPTNeoXForCausalLM) -> Blueprint | None:
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


def _llama(network: LlamaForCausalLM | Qwen3ForCausalLM) -> Blueprint | None:
    """Llama, and Qwen3: the same blocks with a norm on every query and key head, and windows in some layers."""
    config, body = network.config, network.model
    if config.rope_parameters["rope_type"] not in STATIC_ROTARY:
        return None
    layers = [
        _gated_layer(
            block,
            config,
            attn_norm=_rms(block.input_layernorm),
            mlp_norm=_rms(block.post_attention_layernorm),
            rotary="all",
        )
        for block in body.layers
    ]
    return _with_rotation(network, layers, _rms(body.norm), {"all": _angles(body.rotary_emb)})


def _gemma3(network: Gemma3ForCausalLM) -> Blueprint | None:
    config, body = network.config, network.model
    types = sorted(set(config.layer_types))
    known = all(config.rope_parameters[name]["rope_type"] in STATIC_ROTARY for name in types)
    softcapped = config.attn_logit_softcapping or config.final_logit_softcapping
    if not known or softcapped or config.use_bidirectional_attention:
        return None
    layers = [
        _gated_layer(
            block,
            config,
            attn_norm=_gemma_norm(block.input_layernorm),
            attn_post_norm=_gemma_norm(block.post_attention_layernorm),
            mlp_norm=_gemma_norm(block.pre_feedforward_layernorm),
            mlp_post_norm=_gemma_norm(block.post_feedforward_layernorm),
            rotary=block.self_attn.layer_type,
        )
        for block in body.layers
    ]
    angles = {name: _angles(body.rotary_emb, name) for name in types}
    scale = body.embed_tokens.embed_scale.to(body.embed_tokens.weight.dtype)
    return _with_rotation(network, layers, _gemma_norm(body.norm), angles, embedding_scale=scale)


def _with_rotation(
    network: LlamaForCausalLM | Qwen3ForCausalLM | Gemma3ForCausalLM,
    layers: Sequence[Layer],
    final_norm: RMSNorm,
    angles: dict[str, Angles],
    *,
    embedding_scale: Tensor | None = None,
) -> Blueprint:
    """Llama, Qwen3 and Gemma 3 around their blocks."""
    config = network.config
    return Blueprint(
        network.model.embed_tokens.weight.data,
        tuple(layers),
        final_norm,
        _projection(network.lm_head),
        config.num_attention_heads,
        config.num_key_value_heads,
        layers[0].out.weight.shape[1] // config.num_attention_heads,
        embedding_scale=embedding_scale,
        angles=angles,
    )


def _gated_layer(
    block: LlamaDecoderLayer | Qwen3DecoderLayer | Gemma3DecoderLayer,
    config: PretrainedConfig,
    *,
    attn_norm: RMSNorm,
    mlp_norm: RMSNorm,
    rotary: str,
    attn_post_norm: RMSNorm | None = None,
    mlp_post_norm: RMSNorm | None = None,
) -> Layer:
    """What Llama's, Qwen3's and Gemma 3's blocks have in common between their norms."""
    attention = block.self_attn
    return Layer(
        attn_norm=attn_norm,
        qkv=_fused([attention.q_proj, attention.k_proj, attention.v_proj]),
        out=_projection(attention.o_proj),
        mlp_norm=mlp_norm,
        up=_fused([block.mlp.gate_proj, block.mlp.up_proj]),
        down=_projection(block.mlp.down_proj),
        activation=block.mlp.act_fn,
        scale=attention.scaling,
        gated=True,
        qk_norm=_qk_norm(attention, config) if hasattr(attention, "q_norm") else None,
        attn_post_norm=attn_post_norm,
        mlp_post_norm=mlp_post_norm,
        rotary=rotary,
        window=getattr(attention, "sliding_window", None),
    )


def _rms(module: LlamaRMSNorm | Qwen3RMSNorm) -> RMSNorm:
    return RMSNorm(module.weight.data, module.variance_epsilon)


def _gemma_norm(module: Gemma3RMSNorm) -> RMSNorm:
    return RMSNorm(1 + module.weight.data.float(), module.eps, cast_first=False)


def _qk_norm(attention: Qwen3Attention | Gemma3Attention, config: PretrainedConfig) -> RMSNorm:
    """The norms of query and key heads as one, with a row of weights per head."""
    build = _rms if hasattr(attention.q_norm, "variance_epsilon") else _gemma_norm
    query, key = build(attention.q_norm), build(attention.k_norm)
    rows = [query.weight.expand(config.num_attention_heads, -1), key.weight.expand(config.num_key_value_heads, -1)]
    return RMSNorm(torch.cat(rows), query.eps, query.cast_first)


def _angles(module: nn.Module, *layer_type: str) -> Angles:
    """Cosines and sines `[row, pos, 1, rotated]` by the model's own module; the sines' first half negated, so that a
    rotation is x·cos + swap_halves(x)·sin."""

    def of(positions: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = module(like, positions, *layer_type)
        half = sin.shape[-1] // 2
        return cos[:, :, None], torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)[:, :, None]

    return of


_READERS: dict[str, Callable[..., Blueprint | None]] = {
    "GPT2LMHeadModel": _gpt2,
    "GPTNeoForCausalLM": _gpt_neo,
    "GPTNeoXForCausalLM": _gpt_neox,
    "LlamaForCausalLM": _llama,
    "Qwen3ForCausalLM": _llama,
    "Gemma3ForCausalLM": _gemma3,
}
