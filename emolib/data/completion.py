"""Rows of texts checked, and what they leave open filled in: ids, scenarios (or blocks), splits, topic, language and
style."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from emolib.base.characters import is_whole
from emolib.base.errors import UserError, shown
from emolib.base.labels import cleaned, fault_of, folded, is_visible
from emolib.data.problems import Problems
from emolib.data.spellings import one_spelling

FIELDS = ("id", "scenario", "topic", "emotion", "text", "lang", "style", "split")
FLAGS = ("minimal_pair", "idiomatic")  # true or false; a table has those that its file has
REQUIRED = ("text", "emotion")
SPLITS = {"train": 0.6, "validation": 0.2, "test": 0.2}
STYLES = ("explicit", "implicit", "unspecified")
MOST_CHARACTERS = 500_000  # of a field: more than the longest context of any model that runs here
ON_CONFLICT = ("error", "drop")
NEUTRAL = "name the right one: -p neutral=… (run), --neutral (build-dataset), neutral= (Python)"
DROP = "`emolib build-dataset … --on-conflict drop` leaves such texts out"


def completed(
    rows: pd.DataFrame,
    problems: Problems,
    *,
    neutral: str,
    labels: Sequence[str] | None,
    seed: int = 0,
    on_conflict: str = "error",
) -> pd.DataFrame:
    """Checks every row, gives every label one spelling, and fills the optional fields.

    Args:
        rows: of a file, with the columns `text`, `emotion` and `_row` at least.
        on_conflict: what is done with a text that stands under several labels, or several times under one.
    """
    source = problems.source
    table = cleaned_rows(rows, FIELDS, problems)
    flags = [name for name in FLAGS if name in rows]
    for name in flags:
        values = zip(rows[name].tolist(), rows["_row"].tolist(), strict=True)
        table[name] = [_flag(value, name, number, problems) for value, number in values]
    table["emotion"], problems.merges = one_spelling(table["emotion"].tolist(), neutral)
    if on_conflict == "drop":
        table = _without_conflicts(table, problems)
    check_rows(table, problems, labels)
    problems.raise_if_any()
    found = ", ".join(sorted(set(table["emotion"]))) or "none"
    if neutral not in set(table["emotion"]):
        raise UserError(f"{source}: no rows with the neutral label {shown(neutral)}, found {found}; {NEUTRAL}")
    if table["emotion"].nunique() < 2:
        raise UserError(f"{source}: expected at least one label beside {shown(neutral)}, found none; add texts of one")
    _fill(table, seed)
    _check_scenarios(table, problems)
    problems.raise_if_any()
    return table[[*FIELDS, *flags]].reset_index(drop=True)


def cleaned_rows(rows: pd.DataFrame, names: Sequence[str], problems: Problems) -> pd.DataFrame:
    """The named fields of a file's rows as text, empty where a row has none, beside `_row`."""
    table = rows[["_row"]].copy()
    numbers = rows["_row"].tolist()
    for name in names:
        column = rows[name].tolist() if name in rows else []
        table[name] = [_clean(v, name, n, problems) for v, n in zip(column, numbers, strict=True)] if column else ""
    return table


def _clean(value: Any, name: str, row: int, problems: Problems) -> str:
    """A field as text; empty where there is none, or where it is something that cannot be text."""
    if isinstance(value, str) and len(value) <= MOST_CHARACTERS and value.isascii() and value.isprintable():
        text = value.strip()  # most fields are such: nothing below can be wrong with them
        return _clean_label(text, row, problems) if text and name == "emotion" else text
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    infinite = isinstance(value, float) and np.isinf(value)
    if isinstance(value, list | dict) or infinite or (name == "text" and not isinstance(value, str)):
        problems.add(row, f"expected text in the field {shown(name)}, got {shown(value)}")
        return ""
    text = str(value).strip()
    if len(text) > MOST_CHARACTERS and name != "emotion":  # a label has a limit of its own
        problems.add(row, _too_long(name, len(text)))
    if not is_whole(text):
        problems.add(row, f"the field {shown(name)} holds half of a surrogate pair, which is no character")
        return ""
    if "\x00" in text:
        problems.add(row, f"the field {shown(name)} holds a NUL character; take it out")
        return ""
    if not is_visible(text):
        return ""
    return _clean_label(text, row, problems) if name == "emotion" else text


