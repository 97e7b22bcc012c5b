"""A copy of a model in other coordinates: what an alignment of models has to find again.

The residual stream is turned and widened by an orthogonal isometry Q `[d_wide, d_model]`: every weight that writes into
it is multiplied by Q, every weight that reads it by Qᵀ. RMSNorm's gains belong to single dimensions, so they are folded
into the weights after the norm first. The mean square of Qh is d_model / d_wide times that of h: the weights after a
norm take the factor √(d_model / d_wide), and the norm's ε takes d_model / d_wide. The head is no longer the embedding's
transpose: untied. The copy computes the same logits from a residual stream that has nothing to do with the first one's
dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from emolib.base import arguments
from emolib.base.config import ModelSpec
from emolib.base.errors import UserError, shown
from emolib.models.language_model import LanguageModel, checked_model, wrap
from emolib.models.sources import rotated_revision

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "rotated"
READS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
WRITES = ("self_attn.o_proj", "mlp.down_proj")


def isometry(d_wide: int, d_model: int, seed: int = 0) -> Float[np.ndarray, "d_wide d_model"]:
    """Q with orthonormal columns, drawn uniformly: `Qh` is h in the copy's coordinates, `Qᵀ` takes it back."""
    q, upper = np.linalg.qr(np.random.default_rng(seed).standard_normal((d_wide, d_model)))
    found: np.ndarray = q * np.sign(np.diag(upper))
    return found


def rotated_copy(
    lm: LanguageModel,
    *,
    d_model: int = 640,
    seed: int = 0,
    spec: ModelSpec | None = None,
    dtype: torch.dtype = torch.float32,
) -> LanguageModel:
    """The model in rotated and widened coordinates, with the same tokenizer.

    Args:
        lm: of the Llama form (RMSNorm before attention and MLP, none after them), in float32.
        d_model: width of the copy; that of the model or more.
        seed: of the isometry (`isometry(d_model, lm.d_model, seed)`).
        spec: the copy's entry in the table, which says its width; None makes one, called `rotated`.
        dtype: of the copy's weights, which are reckoned in float64.

    Returns:
        A model whose revision names the first one's, the width and the seed.

    Raises:
        UserError: another form of model, another dtype, or a width below the model's.

    >>> import emolib
    >>> rotated_copy(emolib.load_model("smollm2_135m", device="cpu")).d_model
    640
    """
    checked_model(lm)
    d_model = arguments.whole_number("d_model", d_model if spec is None else spec.d_model, least=lm.d_model)
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
    network = _filled(lm.network, type(config)(**{**config.to_dict(), **changed}), q)
    if spec is None:
        named = {"name": NAME, "hub_id": NAME, "aliases": (), "bundled": None, "d_model": d_model}
        spec = lm.spec.model_copy(update={**named, "config": {**lm.spec.config, **changed}})
    revision = rotated_revision(lm.revision, d_model, seed)
    return wrap(network.to(dtype), lm.tokenizer, spec, revision, lm.device)


@torch.inference_mode()
def _filled(network: PreTrainedModel, config: Any, q: Tensor) -> nn.Module:
    """A network of that configuration with the first one's weights in the new coordinates, reckoned in float64."""
    from transformers import AutoModelForCausalLM

    parts = dict(network.named_modules())
    factor = (q.shape[1] / q.shape[0]) ** 0.5
    with torch.random.fork_rng(devices=[]):
        made = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    own = dict(made.named_modules())

    def put(name: str, weight: Tensor) -> None:
        own[name].weight.copy_(weight.float())

    def read(name: str, gain: Tensor) -> None:
        put(name, (weight_of(parts[name]) * gain) @ q.T * factor)

    put("model.embed_tokens", weight_of(parts["model.embed_tokens"]) @ q.T)
    for number in range(config.num_hidden_layers):
        block = f"model.layers.{number}"
        for norm, names in (("input_layernorm", READS[:3]), ("post_attention_layernorm", READS[3:])):
            for name in names:
                read(f"{block}.{name}", weight_of(parts[f"{block}.{norm}"]))
            own[f"{block}.{norm}"].weight.fill_(1.0)
        for name in WRITES:
            put(f"{block}.{name}", q @ weight_of(parts[f"{block}.{name}"]))
    read("lm_head", weight_of(parts["model.norm"]))
    own["model.norm"].weight.fill_(1.0)
    return made


def weight_of(module: nn.Module) -> Tensor:
    """A module's weight on the CPU in float64."""
    found: Tensor = module.weight.detach().cpu().double()  # type: ignore[operator]
    return found
