"""A plant as a small GPT-2 or Llama: two layers, weights set by hand, nothing trained.

Layer 0: a head that looks at all tokens alike writes a label's direction where its felt word stands, half of it where
its name stands, and a little noise for every word. Layer 1: neurons read the directions and move the next word as the
plant says. The stream holds, each along directions of its own: a constant that makes up most of the norm (so that a
norm layer is a fixed scale), which word a token is, the logits of the next word, the labels' directions, noise.

Two labels' directions have a cosine of `OVERLAP`, as vectors of real models do: a common part, and one of each label's
own. A label's reader reads the label's own part; what is common to all moves what all labels' texts lean towards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from emolib.models.language_model import LanguageModel, wrap
from emolib.models.loading import spec_of
from emolib.selftest.planted.features import random_basis
from emolib.selftest.planted.words import BEGIN, END, PAD, word_tokenizer
from emolib.selftest.shifts.plants import COMMON, N_WORDS, Plant, Reader
from emolib.selftest.shifts.small_words import FELT, LABELS, MENTION, VOCABULARY, WORDS

WIDTH = 144
N_HEADS = {"gpt2": 2, "llama": 1}
D_HEAD = {"gpt2": WIDTH // 2, "llama": 48}
N_POSITIONS, READ_LAYER = 64, 1
OVERLAP = 0.8  # cosine of two labels' directions
NAMED = 0.5  # cosine of what a label's name writes with the label's direction
CONSTANT, WORD, LOGIT = 40.0, 6.0, 1.0  # sizes of features, and of a logit over what the stream holds of it
STRENGTH = 1.6  # length along a label's direction that its reader takes for 1
FELT_GAIN, NOISE_GAIN, LOGIT_NOISE = 20.0, 6.0, 4.0  # of the head: a felt word's, and every word's
N_NOISE = 12
SLOPE, HELD, LIFT = 1.5, 10.0, 3.0  # of a GPT-2 neuron: per coordinate, where another word stands, where its own does
OPEN = 20.0  # of a Llama neuron's gate


class _Layout:
    """Which axes of the feature space hold what."""

    constant = 0
    words = slice(1, 1 + N_WORDS)
    logits = slice(1 + N_WORDS, 1 + 2 * N_WORDS)
    emotion = slice(1 + 2 * N_WORDS, 2 + 2 * N_WORDS + 2 * len(LABELS))
    noise = slice(2 + 2 * N_WORDS + 2 * len(LABELS), 2 + 2 * N_WORDS + 2 * len(LABELS) + N_NOISE)


def label_directions() -> Float[np.ndarray, "label feature"]:
    """Unit vectors in feature coordinates: a common part, and a part of each label's own."""
    apart = own_parts()
    return np.stack([np.sqrt(OVERLAP) * apart[COMMON] + np.sqrt(1 - OVERLAP) * apart[label] for label in LABELS])


def own_parts() -> dict[str, Float[np.ndarray, " feature"]]:
    """The unit vectors that labels' directions are made of: `COMMON`, and one per label."""
    axes = np.eye(WIDTH - 1)[_Layout.emotion]
    return {COMMON: axes[0], **dict(zip(LABELS, axes[1:], strict=False))}


def build_model(form: str, plant: Plant, seed: int) -> LanguageModel:
    """The plant as a model of a form, `gpt2` or `llama`, in coordinates of its own."""
    rng = np.random.default_rng([seed, 22])
    basis = random_basis(WIDTH, np.random.default_rng([seed, 23, list(N_HEADS).index(form)]))
    value, output = _head(rng)
    read, write, held = _neurons(form, plant.readers)
    embedding = np.zeros((len(VOCABULARY), WIDTH - 1))
    embedding[:, _Layout.constant] = CONSTANT
    start = len(VOCABULARY) - N_WORDS
    embedding[start:, _Layout.words] = WORD * np.eye(N_WORDS)
    base = plant.base - plant.base.mean(axis=1, keepdims=True)
    embedding[start:, _Layout.logits] = (base - held) / LOGIT
    unembedding = np.zeros((len(VOCABULARY), WIDTH - 1))
    unembedding[start:, _Layout.logits] = LOGIT * np.eye(N_WORDS)
    unembedding[:start, _Layout.constant] = -20.0 / CONSTANT  # what is no word is never next
    parts = {"embedding": embedding, "unembedding": unembedding, "value": value, "output": output}
    network = _network(form, {**parts, "read": read, "write": write}, basis)
    revision = f"{plant.kind}-seed{seed}"
    return wrap(network, word_tokenizer(VOCABULARY), spec_of(network.config, f"small-{form}"), revision)


