"""Files and folders that a user names: the same place for the command line, its notebooks and every later command.

A relative name counts from the working directory, then from the repository. What lies in the repository is named from
its root, everything else by its whole path, since a notebook runs in another folder than the command that starts it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emolib.base import paths
from emolib.base.errors import UserError, shown


@dataclass(frozen=True)
class Place:
    """In a type's annotation: its text names a file or a folder.

    Attributes:
        kind: what must be there when a caller names it.
        what: what it is, for the message.
        hint: what to give instead, for the message.
    """

    kind: Literal["file", "folder"]
    what: str
    hint: str

    def named(self, given: str) -> str:
        """What a caller gave, as every later reader finds it.

        Raises:
            UserError: nothing of that kind is there.
        """
        there = os.path.isfile if self.kind == "file" else os.path.isdir
        candidates = _candidates(given)
        for candidate in candidates:
            if there(candidate):
                return _from_root(candidate)
        found = "something else" if any(map(os.path.lexists, filter(_possible, candidates))) else f"no such {self.kind}"
        raise UserError(f"expected {self.what} at {shown(given)}, found {found}; {self.hint}")


def located(name: str) -> Path:
    """Where a name lies that a profile, a default or `Place.named` gives: relative ones count from the repository.

    >>> located("data/emotion_dataset.jsonl") == paths.data_file()
    True
    """
    return paths.repository_root() / os.path.expanduser(name)


def _candidates(given: str) -> list[str]:
    expanded = os.path.expanduser(given)
    root = str(paths.repository_root())
    return [os.path.abspath(expanded), os.path.abspath(os.path.join(root, expanded))] if _possible(given) else []


def _possible(given: str) -> bool:
    return bool(given) and "\0" not in given


def _from_root(place: str) -> str:
    """The place from the repository's root where it lies in it."""
    for root in (os.path.abspath(paths.repository_root()), os.path.realpath(paths.repository_root())):
        if place.startswith(root + os.sep):
            return Path(place).relative_to(root).as_posix()
    return place
