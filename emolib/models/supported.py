"""Which architectures can be read: decoders of text alone, with attention in every layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emolib.base.errors import UserError, meant_of, shown, slip_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig

SUPPORTED = (
    "supported are decoders of text with attention in every layer: GPT-2, GPT-Neo, GPT-NeoX, Llama, Qwen3, Gemma 3 and "
    "others that transformer_lens knows, such as Mistral or OPT"
)
KINDS_OF_LAYERS = ("layer_types", "layers_block_type", "block_types")  # where configurations list them


def check_kind(settings: Mapping[str, Any], called: str, *, of: str = "config.json of") -> None:
    """Raises `UserError` unless transformers' own code runs it, forwards, one token after the other.

    Args:
        settings: what `config.json` holds.
        of: where they stand, before the model's name.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind, of = settings.get("model_type"), f"in {of} {shown(called)}"
    has_code = isinstance(settings.get("auto_map"), dict)
    if not isinstance(kind, str) or not kind:
        raise UserError(f"expected model_type {of} (such as llama), got {shown(kind)}; fetch the file again")
    if kind not in CONFIG_MAPPING_NAMES:
        if has_code:
            raise UserError(
                f"model_type {shown(kind)} {of} is run by code of its own (auto_map), which is never run here; take a "
                "model whose architecture transformers has"
            )
        meant = slip_of(kind, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
        known = SUPPORTED if meant is None else meant_of(meant)
        raise UserError(f"unknown model_type {shown(kind)} {of} (transformers {_version()}): {known}")
    if settings.get("is_encoder_decoder") is True or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"expected a causal language model, got model_type {shown(kind)} {of}, which is none; {SUPPORTED}"
        )
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and settings.get("is_decoder") is not True:
        raise UserError(
            f"expected a causal language model, got model_type {shown(kind)} {of}, an encoder that reads both ways; "
            f"{SUPPORTED}"
        )


def check_layers(config: PretrainedConfig, called: str) -> None:
    """Raises `UserError` unless every layer of the model has attention heads."""
    try:
        text = config.get_text_config()
        other = next(_without_attention(text), None)
        if other is None and not isinstance(getattr(text, "num_attention_heads", None), int):
            other = "none with attention heads"
    except Exception:  # several texts' parts, or heads that differ from layer to layer
        other = "not the same in all"
    if other is not None:
        raise UserError(
            f"expected attention in every layer, {shown(called)} is a {config.model_type}, which has layers of another "
            f"kind ({other}); {SUPPORTED}"
        )


def _without_attention(config: PretrainedConfig) -> Iterator[str]:
    """The kinds of layers that keep a state in place of attention, or beside it."""
    for name in KINDS_OF_LAYERS:
        listed = getattr(config, name, None)
        for kind in listed if isinstance(listed, list | tuple) else ():
            if "attention" not in str(kind) or "linear" in str(kind):
                yield shown(kind)


def _version() -> str:
    from transformers import __version__

    return __version__
