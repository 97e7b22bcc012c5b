"""Pairs of texts that differ in one thing: an emotion's word without the feeling, a denied feeling, or no emotion.

`lexical.jsonl` holds two kinds per emotion: `lexical` pairs (the emotion's word where nobody feels it, `with`, and
another word in its place, `without`) and `denied` pairs (the feeling is said not to be there, `denied`, or to be there,
`felt`). `placebo.jsonl` holds pairs, `a` and `b`, that differ in one thing that is no emotion: their `kind`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from emolib.base.errors import shown
from emolib.data.own_files import own_rows
from emolib.data.problems import Problems

LEXICAL_FIELDS = ("id", "pair", "emotion", "kind", "role", "text")
PLACEBO_FIELDS = ("id", "pair", "kind", "role", "text")
LEXICAL_ROLES = {"lexical": ("with", "without"), "denied": ("denied", "felt")}
PLACEBO_KINDS = ("topic", "length", "punctuation", "frequency", "courtesy", "calendar")
LEXICAL_PAIRS, PLACEBO_PAIRS = 40, 200  # per emotion and kind; in all
_SHARED = ("kind", "emotion")


def load_lexical(path: str | Path | None = None) -> pd.DataFrame:
    """Reads and checks the pairs with an emotion's word, and those that deny the feeling.

    Args:
        path: a file of that form; None takes the project's own.

    Returns:
        A table with the columns of `LEXICAL_FIELDS`, two rows per pair.

    Raises:
        UserError: names every bad row: an empty field, a text that stands twice or in another of the project's files, a
            kind or role that is none, a pair that lacks a role or has two kinds or emotions.

    >>> load_lexical().groupby(["kind", "emotion"])["pair"].nunique().unique().tolist()
    [40]
    """
    table, problems = own_rows("lexical.jsonl", LEXICAL_FIELDS, path=path)
    return _checked(table, problems, LEXICAL_ROLES, LEXICAL_FIELDS)


def load_placebo(path: str | Path | None = None) -> pd.DataFrame:
    """Reads and checks the pairs that differ in something that is no emotion.

    Args:
        path: a file of that form; None takes the project's own.

    Returns:
        A table with the columns of `PLACEBO_FIELDS`, two rows per pair.

    Raises:
        UserError: as `load_lexical`.

    >>> load_placebo()["pair"].nunique()
    200
    """
    table, problems = own_rows("placebo.jsonl", PLACEBO_FIELDS, path=path)
    return _checked(table, problems, dict.fromkeys(PLACEBO_KINDS, ("a", "b")), PLACEBO_FIELDS)


def _checked(
    table: pd.DataFrame, problems: Problems, roles: dict[str, tuple[str, str]], fields: tuple[str, ...]
) -> pd.DataFrame:
    for row in table.to_dict("records"):
        if row["kind"] and row["kind"] not in roles:
            problems.add(row["_row"], f"kind {shown(row['kind'], 40)} is not one of {', '.join(roles)}")
        elif row["kind"] and row["role"] and row["role"] not in roles[row["kind"]]:
            allowed = ", ".join(roles[row["kind"]])
            problems.add(row["_row"], f"role {shown(row['role'], 40)} is not one of {allowed}")
    problems.raise_if_any()
    for pair, rows in table.groupby("pair", sort=False):
        for field in _SHARED:
            if field in rows and rows[field].nunique() > 1:
                found = ", ".join(shown(value, 40) for value in dict.fromkeys(rows[field]))
                problems.add(f"pair {pair}", f"has more than one {field} ({found})")
        expected = roles[rows["kind"].iloc[0]]
        if sorted(rows["role"]) != sorted(expected):
            found = ", ".join(rows["role"])
            problems.add(f"pair {pair}", f"expected one text for each of {', '.join(expected)}, found {found}")
    problems.raise_if_any()
    return table[list(fields)].reset_index(drop=True)
