"""A transformer as plain tensors, with the few facts that tell the known architectures apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from emolib.models.products import linear


@dataclass(frozen=True)
class Projection:
    """x Wᵀ + b, with W `[out, in]`."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class LayerNorm:
    weight: Tensor
    bias: Tensor | None
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class RMSNorm:
    """x / rms(x) · g, in float32 as the original does.

    Attributes:
        weight: g `[d]`; `[head, d]` where every head has its own.
        cast_first: Llama and Qwen round x / rms(x) to the model's dtype before the product, Gemma after it.
    """

    weight: Tensor
    eps: float
    cast_first: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype == self.weight.dtype == torch.float32 and self.weight.dim() == 1:
            return functional.rms_norm(x, self.weight.shape, self.weight, self.eps)  # the same in one call
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True).add_(self.eps))
        if self.cast_first:
            return scaled.to(x.dtype).mul_(self.weight)
        return scaled.mul_(self.weight).to(x.dtype)


Norm = LayerNorm | RMSNorm
Angles = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # positions and a tensor of the wanted dtype to cos, sin


@dataclass(frozen=True)
class Layer:
    """One block.

    Attributes:
        qkv: fused; queries, keys and values one after the other, or head by head (`interleaved`).
        qk_norm: over every query and key head, before the rotation; weight `[n_heads + n_kv_heads, d_head]`.
        up: the MLP's first projection; of a gated MLP gate and up, fused.
        rotary: which of the blueprint's tables of angles; None without rotation.
        window: how many tokens back attention reaches, the token itself included; None without limit.
    """

    attn_norm: Norm
    qkv: Projection
    out: Projection
    mlp_norm: Norm
    up: Projection
    down: Projection
    activation: Callable[[Tensor], Tensor]
    scale: float
    gated: bool = False
    interleaved: bool = False
    qk_norm: RMSNorm | None = None
    attn_post_norm: Norm | None = None
    mlp_post_norm: Norm | None = None
    rotary: str | None = None
    window: int | None = None


@dataclass(frozen=True)
class Blueprint:
    """A whole model.

    Attributes:
        embedding: `[vocabulary, d_model]`.
        embedding_scale: Gemma's √d_model, rounded as the original does.
        positions: learned position embeddings, or None.
        parallel: attention and MLP read the same input (GPT-NeoX).
        upcast: attention scores are computed in float32 whatever the dtype (GPT-Neo).
        angles: per table name, cosines and sines for given positions, in a given tensor's dtype.
    """

    embedding: Tensor
    layers: tuple[Layer, ...]
    final_norm: Norm
    head: Projection
    n_heads: int
    n_kv_heads: int
    d_head: int
    embedding_scale: Tensor | None = None
    positions: Tensor | None = None
    parallel: bool = False
    upcast: bool = False
    angles: dict[str, Angles] = field(default_factory=dict)
