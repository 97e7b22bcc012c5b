"""A model that has learned nothing: of another's form and tokenizer, with weights as they are before any training."""

from __future__ import annotations

import copy

import torch

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.models.language_model import LanguageModel, checked_model, wrap
from emolib.models.silence import quiet


def random_copy(lm: LanguageModel, *, seed: int, n_layers: int | None = None) -> LanguageModel:
    """The model's architecture with seeded random weights, as transformers initialises it.

    What a map into it finds is not learned: which words there are, and where.

    Args:
        n_layers: its first blocks alone; None makes all.

    Raises:
        UserError: fewer than one block, or more than the model has.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> random_copy(lm, seed=1, n_layers=2).n_layers
    2
    """
    from transformers import AutoModelForCausalLM

    checked_model(lm)
    seed = arguments.whole_number("seed", seed, least=0)
    n_layers = lm.n_layers if n_layers is None else arguments.whole_number("n_layers", n_layers, least=1)
    if n_layers > lm.n_layers:
        raise UserError(
            f"expected at most the {lm.n_layers} blocks of {shown(lm.spec.name)}, got {n_layers}; take fewer"
        )
    config = copy.deepcopy(lm.network.config)
    kinds = getattr(config, "layer_types", None)
    config.num_hidden_layers = n_layers
    if kinds is not None:
        config.layer_types = list(kinds)[:n_layers]
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(config, dtype=lm.dtype, attn_implementation="eager")
    spec = lm.spec.model_copy(update={"random_weights": True, "bundled": None, "n_layers": n_layers})
    return wrap(network, lm.tokenizer, spec, f"random-seed{seed}-layers{n_layers}-of-{lm.revision}", lm.device)
