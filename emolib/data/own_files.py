"""The project's own files of texts beside its data set, read with the data set's checks; a text stands in one of them.

What the files hold stands in `companions` and `pairs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd

from emolib.base import arguments, paths
from emolib.data.completion import check_rows, cleaned_rows, same_text
from emolib.data.problems import Problems
from emolib.data.row_files import existing_file, read_lines

FILES = ("emotion_dataset.jsonl", "emotion_companions.jsonl", "lexical.jsonl", "placebo.jsonl", "expressed.jsonl")
_CHECKED = ("_row", "text", "emotion", "id", "split", "style")


def own_rows(
    name: str, fields: Sequence[str], *, path: str | Path | None = None, labels: Sequence[str] | None = None
) -> tuple[pd.DataFrame, Problems]:
    """The rows of one of `FILES`, these fields as text beside `_row`; what is wrong is noted and not raised yet.

    Args:
        name: one of `FILES`.
        fields: every row has all of them.
        path: another file of that form; None takes the project's own.
        labels: the allowed labels; None allows any.
    """
    file = existing_file(paths.data_file(name) if path is None else arguments.path("a file of texts", path))
    problems = Problems(file.name)
    rows = read_lines(file, problems)
    if rows.empty:
        problems.add(file.name, f"expected objects with {', '.join(fields)}, one per line, found none")
        problems.raise_if_any()
    table = cleaned_rows(rows, fields, problems)
    checked = table.reindex(columns=list(_CHECKED), fill_value="")
    check_rows(checked if "emotion" in fields else checked.assign(emotion="none"), problems, labels)
    for field in fields:
        if field not in ("text", "emotion"):
            for number in table.loc[table[field] == "", "_row"].tolist():
                problems.add(number, f"empty {field}")
    taken = _taken(name)
    for number, text in zip(table["_row"].tolist(), table["text"].tolist(), strict=True):
        if place := taken.get(same_text(text)):
            problems.add(number, f"the same text as row {place[1]} of {place[0]}; a text stands in one file alone")
    return table, problems


def _taken(name: str) -> dict[str, tuple[str, int]]:
    """Every text of the other files, with its file and row."""
    found: dict[str, tuple[str, int]] = {}
    for file in (paths.data_file(other) for other in FILES if other != name):
        if file.is_file():
            found |= _texts(file, file.stat().st_mtime_ns)
    return found


@lru_cache(maxsize=8)
def _texts(file: Path, changed: int) -> dict[str, tuple[str, int]]:
    rows = read_lines(file, Problems(file.name))
    places = zip(rows["text"].tolist(), rows["_row"].tolist(), strict=True)
    return {same_text(str(text)): (file.name, number) for text, number in places}
