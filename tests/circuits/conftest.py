"""A planted model with one head that writes the emotion, and texts that its circuit reads as contexts and answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emolib.selftest.planted import Planted, plant, planted_scenarios, words

N_TEXTS, N_POOL = 6, 24
LABELS = ("neutral", *words.EMOTIONS)


def answers(n: int, seed: int = 0) -> pd.DataFrame:
    """Scenarios whose texts the planted model would write: links, describing words of the label, nouns."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        nouns = rng.permutation([noun for some in words.NOUNS.values() for noun in some])[:3]
        link = rng.choice(words.LINKS)
        places = rng.integers(6, size=3)
        for label in LABELS:
            described = words.PLAIN if label == "neutral" else words.EMOTIONAL[label]
            text = " ".join(f"{link} {described[place]} {noun}" for place, noun in zip(places, nouns, strict=True))
            rows.append((f"t{number}", label, "explicit", f"{text} .", "test"))
    return pd.DataFrame(rows, columns=["scenario", "emotion", "style", "text", "split"])


@pytest.fixture(scope="session")
def planted() -> Planted:
    """Without a backup head, which would hide what the write head does."""
    return plant("gpt2", distractors=("topic", "unread"))


@pytest.fixture(scope="session")
def planted_texts(planted: Planted) -> pd.DataFrame:
    """Answers as texts, and the pool of contexts: trigger words in some circumstances."""
    contexts = planted_scenarios(planted, N_POOL)[["scenario", "emotion", "style", "text"]]
    return pd.concat([answers(N_TEXTS), contexts.assign(split="validation")], ignore_index=True)
