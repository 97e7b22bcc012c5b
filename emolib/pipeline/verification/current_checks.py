"""Whether the model and the scorers are still what the records say: the only check that loads model libraries.

No weights are loaded; what a model is made of is hashed, or looked up where it was hashed before.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from emolib.base.errors import UserError
from emolib.base.variants import READERS
from emolib.pipeline.verification.check_rows import Rows
from emolib.pipeline.verification.run_files import RunFiles

GIVEN = ("model", "dtype", "random_weights", "seed")  # what decides a model's content


def check_current(run: RunFiles, rows: Rows) -> None:
    """The model's content and the scorers' version are now what they were; what is out of reach is skipped."""
    rows.check = "current"
    for phase, record in run.records.items():
        if phase in READERS:
            continue
        given = tuple(record.parameters.get(name) for name in GIVEN)
        try:
            content, scorers = _content(given), _scorers(str(record.parameters.get("backend")))
        except UserError as error:
            rows.skipped(record.path, f"{given[0]} or its scorers are out of reach now: {error}")
            continue
        problems = [] if content == record.matched.get("model") else ["stale: the model is another now"]
        if scorers != record.matched.get("scorers"):
            problems.append("stale: the scorers are of another version now")
        rows.judged(record.path, problems, 2)


@cache
def _content(given: tuple[Any, ...]) -> dict[str, str]:
    from emolib.study.identity import ModelContents

    return ModelContents()(dict(zip(GIVEN, given, strict=True)))


@cache
def _scorers(backend: str) -> str:
    from emolib.scoring import version_of

    return version_of(backend)
