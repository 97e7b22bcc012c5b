"""How frequent words are in a set of texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from emolib.base import arguments

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
