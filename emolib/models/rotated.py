"""A copy of a model in other coordinates: what an alignment of models has to find again.

The residual stream is turned and widened by an orthogonal isometry Q `[d_wide, d_model]`: every weight that writes into
it is multiplied by Q, every weight that reads it by Qᵀ. RMSNorm's gains belong to single dimensions, so they are folded
into the weights after the norm first. The mean square of Qh is d_model / d_wide times that of h: the weights after a
norm take the factor √(d_model / d_wide), and the norm's ε takes d_model / d_wide. The head is no longer the embedding's
transpose: untied. The copy computes the same logits from a residual stream that has nothing to do with the first one's
dimensions.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.models.blueprint import Blueprint, Norm
from emolib.models.language_model import LanguageModel, checked_model, wrap

NAME = "rotated"
CHANGED = ("head_dim", "tie_word_embeddings", "rms_norm_eps")  # settings that the copy has otherwise, beside its width


def isometry(d_wide: int, d_model: int, seed: int = 0) -> Float[np.ndarray, "d_wide d_model"]:
    """Q with orthonormal columns, drawn uniformly: `Qh` is h in the copy's coordinates, `Qᵀ` takes it back."""
    q, upper = np.linalg.qr(np.random.default_rng(seed).standard_normal((d_wide, d_model)))
    found: np.ndarray = q * np.sign(np.diag(upper))
    return found


def rotated_network(lm: LanguageModel, *, d_model: int = 640, seed: int = 0) -> nn.Module:
    """The network of `rotated_copy`, not wrapped: as transformers saves it.

    Raises:
        UserError: as `rotated_copy`.
    """
    checked_model(lm)
    d_model = arguments.whole_number("d_model", d_model, least=lm.d_model)
    seed = arguments.whole_number("seed", seed, least=0)
    config = lm.network.config
    if config.model_type != "llama" or getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        raise UserError(
            f"expected a model of the Llama form without biases to rotate, {shown(lm.spec.name)} is a "
            f"{config.model_type}; take smollm2_135m"
        )
    if lm.dtype != torch.float32:
        raise UserError(f"expected a model in float32 to rotate, {shown(lm.spec.name)} is in {lm.dtype}; load it so")
    q = torch.from_numpy(isometry(d_model, lm.d_model, seed))
    changed = {"hidden_size": d_model, "head_dim": lm.d_head, "tie_word_embeddings": False}
    changed |= {"rms_norm_eps": config.rms_norm_eps * lm.d_model / d_model}
    other = copy.deepcopy(config)
    for name, value in changed.items():  # one by one: made at once, heads that do not divide the width are refused
        setattr(other, name, value)
    return _filled(lm.native, other, q)


def rotated_copy(
    lm: LanguageModel,
    *,
    d_model: int = 640,
    seed: int = 0,
) -> LanguageModel:
    """The model in rotated and widened coordinates, with the same tokenizer.

    Args:
        lm: of the Llama form (RMSNorm before attention and MLP, none after them), in float32.
        d_model: width of the copy; that of the model or more.
        seed: of the isometry (`isometry(d_model, lm.d_model, seed)`).

    Returns:
        A model whose revision names the first one's, the width and the seed.

    Raises:
        UserError: another form of model, another dtype, or a width below the model's.

    >>> import emolib
    >>> rotated_copy(emolib.load_model("smollm2_135m", device="cpu")).d_model
    640
    """
    network = rotated_network(lm, d_model=d_model, seed=seed)
    changed = {"hidden_size": d_model, **{name: getattr(network.config, name) for name in CHANGED}}
    named = {"name": NAME, "hub_id": NAME, "aliases": (), "bundled": None, "d_model": d_model}
    spec = lm.spec.model_copy(update={**named, "config": {**lm.spec.config, **changed}})
    revision = f"{lm.revision}-rotated{d_model}-seed{seed}"
    return wrap(network, lm.tokenizer, spec, revision, lm.device)


@torch.no_grad()  # not inference_mode: its tensors refuse to run where gradients are kept
def _filled(plan: Blueprint, config: Any, q: Tensor) -> nn.Module:
    """A network of that configuration with the first one's weights in the new coordinates, reckoned in float64."""
    from transformers import AutoModelForCausalLM

    factor = (q.shape[1] / q.shape[0]) ** 0.5
    with torch.random.fork_rng(devices=[]):
        made = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")

    def put(module: Any, weight: Tensor) -> None:
        assert module.weight.shape == weight.shape, f"{module.weight.shape} is to hold {weight.shape}"
        module.weight.copy_(weight.float())

    def read(weight: Tensor, norm: Norm) -> Tensor:
        return (wide(weight) * wide(norm.weight)) @ q.T * factor

    put(made.model.embed_tokens, wide(plan.embedding) @ q.T)
    sizes = [plan.n_heads * plan.d_head, plan.n_kv_heads * plan.d_head, plan.n_kv_heads * plan.d_head]
    for own, layer in zip(made.model.layers, plan.layers, strict=True):
        attention, mlp = own.self_attn, own.mlp
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        for module, weight in zip(parts, read(layer.qkv.weight, layer.attn_norm).split(sizes), strict=True):
            put(module, weight)
        for module, weight in zip(
            (mlp.gate_proj, mlp.up_proj), read(layer.up.weight, layer.mlp_norm).chunk(2), strict=True
        ):
            put(module, weight)
        put(attention.o_proj, q @ wide(layer.out.weight))
        put(mlp.down_proj, q @ wide(layer.down.weight))
        own.input_layernorm.weight.fill_(1.0)
        own.post_attention_layernorm.weight.fill_(1.0)
    put(made.lm_head, read(plan.head.weight, plan.final_norm))
    made.model.norm.weight.fill_(1.0)
    return made


def wide(weight: Tensor) -> Tensor:
    """On the CPU in float64."""
    return weight.detach().cpu().double()
