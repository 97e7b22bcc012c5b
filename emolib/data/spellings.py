"""One spelling per label: the first one that a file has, and for the neutral label the one that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emolib.base.errors import shown
from emolib.base.labels import folded

MOST_TOLD = 5


@dataclass(frozen=True)
class Merge:
    """Spellings of a file that were read as one label.

    Attributes:
        kept: the spelling that stands in the table.
        others: those that the file has besides, in its order.
        rows: how many rows had one of them.
    """

    kept: str
    others: tuple[str, ...]
    rows: int

    def __str__(self) -> str:
        named = ", ".join(shown(other) for other in self.others[:MOST_TOLD])
        more = f" and {len(self.others) - MOST_TOLD} more" if len(self.others) > MOST_TOLD else ""
        return f"{named}{more} ({self.rows} rows) read as the label {shown(self.kept)}"


def one_spelling(labels: Sequence[str], neutral: str) -> tuple[list[str], list[Merge]]:
    """The labels with one spelling each, and what was merged; labels that are empty stay so.

    >>> one_spelling(["Anger", "neutral", "ANGER"], "neutral")
    (['Anger', 'neutral', 'Anger'], [Merge(kept='Anger', others=('ANGER',), rows=1)])
    """
    first = {folded(neutral): neutral}
    kept = [first.setdefault(folded(label), label) if label else "" for label in labels]
    others: dict[str, list[str]] = {}
    for given, label in zip(labels, kept, strict=True):
        if given != label:
            others.setdefault(label, []).append(given)
    return kept, [Merge(label, tuple(dict.fromkeys(found)), len(found)) for label, found in others.items()]
