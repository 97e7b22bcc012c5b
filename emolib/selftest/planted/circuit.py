"""The design of a planted model in feature coordinates: which part sits where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from emolib.selftest.planted import heads, neurons, tables
from emolib.selftest.planted.features import MARK, STRENGTH, Layout
from emolib.selftest.planted.heads import Head
from emolib.selftest.planted.neurons import Neurons

Cut = bool | Literal["writer"]
N_LAYERS, N_HEADS, N_NEURONS, N_POSITIONS = 4, 4, 144, 256
WRITE, READ_LAYER = (1, 2), 2
BASE_HEADS = {"write": WRITE, "context": (0, 0), "said": (0, 3)}
DISTRACTOR_HEADS = {
    "topic": {"topic": (0, 1)},
    "unread": {"unread": (3, 0)},
    "backup": {"backup": (2, 3)},
    "saturated": {"saturated": (1, 0), "gate": (3, 1)},
}


@dataclass(frozen=True)
class Circuit:
    """A whole model in feature coordinates.

    Attributes:
        roles: what each head that is not noise does.
        readers: per emotion the neurons of `READ_LAYER`; none where they are cut.
    """

    layout: Layout
    embedding: Float[np.ndarray, "vocabulary feature"]
    positions: Float[np.ndarray, "pos feature"]
    heads: Mapping[tuple[int, int], Head]
    neurons: tuple[Neurons, ...]
    unembedding: Float[np.ndarray, "vocabulary feature"]
    roles: Mapping[str, tuple[int, int]]
    readers: Mapping[str, tuple[int, ...]]


def design(layout: Layout, *, effect: float, noise: float, seed: int, distractors: frozenset[str], cut: Cut) -> Circuit:
    """The circuit of one planted model; see `emolib.selftest.planted.plant` for what the arguments mean."""
    roles = BASE_HEADS | {
        role: head for kind in DISTRACTOR_HEADS for role, head in DISTRACTOR_HEADS[kind].items() if kind in distractors
    }
    made = {
        "write": heads.finding(layout, "trigger", "emotion", 0.0 if cut else STRENGTH),
        "context": heads.finding(layout, "circumstance", "temper", 1.0, value="temper", unit=1.0),
        "said": heads.said(layout),
        "topic": heads.finding(layout, "topic", "topic", MARK),
        "unread": heads.unread(layout),
        "backup": heads.backup(layout),
        "saturated": heads.saturated(layout),
        "gate": heads.gate(layout),
    }
    placed = {head: made[role] for role, head in roles.items()}
    for layer, head in np.ndindex(N_LAYERS, N_HEADS):
        if (layer, head) not in placed:
            placed[layer, head] = heads.noisy_head(layout, noise, np.random.default_rng([seed, 4, layer, head]))
    mlps = [neurons.noisy_neurons(layout, noise, np.random.default_rng([seed, 3, layer])) for layer in range(N_LAYERS)]
    read = cut is not True
    if read:
        mlps[READ_LAYER] = neurons.joined(neurons.reader_neurons(layout, effect), mlps[READ_LAYER])
    return Circuit(
        layout,
        tables.embedding(layout, noise, seed),
        tables.positions(layout, N_POSITIONS),
        placed,
        tuple(mlps),
        tables.unembedding(layout, noise, seed, lift=heads.LIFT if "saturated" in distractors else 0.0),
        roles,
        neurons.reader_indices() if read else {},
    )
