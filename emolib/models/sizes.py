"""The sizes that `config.json` gives a model: whole numbers within reason, and none that contradicts another.

They are looked at before transformers makes anything of them: a list of ten million layers would be built at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from emolib.base.errors import UserError, shown

LARGEST = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers"), 1024),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads", "num_key_value_heads"), 4096),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "head_dim"), 2**18),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size"), 2**22),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 2**16),
    "vocab_size": 2**24,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), 2**27),
}
RATES = {  # what must be positive, or every number that the model computes is NaN
    **dict.fromkeys(("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon"), 1.0),
    **dict.fromkeys(("rope_theta", "rotary_emb_base", "query_pre_attn_scalar"), math.inf),
}
MAY_BE_NONE = 0  # the least number of experts; every other size is at least 1


def check_sizes(settings: Mapping[str, Any], called: str) -> None:
    """Raises `UserError` for the first size in `config.json` that no model has.

    >>> check_sizes({"n_layer": 10**7}, "mine")
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected n_layer in config.json of 'mine' between 1 and 1,024, got 10000000; ...
    """
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
        elif isinstance(value, dict) and key.endswith(("config", "parameters")) and inside.count(".") < 4:
            yield from _numbers(value, f"{inside}{key}.")


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
