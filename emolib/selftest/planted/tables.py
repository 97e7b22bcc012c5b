"""Embedding and unembedding of a planted model in feature coordinates: what each word is, and what makes it likely."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from jaxtyping import Float

from emolib.selftest.planted import words
from emolib.selftest.planted.features import BALLAST, CODE, CONSTANT, MARK, NEXT, Layout

DRIVEN = 2 / 3  # logits per unit of drive or appetite
PLAIN_LEAD = 3.0  # of plain describing words over emotional ones, in the same units
SAID_PENALTY = 1.5
NOISE_READ = 0.23  # what of it reaches a logit; heads and neurons make it larger on the way
CONNOTATION = 3.0  # a word's random component along each planted direction, in units of the noise
LARGEST_NOISE = 64  # dimensions drawn for every model, so that models of different width share the first ones


def _groups() -> dict[str, list[tuple[str, int]]]:
    """Words that are generated, with their number in `index`, by group."""
    groups = {topic: [(word, i) for i, word in enumerate(nouns)] for topic, nouns in words.NOUNS.items()}
    groups |= {emotion: [(word, 7 + i) for i, word in enumerate(found)] for emotion, found in words.EMOTIONAL.items()}
    groups["plain"] = [(word, 7 + i) for i, word in enumerate(words.PLAIN)]
    groups["link"] = [(word, 13 + i) for i, word in enumerate(words.LINKS)]
    return groups


def _next_of(group: str) -> int:
    """After a link comes a describing word, then a noun, then a link."""
    if group == "link":
        return 0
    return 1 if group in (*words.EMOTIONS, "plain") else 2


def embedding(layout: Layout, noise: float, seed: int) -> Float[np.ndarray, "vocabulary feature"]:
    ids = {word: i for i, word in enumerate(words.vocabulary())}
    table = np.tile(CONSTANT * layout.axis("constant") + BALLAST * layout.axis("ballast"), (len(ids), 1))
    table[ids[words.BEGIN]] += MARK * layout.axis("begin")
    for group, members in _groups().items():
        for word, number in members:
            table[ids[word]] += NEXT * layout.axes("next")[_next_of(group)] + layout.axes("index")[number]
            if group in words.NOUNS:
                table[ids[word]] += MARK * layout.axes("topic")[list(words.NOUNS).index(group)]
    for place, word in enumerate(words.LINKS):
        table[ids[word]] += (place - 2) * layout.axis("appetite")
    for axis, found in zip(layout.axes("trigger"), (*words.TRIGGERS.values(), words.FILLERS), strict=True):
        for word in found:
            table[ids[word]] += MARK * axis
    for word, temper in zip(words.CIRCUMSTANCES, _tempers(seed), strict=True):
        table[ids[word]] += MARK * layout.axis("circumstance") + temper @ layout.axes("temper")
    generated = {word for members in _groups().values() for word, _ in members}
    for word in words.vocabulary():
        if word not in generated:
            table[ids[word]] += NEXT * layout.axes("next")[2]
    return table + _codes(layout, noise, seed)


def _tempers(seed: int) -> Float[np.ndarray, "word pair"]:
    """Per circumstance word and pair (emotion read, emotion driven); sd 1 when averaged over a prompt's two words.

    For every emotion read, the words' triples hold four drawn ones in all six orders: over the words no driven emotion
    is preferred, so that without `effect` steering favours an emotion's own words in no way.
    """
    rng = np.random.default_rng([seed, 1])
    columns = []
    for _ in words.EMOTIONS:
        drawn = rng.standard_normal((len(words.CIRCUMSTANCES) // 6, 3))
        triples = np.concatenate([drawn[:, order] for order in map(list, permutations(range(3)))])
        columns.append(rng.permutation(triples))
    table = np.concatenate(columns, axis=1)
    return np.sqrt(2) * (table - table.mean()) / table.std()


def _codes(layout: Layout, noise: float, seed: int) -> Float[np.ndarray, "vocabulary feature"]:
    """Each word's seeded noise, which also gives it a slight component along every planted direction.

    Triggers and fillers have none: no noise head can tell an emotional text from a neutral one. The components along
    the planted directions let a map between two models be learned on neutral texts.
    """
    vocabulary = words.vocabulary()
    drawn = CODE * noise * np.random.default_rng([seed, 2]).standard_normal((len(vocabulary), LARGEST_NOISE))
    silent = {*words.SPECIAL, *words.FILLERS, *(word for found in words.TRIGGERS.values() for word in found)}
    drawn[[word in silent for word in vocabulary]] = 0
    used = np.concatenate([layout.where("emotion"), layout.where("noise")])
    codes = np.zeros((len(vocabulary), layout.n_features))
    codes[:, used] = drawn[:, : len(used)]
    codes[:, layout.where("emotion")] *= CONNOTATION / CODE
    return codes


def positions(layout: Layout, n: int) -> Float[np.ndarray, "pos feature"]:
    steps = np.arange(n)
    waves = [wave(steps / period) for period in (3.0, 20.0) for wave in (np.sin, np.cos)]
    return np.stack(waves, axis=1) @ layout.axes("position")


def unembedding(layout: Layout, noise: float, seed: int, *, lift: float) -> Float[np.ndarray, "vocabulary feature"]:
    ids = {word: i for i, word in enumerate(words.vocabulary())}
    rng = np.random.default_rng([seed, 5])
    table = (_priors(rng) / CONSTANT)[:, None] * layout.axis("constant")
    for group, members in _groups().items():
        for word, number in members:
            row = 24.0 / NEXT * layout.axes("next")[_next_before(group)] - SAID_PENALTY * layout.axes("index")[number]
            if group in words.NOUNS:
                row += 3.0 / MARK * layout.axes("topic")[list(words.NOUNS).index(group)]
            if group in words.EMOTIONS:
                row += DRIVEN * (layout.axes("drive")[words.EMOTIONS.index(group)] + layout.axis("appetite"))
                row -= DRIVEN * (PLAIN_LEAD + lift) / CONSTANT * layout.axis("constant")
            table[ids[word]] += row
    if noise:
        drawn = rng.standard_normal((len(ids), LARGEST_NOISE))[:, : len(layout.where("noise"))]
        table[:, layout.where("noise")] += NOISE_READ * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return table


def _priors(rng: np.random.Generator) -> Float[np.ndarray, " vocabulary"]:
    """Logits that break ties between words; the same for the words of one number of all emotions."""
    ids = {word: i for i, word in enumerate(words.vocabulary())}
    priors = 0.1 * rng.standard_normal(len(ids))
    first, *later = words.EMOTIONS
    for emotion in later:
        for word, like in zip(words.EMOTIONAL[emotion], words.EMOTIONAL[first], strict=True):
            priors[ids[word]] = priors[ids[like]]
    return priors


def _next_before(group: str) -> int:
    """Which `next` feature announces a word of this group."""
    if group == "link":
        return 2
    return 0 if group in (*words.EMOTIONS, "plain") else 1
