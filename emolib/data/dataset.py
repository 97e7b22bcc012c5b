"""The emotion data set: load, select, and convert a user's own file.

One row per text with the fields `id, scenario, topic, emotion, text, lang, style, split`. A scenario has one text
per label and lies in one split as a whole. Where a file names no scenario, unrelated texts are put into blocks that
stand in for scenarios (`paired`). Two further fields are true or false and may be left out: `minimal_pair` (the
scenario's texts differ by stance alone) and `idiomatic` (the text holds a stock phrase of its emotion, though no word
of its list). What is checked and filled in stands in `completion`.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from emolib.base import arguments, paths
from emolib.base.errors import UserError, nearest, shown
from emolib.base.files import file_to_write
from emolib.base.labels import cleaned, folded
from emolib.base.notices import notice
from emolib.base.parameter_types import LARGEST_SEED
from emolib.base.signatures import told
from emolib.base.store import write_atomically
from emolib.data.completion import FIELDS, FLAGS, ON_CONFLICT, SPLITS, completed
from emolib.data.problems import Problems
from emolib.data.row_files import existing_file, read_rows
from emolib.data.spellings import Merge

BLOCK = re.compile(rf"unpaired-({'|'.join(SPLITS)})-\d{{4,}}")  # how `completion` names a block


class DatasetWarning(UserWarning):
    """What was changed in a file's rows: spellings read as one label, texts left out."""


@told
def load_dataset(path: str | Path | None = None, *, neutral: str = "neutral") -> pd.DataFrame:
    """Reads and validates a data set.

    Labels are one and the same without regard to case and Unicode form: the first spelling is kept (of the neutral
    label the one that is asked for), and a `DatasetWarning` tells what was merged.

    Args:
        path: a CSV, TSV, JSONL or JSON file; None takes the project's own. A relative path is looked up from the
            working directory, then from the repository.
        neutral: the label the others are compared with.

    Returns:
        A table with the columns of `FIELDS`, one row per text; and those of `FLAGS` that the file has, as bool.

    Raises:
        UserError: names every bad row (missing field, empty text, duplicate id or text, invalid UTF-8 or JSON, a
            scenario in two splits).

    Example:
        >>> import emolib
        >>> data = emolib.load_dataset()
        >>> data.groupby("emotion")["scenario"].nunique().to_dict()
        {'anger': 225, 'apology': 225, 'gratitude': 225, 'neutral': 225}
        >>> train = data[(data["split"] == "train") & (data["style"] == "explicit")]
    """
    table, problems = _read(path, neutral)
    _tell(problems.notes)
    return table


def read_dataset(path: str | Path | None = None, *, neutral: str = "neutral") -> tuple[pd.DataFrame, list[Merge]]:
    """`load_dataset` for a caller who tells by himself which spellings were merged."""
    table, problems = _read(path, neutral)
    return table, problems.merges


def _read(path: str | Path | None, neutral: str) -> tuple[pd.DataFrame, Problems]:
    file = _locate(None if path is None else arguments.path("a data set's file", path))
    problems = Problems(file.name)
    return completed(read_rows(file, problems), problems, neutral=_label(neutral), labels=None), problems


def _label(neutral: str) -> str:
    if not isinstance(neutral, str) or not cleaned(neutral):
        raise UserError(f"expected the name of the neutral label, got {shown(neutral)}; give one that the texts have")
    return cleaned(arguments.text("neutral", neutral))


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        notice(note, DatasetWarning)


def _locate(path: str | Path | None) -> Path:
    if path is None:
        return paths.data_file()
    try:
        return existing_file(path)
    except UserError:
        beside = paths.repository_root() / path
        if os.path.isfile(beside):
            return beside
        raise


def paired(data: pd.DataFrame) -> bool:
    """Whether the texts of a scenario belong together; False where any scenarios are blocks of unrelated texts.

    A file without scenarios is put into blocks of one text per label, named `unpaired-<split>-<number>`. A block is a
    cluster of independent texts, and which of them share one is arbitrary. Resampling whole blocks and permuting the
    labels within them stay valid. But a difference within a block also holds the difference of two subjects: it varies
    more than a pair's, and what the labels' texts are about is not held equal.

    Args:
        data: a data set, or any table with its column `scenario`.
    """
    return not any(BLOCK.fullmatch(str(name)) for name in data["scenario"].unique())


def select_scenarios(data: pd.DataFrame, split: str, count: int) -> pd.DataFrame:
    """The texts of `count` complete scenarios of a split, taken in turn from every topic and style.

    Raises:
        UserError: the split has fewer complete scenarios than asked for.
    """
    part = data[data["split"] == split]
    labels = data["emotion"].nunique()
    complete = part.groupby("scenario").filter(lambda rows: rows["emotion"].nunique() == labels)
    available = complete.drop_duplicates("scenario")
    if not 1 <= count <= len(available):
        raise UserError(
            f"expected {count} scenarios with all {labels} labels in split {shown(split)}, the data set has "
            f"{len(available)}; lower the number or add scenarios"
        )
    # styles take turns within a topic, and topics take turns in which style comes first
    styles = {style: i for i, style in enumerate(sorted(set(available["style"])))}
    topics = {topic: i for i, topic in enumerate(dict.fromkeys(available["topic"]))}
    within = available.groupby(["topic", "style"]).cumcount()
    first = (available["style"].map(styles) - available["topic"].map(topics)) % len(styles)
    ordered = available.assign(turn=within * len(styles) + first, place=available["topic"].map(topics))
    chosen = set(ordered.sort_values(["turn", "place"], kind="stable")["scenario"].head(count))
    return complete[complete["scenario"].isin(chosen)].reset_index(drop=True)


