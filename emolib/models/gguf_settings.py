"""What the header of a GGUF file says of a model's sizes, norms, attention and rotation, as `config.json` says it.

One function for each architecture that is read; what transformers' model of it cannot be told is refused.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from emolib.base.errors import UserError, shown
from emolib.models.gguf_file import GgufFile

FREQUENCIES = "rope_freqs.weight"  # what Llama 3.1 stretches its positions by
BASE = 10_000.0  # of the rotation where a file does not say
PERIOD = 6  # of Gemma 3's layers every sixth sees the whole text
GEMMA_27B_LAYERS = 62  # it alone scales its attention by its width, the others by their heads'
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def whole(file: GgufFile, name: str, default: int | None = None) -> int:
    """A positive whole number of the header; of a list, whose entries must be equal, the one that all are."""
    given = file.get(name, default)
    values = set(given) if isinstance(given, list) and all(isinstance(entry, int) for entry in given) else {given}
    value = values.pop() if len(values) == 1 else None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        came = "none" if given is None else shown(given, 40)
        raise UserError(
            f"expected {file.architecture}.{name} in the header of {shown(file.called)} to be one positive whole "
            f"number, found {came}; take another file of the model"
        )
    return value


def real(file: GgufFile, name: str, default: float | None = None) -> float:
    value = file.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(
            f"expected {file.architecture}.{name} in the header of {shown(file.called)} to be a positive number, found "
            f"{'none' if value is None else shown(value, 40)}; take another file of the model"
        )
    return float(value)


def _decoder(file: GgufFile) -> dict[str, Any]:
    """The sizes of a decoder with rotated queries and keys."""
    n_heads, width = whole(file, "attention.head_count"), whole(file, "embedding_length")
    d_head = whole(file, "attention.key_length", width // n_heads)
    for name in ("attention.value_length", "rope.dimension_count"):
        if whole(file, name, d_head) != d_head:
            raise UserError(
                f"expected heads of one width, all of it rotated, in {shown(file.called)}, found {d_head} dimensions "
                f"and {name} = {file.get(name)}; take the model's transformers files"
            )
    return {
        "num_hidden_layers": whole(file, "block_count"),
        "hidden_size": width,
        "intermediate_size": whole(file, "feed_forward_length"),
        "num_attention_heads": n_heads,
        "num_key_value_heads": whole(file, "attention.head_count_kv", n_heads),
        "head_dim": d_head,
        "max_position_embeddings": whole(file, "context_length"),
        "rms_norm_eps": real(file, "attention.layer_norm_rms_epsilon"),
    }


def _rotation(file: GgufFile) -> dict[str, Any]:
    """How positions are rotated: `rope_parameters` of `config.json`."""
    base, kind = {"rope_theta": real(file, "rope.freq_base", BASE)}, file.get("rope.scaling.type", "none")
    if FREQUENCIES in file.tensors:
        return base | _llama3(file, base["rope_theta"])
    if kind == "linear":
        return base | {"rope_type": "linear", "factor": real(file, "rope.scaling.factor")}
    if kind != "none" or file.get("rope.scaling.factor", 1.0) not in (0.0, 1.0):
        raise UserError(
            f"expected positions that are rotated as they are, or stretched evenly, in {shown(file.called)}, found "
            f"rope.scaling.type {shown(kind)}; take the model's transformers files"
        )
    return base | {"rope_type": "default"}


def _llama3(file: GgufFile, base: float) -> dict[str, Any]:
    """Llama 3.1's way of stretching positions, of which a file keeps by how much each frequency is slowed alone.

    Raises:
        UserError: they are not slowed in that way.
    """
    slowed = file.values(FREQUENCIES).ravel()
    factor = float(slowed.max())
    lengths = 2 * math.pi * base ** (2 * np.arange(len(slowed)) / (2 * len(slowed)))
    least, most = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    smooth = np.clip((LLAMA3["original_max_position_embeddings"] / lengths - least) / (most - least), 0, 1)
    if not np.allclose(slowed, 1 / ((1 - smooth) / factor + smooth), rtol=1e-3):
        raise UserError(
            f"{shown(file.called)} slows its rotation ({FREQUENCIES}) in another way than Llama 3.1, which is not "
            "read; take the model's transformers files"
        )
    return {"rope_type": "llama3", "factor": round(factor, 4), **LLAMA3}


def llama(file: GgufFile) -> dict[str, Any]:
    return {**_decoder(file), "rope_parameters": _rotation(file), "hidden_act": "silu", "attention_bias": False}


def qwen2(file: GgufFile) -> dict[str, Any]:
    settings = _decoder(file)
    if settings.pop("head_dim") * settings["num_attention_heads"] != settings["hidden_size"]:
        raise UserError(
            f"expected the heads of {shown(file.called)} to be as wide as the model together, as those of Qwen 2 are; "
            "take the model's transformers files"
        )
    return {**settings, "rope_parameters": _rotation(file), "hidden_act": "silu"}


def qwen3(file: GgufFile) -> dict[str, Any]:
    return {**_decoder(file), "rope_parameters": _rotation(file), "hidden_act": "silu", "attention_bias": False}


def gemma3(file: GgufFile) -> dict[str, Any]:
    settings = _decoder(file)
    n_layers, width, n_heads = (settings[key] for key in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
    if file.get("attention.sliding_window_pattern", PERIOD) != PERIOD:
        raise UserError(
            f"expected every sixth layer of {shown(file.called)} to see the whole text, found "
            f"{shown(file.get('attention.sliding_window_pattern'), 40)}; take the model's transformers files"
        )
    near = {"rope_type": "default", "rope_theta": real(file, "rope.freq_base_swa", BASE)}
    far = ["full_attention" if (layer + 1) % PERIOD == 0 else "sliding_attention" for layer in range(n_layers)]
    return {
        **settings,
        "rope_parameters": {"full_attention": _rotation(file), "sliding_attention": near},
        "layer_types": far,
        "sliding_window": whole(file, "attention.sliding_window"),
        "query_pre_attn_scalar": width // n_heads if n_layers == GEMMA_27B_LAYERS else settings["head_dim"],
        "hidden_activation": "gelu_pytorch_tanh",
        "final_logit_softcapping": None,
        "attn_logit_softcapping": None,
    }


def gpt2(file: GgufFile) -> dict[str, Any]:
    return {
        "n_layer": whole(file, "block_count"),
        "n_embd": whole(file, "embedding_length"),
        "n_inner": whole(file, "feed_forward_length"),
        "n_head": whole(file, "attention.head_count"),
        "n_positions": whole(file, "context_length"),
        "layer_norm_epsilon": real(file, "attention.layer_norm_epsilon"),
        "activation_function": "gelu_new",
    }
