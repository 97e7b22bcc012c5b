"""What a file holds where rows with `text` and `emotion` were expected, told in one line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emolib.base.errors import UserError, shown
from emolib.base.labels import folded
from emolib.data.completion import REQUIRED

DEEPEST, MOST_NAMES = 4, 20  # how far rows are looked for
TOLD = 3  # places that a line names
WORDS_OF_A_TEXT = 5
RECORDS = "save the table as a list of rows (pandas: orient='records')"
_EXPECTED = f"expected rows with {' and '.join(map(repr, REQUIRED))}"
_TEXT_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u300d)]*$")
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")


def require_header(header: Sequence[str], rows: Sequence[Mapping[str, Any]], source: str) -> None:
    """Raises `UserError` unless a CSV file's first line names the columns `text` and `emotion`.

    Args:
        rows: what stands below it.
    """
    missing = [name for name in REQUIRED if name not in header]
    if len(missing) == len(REQUIRED) and _is_data(header, rows):
        raise UserError(
            f"{source}: expected a header line with 'text' and 'emotion', the first line looks like data "
            f"({', '.join(shown(cell, 40) for cell in header[:TOLD])}); put a header line above it, or rename its "
            "columns"
        )
    if missing:
        raise _no_column(missing[0], header, source)


def _is_data(header: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of its cells is a sentence or a number, or stands again in its column."""
    if any(_TEXT_END.search(cell) or _NUMBER.fullmatch(cell) or _is_long(cell) for cell in map(str.strip, header)):
        return True
    return any(name.strip() and any(folded(row[name]) == folded(name) for row in rows) for name in header)


def _is_long(cell: str) -> bool:
    return len(cell.split()) >= WORDS_OF_A_TEXT


def require_objects(rows: Sequence[Mapping[str, Any]], source: str) -> None:
    """Raises `UserError` where no object of a JSON file has a text, or none an emotion: says where they lie instead.

    Args:
        rows: the objects, with the names of fields as the data set spells them.
    """
    missing = [name for name in REQUIRED if not any(name in row for row in rows)]
    if len(rows) == 1 and not missing and all(isinstance(rows[0][name], list | dict) for name in REQUIRED):
        raise UserError(f"{source}: {_EXPECTED}, got whole columns under these names; {RECORDS}")
    if not missing:
        return
    names = list(dict.fromkeys(name for row in rows for name in row if name != "_row"))
    if len(rows) == 1 and _names_apart(rows[0]):
        raise UserError(f"{source}: {_EXPECTED}, got the names under 'columns' and values under 'data'; {RECORDS}")
    places = list(itertools.islice(_places_of_rows(rows[0]), TOLD))
    if places:
        where = ", ".join(shown(".".join(place)) for place in places)
        raise UserError(
            f"{source}: {_EXPECTED}, they lie under {where}; take them out: the file is a list of such rows"
        )
    raise _no_column(missing[0], names, source)


def _names_apart(row: Mapping[str, Any]) -> bool:
    columns = row.get("columns")
    known = [folded(name) for name in columns if isinstance(name, str)] if isinstance(columns, list) else []
    return "data" in row and set(REQUIRED) <= set(known)


def _places_of_rows(value: Any, depth: int = 0) -> Iterator[tuple[str, ...]]:
    """The names that lead to objects with both fields; of a list its first member tells."""
    if isinstance(value, list):
        value = next(iter(value), None)
    if not isinstance(value, Mapping) or depth == DEEPEST:
        return
    if depth and {folded(name) for name in itertools.islice(value, MOST_NAMES)}.issuperset(REQUIRED):
        yield ()
        return
    for name, inner in itertools.islice(value.items(), MOST_NAMES):
        yield from ((name, *place) for place in _places_of_rows(inner, depth + 1))


def _no_column(name: str, found: Sequence[str], source: str) -> UserError:
    listed = ", ".join(found) or "none"
    return UserError(f"{source}: expected a column {shown(name)}, found {listed}; rename the column")
