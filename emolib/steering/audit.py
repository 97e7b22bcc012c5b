"""What anybody's vector for the model at hand is: so far, which layer and position its numbers fit.

Tools number layers differently (docs/exchange.md): a vector "of layer 9" may be meant for the input of block 9 or for
its output, which is the input of block 10. The vector is held against the model's own differences of means at the
claimed layer, at its neighbours and at every position, by cosines of which each dimension is divided by its spread
within labels (a few huge dimensions would make up raw ones).

Whether it fits any of them is tested by swapping the labels within scenarios at random, with the largest cosine of all
places as the statistic; whether it fits one better than the others by drawing the scenarios anew (bootstrap).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.data.activations import Activations, LayerVector
from emolib.directions.vectors import check_labelled, cosine, scenario_cube, within_label_sd

Fit = Literal["as_claimed", "shifted", "undecided", "unrelated"]
SURE = 0.95  # share of the resamples in which the best place stays the best
LEVEL = 0.05  # p from which on a vector fits nowhere
NEIGHBOURS = 2


@dataclass(frozen=True)
class Convention:
    """Which place a vector fits.

    Attributes:
        fit: `as_claimed` and `shifted`: it fits the claimed layer, or another one of those tried, better than the
            others; `undecided`: the places are too alike; `unrelated`: it fits none.
        claimed: the layer that it was said to be of.
        layer, position: where its cosine is largest, whatever the sign.
        sign: of that cosine; -1 where the vector points away from the emotion.
        cosine: that cosine.
        share: of the resamples in which that layer is the best.
        p: of the largest cosine, among labels swapped within scenarios.
        table: layer, position, cosine of every place.
    """

    fit: Fit
    claimed: int
    layer: int
    position: str
    sign: int
    cosine: float
    share: float
    p: float
    table: pd.DataFrame

    @property
    def shift(self) -> int:
        """1 where a vector of layer L fits the input of block L + 1: the output of block L."""
        return self.layer - self.claimed


@told
def find_convention(
    vector: LayerVector | Float[np.ndarray, " d_model"],
    acts: Mapping[str, Activations],
    *,
    claim: str,
    layer: int,
    neutral: str = "neutral",
    n_draws: int = 999,
    seed: int = 0,
) -> Convention:
    """Which layer, of those around the claimed one, and which position a vector fits best.

    What it is a vector *of* is not tested by this: vectors of other emotions fit the same places.

    Args:
        vector: `[d_model]`.
        acts: position → activations of the same texts, each scenario with a text of every label.
        claim: the emotion that it is said to be of; a label of the texts.
        layer: where it is said to belong, from 0 to n_layers.
        n_draws: swaps of labels, and resamples of scenarios.

    Raises:
        UserError: no activations, an unknown label, another width, a zero vector, a layer out of range, or fewer than
            four scenarios that have every label.

    >>> import emolib
    >>> lm, data = emolib.load_model("smollm2_135m", device="cpu"), emolib.load_dataset()
    >>> some = data["scenario"].unique()[:16]
    >>> mine, theirs = (data[data["scenario"].isin(part)] for part in (some[:8], some[8:]))
    >>> vecs = emolib.fit_emotion_vectors(emolib.extract_activations(lm, theirs, positions="mean"))
    >>> acts = {"mean": emolib.extract_activations(lm, mine, positions="mean")}
    >>> found = find_convention(vecs["gratitude"][10], acts, claim="gratitude", layer=9)  # the output of block 9
    >>> found.layer, found.shift, found.p < 0.05
    (10, 1, True)
    """
    values = _checked_vector(vector)
    arguments.whole_number("n_draws", n_draws, least=99)
    if not isinstance(acts, Mapping) or not acts:
        raise UserError('expected activations by position, such as {"mean": acts}, got none')
    generator = np.random.default_rng(arguments.whole_number("seed", seed, least=0))
    places, ours, pairs = [], [], []
    for position, one in acts.items():
        check_labelled(f"acts[{position!r}]", one, neutral)
        if one.d_model != len(values):
            raise UserError(f"expected a vector of d_model {one.d_model}, got {len(values)}")
        arguments.whole_number("layer", layer, least=0, most=one.n_layers)
        cube, _, emotions = scenario_cube(one, neutral)
        arguments.one_of("claim", claim, emotions)
        number = 1 + emotions.index(claim)
        sd = np.maximum(within_label_sd(one.values["resid_pre"], one.texts["emotion"].to_numpy()), 1e-6)
        for place in range(max(layer - NEIGHBOURS, 0), min(layer + NEIGHBOURS, one.n_layers) + 1):
            places.append((place, position))
            ours.append(values / sd[place])
            pairs.append((cube[place, :, number].astype(np.float64) - cube[place, :, 0]) / sd[place])
    differences = np.stack(pairs)  # [place, scenario, d_model]
    return _decided(layer, places, np.stack(ours), differences, n_draws, generator)


def _checked_vector(vector: LayerVector | np.ndarray) -> np.ndarray:
    given = vector.values if isinstance(vector, LayerVector) else vector
    values = arguments.real_array("vector", given).astype(np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or not values.any():
        raise UserError(f"expected a finite vector [d_model] that is not zero, got the shape {list(values.shape)}")
    return values


def _decided(
    claimed: int,
    places: list[tuple[int, str]],
    ours: Float[np.ndarray, "place d_model"],
    differences: Float[np.ndarray, "place scenario d_model"],
    n_draws: int,
    generator: np.random.Generator,
) -> Convention:
    n_scenarios = differences.shape[1]
    found = cosine(ours, differences.mean(axis=1))
    found = np.where(np.isfinite(found), found, 0.0)
    best = int(np.abs(found).argmax())
    layer, position = places[best]
    signs = generator.choice((-1.0, 1.0), (n_draws, n_scenarios))
    null = np.abs(_drawn_cosines(ours, differences, signs)).max(axis=1)
    p = (1 + int((null >= abs(found[best])).sum())) / (1 + n_draws)
    weights = generator.multinomial(n_scenarios, np.full(n_scenarios, 1 / n_scenarios), n_draws).astype(float)
    drawn = np.abs(_drawn_cosines(ours, differences, weights)).argmax(axis=1)
    layers = np.array([place for place, _ in places])
    share = float((layers[drawn] == layer).mean())
    fit: Fit = "unrelated" if p > LEVEL else "undecided" if share < SURE else "shifted"
    if fit == "shifted" and layer == claimed:
        fit = "as_claimed"
    table = pd.DataFrame({"layer": layers, "position": [name for _, name in places], "cosine": found})
    sign = -1 if found[best] < 0 else 1
    return Convention(fit, claimed, layer, position, sign, float(found[best]), share, p, table)


def _drawn_cosines(
    ours: Float[np.ndarray, "place d_model"],
    differences: Float[np.ndarray, "place scenario d_model"],
    weights: Float[np.ndarray, "draw scenario"],
) -> Float[np.ndarray, "draw place"]:
    """Cosines with weighted sums of the scenarios' differences; 0 where a sum is zero."""
    found = np.stack([cosine(weights @ d, u) for d, u in zip(differences, ours, strict=True)], axis=1)
    return np.where(np.isfinite(found), found, 0.0)
