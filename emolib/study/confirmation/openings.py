"""When a sealed file was opened and with which choice: a log for all models, which is only added to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from emolib.base import files, paths, store
from emolib.base.errors import UserError, shown
from emolib.base.frozen_studies import FrozenStudy


@dataclass(frozen=True)
class Opening:
    """One opening.

    Attributes:
        sealed: hash of the file.
        choice: digest of the frozen choice.
        told: the choice in words.
        rehearsal: of a mock file.
        rule: hash of what the run was asked for beside the choice (control directions, samples).
    """

    opened_at: str
    model: str
    sealed: str
    choice: str
    told: str
    rehearsal: bool
    asked: str

    def of(self, other: Opening) -> bool:
        """Whether it is the same choice for the same texts."""
        return (self.model, self.sealed, self.choice) == (other.model, other.sealed, other.choice)


def opening_of(study: FrozenStudy, sealed: str, *, rehearsal: bool, asked: str) -> Opening:
    """The opening that is about to be."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Opening(now, study.model, sealed, study.digest, study.told(), rehearsal, asked)


def read_openings(path: Path) -> list[Opening]:
    """The openings so far, in their order.

    Raises:
        UserError: the log holds something else.
    """
    if files.kind_of(path) == "missing":
        return []
    found = []
    for number, line in enumerate(files.read_text(path).splitlines(), start=1):
        try:
            found.append(Opening(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"expected an opening in line {number} of {paths.display(path)}, got {shown(line, 60)}; put the log "
                "back as it was: without it nobody can say whether texts are still sealed"
            ) from error
    return found


def earlier(mine: Opening, study: FrozenStudy, openings: list[Opening]) -> Opening | None:
    """The opening because of which this one would confirm nothing; None where there is none.

    That is one with another choice for the model, or with other texts; and one of these texts, by any model, before
    this choice was frozen. What came after the first opening of this kind takes nothing from it. Rehearsals count among
    themselves alone, and a mock file is as good as another.
    """
    like = [one for one in openings if one.rehearsal == mine.rehearsal]
    for one in like:
        if one.of(mine):
            return None
        others = one.sealed != mine.sealed and not mine.rehearsal
        if one.model == mine.model and (one.choice != mine.choice or others):
            return one
        if one.sealed == mine.sealed and one.opened_at < study.frozen_at:
            return one
    return None


def note_opening(path: Path, mine: Opening, openings: list[Opening]) -> Opening:
    """Adds the opening unless it is there; returns the first of this kind."""
    for one in openings:
        if one.of(mine) and one.rehearsal == mine.rehearsal:
            return one
    store.append_line(path, asdict(mine))
    return mine
