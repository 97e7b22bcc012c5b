"""Tiny seeded models of the six architectures, and the plain loop that the engine is held against.

The models are random but not trivial: weights are large enough that greedy texts vary and attention is peaked, biases
and norms are perturbed so that leaving one out shows, and the local and sliding windows are shorter than the prompts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from emolib.engine.bridge import BridgeRunner
from emolib.engine.native import NativeRunner
from emolib.interventions import Edits, first_layer
from emolib.models.language_model import LanguageModel, wrap
from emolib.models.loading import spec_of
from emolib.models.tokens import encode, pad_left

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


BRIDGED: dict[str, dict[str, Any]] = {  # architectures that run through their own code
    "opt": {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "ffn_dim": 96,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 48,
    },
    "gptj": {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64, "rotary_dim": 8},
    "falcon": {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 64},
    "mistral": {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 96,
        "max_position_embeddings": 64,
    },
    "gpt_bigcode": {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64},
    "mpt": {"d_model": 48, "n_heads": 4, "n_layers": 3, "max_seq_len": 64},
    "bloom": {"hidden_size": 48, "n_layer": 3, "n_head": 4},
}


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and an end-of-text token: 257 ids, nothing added to a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: i for i, character in enumerate(alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END)


def plain_network(architecture: str, seed: int = 0, **changed: Any) -> nn.Module:
    """The Hugging Face model alone, in float32 with eager attention; the same weights at every call.

    Args:
        changed: settings of the configuration in place of the table's.
    """
    tokenizer = byte_tokenizer()
    end = tokenizer.eos_token_id
    marks = {"bos_token_id": None, "eos_token_id": end, "pad_token_id": end}
    config = AutoConfig.for_model(
        architecture,
        initializer_range=0.2,
        **{"vocab_size": len(tokenizer), **marks, **{**ARCHITECTURES, **BRIDGED}[architecture], **changed},
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
    with torch.inference_mode(False), torch.random.fork_rng():  # wherever it is asked for
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


# Interventions by hand: hooks on a plain network's own modules, the whole sequence in one pass

Edit = Callable[..., torch.Tensor]  # stream sites: hidden → hidden; site z: (z, values, pattern) → z
Heads = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # z, values `[pos, head, d_head]`, pattern `[head, pos, key]`


@dataclass(frozen=True)
class PlainAttention:
    """One block's attention.

    Attributes:
        whole: its output is (what it adds, pattern `[row, head, pos, key]`).
        values: its output holds the values.
        out: W_O, whose input is z.
    """

    whole: nn.Module
    values: nn.Module
    out: nn.Module


def plain_attention(network: nn.Module, layer: int) -> PlainAttention:
    """Where a Hugging Face model's block attends."""
    block, kind = blocks(network)[layer], network.config.model_type
    if kind == "gpt2":
        return PlainAttention(block.attn, block.attn.c_attn, block.attn.c_proj)
    if kind == "gpt_neo":
        inner = block.attn.attention
        return PlainAttention(inner, inner.v_proj, inner.out_proj)
    if kind == "gpt_neox":
        return PlainAttention(block.attention, block.attention.query_key_value, block.attention.dense)
    return PlainAttention(block.self_attn, block.self_attn.v_proj, block.self_attn.o_proj)


