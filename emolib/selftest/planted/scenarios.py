"""Texts that a planted model reads as its circuit wants them: crossed scenarios in the data set's columns."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.selftest.planted import words
from emolib.selftest.planted.planting import Planted

COLUMNS = ("id", "scenario", "topic", "emotion", "text", "lang", "style", "split")
SPLITS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def planted_scenarios(planted: Planted, n: int, seed: int = 0) -> pd.DataFrame:
    """`n` scenarios, each written once neutrally and once per emotion.

    The texts of a scenario share topic, nouns, verb and circumstances, and have as many words. Where an emotional text
    has one of its trigger words a neutral one has a filler; subject and detail vary by text, whatever the label.

    Returns:
        Columns id, scenario, topic, emotion, text, lang, style, split; splits 60/20/20 by scenario, every text unique.

    Raises:
        UserError: n below 1, or a negative seed.
    """
    if n < 1:
        raise UserError(f"expected at least 1 scenario, got {n}")
    if seed < 0:
        raise UserError(f"expected a seed of at least 0, got {seed}")
    rng = np.random.default_rng([seed, 7])
    openers = {"neutral": words.FILLERS, **planted.truth.triggers}
    splits = rng.permutation(_split_names(n))
    topics = list(words.NOUNS)
    rows, seen = [], set()
    while len(seen) < n:
        number = len(seen)
        topic = topics[number % len(topics)]
        scene = _scene(topic, rng)
        if scene in seen:
            continue
        seen.add(scene)
        scenario = f"{topic}-{number:04d}"
        for emotion, found in openers.items():
            text = _text(scene, found, rng)
            rows.append((f"{scenario}-{emotion}", scenario, topic, emotion, text, "en", "explicit", splits[number]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _split_names(n: int) -> list[str]:
    """Names of splits in their shares; the first takes what rounding leaves."""
    later = {name: round(share * n) for name, share in list(SPLITS.items())[1:]}
    return ["train"] * (n - sum(later.values())) + [name for name, count in later.items() for _ in range(count)]


def _scene(topic: str, rng: np.random.Generator) -> str:
    """The words that the texts of a scenario share."""
    first, second = rng.choice(words.NOUNS[topic], 2, replace=False)
    before, after = rng.choice(words.CIRCUMSTANCES, 2, replace=False)
    one, other = rng.choice(words.DETERMINERS, 2)
    verb, preposition = rng.choice(words.VERBS), rng.choice(words.PREPOSITIONS)
    return f"{verb} {one} {first} {preposition} {other} {second} {before} {after}"


def _text(scene: str, found: tuple[str, ...], rng: np.random.Generator) -> str:
    subject, detail, word = rng.choice(words.SUBJECTS), rng.choice(words.DETAILS), rng.choice(found)
    return f"{subject} {scene} , {detail} {word} ."
