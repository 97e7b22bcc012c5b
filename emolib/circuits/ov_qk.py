"""A head's two circuits as plain matrices: what it writes of what it reads (OV), and where it looks (QK).

Conventions (Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", with rows for vectors): a head
that attends to one token of normalised input x̂ writes (x̂ W_V + b_V) W_O, and its score of a key token for a query
token is scale · q·k with q = x̂ W_Q + b_Q, k = x̂ W_K + b_K, both after the QK-norm and the rotation where a model has
them.

The norm before the attention is x̂ = (x − mean)/sd for LayerNorm and x / rms for RMSNorm; its gain and bias are folded
into W_Q, W_K, W_V and their biases. Keys and values of grouped heads are repeated for every query head that reads them.
What a block does after W_O (Gemma's norm) is not linear and stays apart, in `post_norm`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.models.attention import rotate_by
from emolib.models.blueprint import Angles, Blueprint, Layer, LayerNorm, Norm
from emolib.models.language_model import LanguageModel, checked_model


@dataclass(frozen=True)
class HeadWeights:
    """One layer's heads in float32, the gain of the norm before them folded in.

    Attributes:
        query, key, value: `[head, d_model, d_head]`.
        query_bias, key_bias, value_bias: `[head, d_head]`.
        output: W_O by head, `[head, d_head, d_model]`.
        output_bias: `[d_model]`, added once and not by any head.
        query_gain, key_gain: of the norm over every query and key, `[head, d_head]`; None without one.
        qk_eps: of that norm.
        norm: the norm before the heads, of which only kind and epsilon are still needed.
        post_norm: what the sum of all heads goes through before it is added to the stream (Gemma 3), or None.
        angles: of the rotation; None without one.
        window: how many tokens back attention reaches, the token itself included; None without limit.
    """

    layer: int
    query: Float[Tensor, "head d_model d_head"]
    key: Float[Tensor, "head d_model d_head"]
    value: Float[Tensor, "head d_model d_head"]
    query_bias: Float[Tensor, "head d_head"]
    key_bias: Float[Tensor, "head d_head"]
    value_bias: Float[Tensor, "head d_head"]
    output: Float[Tensor, "head d_head d_model"]
    output_bias: Float[Tensor, " d_model"]
    query_gain: Float[Tensor, "head d_head"] | None
    key_gain: Float[Tensor, "head d_head"] | None
    qk_eps: float
    norm: Norm
    post_norm: Norm | None
    angles: Angles | None
    scale: float
    window: int | None

    @property
    def n_heads(self) -> int:
        return len(self.output)

    def queries(self, resid: Tensor, positions: Int[Tensor, " pos"]) -> Float[Tensor, "head pos d_head"]:
        """Queries of tokens whose layer input is `resid` `[pos, d_model]`, as they meet the keys."""
        return self._placed(resid, positions, self.query, self.query_bias, self.query_gain)

    def keys(self, resid: Tensor, positions: Int[Tensor, " pos"]) -> Float[Tensor, "head pos d_head"]:
        """Keys, as they meet the queries."""
        return self._placed(resid, positions, self.key, self.key_bias, self.key_gain)

    def values(self, resid: Tensor) -> Float[Tensor, "head pos d_head"]:
        """Values of tokens whose layer input is `resid` `[pos, d_model]`."""
        return normalised(self.norm, resid) @ self.value + self.value_bias[:, None]

    def scores(self, resid: Tensor, positions: Int[Tensor, " pos"]) -> Float[Tensor, "head query key"]:
        """Attention scores of one text, −inf where a query does not look (what comes later, or too far back)."""
        found = self.queries(resid, positions) @ self.keys(resid, positions).transpose(1, 2) * self.scale
        back = positions[:, None] - positions
        unseen = back < 0 if self.window is None else (back < 0) | (back >= self.window)
        return found.masked_fill(unseen, float("-inf"))

    def written(self, z: Float[Tensor, "pos head d_head"]) -> Float[Tensor, "head pos d_model"]:
        """What every head adds to the sum of heads when its output before W_O is z."""
        return z.transpose(0, 1).float() @ self.output

    def through_ov(self, x: Float[Tensor, "vector d_model"], head: int) -> Float[Tensor, "vector d_model"]:
        """x W_V W_O of one head, for vectors in the coordinates of the normalised input; without the bias."""
        return x @ self.value[head] @ self.output[head]

    def qk_factors(self, head: int, distance: int = 0) -> tuple[Tensor, Tensor]:
        """Two `[d_model, d_head]` whose product a bᵀ is the bilinear part of a head's scores, query times key.

        With a QK-norm the scores are no longer bilinear; its gains are in the factors, its division is not.

        Args:
            distance: how far the key lies before the query, in tokens; turns the query (rotary models).
        """
        query, key = self.query[head], self.key[head]
        if self.query_gain is not None and self.key_gain is not None:
            query, key = query * self.query_gain[head], key * self.key_gain[head]
        places = torch.tensor([distance, 0], device=query.device)
        query, key = (
            self._turned(part[:, None, None], place.expand(len(part)))[:, 0, 0]
            for part, place in ((query, places[0]), (key, places[1]))
        )
        return query * self.scale, key

    def _placed(
        self, resid: Tensor, positions: Tensor, weight: Tensor, bias: Tensor, gain: Tensor | None
    ) -> Float[Tensor, "head pos d_head"]:
        found = normalised(self.norm, resid) @ weight + bias[:, None]
        if gain is not None:
            found = found * (found.square().mean(-1, keepdim=True) + self.qk_eps).rsqrt() * gain[:, None]
        return self._turned(found.transpose(0, 1)[:, None], positions)[:, 0].transpose(0, 1)

    def _turned(self, x: Float[Tensor, "pos 1 head d_head"], positions: Int[Tensor, " pos"]) -> Tensor:
        """The rotation at these positions."""
        if self.angles is None:
            return x
        cos, sin = (part.transpose(0, 1) for part in self.angles(positions[None], x))  # [pos, 1, 1, rotated]
        return rotate_by(x.clone(memory_format=torch.contiguous_format), cos, sin)


def normalised(norm: Norm, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """The norm without its gain and bias, in float32."""
    x = x.float()
    if isinstance(norm, LayerNorm):
        x = x - x.mean(-1, keepdim=True)
    scaled: Tensor = x * (x.square().mean(-1, keepdim=True) + norm.eps).rsqrt()
    return scaled


def known_blueprint(lm: LanguageModel) -> Blueprint:
    """The model's weights as plain tensors.

    Raises:
        UserError: the engine does not know the architecture, or its weights are quantised or off-loaded.
    """
    checked_model(lm)
    if lm.blueprint is None:
        raise UserError(
            f"expected a model whose weights the engine reads (its architecture known, nothing quantised), got "
            f"{lm.spec.name} ({type(lm.network).__name__}); choose another model, or load it without quantisation"
        )
    return lm.blueprint


def head_weights(lm: LanguageModel, layer: int) -> HeadWeights:
    """The heads of one layer.

    Raises:
        UserError: a layer that the model does not have, or weights that the engine does not read.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> weights = head_weights(lm, 3)
    >>> tuple(weights.value.shape), tuple(weights.output.shape)  # 3 KV heads, repeated for 9 query heads
    ((9, 576, 64), (9, 64, 576))
    """
    net = known_blueprint(lm)
    layer = arguments.whole_number("layer", layer, least=0, most=len(net.layers) - 1)
    held = net.layers[layer]
    parts = [_by_head(net, held, part) for part in range(3)]
    (query, query_bias), (key, key_bias), (value, value_bias) = (_folded(held.attn_norm, *part) for part in parts)
    gains = _qk_gains(net, held)
    output = held.out.weight.float().T.reshape(net.n_heads, net.d_head, -1)
    nothing = torch.zeros(output.shape[2], device=output.device)
    return HeadWeights(
        layer=layer,
        query=query,
        key=key,
        value=value,
        query_bias=query_bias,
        key_bias=key_bias,
        value_bias=value_bias,
        output=output,
        output_bias=nothing if held.out.bias is None else held.out.bias.float(),
        query_gain=gains[0],
        key_gain=gains[1],
        qk_eps=0.0 if held.qk_norm is None else held.qk_norm.eps,
        norm=held.attn_norm,
        post_norm=held.attn_post_norm,
        angles=None if held.rotary is None else net.angles[held.rotary],
        scale=held.scale,
        window=held.window,
    )


def _by_head(net: Blueprint, layer: Layer, part: int) -> tuple[Tensor, Tensor]:
    """Queries' (0), keys' (1) or values' (2) projection as it is kept: `[head, d_head, d_model]` and `[head, d_head]`,
    those of a KV head once for every query head that reads it."""
    weight = layer.qkv.weight.float().unflatten(0, (-1, net.d_head))
    bias = layer.qkv.bias
    flat = torch.zeros(weight.shape[:2], device=weight.device) if bias is None else bias.float().view(weight.shape[:2])
    if layer.interleaved:
        return weight[part::3], flat[part::3]
    n_kv = net.n_kv_heads
    heads = slice(0, net.n_heads) if part == 0 else slice(net.n_heads + (part - 1) * n_kv, net.n_heads + part * n_kv)
    repeats = 1 if part == 0 else net.n_heads // n_kv
    return weight[heads].repeat_interleave(repeats, 0), flat[heads].repeat_interleave(repeats, 0)


def _folded(norm: Norm, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The projection of the normalised input: `[head, d_model, d_head]` and `[head, d_head]`."""
    shift = norm.bias if isinstance(norm, LayerNorm) else None
    if shift is not None:
        bias = bias + weight @ shift.float()
    return (weight * norm.weight.float()).transpose(1, 2), bias


def _qk_gains(net: Blueprint, layer: Layer) -> tuple[Tensor | None, Tensor | None]:
    if layer.qk_norm is None:
        return None, None
    gain = layer.qk_norm.weight.float()
    return gain[: net.n_heads], gain[net.n_heads :].repeat_interleave(net.n_heads // net.n_kv_heads, 0)
