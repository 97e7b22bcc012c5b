"""The MLPs of a planted model in feature coordinates: readers, and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from emolib.selftest.planted import words
from emolib.selftest.planted.features import CODE, CONSTANT, NEXT, STRENGTH, Layout

LEVELS = np.linspace(0.4, 1.6, 7)  # where along a direction the readers come in, as a share of STRENGTH
STEEPNESS = 12.0  # of a reader over STRENGTH
GATE = 3.0  # how far readers are held down, in units of STRENGTH, where no describing word comes next
TILT = 0.5  # of a reader's two neurons against each other
TEMPER = 0.6  # standard deviation over prompts of what bends the read-out, in units of `effect`
N_NOISY = 16


@dataclass(frozen=True)
class Neurons:
    """An MLP without biases (the constant feature stands in for them): act(x Rᵀ) W."""

    read: Float[np.ndarray, "neuron feature"]
    write: Float[np.ndarray, "neuron feature"]


def reader_indices() -> dict[str, tuple[int, ...]]:
    each = 2 * len(LEVELS) * len(words.EMOTIONS)
    return {emotion: tuple(range(i * each, (i + 1) * each)) for i, emotion in enumerate(words.EMOTIONS)}


def reader_neurons(layout: Layout, effect: float) -> Neurons:
    """Pairs of neurons act(a + t) − act(a − t) ≈ 2 t where a ≫ 0, and 0 where a ≪ 0.

    a says how far the coordinate along an emotion's direction lies above the pair's level; t = TILT · u says what is
    passed on to the words of an emotion, u = effect (for the direction's own) + TEMPER · temper. Seven levels one
    after the other make a slope: the drive of the words grows along the direction from 0.4 to 1.6 of `STRENGTH`, up
    to 7 u, and is about 3.5 u where the write head has written.

    The readers are silent where no describing word comes next, at the end of a prompt for example: a vector fitted
    there holds the planted direction and nothing that the readers write.
    """
    constant = layout.axis("constant") / CONSTANT
    closed = constant - layout.axes("next")[0] / NEXT
    tempers, drives = layout.axes("temper"), layout.axes("drive")
    read, write = [], []
    for i, direction in enumerate(layout.axes("emotion")):
        for j, drive in enumerate(drives):
            tilt = TILT * (effect * (i == j) * constant + TEMPER * tempers[len(drives) * i + j])
            for level in LEVELS:
                above = STEEPNESS * (direction / STRENGTH - level * constant - GATE * closed)
                read += [above + tilt, above - tilt]
                write += [drive / (2 * TILT), -drive / (2 * TILT)]
    return Neurons(np.stack(read), np.stack(write))


def noisy_neurons(layout: Layout, noise: float, rng: np.random.Generator) -> Neurons:
    """Read and write the noise features alone; together they add about a third of a word's noise."""
    axes = layout.axes("noise")
    if not noise:
        return Neurons(np.zeros((0, layout.n_features)), np.zeros((0, layout.n_features)))
    read, write = (rng.standard_normal((N_NOISY, len(axes))) / np.sqrt(len(axes)) for _ in range(2))
    shifts = 0.5 * rng.standard_normal((N_NOISY, 1)) * layout.axis("constant") / CONSTANT
    size = 0.3 * CODE * noise * np.sqrt(len(axes) / N_NOISY)
    return Neurons(1.5 / (CODE * noise) * read @ axes + shifts, size * write @ axes)


def joined(first: Neurons, second: Neurons) -> Neurons:
    return Neurons(np.concatenate([first.read, second.read]), np.concatenate([first.write, second.write]))
