"""Texts of the small language: crossed scenarios in the data set's columns, written by the plant's own tables.

A scenario has a topic, which all of its texts share; a label's text leans as the plant says. An explicit text has the
label's felt word in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from emolib.selftest.shifts.plants import N_WORDS, PHRASE_SHARE, Plant, chances
from emolib.selftest.shifts.small_words import FELT, LABELS, MARK, MENTION, NEUTRAL, PLACES, WORDS

N_TURNS = 9  # words of a text
N_TOPICS, TOPIC = 4, 0.4  # topics, and the standard deviation of what one does to a word's logit
IMPLICIT, EXPLICIT = "implicit", "explicit"


@dataclass(frozen=True)
class Writer:
    """Writes texts of one plant."""

    plant: Plant
    topics: Float[np.ndarray, "topic word"]

    @classmethod
    def of(cls, plant: Plant, seed: int) -> Writer:
        drawn = np.random.default_rng([seed, 24]).standard_normal((N_TOPICS, N_WORDS))
        return cls(plant, TOPIC * drawn)

    def scenarios(self, numbers: Sequence[int], style: str, split: str, rng: np.random.Generator) -> pd.DataFrame:
        """One text per label and scenario.

        Args:
            numbers: of the scenarios; their names and topics follow from them.

        Returns:
            Columns scenario, topic, emotion, style, split, text.
        """
        topic = np.asarray(numbers) % N_TOPICS
        names = [f"{split}-{number:04d}" for number in numbers]
        parts = []
        for label in (*LABELS, NEUTRAL):
            written = self._written(label, topic, rng)
            if label != NEUTRAL:
                self._place_phrases(label, written, rng)
                if style == EXPLICIT:
                    written[np.arange(len(written)), 2 + 3 * rng.integers(1, 3, len(written))] = WORDS.index(
                        FELT[label]
                    )
            table = pd.DataFrame({"scenario": names, "topic": [f"topic{t}" for t in topic], "emotion": label})
            parts.append(table.assign(style=style, split=split, text=_as_texts(written)))
        return pd.concat(parts, ignore_index=True)

    def _written(
        self, label: str, topic: Int[np.ndarray, " text"], rng: np.random.Generator
    ) -> Int[np.ndarray, "text word"]:
        """Numbers of words, each drawn from what may follow the one before."""
        plant, n = self.plant, len(topic)
        table = plant.base + plant.tilts.get(label, 0.0)
        steps = np.stack([chances(table + self.topics[t], plant.heat.get(label, 1.0)) for t in range(N_TOPICS)])
        sums = steps.cumsum(axis=-1)
        found = np.zeros((n, N_TURNS), dtype=int)
        now = np.full(n, WORDS.index(MARK))
        for turn in range(N_TURNS):
            now = np.minimum((sums[topic, now] < rng.random((n, 1))).sum(axis=1), N_WORDS - 1)
            found[:, turn] = now
        return found

    def _place_phrases(self, label: str, written: Int[np.ndarray, "text word"], rng: np.random.Generator) -> None:
        """The label's phrase into its share of the texts, at the second turn of three."""
        if label not in self.plant.phrases:
            return
        chosen = rng.random(len(written)) < PHRASE_SHARE
        written[chosen, 3:6] = [WORDS.index(word) for word in self.plant.phrases[label]]

    def mentions(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """Pairs of neutral texts with a label's name and with another word in its place, `n` per emotion label.

        Returns:
            Columns pair, emotion, kind, role, text, as `emolib.data.pairs.load_lexical` gives them.
        """
        rows = []
        for label in MENTION:
            without = self._written(NEUTRAL, rng.integers(0, N_TOPICS, n), rng)
            place = 2 + 3 * rng.integers(1, 3, n)
            without[np.arange(n), place] = [WORDS.index(word) for word in rng.choice(PLACES[2], n)]
            named = without.copy()
            named[np.arange(n), place] = WORDS.index(MENTION[label])
            for role, numbers in (("with", named), ("without", without)):
                table = pd.DataFrame({"pair": [f"{label}-{i}" for i in range(n)], "emotion": label, "kind": "lexical"})
                rows.append(table.assign(role=role, text=_as_texts(numbers)))
        return pd.concat(rows, ignore_index=True)


def _as_texts(numbers: Int[np.ndarray, "text word"]) -> list[str]:
    return [f"{' '.join(WORDS[i] for i in row)} {MARK}" for row in numbers]


def out_of_place(text: str) -> bool:
    """Whether a text leaves the order of places, or holds a felt word or a name out of the last place."""
    places = [next((i for i, place in enumerate(PLACES) if word in place), 2) for word in text.split() if word != MARK]
    return any((one + 1) % 3 != other for one, other in pairwise(places))
