"""A confirmation as its notebook opens it: checked, noted as opened, read, and ended with a line in the timing log."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from emolib.base import arguments, store
from emolib.base.frozen_studies import ConfirmationParameters, confirmation_parameters
from emolib.base.paths import CONFIRMATION, display
from emolib.base.reading import as_text
from emolib.base.shell import command
from emolib.base.signatures import told
from emolib.study.confirmation.opening_checks import Ready, checked, log_of, require_same_vectors
from emolib.study.confirmation.openings import note_opening, read_openings
from emolib.study.confirmation.sealed_results import SealedOutcome, sealed_outcome
from emolib.study.confirmation.sealed_run import sealed_run
from emolib.study.run import Run


class Confirmation:
    """One model's frozen choice and one sealed file.

    Attributes:
        params: what was asked for.
        ready: the frozen choice, the texts, and whether they were opened before.
        distance: of the vectors at hand from those that were frozen; 0 to the last byte.
        opened_at: when these texts were first opened with this choice.
        run: what reads the texts.
    """

    def __init__(self, params: ConfirmationParameters, ready: Ready, *, force: bool = False) -> None:
        """Checks the vectors, loads the model, and notes the opening: from here on the texts are open."""
        self._started = time.perf_counter()
        self.params, self.ready = params, ready
        self.distance = require_same_vectors(ready)
        log = log_of(ready.base, params)
        self.opened_at = note_opening(log, ready.opening, read_openings(log)).opened_at
        self.run: Run = sealed_run(ready.base, ready.sealed, ready.study.choice, params, force=force)

    @cached_property
    def outcome(self) -> SealedOutcome:
        """What was found, every table kept."""
        return sealed_outcome(self.run, self.ready, self.params)

    @property
    def command(self) -> str:
        """The command that finds it again."""
        words = [
            "emolib",
            "run",
            "--profile",
            CONFIRMATION,
            "--sealed",
            self.params.sealed,
            "--model",
            self.params.model,
        ]
        usual = confirmation_parameters(self.params.model, self.params.sealed).model_dump()
        for key, value in self.params.model_dump().items():
            if value != usual[key]:
                words += ["-p", f"{key}={as_text(value)}"]
        return command(words)

    def finish(self) -> dict[str, Any]:
        """Adds the line in the timing log and gives what a report's summary prints."""
        now, ready = datetime.now(UTC), self.ready
        rows = len(self.run.artifacts.made)
        line = {
            "run_id": f"{now:%Y%m%dT%H%M%S}-{ready.study.digest[:8]}",
            "profile": CONFIRMATION,
            "phase": CONFIRMATION,
            "model": self.params.model,
            "device": str(self.run.lm.device),
            "samples": len(ready.sealed.texts),
            "elapsed_seconds": round(time.perf_counter() - self._started, 1),
            "timestamp": now.isoformat(timespec="seconds"),
            "timing_log": display(self.run.paths.timing()),
            "command": self.command,
        }
        store.append_line(self.run.paths.timing(), line)
        about = {"artifacts": rows, "sealed_sha256": ready.sealed.sha256, "choice": ready.study.digest}
        return {**line, "parameters": {**self.params.model_dump(mode="json"), **about}}


@told
def open_confirmation(
    model: str = "smollm2_135m", sealed: str = "", *, force: bool = False, **params: Any
) -> Confirmation:
    """Opens a sealed file with a model's frozen choice; the setup line of the confirmation's notebook.

    Args:
        model: a model whose choice is frozen in `params/frozen/`.
        sealed: a JSONL file in the data set's layout.
        force: compute everything on the sealed texts anew.
        params: fields of `emolib.base.frozen_studies.ConfirmationParameters`; None means the default.

    Raises:
        UserError: nothing is frozen; what was frozen is no longer what is at hand; a fault of the file; it was opened
            with another choice before.

    >>> import emolib
    >>> emolib.open_confirmation("smollm2_135m", "no/such/file.jsonl")
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected a sealed file at 'no/such/file.jsonl', found no such file; ...
    """
    arguments.text("model", model)
    arguments.instance("sealed", sealed, str, "a sealed file's path")
    force = arguments.flag("force", force) or bool(os.environ.get("EMOLIB_FORCE"))
    asked = confirmation_parameters(model, sealed, params)
    return Confirmation(asked, checked(asked), force=force)
