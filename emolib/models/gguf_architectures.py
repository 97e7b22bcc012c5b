"""What a GGUF file's settings and tensors are in transformers' model of the same architecture.

This is known here of its own, not asked of the library that converts: what that loses on the way is put back by it
(`stated`), and what it gets wrong is found by it (`emolib.models.gguf_check`). A setting that nothing is known of is
refused, since the model may compute something else by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emolib.base.errors import UserError, shown
from emolib.models.gguf_file import GgufFile
from emolib.models.gguf_settings import FREQUENCIES, gemma3, gpt2, llama, qwen2, qwen3, whole

OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
GEMMA_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
GPT2_OUTER = {"token_embd": "transformer.wte", "position_embd": "transformer.wpe", "output_norm": "transformer.ln_f"}
GPT2_LAYER = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
TIED = "output.weight"  # where the head is no tensor of its own, it is the embedding
HARMLESS = ("vocab_size", "tensor_data_layout", "attention.causal", "expert_count", "expert_used_count")
SIZES = (
    *("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"),
    *("attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon"),
)
ROTATION = (
    *("rope.dimension_count", "rope.freq_base", "rope.scaling.type", "rope.scaling.factor"),
    *("rope.scaling.original_context_length", "rope.scaling.finetuned"),
)
SLIDING = ("attention.sliding_window", "attention.sliding_window_pattern", "rope.freq_base_swa")
GPT2_SIZES = (*SIZES[:5], "attention.layer_norm_epsilon")


@dataclass(frozen=True)
class Architecture:
    """One that is read.

    Attributes:
        model_type: what transformers calls it.
        layer: how the names of a layer's weights begin there, with its number to come.
        names: of a layer's parts, in the file and there.
        outer: the same for what is in no layer.
        biased: the parts, by their names in the file, that have a bias.
        known: the settings that are understood, less the architecture's name.
        norm_offset: what the file's norms have more than the model's.
        permuted: whether the file has the rows of queries and keys in another order.
        turned: the parts that the file has transposed.
    """

    model_type: str
    settings: Callable[[GgufFile], dict[str, Any]]
    layer: str = "model.layers.{}."
    names: dict[str, str] = field(default_factory=lambda: LAYER)
    outer: dict[str, str] = field(default_factory=lambda: OUTER)
    biased: frozenset[str] = frozenset()
    known: tuple[str, ...] = (*SIZES, *ROTATION)
    norm_offset: float = 0.0
    permuted: bool = False
    turned: frozenset[str] = frozenset()

    def names_of(self, n_layers: int) -> dict[str, str]:
        """Every tensor's name in the file → its name in the model."""
        parts = [(part, name) for part, name in self.outer.items()]
        for number in range(n_layers):
            beginning = self.layer.format(number)
            parts += [(f"blk.{number}.{part}", f"{beginning}{name}") for part, name in self.names.items()]
        found = {f"{part}.weight": f"{name}.weight" for part, name in parts}
        biased = [(part, name) for part, name in parts if part.rpartition(".")[2] in self.biased]
        return found | {f"{part}.bias": f"{name}.bias" for part, name in biased}

    def as_in_model(self, name: str, values: np.ndarray, file: GgufFile) -> np.ndarray:
        """A tensor of the file as the model has it."""
        part = name.split(".")[-2]
        if part.endswith("norm") and self.norm_offset:
            return values - np.float32(self.norm_offset)
        if part in self.turned and values.ndim == 2:
            return values.T
        if self.permuted and part in ("attn_q", "attn_k"):
            n_heads = whole(file, "attention.head_count")
            n_heads = n_heads if part == "attn_q" else whole(file, "attention.head_count_kv", n_heads)
            split = values.reshape(n_heads, -1, 2, *values.shape[1:])
            return split.swapaxes(1, 2).reshape(values.shape)
        return values


