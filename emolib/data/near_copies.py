"""Texts that are near copies of each other by their word 3-grams, and what a folder of data files holds as text."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from emolib.base import files
from emolib.data.completion import same_text
from emolib.data.keywords import straight_apostrophes

NEAR = 0.5  # of the 3-grams of the text that has fewer
FEWEST_SHARED = 4  # 3-grams, below which nothing is a near copy: short texts share a phrase by chance
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")

Trigram = tuple[str, str, str]


def trigrams(text: str) -> frozenset[Trigram]:
    """The word 3-grams of a text, without regard to case and punctuation.

    >>> sorted(trigrams("I can't, I can't see."))
    [("can't", 'i', "can't"), ('i', "can't", 'i'), ('i', "can't", 'see')]
    """
    words = [word.lower() for word in _WORD.findall(straight_apostrophes(text))]
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def near_copies(texts: Sequence[str], others: Sequence[str]) -> list[tuple[int, int]]:
    """Which texts are, word for word or nearly, among others; whichever of the two holds the other.

    Two texts are near copies where they look the same, or share at least `FEWEST_SHARED` word 3-grams that are at
    least half of those of the shorter.

    Returns:
        Per text that has one its place and the place of its nearest copy.

    >>> here = "I put the spare keys under the blue pot"
    >>> near_copies([here, "It rains"], ["Ann put the spare keys under the blue pot today", "it  rains", "It rains"])
    [(0, 0), (1, 2)]
    """
    exact = {same_text(text): place for place, text in reversed(list(enumerate(others)))}
    held: dict[Trigram, list[int]] = defaultdict(list)
    sizes = []
    for place, text in enumerate(others):
        found = trigrams(text)
        sizes.append(len(found))
        for one in found:
            held[one].append(place)
    pairs = []
    for place, text in enumerate(texts):
        if (same := exact.get(same_text(text))) is not None:
            pairs.append((place, same))
            continue
        mine = trigrams(text)
        shared = Counter(other for one in mine for other in held.get(one, ()))
        shares = {
            other: count / min(len(mine), sizes[other]) for other, count in shared.items() if count >= FEWEST_SHARED
        }
        nearest = max(shares, key=lambda other: (shares[other], -other), default=None)
        if nearest is not None and shares[nearest] >= NEAR:
            pairs.append((place, nearest))
    return pairs


def texts_of_folder(folder: Path) -> list[tuple[str, str]]:
    """Every text of at least three words in a folder's JSONL, JSON and TSV files, with the name of its file."""
    found = []
    for file in sorted(folder.iterdir()):
        if file.suffix in (".jsonl", ".json", ".tsv") and file.is_file():
            found += [(text, file.name) for text in dict.fromkeys(_texts(file)) if trigrams(text)]
    return found


def _texts(file: Path) -> Iterator[str]:
    if file.suffix == ".json":
        yield from _strings(files.read_json(file))
        return
    lines = files.read_text(file).split("\n")
    if file.suffix == ".jsonl":
        for line in lines:
            if line.strip():
                yield from _strings(json.loads(line))
        return
    for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
        yield from row


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        inside: Iterable[Any] = value.values() if isinstance(value, dict) else value
        for one in inside:
            yield from _strings(one)
