"""Rows of a CSV, JSONL or JSON file as they stand there, with the place of each."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from emolib.base.errors import UserError, shown
from emolib.data.problems import Problems, ranges


def read_rows(path: Path, problems: Problems) -> pd.DataFrame:
    """The rows of a CSV, JSONL or JSON file as they stand there, with the row's number in `_row`."""
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".json": _json_rows}
    if path.suffix.lower() not in readers:
        raise UserError(f"expected a .csv, .jsonl or .json file, got {shown(path.name)}")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = [n for n, line in enumerate(content.split(b"\n"), start=1) if not _is_utf8(line)]
        raise UserError(f"{path.name}: not valid UTF-8 in line {ranges(lines)}; save the file as UTF-8") from error
    rows = readers[path.suffix.lower()](text, problems)
    if not rows:
        problems.raise_if_any()
        raise UserError(f"{path.name}: expected at least one row, found none")
    return pd.DataFrame(rows, dtype=object)  # as object, or a missing value would turn whole numbers into 1.0


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _csv_rows(text: str, problems: Problems) -> list[dict]:
    # strict: an unclosed quote is an error instead of a text that swallows the rows after it
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header, rows, last = None, [], 0
    try:
        for cells in reader:
            start, last = reader.line_num - sum(cell.count("\n") for cell in cells), reader.line_num
            if header is None:
                header = cells or None
            elif cells:
                if len(cells) > len(header):
                    problems.add(start, "more fields than the header has; put quotes around a text with commas")
                rows.append({**dict(zip(header, cells, strict=False)), "_row": start})
    except csv.Error as error:
        problems.add(last + 1, f"not valid CSV ({error})")
    return rows


def _jsonl_rows(text: str, problems: Problems) -> list[dict]:
    rows = []
    # not splitlines: a JSON string may hold U+2028 and other characters that it takes for line ends
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                problems.add(number, f"line {number} is not valid JSON ({getattr(error, 'msg', 'nested too deeply')})")
                continue
            rows += _object(value, number, problems)
    return rows


def _json_rows(text: str, problems: Problems) -> list[dict]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{problems.source}: line {error.lineno} is not valid JSON ({error.msg})") from error
    except RecursionError as error:
        raise UserError(f"{problems.source}: not valid JSON (nested too deeply)") from error
    values = values if isinstance(values, list) else [values]
    return [row for number, value in enumerate(values, start=1) for row in _object(value, number, problems)]


def _object(value: Any, number: int, problems: Problems) -> list[dict]:
    """The row in a list of its own, or nothing and a problem."""
    if isinstance(value, dict):
        return [{**value, "_row": number}]
    problems.add(number, f"expected an object with text and emotion, got {shown(value)}")
    return []
