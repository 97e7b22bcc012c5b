"""How frequent words are in a set of texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError

WORD = re.compile(r"\w+(?:['’]\w+)*")


def log_frequencies(words: Sequence[str], texts: Iterable[str]) -> Float[np.ndarray, " word"]:
    """log of (count + 1) / (words + different words + 1) of each word among those of the texts, in lower case.

    >>> log_frequencies(["the", "cat"], ["The dog saw the sun"]).round(2).tolist()
    [-1.2, -2.3]
    """
    counts = Counter(word.lower() for text in arguments.texts(texts) for word in WORD.findall(text))
    total = sum(counts.values()) + len(counts) + 1
    found: np.ndarray = np.log((np.array([counts[word] for word in words], dtype=float) + 1) / total)
    return found


def word_cube(texts: Sequence[Sequence[str]]) -> Float[np.ndarray, "scenario label word"]:
    """What the words alone make of texts: each text's words as shares, weighted by log(texts / texts with the word).

    Words are compared in lower case and have the order of the alphabet.

    Args:
        texts: `[scenario, label]`.

    Raises:
        UserError: not every scenario has as many texts as the first, or no words.

    >>> word_cube([["Thank you", "you lied"], ["so thank", "lied again"]]).shape
    (2, 2, 5)
    """
    rows = [arguments.texts(row, f"texts[{place}]") for place, row in enumerate(texts)]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise UserError("expected texts [scenario, label], as many for every scenario, got others; give a full table")
    found = [[Counter(word.lower() for word in WORD.findall(text)) for text in row] for row in rows]
    names = sorted({word for row in found for counts in row for word in counts})
    if not names:
        raise UserError("expected texts with words, found none; give texts in letters")
    places = {word: place for place, word in enumerate(names)}
    cube = np.zeros((len(rows), len(rows[0]), len(names)))
    for i, row in enumerate(found):
        for j, counts in enumerate(row):
            for word, count in counts.items():
                cube[i, j, places[word]] = count / counts.total()
    present = (cube > 0).sum(axis=(0, 1))
    weighted: np.ndarray = cube * np.log(cube.shape[0] * cube.shape[1] / present)
    return weighted
