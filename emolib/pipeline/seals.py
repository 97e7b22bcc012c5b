"""The seal of an executed report: its hash as it was written, and that of the record of the phase that it reports on.

A report lies outside the results and has no manifest; the seal, an artifact among the results, stands for one.
"""

from __future__ import annotations

from pathlib import Path

from emolib.base import store
from emolib.study import Run


def seal(run: Run, report: Path) -> None:
    """Writes the seal of a report that was executed just now.

    A notebook that a user has cut may end without a record; then there is nothing finished to seal.
    """
    if not (report.is_file() and run.record.path.is_file()):
        return
    held = {"report": report.name, "sha256": store.sha256_of(report), "record": store.recorded_sha256(run.record.path)}
    store.write(run.paths.seal(run.params.phase), store.json_bytes(held), {})
