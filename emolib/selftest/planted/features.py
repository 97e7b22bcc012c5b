"""The residual stream of a planted model: named features, and the directions that carry them.

Everything is designed in feature coordinates, where feature i is axis i. A seeded random basis with orthonormal columns
turns features into directions of the model's residual stream, so that no feature sits on a coordinate axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from emolib.selftest.planted import words

CONSTANT = 40.0  # of every token; makes up most of the norm, so that a norm layer is close to a fixed scale
MARK = 6.0  # of the features by which heads find tokens
NEXT = 16.0  # of what kind of word comes next
TYPICAL_NORM = 45.0  # of a state; norm layers restore it, so that what is read is close to what was written
STRENGTH = 4.0  # what the write head adds along an emotion's direction
FLAG = 5.0  # what the saturated head adds along its own direction
CODE = 2.0  # of a noise feature in the embedding, in units of the noise
N_NOISE = 39  # features of noise; what is left of the width stays empty
BALLAST = 10.0  # of every token; heads that must not show in the norm take from it

NAMED = {
    "constant": 1,
    "begin": 1,  # the begin token, where heads rest that find nothing
    "next": 3,  # what comes next: a describing word, a noun, a link
    "trigger": 4,  # which emotion a trigger word stands for; the last one marks fillers
    "topic": len(words.NOUNS),
    "circumstance": 1,
    "temper": 9,  # per pair of emotions: how this prompt bends the read-out of one towards the words of the other
    "index": 7 + 6 + 5,  # which noun, describing word and link of their group; heads add up here what was said
    "appetite": 1,  # of a link: how easily an emotional word follows it
    "emotion": 3,  # the planted directions: written by the write head, read by the readers alone
    "drive": 3,  # per emotion: written by the readers, read by the unembedding alone
    "ballast": 1,  # read by nothing
    "flag": 1,  # written by the saturated head, read by the gate head's queries
    "position": 4,  # GPT-2's learned positions; inert
}


@dataclass(frozen=True)
class Layout:
    """Where each feature lies; after the named ones comes noise, and what is left of the width stays empty.

    Attributes:
        n_features: one less than d_model, the ones vector being left out (a LayerNorm removes it).
    """

    n_features: int

    def where(self, name: str) -> np.ndarray:
        """Indices of a named group of features, or of `noise`."""
        ends = np.cumsum([0, *NAMED.values()])
        if name == "noise":
            return np.arange(ends[-1], min(ends[-1] + N_NOISE, self.n_features))
        place = list(NAMED).index(name)
        return np.arange(ends[place], ends[place + 1])

    def axes(self, name: str) -> Float[np.ndarray, "group feature"]:
        """Unit vectors of a group's features."""
        return np.eye(self.n_features)[self.where(name)]

    def axis(self, name: str) -> Float[np.ndarray, " feature"]:
        """The unit vector of a group of one feature; the sum of the unit vectors of a larger one."""
        return self.axes(name).sum(0)


def random_basis(d_model: int, rng: np.random.Generator) -> Float[np.ndarray, "d_model feature"]:
    """`d_model − 1` orthonormal columns, uniformly drawn among those orthogonal to the ones vector.

    LayerNorm's mean removal then changes nothing, and LayerNorm and RMSNorm do the same to every state.
    """
    ones = np.ones((d_model, 1)) / np.sqrt(d_model)
    drawn = rng.standard_normal((d_model, d_model - 1))
    basis, triangular = np.linalg.qr(np.concatenate([ones, drawn], axis=1))
    return basis[:, 1:] * np.sign(np.diag(triangular))[1:]
