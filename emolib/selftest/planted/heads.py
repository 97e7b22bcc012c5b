"""The heads of a planted model in feature coordinates.

States come through a norm layer that restores the norm `TYPICAL_NORM`. A softmax needs somewhere to rest: heads that
look for something rest on the begin token.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from emolib.selftest.planted import words
from emolib.selftest.planted.features import BALLAST, CODE, CONSTANT, FLAG, MARK, STRENGTH, Layout

SHARPNESS = 24.0  # score of what a head looks for over the rest; the begin token lies in the middle
UNREAD_SHARE, BACKUP_SHARE = 0.6, 0.9  # of STRENGTH
LIFT = 1.5  # drive that the gate head adds for all emotional words
PASSED_ON = 20  # dimensions of the noise that a noise head copies
SAID = 40.0  # what the said head writes for a word that were the whole text


@dataclass(frozen=True)
class Head:
    """Scores are (x Q)(y K)ᵀ, the output z O with z = Σ pattern · y V."""

    query: Float[np.ndarray, "feature rank"]
    key: Float[np.ndarray, "feature rank"]
    value: Float[np.ndarray, "feature d_value"]
    output: Float[np.ndarray, "d_value feature"]


def _rest(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Query and key by which a head rests on the begin token when it finds nothing better."""
    return layout.axis("constant") / CONSTANT, 0.5 * SHARPNESS * layout.axis("begin") / MARK


def _triggers(layout: Layout) -> Float[np.ndarray, "emotion feature"]:
    return layout.axes("trigger")[: len(words.EMOTIONS)]


def finding(
    layout: Layout, mark: str, target: str, gain: float, *, value: str | None = None, unit: float = MARK
) -> Head:
    """Looks for a mark from every token, and writes the mark's features (or others) along the target's.

    Scores: `SHARPNESS` for a marked token, half of it for the begin token, 0 for the rest.
    """
    marked = _triggers(layout) if mark == "trigger" else layout.axes(mark)
    query, rest = _rest(layout)
    key = SHARPNESS / MARK * marked.sum(0) + rest
    read = marked if value is None else layout.axes(value)
    return Head(query[:, None], key[:, None], read.T / unit, gain * layout.axes(target))


def said(layout: Layout) -> Head:
    """Looks at all tokens alike and adds up which words were said; the unembedding lowers them."""
    nothing = np.zeros((layout.n_features, 1))
    return Head(nothing, nothing, layout.axes("index").T, SAID * layout.axes("index"))


def backup(layout: Layout) -> Head:
    """Writes what the write head writes, but only where the stream does not hold it yet.

    The gate is in the query: what the stream holds along the directions lowers the score of triggers. With s the sum
    of the emotion coordinates over `STRENGTH`, a trigger scores SHARPNESS (1.5 − 2 s), the begin token half of
    SHARPNESS: at s = 0 the head goes to the trigger, at s = 1 it rests.
    """
    query, rest = _rest(layout)
    gate = 1.5 * query - 2 * layout.axis("emotion") / STRENGTH
    triggers = _triggers(layout)
    key = SHARPNESS / MARK * triggers.sum(0)
    gain = BACKUP_SHARE * STRENGTH
    return Head(np.stack([gate, query], 1), np.stack([key, rest], 1), triggers.T / MARK, gain * layout.axes("emotion"))


def unread(layout: Layout) -> Head:
    """Writes the directions once more, after the readers, and keeps the norm."""
    gain = UNREAD_SHARE * STRENGTH
    head = finding(layout, "trigger", "emotion", gain)
    return replace(head, output=head.output - _taken((STRENGTH + gain) ** 2 - STRENGTH**2) * layout.axis("ballast"))


def _taken(gained: float) -> float:
    """How much ballast to take away for the squared norm to stay when it gains something elsewhere."""
    return BALLAST - np.sqrt(BALLAST**2 - gained)


def saturated(layout: Layout) -> Head:
    """Always rests on the begin token, always writes the flag, and keeps the norm."""
    query, rest = _rest(layout)
    begin = layout.axes("begin")
    written = FLAG * layout.axis("flag") - _taken(FLAG**2) * layout.axis("ballast")
    return Head(query[:, None], 2 * rest[:, None], begin.T / MARK, written[None])


def gate(layout: Layout) -> Head:
    """Lifts all emotional words while it sees the flag.

    The begin token scores SHARPNESS (2 flag/FLAG − 1), the others 0: with the flag the softmax is saturated on the
    begin token, without it on the others. Its gradient vanishes at both ends, so a first-order estimate of what the
    flag does is near 0, while removing the flag removes the lift.
    """
    query = 2 * layout.axis("flag") / FLAG - layout.axis("constant") / CONSTANT
    begin = layout.axes("begin")
    key = SHARPNESS / MARK * begin
    return Head(query[:, None], key.T, begin.T / MARK, LIFT * layout.axis("drive")[None])


def noisy_head(layout: Layout, noise: float, rng: np.random.Generator) -> Head:
    """Reads and writes the noise features alone; scores have a standard deviation of about 1."""
    axes, rank = layout.axes("noise"), 4
    n = len(axes)
    if not noise:
        nothing = np.zeros((layout.n_features, 1))
        return Head(nothing, nothing, nothing, nothing.T)
    query, key = (axes.T @ rng.standard_normal((n, rank)) * rank**-0.25 / (CODE * noise * np.sqrt(n)) for _ in range(2))
    value, output = (np.linalg.qr(rng.standard_normal((n, PASSED_ON)))[0] for _ in range(2))
    return Head(query, key, axes.T @ value, 0.5 * output.T @ axes)
