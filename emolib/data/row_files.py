"""Rows of a CSV, JSONL or JSON file as they stand there, with the place of each."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from emolib.base import files
from emolib.base.characters import NOT_WHOLE, is_whole
from emolib.base.errors import UserError, shown
from emolib.base.labels import folded
from emolib.data.completion import FIELDS, FLAGS, REQUIRED
from emolib.data.layouts import require_header, require_objects
from emolib.data.problems import Problems, ranges

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
SUFFIXES = ".csv, .tsv, .jsonl or .json"
_KNOWN = (*FIELDS, *FLAGS)
_LINE_END = re.compile(r"\r\n|\n|\r")
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")  # what files of UTF-16 and UTF-32 begin with


def read_rows(path: Path, problems: Problems) -> pd.DataFrame:
    """The rows of a CSV, TSV, JSONL or JSON file as they stand there, with the row's number in `_row`.

    A CSV file's fields may be separated by commas, semicolons or tabs: its header tells. The names of the data set's
    fields are read without regard to case and spaces.
    """
    readers = {".csv": _csv_rows, ".tsv": _csv_rows, ".jsonl": _rows_with_emotion, ".json": _json_rows}
    if path.suffix.lower() not in readers:
        raise UserError(f"expected a {SUFFIXES} file, got {shown(path.name)}; convert or rename it")
    rows = readers[path.suffix.lower()](_text_of(path), problems)
    if not rows:
        problems.raise_if_any()
        raise UserError(f"{path.name}: expected at least one row, found none; put texts with their emotion into it")
    return pd.DataFrame(rows, dtype=object)  # as object, or a missing value would turn whole numbers into 1.0


def read_lines(path: Path, problems: Problems) -> pd.DataFrame:
    """The rows of a JSONL file, with the row's number in `_row`; they need not have an emotion."""
    return pd.DataFrame(_jsonl_rows(_text_of(path), problems), dtype=object)


def existing_file(path: str | Path) -> Path:
    """The path of a data set, where a regular file lies there.

    Raises:
        UserError: none does: says whether there is nothing, a folder, or something else that cannot be read.
    """
    files.require_file(Path(path), name=f"a data set at {shown(str(path))}", advice=f"give a {SUFFIXES} file")
    return Path(path)