def _head(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Value `[feature, word]` and output `[word, feature]` of the head that looks at all tokens alike."""
    value = np.zeros((WIDTH - 1, N_WORDS))
    value[_Layout.words] = np.eye(N_WORDS) / WORD
    output = np.zeros((N_WORDS, WIDTH - 1))
    output[:, _Layout.noise] = NOISE_GAIN * rng.standard_normal((N_WORDS, N_NOISE)) / np.sqrt(N_NOISE)
    output[:, _Layout.logits] = LOGIT_NOISE * rng.standard_normal((N_WORDS, N_WORDS)) / np.sqrt(N_WORDS)
    directions = label_directions()
    for number, label in enumerate(LABELS):
        apart = np.zeros(WIDTH - 1)
        apart[_Layout.emotion.start + 1 + len(LABELS) + number] = 1
        name = NAMED * directions[number] + np.sqrt(1 - NAMED**2) * apart
        output[WORDS.index(FELT[label])] = FELT_GAIN * directions[number]
        output[WORDS.index(MENTION[label])] = FELT_GAIN * name
    return value, output


def _neurons(form: str, readers: tuple[Reader, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What neurons read `[neuron, 2, feature]` (the coordinate, and the gate), what they write `[neuron, feature]`, and
    what they write without any coordinate after each word `[word, word]`, which the embedding takes off."""
    parts = own_parts()
    sizes = {name: STRENGTH * np.sqrt(OVERLAP if name == COMMON else 1 - OVERLAP) for name in parts}
    read, write, held = [], [], np.zeros((N_WORDS, N_WORDS))
    for reader in readers:
        along = np.sum([share * parts[name] / sizes[name] for name, share in reader.weights.items()], axis=0)
        for row, nats in enumerate(reader.writes):
            gate = np.zeros(WIDTH - 1)
            gate[_Layout.words] = 1 / WORD if reader.groups is None else reader.groups[row] / WORD
            read.append(np.stack([along, gate]))
            written = np.zeros(WIDTH - 1)
            written[_Layout.logits] = nats / LOGIT
            write.append(written)
        held += LIFT / SLOPE * reader.table() if form == "gpt2" else 0
    return np.stack(read), np.stack(write), held


def _network(form: str, parts: dict[str, np.ndarray], basis: np.ndarray) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        network = (_gpt2 if form == "gpt2" else _llama)(len(parts["read"]))
    typical = float(np.median(np.linalg.norm(parts["embedding"], axis=1)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for module in network.modules():
            if "Norm" in type(module).__name__:
                module.weight.fill_(typical / np.sqrt(WIDTH))
        (_fill_gpt2 if form == "gpt2" else _fill_llama)(network, parts, basis)
    return network.eval()


def _ids() -> dict[str, int]:
    return {f"{name}_token_id": VOCABULARY.index(word) for name, word in (("pad", PAD), ("bos", BEGIN), ("eos", END))}


def _gpt2(n_neurons: int) -> nn.Module:
    config = GPT2Config(
        vocab_size=len(VOCABULARY),
        n_positions=N_POSITIONS,
        n_embd=WIDTH,
        n_layer=2,
        n_head=N_HEADS["gpt2"],
        n_inner=n_neurons,
        tie_word_embeddings=False,
        attn_implementation="eager",
        **_ids(),
    )
    return GPT2LMHeadModel(config)


def _llama(n_neurons: int) -> nn.Module:
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        max_position_embeddings=N_POSITIONS,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=N_HEADS["llama"],
        num_key_value_heads=N_HEADS["llama"],
        head_dim=D_HEAD["llama"],
        intermediate_size=n_neurons,
        tie_word_embeddings=False,
        attn_implementation="eager",
        **_ids(),
    )
    return LlamaForCausalLM(config)


def _set(parameter: torch.Tensor, values: np.ndarray) -> None:
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))


def _fill_gpt2(network: Any, parts: dict[str, np.ndarray], basis: np.ndarray) -> None:
    body = network.transformer
    _set(body.wte.weight, parts["embedding"] @ basis.T)
    _set(network.lm_head.weight, parts["unembedding"] @ basis.T)
    attention, mlp = body.h[0].attn, body.h[READ_LAYER].mlp
    _set(attention.c_attn.weight[:, 2 * WIDTH : 2 * WIDTH + N_WORDS], basis @ parts["value"])
    _set(attention.c_proj.weight[:N_WORDS], parts["output"] @ basis.T)
    on = _constant(basis)
    along, gate = basis @ parts["read"][:, 0].T, basis @ parts["read"][:, 1].T
    _set(mlp.c_fc.weight, SLOPE * along + HELD * gate + (LIFT - HELD) * on[:, None])
    _set(mlp.c_proj.weight, parts["write"] @ basis.T / SLOPE)


def _fill_llama(network: Any, parts: dict[str, np.ndarray], basis: np.ndarray) -> None:
    body = network.model
    _set(body.embed_tokens.weight, parts["embedding"] @ basis.T)
    _set(network.lm_head.weight, parts["unembedding"] @ basis.T)
    attention, mlp = body.layers[0].self_attn, body.layers[READ_LAYER].mlp
    _set(attention.v_proj.weight[:N_WORDS], parts["value"].T @ basis.T)
    _set(attention.o_proj.weight[:, :N_WORDS], basis @ parts["output"].T)
    on = _constant(basis)
    _set(mlp.gate_proj.weight, OPEN * (2 * parts["read"][:, 1] @ basis.T - on))
    _set(mlp.up_proj.weight, parts["read"][:, 0] @ basis.T)
    _set(mlp.down_proj.weight, basis @ parts["write"].T / OPEN)


def _constant(basis: np.ndarray) -> Float[np.ndarray, " d_model"]:
    """What reads 1 from every token."""
    return basis[:, _Layout.constant] / CONSTANT
