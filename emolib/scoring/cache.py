"""Scores that were worked out before, by scorer, its version and the text's hash.

Every row carries a checksum over what it is (scorer's version, text, columns, numbers). One that was altered or cut
since it was written is scored anew and told; a NaN comes back only where the scorer itself gave it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emolib.base import paths
from emolib.base.errors import UserError
from emolib.base.writing import TROUBLES, not_writable
from emolib.scoring.scorer import Scorer

log = logging.getLogger(__name__)

WAIT_SECONDS = 60.0  # for another process that writes
ASKED_AT_ONCE = 500
TABLES = (
    "CREATE TABLE IF NOT EXISTS checked_versions (version TEXT PRIMARY KEY, columns TEXT NOT NULL, checksum BLOB)",
    "CREATE TABLE IF NOT EXISTS checked_scores "
    "(version TEXT, text BLOB, row BLOB, checksum BLOB, PRIMARY KEY (version, text))",
)
OLDER = ("versions", "scores")  # of a layout without checksums: nothing in them can be believed


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
            found = _find(connection, scorer.version, [_key(text) for text in distinct])
        columns, known = found.columns, found.rows
        if found.altered:
            log.warning(
                "emolib: %d altered rows of the score cache %s are scored anew", found.altered, self._path(scorer).name
            )
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

    def _path(self, scorer: Scorer) -> Path:
        return self.folder / f"{scorer.name}.sqlite"

    @contextlib.contextmanager
    def _open(self, scorer: Scorer) -> Iterator[sqlite3.Connection]:
        path = self._path(scorer)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
            try:
                with connection:
                    yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            trouble = _disk_trouble(error)
            if trouble is not None:
                raise not_writable(path, trouble) from error
            raise UserError(
                f"expected a score cache that can be read and written, got {error} at {paths.display(path)}; delete it"
            ) from error


def _disk_trouble(error: sqlite3.Error | OSError) -> OSError | None:
    """What the disk refused, where it was the disk and not the file."""
    if isinstance(error, OSError):
        return error if error.errno in TROUBLES else None
    codes = {
        sqlite3.SQLITE_FULL: errno.ENOSPC,
        sqlite3.SQLITE_READONLY: errno.EROFS,
        sqlite3.SQLITE_IOERR: errno.EIO,
        sqlite3.SQLITE_PERM: errno.EACCES,
    }
    code = codes.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    return None if code is None else OSError(code, os.strerror(code))


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True)
class _Found:
    """What the cache knows of some texts.

    Attributes:
        columns: the version's columns with their dtypes; None for a version of which nothing can be believed.
        rows: by key of the text; those alone whose checksum is right.
        altered: how many others there are.
    """

    columns: dict[str, str] | None
    rows: dict[bytes, np.ndarray]
    altered: int = 0


def _find(connection: sqlite3.Connection, version: str, keys: Sequence[bytes]) -> _Found:
    for table in OLDER:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in TABLES:
        connection.execute(statement)
    query = "SELECT columns, checksum FROM checked_versions WHERE version = ?"
    row = connection.execute(query, (version,)).fetchone()
    if row is None:
        return _Found(None, {})
    text, checksum = row
    if not isinstance(text, str) or checksum != _checksum(version, text):
        connection.execute("DELETE FROM checked_versions WHERE version = ?", (version,))
        removed = connection.execute("DELETE FROM checked_scores WHERE version = ?", (version,)).rowcount
        return _Found(None, {}, removed)
    columns = json.loads(text)
    rows: dict[bytes, np.ndarray] = {}
    altered: list[bytes] = []
    for start in range(0, len(keys), ASKED_AT_ONCE):
        part = keys[start : start + ASKED_AT_ONCE]
        marks = ",".join("?" * len(part))
        query = f"SELECT text, row, checksum FROM checked_scores WHERE version = ? AND text IN ({marks})"
        for key, values, checksum in connection.execute(query, (version, *part)):
            whole = isinstance(values, bytes) and len(values) == 8 * len(columns)
            if whole and checksum == _checksum(version, text, key, values):
                rows[key] = np.frombuffer(values)
            else:
                altered.append(key)
    for key in altered:
        connection.execute("DELETE FROM checked_scores WHERE version = ? AND text = ?", (version, key))
    return _Found(columns, rows, len(altered))


def _add(connection: sqlite3.Connection, version: str, columns: dict[str, str], rows: dict[bytes, np.ndarray]) -> None:
    text = json.dumps(columns)
    given = (version, text, _checksum(version, text))
    connection.execute("INSERT OR IGNORE INTO checked_versions VALUES (?, ?, ?)", given)
    stored = [(key, np.ascontiguousarray(row).tobytes()) for key, row in rows.items()]
    made = [(version, key, values, _checksum(version, text, key, values)) for key, values in stored]
    connection.executemany("INSERT OR IGNORE INTO checked_scores VALUES (?, ?, ?, ?)", made)


def _checksum(*parts: str | bytes) -> bytes:
    """Over the parts and where each ends."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little") + data)
    return total.digest()
