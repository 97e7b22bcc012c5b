"""How the tests of bad input ask: one call, one line back, nothing left behind.

`tests/inputs/` holds a table of cases for every kind of mistake. A case prepares a folder, calls the command line (in
this process) or the library, and names words that the line must hold. `refused` and `refused_call` look at everything
else that every refusal owes its user.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from emolib.base.errors import LONGEST_MESSAGE, UserError
from emolib.cli import main


def nothing(folder: Path) -> None:
    """Prepares nothing."""


@dataclass(frozen=True)
class Refusal:
    """One command that must be refused.

    Attributes:
        name: of the case, in pytest's listing.
        arguments: what follows `emolib` on the command line; `{folder}` stands for the case's own folder.
        says: words that the line must hold, in any order (compared without regard to case).
        prepare: puts files into the case's folder, which is the working directory, first.
        never: words that the line must not hold.
        code: the exit code; 2 is a user's mistake.
    """

    name: str
    arguments: Sequence[str]
    says: Sequence[str]
    prepare: Callable[[Path], Any] = nothing
    never: Sequence[str] = ()
    code: int = 2


@dataclass
class Asked:
    """What a command left: exit code, both streams, and the files that were not there before."""

    code: int
    out: str
    err: str
    made: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


@dataclass
class Place:
    """A folder of its own for one case: working directory, results and reports all lie in it."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def ask(self, arguments: Sequence[str]) -> Asked:
        """Runs one command line and returns what it left."""
        before = contents(self.folder)
        words = [word.replace("{folder}", str(self.folder)) for word in arguments]
        self.monkeypatch.setattr("sys.argv", ["emolib", *words])
        self.capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        printed = self.capsys.readouterr()
        after = contents(self.folder)
        made = sorted(after.keys() - before.keys())
        changed = sorted(name for name in before if after.get(name) != before[name])
        return Asked(code, printed.out, printed.err, made, changed)


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder below, with a hash of what it holds."""
    found = {}
    for where, folders, files in os.walk(folder.parent):  # beside the case's folder, too: nothing may land there
        for name in folders:
            found[os.path.relpath(os.path.join(where, name), folder)] = "folder"
        for name in files:
            path = Path(where, name)
            readable = path.is_file() and os.access(path, os.R_OK)
            found[os.path.relpath(path, folder)] = hashlib.sha256(path.read_bytes()).hexdigest() if readable else "?"
    return found


def one_good_line(text: str, says: Sequence[str], never: Sequence[str] = ()) -> None:
    """Holds a message against what every message owes its reader."""
    assert len(text.splitlines()) == 1, text
    line = text.rstrip("\n")
    assert line.isprintable(), repr(line)
    assert len(line) <= LONGEST_MESSAGE + len("emolib: "), len(line)
    for word in says:
        assert word.casefold() in line.casefold(), f"{word!r} is not in: {line}"
    for word in (*never, "Traceback", "trust_remote_code"):
        assert word.casefold() not in line.casefold(), f"{word!r} is in: {line}"


def refused(place: Place, case: Refusal) -> Asked:
    """Asks, and sees that the answer is one line with its exit code and that nothing was left or changed."""
    case.prepare(place.folder)
    asked = place.ask(case.arguments)
    assert asked.code == case.code, (asked.code, asked.err, asked.out)
    one_good_line(asked.err, ("emolib: ", *case.says), case.never)
    assert asked.made == [] and asked.changed == [], (asked.made, asked.changed)
    return asked


def refused_call(call: Callable[[], Any], says: Sequence[str], never: Sequence[str] = ()) -> None:
    """The same for a call of the library: a `UserError` with one good line."""
    with pytest.raises(UserError) as raised:
        call()
    one_good_line(str(raised.value), says, never)
