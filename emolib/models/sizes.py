"""The sizes that `config.json` gives a model: whole numbers within reason, and none that contradicts another.

They are looked at before transformers makes anything of them: a list of ten million layers would be built at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from emolib.base.errors import UserError, shown

LARGEST = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers"), 1024),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads", "num_key_value_heads"), 4096),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "head_dim"), 2**18),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size"), 2**22),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 2**16),
    "vocab_size": 2**24,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "original_max_position_embeddings"), 2**27),
    **dict.fromkeys(("sliding_window", "window_size"), 2**27),
    "num_labels": 2**16,  # transformers writes a name for each
}
LARGEST_OF_ALL = 2**40  # of whole numbers that nothing is known of
LARGEST_COUNT = 2**20  # of those that count something by their name
RATES = {  # what must be positive, or every number that the model computes is NaN
    **dict.fromkeys(("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon"), 1.0),
    **dict.fromkeys(("rope_theta", "rotary_emb_base", "query_pre_attn_scalar"), math.inf),
    **dict.fromkeys(("factor", "low_freq_factor", "high_freq_factor"), math.inf),  # of stretched rotary positions
}
MAY_BE_NONE = 0  # the least number of experts; every other size is at least 1


class Kind(NamedTuple):
    """What a key's value must be, and how a message says it."""

    fits: Callable[[Any], bool]
    what: str


def _number_type(value: Any) -> bool:
    return value in ("float32", "float16", "bfloat16", "float64", "auto")


KINDS = {
    "dtype": Kind(_number_type, "float32, bfloat16 or float16"),
    "torch_dtype": Kind(_number_type, "float32, bfloat16 or float16"),
    "id2label": Kind(lambda value: isinstance(value, dict), "an object"),
    "label2id": Kind(lambda value: isinstance(value, dict), "an object"),
    "quantization_config": Kind(lambda value: isinstance(value, dict), "an object, or absent"),
    "return_dict": Kind(lambda value: value is True, "true, or absent"),
}


def check_sizes(settings: Mapping[str, Any], called: str) -> None:
    """Raises `UserError` for the first size in `config.json` that no model has.

    >>> check_sizes({"n_layer": 10**7}, "mine")
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected n_layer in config.json of 'mine' between 1 and 1,024, got 10000000; ...
    """
    _refuse_kinds(settings, called)
    _refuse_counts(settings, called)
    for path, value in _numbers(settings):
        key = path.rpartition(".")[2]
        where = f"expected {path} in config.json of {shown(called)}"
        if key in RATES and not (_is_number(value) and 0 < value < RATES[key]):
            limit = "positive" if RATES[key] == math.inf else f"between 0 and {RATES[key]:g}"
            raise UserError(f"{where} to be a number, {limit}, got {shown(value, 30)}; correct it, or fetch it again")
        if key not in LARGEST:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise UserError(f"{where} to be a whole number, got {shown(value)}; correct it, or fetch it again")
        least = MAY_BE_NONE if "expert" in key else 1
        if not least <= value <= LARGEST[key]:
            raise UserError(
                f"{where} between {least} and {LARGEST[key]:,}, got {shown(value, 30)}; correct it, or fetch it again"
            )
    parts = [settings, *(value for value in settings.values() if isinstance(value, dict))]
    for part in parts:
        _refuse_contradictions(part, called)


def _numbers(settings: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of `LARGEST` and `RATES`, also in the configuration of a part; under its key's whole path."""
    for key, value in settings.items():
        if key in LARGEST or key in RATES:
            values = value if isinstance(value, list) else [value]
            yield from ((inside + key, one) for one in values if one is not None)
        elif isinstance(value, dict) and key.endswith(("config", "parameters", "scaling")) and inside.count(".") < 4:
            yield from _numbers(value, f"{inside}{key}.")


def _refuse_counts(value: Any, called: str, key: str = "") -> None:
    """Whole numbers at any depth: transformers expands some of them, and computes with all."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_counts(inner, called, str(name))
    elif isinstance(value, list):
        for inner in value:
            _refuse_counts(inner, called, key)
    elif isinstance(value, int) and key not in LARGEST:
        limit = LARGEST_COUNT if key.startswith(("num_", "n_")) else LARGEST_OF_ALL
        if abs(value) > limit:
            raise UserError(
                f"expected {shown(key)} in config.json of {shown(called)} of at most {limit:,}, "
                f"got {shown(value, 30)}; correct it, or fetch it again"
            )


def _refuse_kinds(settings: Mapping[str, Any], called: str) -> None:
    for key, kind in KINDS.items():
        value = settings.get(key)
        if value is not None and not kind.fits(value):
            raise UserError(
                f"expected {key} in config.json of {shown(called)} to be {kind.what}, got {shown(value)}; correct it, "
                "or fetch it again"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse_contradictions(part: Mapping[str, Any], called: str) -> None:
    width = part.get("hidden_size") or part.get("n_embd")
    heads = part.get("num_attention_heads") or part.get("n_head")
    groups = part.get("num_key_value_heads")
    for whole, share, of in ((width, heads, "width"), (heads, groups, "number of heads")):
        own_width = of == "width" and any("head_dim" in key for key in part)
        if isinstance(whole, int) and isinstance(share, int) and whole % share and not own_width:
            what = "attention heads" if of == "width" else "key and value heads (num_key_value_heads)"
            raise UserError(
                f"config.json of {shown(called)} contradicts itself: a {of} of {whole} is no multiple of its {share} "
                f"{what}; correct it, or fetch it again"
            )
