"""Whatever was done to the stored scores, what comes back is what the scorer gives."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emolib.scoring.cache import ScoreCache
from emolib.scoring.scorer import Scorer

TEXTS = [f"text {i}" for i in range(6)]
SQL = Callable[[sqlite3.Connection], object]


class Counting:
    """A scorer that notes which texts it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.scorer = Scorer("made", "v1", self._score)

    def _score(self, texts: Sequence[str]) -> pd.DataFrame:
        self.asked += texts
        numbers = [int(text[-1]) for text in texts]
        return pd.DataFrame({"a/one": [np.nan if n == 5 else 1 / (n + 3) for n in numbers], "a/two": numbers})


def on_row(statement: str, number: int = 2) -> SQL:
    """Changes the row of one text."""
    return lambda db: db.execute(f"UPDATE checked_scores SET {statement} WHERE rowid = {number}")


def blob(*numbers: float) -> str:
    return "x'" + np.array(numbers).tobytes().hex() + "'"


ROWS: dict[str, SQL] = {
    "another number": on_row(f"row = {blob(0.5, 1.0)}"),
    "NaN": on_row(f"row = {blob(np.nan, 1.0)}"),
    "infinite": on_row(f"row = {blob(np.inf, 1.0)}"),
    "too short": on_row(f"row = {blob(0.5)}"),
    "no whole numbers": on_row("row = x'0102'"),
    "too long": on_row(f"row = {blob(0.5, 1.0, 2.0)}"),
    "empty": on_row("row = x''"),
    "a text": on_row("row = 'seven'"),
    "a number in place of a row": on_row("row = 7"),
    "nothing": on_row("row = NULL"),
    "no checksum": on_row("checksum = NULL"),
    "a checksum of another kind": on_row("checksum = 'abc'"),
    "another text's row": on_row("row = (SELECT row FROM checked_scores WHERE rowid = 4)"),
    "another text's row with its checksum": on_row(
        "(row, checksum) = (SELECT row, checksum FROM checked_scores WHERE rowid = 4)"
    ),
    "one bit": lambda db: flip_a_bit(db),
}


def flip_a_bit(db: sqlite3.Connection) -> None:
    (row,) = db.execute("SELECT row FROM checked_scores WHERE rowid = 2").fetchone()
    db.execute("UPDATE checked_scores SET row = ? WHERE rowid = 2", (bytes([row[0] ^ 1]) + row[1:],))


VERSIONS: dict[str, SQL] = {
    "columns in another order": lambda db: db.execute(
        """UPDATE checked_versions SET columns = '{"a/two": "int64", "a/one": "float64"}'"""
    ),
    "columns of another kind": lambda db: db.execute(
        """UPDATE checked_versions SET columns = replace(columns, 'int64', 'bool')"""
    ),
    "a column less": lambda db: db.execute("""UPDATE checked_versions SET columns = '{"a/one": "float64"}'"""),
    "no JSON": lambda db: db.execute("UPDATE checked_versions SET columns = '{'"),
    "a blob": lambda db: db.execute("UPDATE checked_versions SET columns = x'00'"),
    "no checksum of the columns": lambda db: db.execute("UPDATE checked_versions SET checksum = NULL"),
    "rows called another version's": lambda db: [
        db.execute("INSERT INTO checked_versions SELECT 'v2', columns, checksum FROM checked_versions"),
        db.execute("UPDATE checked_scores SET version = 'v2'"),
    ],
}


@pytest.fixture
def cache(tmp_path: Path) -> ScoreCache:
    return ScoreCache(tmp_path / "scores")


def alter(cache: ScoreCache, change: SQL) -> None:
    connection = sqlite3.connect(cache.folder / "made.sqlite")
    with connection:
        change(connection)
    connection.close()


@pytest.mark.parametrize("change", ROWS.values(), ids=ROWS)
def test_a_row_that_was_altered_is_scored_anew_and_told(
    cache: ScoreCache, change: SQL, caplog: pytest.LogCaptureFixture
) -> None:
    expected = cache.scores(Counting().scorer, TEXTS)
    alter(cache, change)
    again = Counting()
    with caplog.at_level(logging.WARNING):
        pd.testing.assert_frame_equal(cache.scores(again.scorer, TEXTS), expected)
    assert again.asked == ["text 1"]
    assert [record.getMessage() for record in caplog.records] == [
        "emolib: 1 altered rows of the score cache made.sqlite are scored anew"
    ]
    mended = Counting()
    pd.testing.assert_frame_equal(cache.scores(mended.scorer, TEXTS), expected)
    assert mended.asked == []


@pytest.mark.parametrize("change", VERSIONS.values(), ids=VERSIONS)
def test_a_version_whose_columns_were_altered_is_scored_anew(cache: ScoreCache, change: SQL) -> None:
    expected = cache.scores(Counting().scorer, TEXTS)
    alter(cache, change)
    again = Counting()
    pd.testing.assert_frame_equal(cache.scores(again.scorer, TEXTS), expected)
    assert again.asked == TEXTS
    mended = Counting()
    pd.testing.assert_frame_equal(cache.scores(mended.scorer, TEXTS), expected)
    assert mended.asked == []


def test_rows_lent_to_another_version_are_not_believed(cache: ScoreCache) -> None:
    one = Counting()
    expected = cache.scores(one.scorer, TEXTS)
    alter(cache, VERSIONS["rows called another version's"])
    other = Counting()
    found = cache.scores(Scorer("made", "v2", other.scorer.score), TEXTS)
    pd.testing.assert_frame_equal(found, expected)
    assert other.asked == TEXTS


def test_a_nan_that_the_scorer_gave_comes_back_without_being_scored_again(cache: ScoreCache) -> None:
    first = cache.scores(Counting().scorer, TEXTS)
    again = Counting()
    assert np.isnan(first["a/one"][5]) and again.asked == []
    pd.testing.assert_frame_equal(cache.scores(again.scorer, TEXTS), first)
    assert again.asked == []


def test_a_file_of_the_layout_without_checksums_is_not_believed(cache: ScoreCache) -> None:
    cache.folder.mkdir(parents=True)
    alter(
        cache,
        lambda db: db.executescript(
            "CREATE TABLE versions (version TEXT PRIMARY KEY, columns TEXT NOT NULL);"
            "CREATE TABLE scores (version TEXT, text BLOB, row BLOB NOT NULL, PRIMARY KEY (version, text));"
            """INSERT INTO versions VALUES ('v1', '{"a/one": "float64", "a/two": "int64"}');"""
        ),
    )
    asked = Counting()
    cache.scores(asked.scorer, TEXTS)
    assert asked.asked == TEXTS
    names: list[tuple[str]] = []
    alter(cache, lambda db: names.extend(db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")))
    assert sorted(name for (name,) in names) == ["checked_scores", "checked_versions"]


def test_untouched_rows_are_silent(cache: ScoreCache, caplog: pytest.LogCaptureFixture) -> None:
    cache.scores(Counting().scorer, TEXTS[:3])
    asked = Counting()
    cache.scores(asked.scorer, TEXTS)
    assert asked.asked == TEXTS[3:] and caplog.records == []