def plain_values(network: nn.Module, projected: torch.Tensor) -> torch.Tensor:
    """The values that every query head reads, `[row, pos, head, d_head]`, from what `PlainAttention.values` gives."""
    n_heads, kind = network.config.num_attention_heads, network.config.model_type
    if kind == "gpt2":
        return projected.chunk(3, dim=-1)[2].unflatten(-1, (n_heads, -1))
    if kind == "gpt_neox":
        return projected.unflatten(-1, (n_heads, 3, -1))[..., 2, :]
    n_kv = getattr(network.config, "num_key_value_heads", n_heads)
    return projected.unflatten(-1, (n_kv, -1)).repeat_interleave(n_heads // n_kv, dim=-2)


def _stream_handle(network: nn.Module, site: str, layer: int, edit: Edit) -> Any:
    def at_input(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (edit(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": edit(kwargs["hidden_states"])}

    def at_output(module: nn.Module, args: tuple, output: Any) -> Any:
        return (edit(output[0]), *output[1:]) if isinstance(output, tuple) else edit(output)

    layers = blocks(network)
    if site == "resid_pre" and layer < len(layers):
        return layers[layer].register_forward_pre_hook(at_input, with_kwargs=True)
    if site == "resid_pre":
        return layers[-1].register_forward_hook(at_output)
    block, gemma = layers[layer], network.config.model_type == "gemma3_text"
    if site == "attn_out":
        module = block.post_attention_layernorm if gemma else plain_attention(network, layer).whole
    else:
        module = block.post_feedforward_layernorm if gemma else block.mlp
    return module.register_forward_hook(at_output)


def _head_handles(network: nn.Module, layer: int, edit: Edit) -> list[Any]:
    attention = plain_attention(network, layer)
    n_heads, kept = network.config.num_attention_heads, {}

    def keep_values(module: nn.Module, args: tuple, output: torch.Tensor) -> None:
        kept["values"] = plain_values(network, output)

    def keep_z(module: nn.Module, args: tuple) -> None:
        kept["z"] = args[0].unflatten(-1, (n_heads, -1))

    def at_output(module: nn.Module, args: tuple, output: tuple) -> tuple:
        edited = edit(kept["z"].clone(), kept["values"], output[1])
        return attention.out(edited.flatten(-2)), *output[1:]

    return [
        attention.values.register_forward_hook(keep_values),
        attention.out.register_forward_pre_hook(keep_z),
        attention.whole.register_forward_hook(at_output),
    ]


@contextlib.contextmanager
def patched_by_hand(network: nn.Module, edits: Sequence[tuple[str, int, Edit]]) -> Iterator[None]:
    """Applies `(site, layer, edit)` while the network runs unpadded texts without cache; at one place in that order."""
    handles: list[Any] = []
    try:
        for site, layer, edit in sorted(edits, key=lambda entry: entry[0] != "z"):  # z comes before attn_out
            at_heads = site == "z"
            handles += _head_handles(network, layer, edit) if at_heads else [_stream_handle(network, site, layer, edit)]
        yield
    finally:
        for handle in handles:
            handle.remove()


def plain_heads(network: nn.Module, ids: Sequence[int]) -> list[Heads]:
    """What the heads of every layer did in one text; the patterns as the model itself reports them."""
    seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def look(layer: int) -> Edit:
        def edit(z: torch.Tensor, values: torch.Tensor, pattern: torch.Tensor) -> torch.Tensor:
            seen[layer] = (z[0].clone(), values[0].clone())
            return z

        return edit

    looks = [("z", layer, look(layer)) for layer in range(len(blocks(network)))]
    with patched_by_hand(network, looks), torch.inference_mode():
        out = network(torch.tensor([list(ids)]), use_cache=False, output_attentions=True, logits_to_keep=1)
        patterns = out.attentions
    return [(*seen[layer], pattern[0]) for layer, pattern in enumerate(patterns)]


def factors_by_hand(act: Any, n_prompt: int, n_columns: int, n_source: int | None = None) -> list[float]:
    """An act's factor at every column of an unpadded text; a source of `n_source` tokens reaches no further back."""
    factors = []
    for column in range(n_columns):
        step, from_end = max(column - n_prompt + 1, 0), n_prompt - column
        if column >= n_prompt:
            patched = act.steps is None or step <= act.steps
        else:
            patched = from_end <= min(act.window or n_prompt, n_source or n_prompt) and (column > 0 or n_prompt == 1)
        if isinstance(act.schedule, str):
            factor = 1.0
        elif hasattr(act.schedule, "rate"):
            factor = act.schedule.rate**step
        else:
            factor = act.schedule[step] if step < len(act.schedule) else 0.0
        factors.append(factor if patched else 0.0)
    return factors


def plain_logits(
    network: nn.Module, edits: Sequence[tuple[str, int, Edit]], prompt_ids: Sequence[int], forced: Sequence[int]
) -> torch.Tensor:
    """Logits after the prompt and after each forced token, `[step, vocabulary]`, patched by hand."""
    ids = torch.tensor([[*prompt_ids, *forced]])
    with patched_by_hand(network, edits), torch.inference_mode():
        return network(ids, use_cache=False, logits_to_keep=len(forced) + 1).logits[0]


ROUTES = ("native", "graph", "bridge", "native uncached", "bridge uncached")


def forced_logits(
    lm: LanguageModel, route: str, prompts: Sequence[str], acts: Sequence[Any], forced: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The engine's logits after the prompts and after each forced token, `[row, step, vocabulary]`, in one batch.

    Args:
        route: of `ROUTES`; `graph` runs the steps with tensors for numbers, as a CUDA graph holds them.
        forced: the tokens that every row is given instead of those it would choose, equally many per row.
    """
    rows = encode(lm, prompts)
    order = sorted(range(len(rows)), key=lambda row: first_layer(acts[row], lm.n_layers))
    ids, mask = pad_left([rows[row] for row in order], lm.tokenizer.pad_token_id)
    given = torch.tensor([list(forced[row]) for row in order])
    n_new = given.shape[1] + 1

    def runner() -> NativeRunner | BridgeRunner:
        if route.startswith("bridge"):
            return BridgeRunner(lm, ids, mask, edits, n_new)
        return NativeRunner(lm, ids, mask, edits, n_new - 1, as_graph=route == "graph")

    with torch.inference_mode():
        edits = Edits(lm, [acts[row] for row in order], [len(rows[row]) for row in order], ids.shape[1], n_new)
        running = runner()
        logits = [running.start().clone()]
        for token in given.T:
            if route.endswith("uncached"):
                ids = torch.cat([ids, token[:, None]], dim=1)
                mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
                n_new -= 1
                logits.append(runner().start().clone())
            else:
                logits.append(running.step(token).clone())
    return torch.stack(logits, dim=1)[torch.tensor(order).argsort()]
