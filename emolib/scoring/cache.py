"""Scores that were worked out before, by scorer, its version and the text's hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emolib.base import paths
from emolib.base.errors import UserError
from emolib.scoring.scorer import Scorer

WAIT_SECONDS = 60.0  # for another process that writes
ASKED_AT_ONCE = 500


class ScoreCache:
    """One SQLite file per scorer in a folder; several processes may use it at once.

    A version's columns (and their dtypes) are fixed by its first texts. Values are kept as float64, so that what
    comes back is what was stored to the last bit.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def scores(self, scorer: Scorer, texts: Sequence[str]) -> pd.DataFrame:
        """One row per text (repeats allowed); only texts that are not known yet are scored."""
        distinct = list(dict.fromkeys(texts))
        with self._open(scorer) as connection:
            columns, known = _find(connection, scorer.version, [_key(text) for text in distinct])
        missing = [text for text in distinct if _key(text) not in known]
        if missing:
            fresh = scorer.score(missing)
            given = {name: str(dtype) for name, dtype in fresh.dtypes.items()}
            if columns is not None and list(given.items()) != list(columns.items()):  # rows are kept by place
                raise RuntimeError(f"scorer {scorer.name} {scorer.version} changed its columns; give it a new version")
            columns = given
            values = fresh.to_numpy(np.float64)
            rows = {_key(text): values[i] for i, text in enumerate(missing)}
            with self._open(scorer) as connection:
                _add(connection, scorer.version, columns, rows)
            known |= rows
        if columns is None:
            raise ValueError("expected at least one text")
        return pd.DataFrame([known[_key(text)] for text in texts], columns=list(columns)).astype(columns)

    @contextlib.contextmanager
    def _open(self, scorer: Scorer) -> Iterator[sqlite3.Connection]:
        path = self.folder / f"{scorer.name}.sqlite"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
            try:
                with connection:
                    yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"expected a score cache that can be read and written, got {error} at {paths.display(path)}; delete it"
            ) from error


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _find(
    connection: sqlite3.Connection, version: str, keys: Sequence[bytes]
) -> tuple[dict[str, str] | None, dict[bytes, np.ndarray]]:
    connection.execute("CREATE TABLE IF NOT EXISTS versions (version TEXT PRIMARY KEY, columns TEXT NOT NULL)")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS scores (version TEXT, text BLOB, row BLOB NOT NULL, PRIMARY KEY (version, text))"
    )
    row = connection.execute("SELECT columns FROM versions WHERE version = ?", (version,)).fetchone()
    if row is None:
        return None, {}
    found: dict[bytes, np.ndarray] = {}
    for start in range(0, len(keys), ASKED_AT_ONCE):
        part = keys[start : start + ASKED_AT_ONCE]
        marks = ",".join("?" * len(part))
        query = f"SELECT text, row FROM scores WHERE version = ? AND text IN ({marks})"
        found |= {key: np.frombuffer(value) for key, value in connection.execute(query, (version, *part))}
    return json.loads(row[0]), found


def _add(connection: sqlite3.Connection, version: str, columns: dict[str, str], rows: dict[bytes, np.ndarray]) -> None:
    connection.execute("INSERT OR IGNORE INTO versions VALUES (?, ?)", (version, json.dumps(columns)))
    given = [(version, key, np.ascontiguousarray(row).tobytes()) for key, row in rows.items()]
    connection.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?, ?)", given)
