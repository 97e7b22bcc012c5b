"""Tiny models as GGUF files, written as llama.cpp's converter writes them: names, order of rows, offsets, tokens.

The names come from the package `gguf`, the rest is done by hand here; nothing of it is asked of the code under test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, get_tensor_name_map
from gguf.constants import MODEL_ARCH_NAMES
from gguf.quants import quantize
from tokenizers import pre_tokenizers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

END, FIRST = "<|endoftext|>", "<|begin|>"
BLANK = "\u2581"
DECODER = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 128,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {  # by name: architecture, settings
    "llama": ("llama", {**DECODER, "tie_word_embeddings": False}),
    "llama tied": ("llama", {**DECODER, "tie_word_embeddings": True}),
    "llama 3": ("llama", {**DECODER, "head_dim": 32, "rope_parameters": LLAMA3}),
    "llama stretched": (
        "llama",
        {**DECODER, "rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}},
    ),
    "llama of pieces": ("llama", {**DECODER, "tie_word_embeddings": False}),
    "qwen2": ("qwen2", {**DECODER, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", {**DECODER, "head_dim": 24, "tie_word_embeddings": False}),
    "gemma3": (
        "gemma3_text",
        {**DECODER, "num_hidden_layers": 7, "head_dim": 24, "query_pre_attn_scalar": 24, "sliding_window": 8},
    ),
    "gpt2": ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}),
}
OF_PIECES = ("llama of pieces", "gemma3")


def network_of(name: str) -> nn.Module:
    """A seeded model in which leaving out a bias, a norm or a rotation shows."""
    kind, settings = MODELS[name]
    header = pieces() if name in OF_PIECES else byte_tokens()
    n_tokens = len(header["tokenizer.ggml.tokens"])
    marks = {f"{mark}_token_id": header[f"tokenizer.ggml.{mark}_token_id"] for mark in ("bos", "eos")}
    config = AutoConfig.for_model(kind, vocab_size=n_tokens, initializer_range=0.2, **{**marks, **settings})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.data.add_(0.2 * torch.randn_like(parameter))
    return network.eval().requires_grad_(False)


def byte_tokens() -> dict[str, Any]:
    """A byte-level vocabulary: one byte each, two longer tokens, and the two marks."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, "th", "the", FIRST, END]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * (len(tokens) - 2) + [3, 3],
        "tokenizer.ggml.merges": ["t h", "th e"],
        "tokenizer.ggml.bos_token_id": len(tokens) - 2,
        "tokenizer.ggml.eos_token_id": len(tokens) - 1,
        "tokenizer.ggml.add_bos_token": False,
    }


def pieces() -> dict[str, Any]:
    """A sentencepiece vocabulary: marks, bytes, letters, and pieces that were joined one after the other."""
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    in_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    joined = ["th", "he", "in", f"{BLANK}t", f"{BLANK}th", "the", f"{BLANK}the", "ing"]
    letters = [BLANK, *"abcdefghijklmnopqrstuvwxyzATI.,!0123456789"]
    tokens = [*marks, *in_bytes, *joined, *letters]
    n_first = len(marks) + len(in_bytes)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * n_first + [-float(i) for i in range(len(joined) + len(letters))],
        "tokenizer.ggml.token_type": [3, 3, 3, 2, 3] + [6] * 256 + [1] * (len(joined) + len(letters)),
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }


def header_of(name: str, network: nn.Module) -> dict[str, Any]:
    """What llama.cpp's converter writes before the tensors."""
    config = network.config
    kind = config.model_type.removesuffix("_text")
    found: dict[str, Any] = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "attention.head_count": config.num_attention_heads,
    }
    if kind == "gpt2":
        found |= {"feed_forward_length": 4 * config.n_embd, "attention.layer_norm_epsilon": config.layer_norm_epsilon}
        return _named(kind, found) | byte_tokens()
    rotation = config.rope_parameters.get("full_attention", config.rope_parameters)
    found |= {
        "feed_forward_length": config.intermediate_size,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": float(rotation["rope_theta"]),
    }
    if MODELS[name][1].get("head_dim"):
        found |= {"attention.key_length": config.head_dim, "attention.value_length": config.head_dim}
    if kind == "llama":
        d_head = config.head_dim
        found |= {"rope.dimension_count": d_head, "vocab_size": config.vocab_size}
    if rotation["rope_type"] == "linear":
        found |= {"rope.scaling.type": "linear", "rope.scaling.factor": rotation["factor"]}
    if kind == "gemma3":
        found |= {"attention.sliding_window": config.sliding_window}
    tokens = pieces() if name in OF_PIECES else byte_tokens()
    own: dict[str, Any] = {"tokenizer.ggml.add_space_prefix": False} if kind == "gemma3" else {}
    if kind.startswith("qwen"):
        own = {"tokenizer.ggml.pre": "qwen2"}
    return _named(kind, found) | tokens | own


def _named(kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {"general.type": "model", **{f"{kind}.{name}": value for name, value in found.items()}}


def tensors_of(network: nn.Module) -> dict[str, np.ndarray]:
    """The weights under the names and in the form of llama.cpp."""
    config = network.config
    kind = config.model_type.removesuffix("_text")
    architecture = next(key for key, value in MODEL_ARCH_NAMES.items() if value == kind)
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    found = {}
    for name, tensor in network.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy().astype(np.float32)
        if kind == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            n_heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            split = values.reshape(n_heads, 2, len(values) // n_heads // 2, values.shape[1])
            values = split.swapaxes(1, 2).reshape(values.shape)
        if kind == "gemma3" and name.endswith("norm.weight"):
            values = values + np.float32(1)
        if kind == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            values = values.T
        there = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert there is not None, name
        found[there] = np.ascontiguousarray(values)
    rotation = getattr(config, "rope_parameters", None) or {}
    if rotation.get("rope_type") == "llama3":
        found["rope_freqs.weight"] = slowed(config.head_dim, rotation)
    return found


def slowed(d_head: int, rotation: Mapping[str, Any]) -> np.ndarray:
    """By what llama.cpp divides the frequencies of Llama 3.1, as its converter works it out."""
    factors = []
    for i in range(0, d_head, 2):
        length = 2 * np.pi * rotation["rope_theta"] ** (i / d_head)
        n_periods = rotation["original_max_position_embeddings"] / length
        if n_periods > rotation["high_freq_factor"]:
            factors.append(1.0)
        elif n_periods < rotation["low_freq_factor"]:
            factors.append(rotation["factor"])
        else:
            span = rotation["high_freq_factor"] - rotation["low_freq_factor"]
            smooth = (n_periods - rotation["low_freq_factor"]) / span
            factors.append(1 / ((1 - smooth) / rotation["factor"] + smooth))
    return np.array(factors, np.float32)


def write(
    path: Path,
    name: str = "llama",
    *,
    settings: Mapping[str, Any] | None = None,
    tensors: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = dict,
    architecture: str | None = None,
    quantized: GGMLQuantizationType | None = None,
) -> nn.Module:
    """Writes a model of `MODELS` and returns the network that it holds.

    Args:
        settings: in place of the header's; None leaves one out.
        tensors: changes the tensors.
        architecture: what the file says that it is.
        quantized: how matrices are stored.
    """
    network = network_of(name)
    given = header_of(name, network) | dict(settings or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, architecture or network.config.model_type.removesuffix("_text"))
    for key, value in given.items():
        _add(writer, key, value)
    for there, values in tensors(tensors_of(network)).items():
        if quantized is not None and values.ndim == 2:
            writer.add_tensor(there, quantize(values, quantized), raw_dtype=quantized)
        else:
            writer.add_tensor(there, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return network


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