def _text_of(path: Path) -> str:
    content = files.read_bytes(path, name=f"a data set at {shown(path.name)}")
    if content.startswith(_WIDE) or b"\x00" in content[:1000]:
        raise UserError(
            f"{path.name}: not valid UTF-8 (it looks like UTF-16, or holds NUL bytes); save the file as UTF-8"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = [n for n, line in enumerate(content.split(b"\n"), start=1) if not _is_utf8(line)]
        raise UserError(f"{path.name}: not valid UTF-8 in line {ranges(lines)}; save the file as UTF-8") from error


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


# CSV


def _csv_rows(text: str, problems: Problems) -> list[dict]:
    text, separator, last = _separated(text, problems.source)
    header: tuple[str, ...] = ()
    rows = []
    skipped = last
    try:
        with _long_fields():
            for cells, line in _cells(text, separator):
                start, last = last + 1, line + skipped
                if not any(cell.strip() for cell in cells):
                    continue  # an empty line; spreadsheets write it with its commas
                if not header:
                    header = _named(tuple(cells), problems.source)
                    continue
                if any(cell.strip() for cell in cells[len(header) :]):
                    told = f"put quotes around a text with {SEPARATORS[separator]}"
                    problems.add(start, f"more fields than the header has; {told}")
                rows.append({**dict(itertools.zip_longest(header, cells[: len(header)], fillvalue="")), "_row": start})
    except csv.Error as error:
        problems.add(last + 1, f"not valid CSV ({error})")
    if header:
        require_header(header, rows, problems.source)
    return rows


def _cells(text: str, separator: str) -> Iterator[tuple[list[str], int]]:
    """Every record with the number of the line it ends on."""
    # strict: an unclosed quote is an error instead of a text that swallows the rows after it
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    for cells in reader:
        yield cells, reader.line_num


def _separated(text: str, source: str) -> tuple[str, str, int]:
    """The text, what separates its fields, and how many lines were taken off its beginning.

    The first separator by which the header has both required fields; where none does, that of the most fields.
    """
    other = re.match(r"\s*sep=(.?)[ \t]*(?:\r\n|\n|\r|$)", text)
    if other and other[1] not in SEPARATORS:
        raise UserError(
            f"{source}: expected commas, semicolons or tabs between fields, the first line says sep={other[1]}; "
            "save the file with one of these"
        )
    if said := re.match(r"\s*sep=([,;\t])(?:\r\n|\n|\r)", text):  # a spreadsheet's own way of saying it
        return text[said.end() :], said[1], len(_LINE_END.findall(said[0]))
    fields = {}
    for separator in SEPARATORS:
        try:
            with _long_fields():
                header = next((cells for cells, _ in _cells(text, separator) if any(map(str.strip, cells))), [])
        except csv.Error:
            continue
        if {folded(name) for name in header}.issuperset(REQUIRED):
            return text, separator, 0
        fields[separator] = len(header)
    return text, max(fields, key=lambda separator: fields[separator], default=","), 0


@contextmanager
def _long_fields() -> Iterator[None]:
    """Fields of any length: the csv module refuses those of more than 131,072 characters, for the whole process."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


# JSON


def _jsonl_rows(text: str, problems: Problems) -> list[dict]:
    rows = []
    # not splitlines: a JSON string may hold U+2028 and other characters that it takes for line ends
    for number, line in enumerate(_LINE_END.split(text), start=1):
        if line.strip():
            try:
                value = _json(line)
            except ValueError as error:
                listed = text.lstrip().startswith("[")
                advice = "a file with one list of all texts is named .json" if listed else ""
                problems.add(number, f"line {number} is not valid JSON ({_reason(error)})", advice)
                continue
            rows += _object(value, number, problems)
    return rows


def _rows_with_emotion(text: str, problems: Problems) -> list[dict]:
    return _with_fields(_jsonl_rows(text, problems), problems)


def _json_rows(text: str, problems: Problems) -> list[dict]:
    try:
        values = _json(text)
    except ValueError as error:
        place = f"line {error.lineno} is " if isinstance(error, json.JSONDecodeError) else ""
        several = "Extra data" in str(error)
        advice = "a file with an object per line is named .jsonl" if several else "correct it"
        raise UserError(f"{problems.source}: {place}not valid JSON ({_reason(error)}); {advice}") from error
    values = values if isinstance(values, list) else [values]
    rows = [row for number, value in enumerate(values, start=1) for row in _object(value, number, problems)]
    return _with_fields(rows, problems)


def _with_fields(rows: list[dict], problems: Problems) -> list[dict]:
    if rows and not problems.found:
        require_objects(rows, problems.source)
    return rows


def _json(text: str) -> Any:
    """`json.loads` that refuses a name twice in one object; whatever is wrong is a `ValueError`."""
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {shown(next(n for n in names if names.count(n) > 1))} stands twice in one object")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object_of_pairs)


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "a number of too many digits" if "digits" in str(error) else str(error)


def _object(value: Any, number: int, problems: Problems) -> list[dict]:
    """The row in a list of its own, or nothing and a problem."""
    if isinstance(value, dict):
        return [{**dict(zip(_named(tuple(value), problems.source), value.values(), strict=True)), "_row": number}]
    problems.add(number, f"expected an object with text and emotion, got {shown(value)}")
    return []


# names of fields


@lru_cache(maxsize=64)
def _named(names: tuple[str, ...], source: str) -> tuple[str, ...]:
    """The names with those of the data set's fields as they are spelled there (`Text` is `text`).

    Raises:
        UserError: two of them are one field.
    """
    for name in names:
        if not is_whole(name):
            raise UserError(f"{source}: {NOT_WHOLE} as a column's name, got {shown(name)}; rename the column")
    found = [name if name in _KNOWN else _field(name, names) for name in names]
    for field in _KNOWN:
        if found.count(field) > 1:
            same = [name for name, own in zip(names, found, strict=True) if own == field]
            listed = ", ".join(shown(name) for name in same[:5])
            raise UserError(f"{source}: two columns are the field {shown(field)} ({listed}); rename or remove one")
    return tuple(found)


def _field(name: str, names: Sequence[str]) -> str:
    known = folded(name)
    return known if known in _KNOWN and known not in names else name