def _flag(value: Any, name: str, row: int, problems: Problems) -> bool:
    """Whether a field says true; one that is empty says false."""
    said = str(value).strip().lower() if isinstance(value, str | bool | int) else value
    if said in ("true", "1"):
        return True
    if said not in ("false", "0", "", None) and not (isinstance(value, float) and np.isnan(value)):
        problems.add(row, f"expected true or false in the field {shown(name)}, got {shown(value, 40)}")
    return False


def _too_long(name: str, length: int) -> str:
    return f"the field {shown(name)} has {length:,} characters, at most {MOST_CHARACTERS:,} are read; split the text"


def _clean_label(text: str, row: int, problems: Problems) -> str:
    label, fault = _label_of(text)
    if fault:
        problems.add(row, f"the label {shown(label, 40)} {fault}")
    return label


@lru_cache(maxsize=4096)
def _label_of(text: str) -> tuple[str, str | None]:
    """The label, and why it can be none."""
    label = cleaned(text)
    return label, fault_of(label)


def _without_conflicts(table: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """The rows without texts that stand under several labels, and of the same text and label the first."""
    filled = table[(table["text"] != "") & (table["emotion"] != "")]
    labels = filled.groupby(filled["text"].map(same_text))["emotion"].transform("nunique")
    several = (labels > 1).reindex(table.index, fill_value=False)
    again = (
        filled.assign(text=filled["text"].map(same_text))
        .duplicated(["text", "emotion"])
        .reindex(table.index, fill_value=False)
        & ~several
    )
    if several.any():
        texts = table.loc[several, "text"].map(same_text).nunique()
        problems.dropped.append(f"{several.sum()} rows dropped: {texts} text(s) stood under several labels")
    if again.any():
        problems.dropped.append(f"{again.sum()} rows dropped: their text stood under the same label before")
    return table[~(several | again)].reset_index(drop=True)


def same_text(text: str) -> str:
    """What two texts have in common that look alike: one Unicode form, nothing invisible at the ends."""
    return unicodedata.normalize("NFC", cleaned(text))


def check_rows(table: pd.DataFrame, problems: Problems, labels: Sequence[str] | None) -> None:
    """Notes empty texts and labels, texts and ids that stand twice, and labels, splits and styles that are none.

    Args:
        labels: the allowed ones; None allows any.
    """
    seen_ids: dict[str, int] = {}
    seen_texts: dict[str, tuple[int, str]] = {}
    allowed = {folded(label) for label in labels or ()}
    columns = (table[name].tolist() for name in ("_row", "text", "emotion", "id", "split", "style"))
    for number, text, label, name, split, style in zip(*columns, strict=True):
        same = same_text(text)
        first, under = seen_texts.setdefault(same, (number, label))
        if not text:
            problems.add(number, "empty text")
        elif first != number:
            other = "" if under == label else f" under another label ({shown(under, 40)})"
            problems.add(number, f"the same text as row {first}{other}", DROP)
        if not label:
            problems.add(number, "empty emotion")
        elif allowed and folded(label) not in allowed:
            problems.add(number, f"label {shown(label)} is not one of {', '.join(labels or ())}")
        if name and seen_ids.setdefault(name, number) != number:
            problems.add(number, f"duplicate id {shown(name)}, first in row {seen_ids[name]}")
        if split and split not in SPLITS:
            problems.add(number, f"split {shown(split)} is not one of {', '.join(SPLITS)}")
        if style and style not in STYLES:
            problems.add(number, f"style {shown(style)} is not one of {', '.join(STYLES)}")


def _fill(table: pd.DataFrame, seed: int) -> None:
    """Optional fields: ids from text hashes, scenarios and splits, topic `general`.

    Where the file names no scenario at all, texts form blocks; where it names some, the other texts are their own.
    """
    emotions = table["emotion"].tolist()
    pairs = list(zip(emotions, table["text"].tolist(), strict=True))
    short = [hashlib.sha256(f"{emotion}\x00{text}".encode()).hexdigest()[:10] for emotion, text in pairs]
    given = table["id"].tolist()
    table["id"] = [i or f"{e}-{h}" for i, e, h in zip(given, emotions, short, strict=True)]
    for name, default in (("topic", "general"), ("lang", "en"), ("style", "unspecified")):
        table[name] = [value or default for value in table[name].tolist()]
    rng = np.random.default_rng(seed)
    if not (table["scenario"] != "").any():
        _fill_blocks(table, seed, rng)
        return
    table["scenario"] = [s or i or f"s-{h}" for s, i, h in zip(table["scenario"].tolist(), given, short, strict=True)]
    known = table[table["split"] != ""].drop_duplicates("scenario").set_index("scenario")["split"].to_dict()
    known |= _draw_splits(sorted(set(table["scenario"]) - set(known)), rng)
    table["split"] = [
        given or known[s] for given, s in zip(table["split"].tolist(), table["scenario"].tolist(), strict=True)
    ]


def _draw_splits(names: Sequence, rng: np.random.Generator) -> dict:
    """A split for every name, by the shares of `SPLITS`."""
    bounds = np.cumsum([round(share * len(names)) for share in SPLITS.values()])
    splits, drawn = list(SPLITS), {}
    for rank, k in enumerate(rng.permutation(len(names))):
        drawn[names[k]] = splits[min(int(np.searchsorted(bounds, rank, side="right")), 2)]
    return drawn


def _fill_blocks(table: pd.DataFrame, seed: int, rng: np.random.Generator) -> None:
    """Scenarios named `unpaired-<split>-<number>`: the i-th texts of all labels, and splits where there are none.

    The order within a label follows from the seed and the texts alone, so that neither the order of the rows nor
    another label changes it. Labels with more texts than the rarest one make blocks with fewer labels: every text
    stays. Blocks keep to one split and one style, as scenarios do.
    """
    pairs = zip(table["emotion"].tolist(), table["text"].tolist(), strict=True)
    order = [hashlib.sha256(f"{seed}\x00{emotion}\x00{text}".encode()).hexdigest() for emotion, text in pairs]
    place = table.assign(order=order).sort_values("order").groupby(["split", "style", "emotion"]).cumcount()
    block = table.groupby(["split", "style", place.reindex(table.index)]).ngroup()
    complete = table["emotion"].groupby(block).transform("nunique") == table["emotion"].nunique()
    drawn: dict = {}
    # apart: a label with many texts would else leave it to chance how many complete blocks a split gets
    for stratum in (complete, ~complete):
        drawn |= _draw_splits(sorted(set(block[stratum & (table["split"] == "")])), rng)
    table["split"] = [given or drawn[b] for given, b in zip(table["split"].tolist(), block, strict=True)]
    number = block.groupby(table["split"]).rank(method="dense").astype(int)
    table["scenario"] = [f"unpaired-{split}-{n:04d}" for split, n in zip(table["split"].tolist(), number, strict=True)]


def _check_scenarios(table: pd.DataFrame, problems: Problems) -> None:
    several = table.groupby("scenario", sort=True)["split"].transform("nunique") > 1
    for scenario, part in table[several].groupby("scenario", sort=True):
        problems.add(f"scenario {scenario}", f"lies in several splits ({', '.join(sorted(set(part['split'])))})")
    if "minimal_pair" in table:
        mixed = table.groupby("scenario", sort=True)["minimal_pair"].nunique()
        for scenario in mixed.index[mixed > 1]:
            problems.add(f"scenario {scenario}", "is a minimal pair in some of its texts alone; say the same in all")
    duplicated = table.loc[table["id"].duplicated(), "id"]
    for name in duplicated:
        problems.add(f"id {name}", "appears twice")
