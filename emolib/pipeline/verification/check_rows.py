"""What verification found: one row per check and file, passed, failed or not looked at, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from emolib.base.errors import UserError, one_line
from emolib.base.paths import display

Status = Literal["pass", "fail", "skip"]
COLUMNS = ("check", "file", "status", "compared", "told", "of", "deviation", "tolerance")
NAN = float("nan")
LONGEST = 160  # characters of a reason that are printed
MOST = 5  # rows of a file that are told


@dataclass
class Measured:
    """What a recomputation found in a file.

    Attributes:
        of: how many rows the drawn ones stand for.
        tolerance: the largest deviation that passes, in the deviation's own unit.
        compared: rows that were worked out again.
        deviation: the largest one.
        problems: what is wrong.
    """

    of: int
    tolerance: float
    compared: int = 0
    deviation: float = 0.0
    problems: list[str] = field(default_factory=list)

    def add(self, deviation: float, told: str) -> None:
        """One row's deviation, and what to say where it is too large; one that is no number is."""
        self.compared += 1
        if not deviation <= self.deviation:
            self.deviation = deviation
        if not deviation <= self.tolerance and len(self.problems) < MOST:
            self.problems.append(f"{told}: off by {deviation:.3g}, at most {self.tolerance:g} is expected")


@dataclass
class Rows:
    """The rows of one verification, in the order in which they were found.

    Attributes:
        check: what is being checked; every row that is added carries it.
    """

    check: str = ""
    found: list[tuple[str, str, Status, int, str, float, float, float]] = field(default_factory=list)

    def passed(self, file: Path | str, compared: int = 1, note: str = "") -> None:
        """`compared` values or rows were held against what they have to be; `note` is told beside."""
        self._add(file, "pass", compared, note)

    def failed(self, file: Path | str, told: str, compared: int = 1) -> None:
        """`told` says what is wrong with the file."""
        self._add(file, "fail", compared, told)

    def skipped(self, file: Path | str, told: str) -> None:
        """`told` says why it was not looked at."""
        self._add(file, "skip", 0, told)

    def judged(self, file: Path | str, problems: list[str], compared: int = 1) -> None:
        """Passed without problems, else failed once for each."""
        for told in problems:
            self.failed(file, told, compared)
        if not problems:
            self.passed(file, compared)

    def measured(self, file: Path | str, found: Measured, note: str = "") -> None:
        """Passed or failed by what a recomputation found.

        Args:
            note: what is told of a file that passed.
        """
        numbers = (float(found.of), found.deviation, found.tolerance)
        for told in found.problems:
            self._add(file, "fail", found.compared, told, numbers)
        if not found.problems:
            self._add(file, "pass", found.compared, note, numbers)

    def _add(
        self,
        file: Path | str,
        status: Status,
        compared: int,
        told: str,
        numbers: tuple[float, float, float] = (NAN, NAN, NAN),
    ) -> None:
        name = display(file) if isinstance(file, Path) else file
        self.found.append((self.check, name, status, int(compared), one_line(told), *numbers))

    def table(self) -> pd.DataFrame:
        """check, file, status (`pass`, `fail`, `skip`), compared (values or rows), told (what is wrong, or why not);
        of a recomputation also `of` (from how many rows those were drawn), the largest deviation and the tolerance."""
        return pd.DataFrame(self.found, columns=list(COLUMNS))


BROKEN = (ArithmeticError, AttributeError, LookupError, OSError, TypeError, UserError, ValueError)


def careful(look: Callable[[], list[str]]) -> list[str]:
    """What a look at a file finds wrong; a file of such another form that one cannot look is wrong, too."""
    try:
        return look()
    except BROKEN as error:
        return [f"it cannot be checked: {type(error).__name__}: {one_line(error)}"]


def failures(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that failed."""
    return table[table["status"] == "fail"].reset_index(drop=True)


def lines(table: pd.DataFrame, *, recomputed: bool = True) -> Iterator[str]:
    """The table in words: every failure, what was not looked at, what every check came to, then the sum.

    Args:
        recomputed: whether that was asked for; if not, it is told how to.
    """
    for row in failures(table).to_dict("records"):
        yield f"FAIL  {row['check']}: {row['file']}: {row['told']}"
    left_out = table[table["status"] == "skip"]
    for _, part in left_out.groupby(["check", "told"], sort=False):
        check, file, told = (part[name].iloc[0] for name in ("check", "file", "told"))
        more = f" and {len(part) - 1} more files" if len(part) > 1 else ""
        yield f"skip  {check}: {file}{more}: {_short(told)}"
    for check in dict.fromkeys(table["check"]):
        part = table[table["check"] == check]
        counts = Counter(part["status"])
        state = "FAIL" if counts["fail"] else "pass" if counts["pass"] else "skip"
        counted = f"{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped"
        yield f"{state}  {check}: {counted}, {part['compared'].sum()} compared{_drawn(part)}"
    counts = Counter(table["status"])
    named = ", ".join(f"{check} {count}" for check, count in left_out["check"].value_counts(sort=False).items())
    beyond = "" if recomputed else "; nothing was recomputed (--recompute does)"
    counted = f"{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped"
    yield f"{counted}{f' ({named})' if named else ''}{beyond}"


def _drawn(part: pd.DataFrame) -> str:
    """Of a recomputation: from how many rows, and the largest deviation beside its tolerance."""
    known = part[part["tolerance"].notna()].drop_duplicates("file")
    if known.empty:
        return ""
    worst = known.iloc[int((known["deviation"] - known["tolerance"]).to_numpy().argmax())]
    at = f"largest deviation {worst['deviation']:.2g} of {worst['tolerance']:g} allowed"
    return f" of {known['of'].sum():.0f}, {at}"


def _short(told: str) -> str:
    return told if len(told) <= LONGEST else f"{told[: LONGEST - 1]}…"