@told
def build_dataset(
    source: str | Path,
    output: str | Path,
    *,
    labels: Sequence[str] | None = None,
    neutral: str = "neutral",
    seed: int = 0,
    on_conflict: Literal["error", "drop"] = "error",
) -> pd.DataFrame:
    """Converts a CSV, TSV, JSONL or JSON file with `text` and `emotion` to the project's layout.

    Any set of labels will do. A file that names no scenario is put into blocks of one text per label (`paired`).
    Labels are compared as in `load_dataset`; a `DatasetWarning` tells what was merged or left out.

    Args:
        source: the user's file.
        output: the .jsonl file to write.
        labels: the allowed labels; None takes whatever the file has.
        neutral: the label the others are compared with.
        seed: of the blocks and of the splits, where the file gives none.
        on_conflict: `error` refuses a text that stands under several labels, or twice under one; `drop` leaves out all
            rows of a text with several labels, and of equal rows all but the first.

    Returns:
        The table that was written, one row per text, in the file's order.

    Raises:
        UserError: names every bad row by its number; nothing is written then.

    Example:
        >>> import json, pathlib, tempfile
        >>> import emolib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> words = {"joy": "What a lovely day", "neutral": "It is a day"}
        >>> rows = [{"text": f"{text}, {i}.", "emotion": name} for i in range(10) for name, text in words.items()]
        >>> _ = (folder / "mine.json").write_text(json.dumps(rows))
        >>> data = emolib.build_dataset(folder / "mine.json", folder / "mine.jsonl")
        >>> data["emotion"].value_counts().to_dict(), data["scenario"].nunique()
        ({'joy': 10, 'neutral': 10}, 10)
        >>> emolib.load_dataset(folder / "mine.jsonl").equals(data)
        True
    """
    table, notes = convert(source, output, labels=labels, neutral=neutral, seed=seed, on_conflict=on_conflict)
    _tell(notes)
    return table


def convert(
    source: str | Path,
    output: str | Path,
    *,
    labels: Sequence[str] | None,
    neutral: str,
    seed: int,
    on_conflict: str,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """`build_dataset` for a caller who tells the notes by himself."""
    source, output = arguments.path("source", source), arguments.path("output", output)
    labels = None if labels is None else arguments.texts(labels, "labels")
    neutral, seed = _label(neutral), arguments.whole_number("seed", seed, least=0, most=LARGEST_SEED)
    file = existing_file(source)
    if output.suffix.lower() != ".jsonl":
        raise UserError(f"expected an output file that ends in .jsonl, got {shown(output.name)}; rename it")
    if labels is not None and not any(cleaned(label) for label in labels):
        raise UserError(f"expected a list of allowed labels, got {shown(labels)}; name the labels or leave it out")
    if labels and folded(neutral) not in {folded(label) for label in labels}:
        raise UserError(f"labels must hold the neutral label {shown(neutral)}, got {', '.join(labels)}; add it")
    if on_conflict not in ON_CONFLICT:
        raise UserError(f"unknown --on-conflict {shown(on_conflict)}: {nearest(on_conflict, ON_CONFLICT)}")
    target = file_to_write(output, apart_from=file)
    problems = Problems(file.name)
    rows = read_rows(file, problems)
    table = completed(rows, problems, neutral=neutral, labels=labels, seed=seed, on_conflict=on_conflict)
    write_atomically(target, jsonl_bytes(table))
    return table, problems.notes


def labels_of(text: str) -> list[str]:
    """The labels of a comma-separated line; one that holds a comma stands in double quotes.

    >>> labels_of('joy, "calm, quiet",neutral')
    ['joy', 'calm, quiet', 'neutral']
    """
    try:
        (names,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise UserError(f"expected labels separated by commas, got {shown(text)}; correct the quotes") from error
    return [cleaned(name) for name in names if cleaned(name)]


def jsonl_bytes(table: pd.DataFrame) -> bytes:
    encode = json.JSONEncoder(ensure_ascii=False).encode
    names = [*FIELDS, *(name for name in FLAGS if name in table)]
    columns = (table[name].tolist() for name in names)
    lines = [encode(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
    return ("\n".join(lines) + "\n").encode()


def prompt_files(table: pd.DataFrame) -> dict[str, bytes]:
    """`<label>_prompts.json` for every label (see `paths.name_part`): its texts with scenario and split."""
    files = {}
    for label, part in table.groupby("emotion", sort=False):
        prompts = part[["id", "scenario", "split", "text"]].to_dict("records")
        body = json.dumps({"label": label, "prompts": prompts}, indent=1, ensure_ascii=False)
        files[f"{paths.name_part(str(label))}_prompts.json"] = (body + "\n").encode()
    return files
