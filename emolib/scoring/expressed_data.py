"""The contrast set `data/expressed.jsonl`: groups of texts about one event that differ by the writer's stance alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from emolib.base.errors import shown
from emolib.data.own_files import own_rows
from emolib.scoring.expressed import EMOTIONS

KINDS = (
    *("said", "unsaid", "sarcasm", "other_person", "quoted", "denied", "asked_for", "blame", "formula", "pity"),
    *("other_sense", "loop", "plain", "generated"),
)
CHOICES = {
    "about": EMOTIONS,
    "kind": KINDS,
    "register": ("everyday", "model"),
    "toward": ("reader", "other", "none"),
    "split": ("train", "validation", "test"),
}
FIELDS = ("id", "group", *CHOICES, "text")
TRUTH = {"0": False, "1": True}


def load_expressed_texts(path: str | Path | None = None) -> pd.DataFrame:
    """Reads and checks the contrast set.

    Args:
        path: a file of that form; None takes the project's own.

    Returns:
        A table with `FIELDS` (about: the emotion that a group turns on; kind; register: `everyday`, or `model`, which
        is written as small models continue; toward: whom the stance is shown to) and a truth value per emotion of
        `EMOTIONS`: does the text's writer express it?

    Raises:
        UserError: names every bad row: an empty field, an unknown value, a text that stands twice, a group that lies in
            two splits or turns on two emotions.

    >>> set(load_expressed_texts()["about"]) == set(EMOTIONS)
    True
    """
    table, problems = own_rows("expressed.jsonl", (*FIELDS, *EMOTIONS), path=path)
    for row in table.to_dict("records"):
        for field, allowed in (CHOICES | dict.fromkeys(EMOTIONS, tuple(TRUTH))).items():
            if row[field] and row[field] not in allowed:
                problems.add(row["_row"], f"{field} {shown(row[field], 40)} is not one of {', '.join(allowed)}")
    problems.raise_if_any()
    for group, rows in table.groupby("group", sort=False):
        for field in ("about", "register", "split"):
            if rows[field].nunique() > 1:
                problems.add(f"group {group}", f"has more than one {field} ({', '.join(sorted(set(rows[field])))})")
    problems.raise_if_any()
    return table[[*FIELDS, *EMOTIONS]].assign(**{emotion: table[emotion].map(TRUTH) for emotion in EMOTIONS})
