"""Control directions: what a steer of the same norm does when its direction knows nothing of the emotion.

Three families: `isotropic` (uniform on the sphere), `covariance` (drawn from the residual stream's own covariance, so
that it points where activations vary) and `shuffled` (the vector that the same fit gives when labels are permuted
within scenarios and hold nothing of the emotions). Every direction has a seed of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from emolib.base.errors import UserError, nearest, shown
from emolib.data.activations import Activations
from emolib.directions.vectors import scenario_cube

FAMILIES = ("isotropic", "covariance", "shuffled")


@dataclass(frozen=True)
class ControlSource:
    """What control directions are drawn from.

    Attributes:
        tokens: layer → `[token, d_model]`, the residual at the tokens of neutral training texts, first ones left out.
        train: the activations that the vectors were fitted on.
    """

    tokens: Mapping[int, Float[np.ndarray, "token d_model"]]
    train: Activations
    neutral: str = "neutral"

    @cached_property
    def _cube(self) -> np.ndarray:
        return scenario_cube(self.train, self.neutral)[0]

    def direction(self, family: str, layer: int, seed: int) -> Float[np.ndarray, " d_model"]:
        """A unit vector of the family at a layer.

        Raises:
            UserError: an unknown family, or a layer without tokens.
        """
        if family == "isotropic":
            return isotropic_direction(self.train.d_model, seed)
        if family == "shuffled":
            return _unit(shuffled_difference(self._cube[layer], seed))
        if family == "covariance":
            if layer not in self.tokens:
                raise UserError(f"expected the residual at tokens of layer {layer} for control directions, found none")
            return covariance_direction(self.tokens[layer], seed)
        raise UserError(f"unknown family of controls {shown(family)}: {nearest(family, FAMILIES)}")


def effective_number(directions: Float[np.ndarray, "direction d_model"]) -> float:
    """How many orthogonal directions are worth as much as these: (tr K)² / ‖K‖² of their Gram matrix K.

    Directions that lie along a few axes are fewer tests than there are of them (the participation ratio of K's
    eigenvalues). It is told and enters no p: a rank is valid for exchangeable directions whatever they share.

    Raises:
        UserError: no directions, or none that is not zero.

    >>> effective_number(np.eye(4)[[0, 1, 1, 1]])
    1.6
    """
    gram = np.asarray(directions, dtype=float) @ np.asarray(directions, dtype=float).T
    if not gram.size or not gram.any():
        raise UserError(f"expected directions [direction, d_model] that are not zero, got shape {np.shape(directions)}")
    return float(np.trace(gram) ** 2 / (gram**2).sum())


def isotropic_direction(d_model: int, seed: int) -> Float[np.ndarray, " d_model"]:
    """A unit vector drawn uniformly from the sphere."""
    return _unit(np.random.default_rng(seed).standard_normal(d_model))


def covariance_direction(tokens: Float[np.ndarray, "token d_model"], seed: int) -> Float[np.ndarray, " d_model"]:
    """A unit vector along a draw from the normal distribution with the tokens' covariance.

    Xᵀz with the centred tokens X and standard normal z has covariance XᵀX: nothing of size d × d is made.
    """
    if len(tokens) < 2:
        raise UserError(f"expected at least 2 tokens to draw from their covariance, got {len(tokens)}")
    centred = tokens - tokens.mean(axis=0)
    return _unit(np.random.default_rng(seed).standard_normal(len(tokens)) @ centred)


def shuffled_difference(cube: Float[np.ndarray, "scenario label d_model"], seed: int) -> Float[np.ndarray, " d_model"]:
    """The difference of means of two labels after all labels were permuted within every scenario.

    What is permuted are the texts' deviations from their label's mean (ter Braak 1992, permutation of residuals). Of
    the texts themselves a permutation leaves a random mixture of the labels' means, and brought to the steer's norm
    that mixture is a copy of the emotions wherever texts differ mostly by emotion: the control would hold what it is
    the control of. The other emotions' vectors are what a steer is compared with besides.
    """
    n_scenarios, n_labels = cube.shape[:2]
    places = np.random.default_rng(seed).permuted(np.tile(np.arange(n_labels), (n_scenarios, 1)), axis=1)
    rows, deviations = np.arange(n_scenarios), cube - cube.mean(axis=0)
    return deviations[rows, places[:, 1]].mean(0) - deviations[rows, places[:, 0]].mean(0)


def _unit(values: np.ndarray) -> np.ndarray:
    norm = float(np.linalg.norm(values))
    if norm == 0:
        raise UserError("a control direction is zero: the activations it is drawn from do not vary at this layer")
    return (values / norm).astype(np.float32)
