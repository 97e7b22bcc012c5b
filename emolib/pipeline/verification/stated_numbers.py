"""Numbers that a report states in computed prose, and where they come from.

*Stated* is every number in the Markdown that a code cell displayed whose last call is one of `SPOKEN` (conclusions,
discussions, sentences). It is *found* if some number of the pool, rounded to as many places, is the same: as it is,
without its sign, as a percentage, or as one minus it. The pool is made of the tables and texts that the other cells of
the report display, of the notebook's own prose (bars and conventions), of the parameters, and of the stored tables that
the phase stands on (but for single texts and activations), with the counts of their rows and of the values in their
columns. Numbers in code spans are names. What the definition cannot see is a number that was changed into another one
of the pool; the seal of the report sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

SPOKEN = re.compile(r"\bsay\.(conclusion|discussion|sentence)\w*\(")
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*\w)")
CODE = re.compile(r"`[^`]*`")
PHASE = re.compile(r"Phase \d")


@dataclass(frozen=True)
class Stated:
    """One number as a report states it."""

    text: str
    value: float
    places: int
    beside: str


@dataclass
class Pool:
    """Every number that a report may state."""

    values: list[np.ndarray] = field(default_factory=list)
    _rounded: dict[int, set[float]] = field(default_factory=dict)

    def add(self, values: Iterable[float]) -> None:
        self.values.append(np.asarray(list(values), dtype=float))

    def add_text(self, text: str) -> None:
        """Every number that stands in a text."""
        self.add(stated.value for stated in numbers(text))

    def add_table(self, table: pd.DataFrame) -> None:
        """A table's numbers, how many rows it has, and how many there are of every value of a column of names."""
        self.add([len(table)])
        for name in table:
            column = table[name]
            if pd.api.types.is_numeric_dtype(column):
                self.add(column.dropna().astype(float))
            elif all(isinstance(value, str) for value in column.dropna()):
                self.add([column.nunique(), *column.value_counts()])

    def add_values(self, given: Any) -> None:
        """The numbers in parameters or in JSON."""
        if isinstance(given, Mapping):
            given = list(given.values())
        if isinstance(given, list | tuple):
            for value in given:
                self.add_values(value)
        elif isinstance(given, int | float) and not isinstance(given, bool):
            self.add([float(given)])
        elif isinstance(given, str):
            self.add_text(given)

    def has(self, stated: Stated) -> bool:
        """Whether a number of the pool is stated so."""
        if stated.places not in self._rounded:
            every = np.concatenate(self.values) if self.values else np.zeros(0)
            every = np.abs(every[np.isfinite(every)])
            kinds = np.concatenate([every, 100 * every, 1 - every, 100 * (1 - every)])
            found = np.round(np.abs(kinds), stated.places)
            self._rounded[stated.places] = set(np.round(found, 9))
        return round(abs(stated.value), 9) in self._rounded[stated.places]


def numbers(text: str) -> Iterator[Stated]:
    """The numbers of a text, code spans left out.

    >>> [n.value for n in numbers("AUC 0.94 [−0.10, +1.00], `n=3`, 12 %")]
    [0.94, -0.1, 1.0, 12.0]
    """
    plain = PHASE.sub("", CODE.sub("", text))
    for found in NUMBER.finditer(plain):
        digits = found[0].replace("−", "-").replace(",", "")
        decimals = digits.partition("e")[0].partition(".")[2]
        try:
            value = float(digits)
        except ValueError:
            continue
        beside = plain[max(0, found.start() - 20) : found.end() + 10]
        yield Stated(found[0], value, len(decimals), " ".join(beside.split()))
