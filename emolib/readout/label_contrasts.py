"""One emotion against neutral in three sets of scenarios: the texts, their labels, and labels that were swapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool

from emolib.base.errors import UserError, shown
from emolib.data import styles
from emolib.data.activations import Activations
from emolib.readout.probes import against, swap_within

MIN_SCENARIOS = 4  # with both labels, for a style to be tested on its own
SETS = ("training", "validation", "test")


@dataclass(frozen=True)
class Contrast:
    """One emotion against neutral: the three sets, their labels, and the labels to train on.

    Attributes:
        truths: per set, `[text]`.
        targets: `[1 + shuffle, training text]`; the first row is the truth.
        test_targets: likewise of the test texts: what a shuffled fit is tested on. Tested on the true labels it would
            keep what of the emotion its shuffled labels happen to hold, and could be perfect.
    """

    sets: tuple[Activations, ...]
    truths: tuple[Bool[np.ndarray, " text"], ...]
    targets: Bool[np.ndarray, "fit text"]
    test_targets: Bool[np.ndarray, "fit text"]

    def of_style(self, style: str) -> list[Bool[np.ndarray, " text"]]:
        """The texts of a style, per set."""
        return [styles.of_style(part.texts, style).to_numpy() for part in self.sets]

    def has(self, style: str) -> bool:
        """Whether the texts of a style are enough to train, choose and test on."""
        kept = self.of_style(style)
        paired = [
            paired_scenarios(part.texts["scenario"][keep], truth[keep])
            for part, truth, keep in zip(self.sets, self.truths, kept, strict=True)
        ]
        both_in_validation = len(set(self.truths[1][kept[1]])) == 2
        return paired[0] >= 1 and both_in_validation and paired[2] >= MIN_SCENARIOS

    def learning_from(self, style: str) -> Contrast:
        """The same contrast with training and validation texts of one style and all test texts."""
        fit, choose, _ = self.of_style(style)
        return Contrast(
            (self.sets[0].where(fit), self.sets[1].where(choose), self.sets[2]),
            (self.truths[0][fit], self.truths[1][choose], self.truths[2]),
            self.targets[:, fit],
            self.test_targets,
        )


def contrast_of(
    sets: Sequence[Activations], emotion: str, neutral: str, n_shuffles: int, seed: Sequence[int]
) -> Contrast:
    parts = tuple(against(part, emotion, neutral) for part in sets)
    truths = tuple((part.texts["emotion"] == emotion).to_numpy() for part in parts)
    for name, truth in zip(SETS, truths, strict=True):
        if truth.all() or not truth.any():
            raise UserError(
                f"expected texts of {shown(emotion)} and {shown(neutral)} in the {name} set, one of them is absent"
            )
    scenarios = parts[0].texts["scenario"]
    if not paired_scenarios(scenarios, truths[0]):  # else a shuffle could leave one label alone
        raise UserError(f"expected a training scenario that has both {shown(emotion)} and {shown(neutral)}, found none")
    rng = np.random.default_rng(seed)
    shuffled = [swap_within(scenarios, truths[0], rng) for _ in range(n_shuffles)]
    tested = [swap_within(parts[-1].texts["scenario"], truths[-1], rng) for _ in range(n_shuffles)]
    return Contrast(parts, truths, np.stack([truths[0], *shuffled]), np.stack([truths[-1], *tested]))


def paired_scenarios(scenarios: pd.Series, truth: Bool[np.ndarray, " text"]) -> int:
    """How many scenarios have texts of both labels."""
    return len(set(scenarios[truth]) & set(scenarios[~truth]))
