"""What is wrong with a file that a user gave, collected row by row and told at once; and what was changed in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from emolib.base.errors import UserError
from emolib.data.spellings import Merge

SHOWN = 20


@dataclass
class Problems:
    """Collects what is wrong with a file, row by row, so that one message can name every bad row.

    Attributes:
        advice: what to do about them; told once, at the end.
        merges: spellings that were read as one label.
        dropped: what was left out, in words.
    """

    source: str
    found: list[tuple[int | str, str]] = field(default_factory=list)
    advice: dict[str, None] = field(default_factory=dict)
    merges: list[Merge] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def add(self, where: int | str, what: str, advice: str = "") -> None:
        """`where` is a row's number (the line it starts on; the position in a .json list), or a name."""
        self.found.append((where, what))
        if advice:
            self.advice[advice] = None

    def raise_if_any(self) -> None:
        if not self.found:
            return
        shown = [f"{'row ' if isinstance(where, int) else ''}{where}: {what}" for where, what in self.found[:SHOWN]]
        if len(self.found) > SHOWN:
            rest = list(dict.fromkeys(where for where, _ in self.found[SHOWN:]))
            shown.append(f"and {len(self.found) - SHOWN} more, in rows {ranges(rest)}")
        told = "; ".join([*shown, *self.advice])
        raise UserError(f"{self.source}: {len(self.found)} problem(s), nothing was written; {told}")

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed in the file's rows, a sentence each."""
        return tuple(f"{self.source}: {note}" for note in (*map(str, self.merges), *self.dropped))


def ranges(places: Sequence[int | str]) -> str:
    """`[3, 4, 5, 9]` as `3-5, 9`; names follow the numbers as they are."""
    runs: list[list[int]] = []
    for number in sorted(place for place in places if isinstance(place, int)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    numbers = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join([*numbers, *(place for place in places if isinstance(place, str))])