def architecture_of(file: GgufFile) -> Architecture:
    """The architecture of a file, everything that can be seen in its header found to be as it is known.

    Raises:
        UserError: an architecture, a setting or a tensor that is not read, or one that is missing.
    """
    where, name = shown(file.called), file.architecture
    found = ARCHITECTURES.get(name)
    if found is None:
        raise UserError(
            f"expected a GGUF file of one of {', '.join(sorted(ARCHITECTURES))}, {where} is of the architecture "
            f"{shown(name)}; take the model's transformers files"
        )
    unknown = [key for key in file.own_names if key not in (*found.known, *HARMLESS)]
    if unknown:
        raise UserError(
            f"the header of {where} has {shown(f'{name}.{unknown[0]}')} ({shown(file.get(unknown[0]), 40)}), of which "
            "nothing is known here, so that the model would compute something else; take its transformers files"
        )
    if file.get("expert_count", 0) or file.get("attention.causal", True) is not True:
        raise UserError(f"expected a decoder without experts, {where} is another model; take its transformers files")
    expected = found.names_of(min(whole(file, "block_count"), len(file.tensors)))
    extra = file.tensors.keys() - expected.keys() - {FREQUENCIES, TIED}
    missing = expected.keys() - file.tensors.keys() - {TIED}
    if extra or missing:
        what, names = ("lacks", missing) if missing else ("holds", extra)
        raise UserError(
            f"expected the tensors of {name} with {file.get('block_count')} layers in {where}, it {what} "
            f"{shown(min(names))}{f' (one of {len(names)} such)' if len(names) > 1 else ''}; take another file of the "
            "model, or its transformers files"
        )
    _check_tokens(file)
    found.settings(file)
    return found


def stated(file: GgufFile) -> dict[str, Any]:
    """What the file says that `config.json` has to say.

    Raises:
        UserError: it says something that transformers' model cannot be told.
    """
    architecture = ARCHITECTURES[file.architecture]
    found = {"model_type": architecture.model_type, **architecture.settings(file)}
    found["vocab_size"] = file.tensors["token_embd.weight"].shape[0]
    found["tie_word_embeddings"] = TIED not in file.tensors
    first, last, turn = (file.settings.get(f"tokenizer.ggml.{mark}_token_id") for mark in ("bos", "eos", "eot"))
    if first is not None:
        found["bos_token_id"] = first
    if last is not None:
        found["eos_token_id"] = last if turn in (None, last) else [last, turn]
    return found


def _check_tokens(file: GgufFile) -> None:
    tokens, n_rows = file.settings.get("tokenizer.ggml.tokens"), file.tensors["token_embd.weight"].shape[0]
    if not isinstance(tokens, list) or len(tokens) != n_rows or not all(isinstance(token, str) for token in tokens):
        came = f"{len(tokens):,}" if isinstance(tokens, list) else "none"
        raise UserError(
            f"expected a token for each of the {n_rows:,} rows of the embedding in {shown(file.called)}, found {came}; "
            "take another file of the model"
        )


ARCHITECTURES = {
    "llama": Architecture("llama", llama, permuted=True),
    "qwen2": Architecture("qwen2", qwen2, biased=frozenset({"attn_q", "attn_k", "attn_v"})),
    "qwen3": Architecture("qwen3", qwen3, names={**LAYER, **HEAD_NORMS}),
    "gemma3": Architecture(
        "gemma3_text",
        gemma3,
        names={**LAYER, **HEAD_NORMS, **GEMMA_NORMS},
        known=(*SIZES, *ROTATION, *SLIDING),
        norm_offset=1.0,
    ),
    "gpt2": Architecture(
        "gpt2",
        gpt2,
        layer="transformer.h.{}.",
        names=GPT2_LAYER,
        outer={**GPT2_OUTER, "output": "lm_head"},
        biased=frozenset(GPT2_LAYER) | {"output_norm"},
        known=GPT2_SIZES,
        turned=frozenset({"attn_qkv", "attn_output", "ffn_up", "ffn_down"}),
    ),
}
