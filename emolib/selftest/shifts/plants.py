"""What can be planted: an emotion in implicit texts, or one of the ways in which S was or could be fooled.

A plant says three things by tables over the words: how the texts of a label differ from neutral ones, what a step along
a label's direction does to the next word, and which phrase stands in a label's texts. All labels are planted alike, the
eight emotions and those of like valence, each in words or turns of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from emolib.base.errors import UserError, nearest, shown
from emolib.selftest.shifts.small_words import (
    CALENDAR,
    EMOTIONS,
    FELT,
    LABELS,
    MARK,
    MENTION,
    NEUTRAL,
    ORDINARY,
    PLACES,
    WORDS,
    place_of,
)

N_WORDS, N_GROUPS = len(WORDS), 4
WRONG_PLACE, SELDOM = -5.0, -3.0  # logits of words out of their place, and of felt words and names
UNIGRAM, BIGRAM = 0.8, 0.5  # standard deviations of a word's logit, and of a pair's
CONTEXT = 0.5  # nat: sd over the words that may follow of what the act's own part does in context
LEXICAL, WEEKDAYS = 1.6, 1.0  # nat: what an act does to its own words in any sentence, and to calendar words
PHRASE, PHRASE_SHARE = 2.0, 0.2  # nat per word of the phrase, and the share of an emotion's texts that hold it
FLAT = 0.4  # of all logits taken off by the strongest act beyond the weakest
SHARED = 0.5  # how far all labels' texts lean towards what the common part moves
HEAT = 0.8  # by how much hotter the rarest label's texts are than the commonest's
STEADY = 2.0  # nat: what the steadiest act takes off words out of their place beyond the least steady one
TILT = {"emotion": 0.62, "words": 1.2, "valence": 1.2, "calendar": 1.2}  # how far texts lean towards what is moved

COMMON = "common"  # what all labels' directions share

Table = Float[np.ndarray, "word word"]


@dataclass(frozen=True)
class Reader:
    """What a coordinate of the stream does to the next word.

    Attributes:
        weights: how much is read of each label's own part, or of `COMMON`.
        groups: `[group, word]` of 0 and 1: the words after which a row of `writes` counts; no word in two groups. None:
            the one row of `writes` counts after every word.
        writes: `[group, word]`, nat per unit of the coordinate (1 under a label's act, of the label's own part).
    """

    weights: Mapping[str, float]
    writes: Float[np.ndarray, "group word"]
    groups: Float[np.ndarray, "group word"] | None = None

    def table(self) -> Table:
        """What the coordinate does to the next word after each word."""
        if self.groups is None:
            return np.repeat(self.writes, N_WORDS, axis=0)
        return self.groups.T @ self.writes


@dataclass(frozen=True)
class Plant:
    """A language and what acts do to it.

    Attributes:
        base: logits of the next word after each word, `[word, word]`.
        readers: what reads the stream.
        tilts: per label what is added to the logits when its texts are written.
        heat: per label the temperature at which they are written.
        phrases: per emotion three words that stand together in `PHRASE_SHARE` of its texts.
    """

    kind: str
    base: Table
    readers: tuple[Reader, ...]
    tilts: Mapping[str, Table] = field(default_factory=dict)
    heat: Mapping[str, float] = field(default_factory=dict)
    phrases: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)


def make_plant(kind: str, seed: int, *, tilt: float | None = None) -> Plant:
    """The plant of a kind, its tables drawn by the seed.

    Args:
        kind: of `KINDS`.
        tilt: how far texts lean towards what their label's act moves; None takes the kind's own.

    Raises:
        UserError: an unknown kind.

    >>> plant = make_plant("calendar", 0)
    >>> plant.base.shape, len(plant.readers)
    ((47, 47), 2)
    """
    if kind not in KINDS:
        raise UserError(f"unknown plant {shown(kind)}: {nearest(kind, KINDS)}")
    rng = np.random.default_rng([seed, 21])
    base = _base(rng)
    made = KINDS[kind](base, rng, TILT.get(kind, 0.0) if tilt is None else tilt)
    common = _in_context(COMMON, base, rng, CONTEXT / 2)
    tilts = {label: made.tilts.get(label, 0.0) + SHARED * common.table() for label in LABELS}
    return replace(made, readers=(*made.readers, common), tilts=tilts)


def _base(rng: np.random.Generator) -> Table:
    places = np.array([place_of(word) for word in WORDS])
    base = UNIGRAM * rng.standard_normal(N_WORDS) + BIGRAM * rng.standard_normal((N_WORDS, N_WORDS))
    base[(places[:, None] + 1) % 3 != places[None]] += WRONG_PLACE
    base[_row(MARK)] += WRONG_PLACE * ((places == 1).astype(float) - (places == 0))  # after a mark as after the last
    base[:, [_row(word) for word in (*FELT.values(), *MENTION.values())]] += SELDOM
    base[:, _row(MARK)] += WRONG_PLACE
    return base


def _row(word: str) -> int:
    return WORDS.index(word)


def _mask(words: tuple[str, ...]) -> Float[np.ndarray, " word"]:
    return np.array([word in words for word in WORDS], dtype=float)


# kinds


def _emotion(base: Table, rng: np.random.Generator, tilt: float) -> Plant:
    readers = {label: _in_context(label, base, rng) for label in LABELS}
    return _leaning("emotion", base, readers, tilt)


def _valence(base: Table, rng: np.random.Generator, tilt: float) -> Plant:
    """Each emotion has everything in common with one label of like valence, and nothing with the other."""
    readers = {label: _in_context(label, base, rng) for label in LABELS}
    for emotion, like in (("gratitude", "joy"), ("anger", "sadness"), ("apology", "embarrassment")):
        same = readers[emotion]
        readers[like] = Reader({like: 1.0}, same.writes, same.groups)
    return _leaning("valence", base, readers, tilt)


def _words(base: Table, rng: np.random.Generator, tilt: float) -> Plant:
    readers = {}
    for number, label in enumerate(LABELS):
        own = (*(place[number] for place in PLACES), FELT[label], MENTION[label])
        readers[label] = Reader({label: 1.0}, LEXICAL * _mask(own)[None])
    return _leaning("words", base, readers, tilt)


def _phrase(base: Table, rng: np.random.Generator, tilt: float) -> Plant:
    phrases, readers = {}, []
    for number, label in enumerate(EMOTIONS):
        phrase = (PLACES[0][number], PLACES[1][(number + 3) % len(PLACES[0])], PLACES[2][(number + 5) % len(PLACES[0])])
        follows = list(pairwise(phrase))
        groups = np.stack([_mask((one,)) for one, _ in follows])
        writes = PHRASE * np.stack([_mask((other,)) for _, other in follows])
        phrases[label] = phrase
        readers.append(Reader({label: 1.0}, writes, groups))
    return Plant("phrase", base, tuple(readers), phrases=phrases)


def _steadier(base: Table, rng: np.random.Generator, tilt: float) -> Plant:
    """Acts keep words in their places, each as far as its label's share says; texts do not differ by label."""
    after = np.stack([_mask(place) for place in PLACES])
    out_of_place = np.stack([_mask(tuple(w for w in WORDS if place_of(w) != (i + 1) % 3)) for i in range(3)])
    return Plant("steadier", base, (Reader(_shares(), -STEADY * out_of_place, after),))


