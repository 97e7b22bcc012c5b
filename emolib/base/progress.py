"""How far a computation is: a bar in the terminal and in JupyterLab, lines for the pipeline, silence in tests.

`EMOLIB_PROGRESS` decides: unset shows a tqdm bar, `off` shows nothing, anything else is a file to which one JSON line
is appended per step (the pipeline reads it while a notebook runs in its own process).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from tqdm import tqdm


class Progress:
    """Counts rows of one named stretch of work."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        mode = os.environ.get("EMOLIB_PROGRESS", "off" if "PYTEST_VERSION" in os.environ else "bar")
        self._file = Path(mode) if mode not in ("bar", "off") else None
        self._bars = mode == "bar"
        self._bar: tqdm | None = None

    def begin(self, label: str, total: int, *, tokens_per_row: int = 0) -> None:
        """Starts a stretch of `total` rows; where a row makes new tokens, their number per second is shown."""
        self.end()
        self.label, self.total, self.done, self.cached = label, total, 0, 0
        self._tokens_per_row = tokens_per_row
        self._started = time.perf_counter()
        if self._bars:
            self._bar = tqdm(total=total, desc=f"{self.phase} {label}", unit="row", leave=False)

    def advance(self, rows: int, *, shard: str = "", computed: bool = True) -> None:
        """Notes `rows` more rows; rows that were found in the store do not count for the time left."""
        self.done += rows
        self.cached += 0 if computed else rows
        if self._bar is not None:
            speed = self._tokens_per_s()
            if speed is not None:
                self._bar.set_postfix_str(f"{speed:.0f} tokens/s", refresh=False)
            self._bar.update(rows)
        if self._file is not None:
            line = {
                "phase": self.phase,
                "label": self.label,
                "shard": shard,
                "done": self.done,
                "total": self.total,
                "left_s": self._left(),
                "tokens_per_s": self._tokens_per_s(),
            }
            # a disk that is full stops no computation before there is something to keep
            with contextlib.suppress(OSError), open(self._file, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")

    def _tokens_per_s(self) -> float | None:
        """New tokens per second so far, scoring included; None for work that makes none."""
        computed = self.done - self.cached
        if computed <= 0 or not self._tokens_per_row:
            return None
        return computed * self._tokens_per_row / (time.perf_counter() - self._started)

    def _left(self) -> float | None:
        computed = self.done - self.cached
        if computed <= 0:
            return None
        return (time.perf_counter() - self._started) / computed * (self.total - self.done)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class GenerationBar:
    """A bar over the rows of one call, with tokens per second and the time left; nothing unless it is `shown`."""

    def __init__(self, n_rows: int, n_new: int, *, shown: bool) -> None:
        mode = os.environ.get("EMOLIB_PROGRESS", "bar")
        self._n_new = n_new
        self._bar = (
            tqdm(total=n_rows * n_new, unit="token", unit_scale=True, leave=False) if shown and mode == "bar" else None
        )

    def __enter__(self) -> GenerationBar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, rows: int) -> None:
        if self._bar is not None:
            self._bar.update(rows * self._n_new)
