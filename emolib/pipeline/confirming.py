"""Runs the confirmation's notebook, once everything that needs no weights has been checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emolib.base import paths, store
from emolib.base.characters import say
from emolib.base.frozen_studies import ConfirmationParameters
from emolib.pipeline.execution import execute_notebook, injected
from emolib.study.confirmation import checked


def run_confirmation(asked: ConfirmationParameters, given: Mapping[str, Any], *, force: bool = False) -> Path:
    """Executes the confirmation's notebook and returns the executed copy.

    Args:
        asked: the checked parameters.
        given: those that the caller gave, as he gave them.
        force: compute everything on the sealed texts anew.

    Raises:
        UserError: see `emolib.study.confirmation.opening_checks.checked`; another confirmation runs.
        RuntimeError: the notebook failed; its copy with the traceback is kept under another name.
    """
    ready = checked(asked)
    say(f"frozen: {ready.study.told()}; sealed texts {ready.sealed.sha256[:12]}…: {_counts(ready.sealed.texts)}")
    place = paths.ResultPaths(paths.CONFIRMATION, ready.base.paths.model)
    named = f"{ready.study.digest[:8]}_{ready.sealed.sha256[:8]}"
    output = paths.confirmation_report(place.model, named)
    source = paths.confirmation_notebook()
    values = {name: getattr(asked, name) for name in given if getattr(asked, name) is not None}
    cell = injected(source, {"model": asked.model, "sealed": asked.sealed}, values)
    with store.lock(place.lock()):
        execute_notebook(source, cell, output, name=paths.CONFIRMATION, force=force)
    return output


def _counts(texts: Any) -> str:
    counts = texts.drop_duplicates("scenario")["style"].value_counts()
    return ", ".join(f"{count} {style} scenarios" for style, count in counts.items())
