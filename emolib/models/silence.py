"""Keeps transformers' progress bars and advice out of a reader's sight, and hands what it warned of to the caller."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator


class _Kept(logging.Handler):
    """Keeps the text of every warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextlib.contextmanager
def quiet() -> Iterator[list[str]]:
    """Silences transformers' progress bars and advice while weights load.

    Yields:
        What transformers warned of; it fills as that happens. A caller that loads foreign weights has to look at it.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.get_verbosity()  # has the library set up its logger, if nothing did so far
    logger, kept = logging.getLogger("transformers"), _Kept()
    bars = transformers_logging.is_progress_bar_enabled()
    before = (logger.handlers, logger.level, logger.propagate)
    transformers_logging.disable_progress_bar()
    logger.handlers, logger.propagate = [kept], False
    logger.setLevel(logging.WARNING)
    try:
        with open(os.devnull, "w") as sink, contextlib.redirect_stderr(sink):
            yield kept.said
    finally:
        logger.handlers, logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
        if bars:
            transformers_logging.enable_progress_bar()
