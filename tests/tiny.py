"""Tiny seeded models of the six architectures, and the plain loop that the engine is held against.

The models are random but not trivial: weights are large enough that greedy texts vary and attention is peaked, biases
and norms are perturbed so that leaving one out shows, and the local and sliding windows are shorter than the prompts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from emolib.models import LanguageModel, spec_of, wrap

END = "<|end|>"
WINDOW = 8  # of local and sliding attention, in tokens
NEAR_TIE = 1e-3  # texts may differ from a step whose two best logits lie this close, and from no other
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 256},
    "gpt_neox": {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": 256,
    },
    "gpt_neo": {
        "hidden_size": 48,
        "num_layers": 4,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 2]],
        "window_size": WINDOW,
        "max_position_embeddings": 256,
    },
    "llama": {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "max_position_embeddings": 256,
    },
    "qwen3": {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 96,
        "max_position_embeddings": 256,
    },
    "gemma3_text": {
        "hidden_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "intermediate_size": 96,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,  # tied, a random Gemma (embeddings times √d_model) repeats its last token
    },
}


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and an end-of-text token: 257 ids, nothing added to a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: i for i, character in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END)


def plain_network(architecture: str, seed: int = 0) -> nn.Module:
    """The Hugging Face model alone, in float32 with eager attention; the same weights at every call."""
    tokenizer = byte_tokenizer()
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        **ARCHITECTURES[architecture],
    )
    return _seeded(config, seed)


def plain_multimodal(seed: int = 0) -> nn.Module:
    """Gemma 3 with an image encoder around its text part."""
    end = byte_tokenizer().eos_token_id
    text = {**ARCHITECTURES["gemma3_text"], "vocab_size": end + 1, "initializer_range": 0.2, "bos_token_id": None}
    image = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        "gemma3",
        text_config={**text, "eos_token_id": end, "pad_token_id": end},
        vision_config={**image, "image_size": 28, "patch_size": 14},
        eos_token_id=end,
        tie_word_embeddings=False,
    )
    return _seeded(config, seed)


def _seeded(config: Any, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.data.add_(0.2 * torch.randn_like(parameter))
    return network.eval().requires_grad_(False)


def tiny_model(architecture: str, seed: int = 0) -> LanguageModel:
    """A `LanguageModel` of fewer than 200,000 weights."""
    network = plain_network(architecture, seed)
    spec = spec_of(network.config, f"tiny-{architecture}")
    return wrap(network, byte_tokenizer(), spec, f"seed{seed}")


@dataclass(frozen=True)
class Case:
    """A model as the engine runs it, and the same weights in a network that nothing has touched."""

    name: str
    lm: LanguageModel = field(repr=False)
    plain: nn.Module = field(repr=False)


def blocks(network: nn.Module) -> nn.ModuleList:
    """The transformer blocks of a Hugging Face model, wrapped or plain."""
    for path in ("transformer.h", "gpt_neox.layers", "model.layers"):
        with contextlib.suppress(AttributeError):
            return network.get_submodule(path)
    raise LookupError(f"no known blocks in {type(network).__name__}")


def count_hooks(lm: LanguageModel) -> int:
    """Forward hooks on every module of the network and of the bridge around it."""
    modules = {id(module): module for root in (lm.network, lm.bridge) for module in root.modules()}
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules.values())


@dataclass(frozen=True)
class PlainText:
    """A greedy continuation of one prompt by the plain loop.

    Attributes:
        tokens: without the token that ended it.
        margins: best minus second-best logit of every step, the ending one included.
    """

    tokens: tuple[int, ...]
    margins: tuple[float, ...]


def plain_text(network: nn.Module, prompt_ids: Sequence[int], n_new: int, stop_ids: frozenset[int]) -> PlainText:
    """Continues one prompt without cache, padding, mask or position ids: the whole sequence anew at every step."""
    ids, margins = list(prompt_ids), []
    while len(margins) < n_new:
        with torch.inference_mode():
            logits = network(torch.tensor([ids]), use_cache=False).logits[0, -1]
        best = logits.topk(2)
        margins.append(float(best.values[0] - best.values[1]))
        token = int(best.indices[0])
        if token in stop_ids:
            break
        ids.append(token)
    return PlainText(tuple(ids[len(prompt_ids) :]), tuple(margins))


def assert_same_until_near_tie(tokens: Sequence[int], reference: PlainText) -> int:
    """Fails unless `tokens` equal the reference, or differ only from a step at which it has a near tie.

    Returns:
        How many steps were found equal.
    """
    ended = -1  # stands for the token that ends a text
    n_steps = len(reference.margins)
    mine, theirs = [(*ids, ended)[:n_steps] for ids in (tokens, reference.tokens)]
    for step, (token, expected) in enumerate(zip(mine, theirs, strict=False)):
        if token != expected:
            margin = reference.margins[step]
            assert margin <= NEAR_TIE, f"step {step}: got token {token} for {expected}, {margin:.3g} ahead"
            return step
    assert len(tokens) == len(reference.tokens)
    return n_steps