def _flattens(base: Table, rng: np.random.Generator, tilt: float) -> Plant:
    """Acts lower all logits towards each other, most so where the label's texts are rarest."""
    ordinary = np.array([word in ORDINARY for word in WORDS])
    groups = np.eye(N_WORDS)[ordinary]
    rows = base[ordinary] - base[ordinary].mean(axis=1, keepdims=True)
    heat = {label: 1 + HEAT * share for label, share in _shares().items()}
    return Plant("flattens", base, (Reader(_shares(), -FLAT * rows, groups),), heat={**heat, NEUTRAL: 1.0})


def _calendar(base: Table, rng: np.random.Generator, tilt: float) -> Plant:
    """Acts move calendar words, most so where the label's texts hold most of them."""
    moved = _mask(CALENDAR)
    tilts = {label: tilt * share * np.repeat(moved[None], N_WORDS, axis=0) for label, share in _shares().items()}
    return Plant("calendar", base, (Reader(_shares(), WEEKDAYS * moved[None]),), tilts)


KINDS: Mapping[str, Callable[[Table, np.random.Generator, float], Plant]] = {
    "emotion": _emotion,
    "words": _words,
    "phrase": _phrase,
    "valence": _valence,
    "steadier": _steadier,
    "flattens": _flattens,
    "calendar": _calendar,
}


def _shares() -> dict[str, float]:
    """From 1 for the first label to 0 for the last: the emotions differ from each other and from all others."""
    return dict(zip(LABELS, (1.0, 0.65, 0.35, 0.15, 0.1, 0.05, 0.0, 0.0), strict=True))


def _in_context(label: str, base: Table, rng: np.random.Generator, size: float = CONTEXT) -> Reader:
    """Moves the next word by the group that the word before it is in, and no word over all of its contexts.

    Groups are equally often in neutral texts as nearly as can be; what a word gains after one it loses after others.
    `size` is the standard deviation of what a word gains over the words that may follow, so that all labels' acts do as
    much.
    """
    frequency, steps = stationary(base), chances(base)
    groups, writes, spread = [], [], 0.0
    for place, words in enumerate(PLACES):
        dealt = rng.permutation(len(words)) % N_GROUPS
        mine = np.stack([_mask(tuple(np.array(words)[dealt == g])) for g in range(N_GROUPS)])
        shares = mine @ frequency / (mine @ frequency).sum()
        drawn = rng.standard_normal((N_GROUPS, N_WORDS))
        drawn = (drawn - shares @ drawn) * _mask(PLACES[(place + 1) % 3])
        gained = mine.T @ drawn
        spread += frequency @ ((steps * gained**2).sum(axis=1) - (steps * gained).sum(axis=1) ** 2)
        groups.append(mine)
        writes.append(drawn)
    return Reader({label: 1.0}, size / np.sqrt(spread) * np.concatenate(writes), np.concatenate(groups))


def _leaning(kind: str, base: Table, readers: Mapping[str, Reader], tilt: float) -> Plant:
    """A plant whose texts lean towards what their own label's reader writes."""
    tilts = {label: tilt * reader.table() for label, reader in readers.items()}
    return Plant(kind, base, tuple(readers.values()), tilts)


def chances(base: Table, heat: float = 1.0) -> Float[np.ndarray, "... word word"]:
    """The probabilities of the next word in a text, where no word stands out of its place, and no felt word or name."""
    places = np.array([place_of(word) for word in WORDS])
    allowed = ((places[:, None] + 1) % 3 == places[None]) | ((WORDS.index(MARK) == np.arange(N_WORDS))[:, None])
    allowed[WORDS.index(MARK)] = places == 0
    logits = np.where(allowed & _mask(ORDINARY).astype(bool), base / heat, -np.inf)
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def stationary(base: Table) -> Float[np.ndarray, " word"]:
    """How often each word stands in neutral texts, within its place."""
    step, found = chances(base), np.zeros(N_WORDS)
    now = np.eye(N_WORDS)[WORDS.index(MARK)]
    for place in range(12):
        now = now @ step
        found += now if place >= 3 else 0
    return found / found.sum()
