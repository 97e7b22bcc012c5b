"""The emotion data set: load, validate, select, and convert a user's own file.

One row per text with the fields `id, scenario, topic, emotion, text, lang, style, split`. A scenario has one text
per label and lies in one split as a whole. Where a file names no scenario, unrelated texts are put into blocks that
stand in for scenarios (`paired`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emolib.base import paths
from emolib.base.errors import UserError
from emolib.base.store import write_atomically

FIELDS = ("id", "scenario", "topic", "emotion", "text", "lang", "style", "split")
REQUIRED = ("text", "emotion")
SPLITS = {"train": 0.6, "validation": 0.2, "test": 0.2}
STYLES = ("explicit", "implicit", "unspecified")
BLOCK = re.compile(rf"unpaired-({'|'.join(SPLITS)})-\d{{4,}}")  # how `_fill_blocks` names a block
SHOWN = 20


@dataclass
class Problems:
    """Collects what is wrong with a file, row by row, so that one message can name every bad row."""

    source: str
    found: list[tuple[int | str, str]] = field(default_factory=list)

    def add(self, where: int | str, what: str) -> None:
        """`where` is a row's number (the line it starts on; the position in a .json list), or a name."""
        self.found.append((where, what))

    def raise_if_any(self) -> None:
        if not self.found:
            return
        shown = [f"{'row ' if isinstance(where, int) else ''}{where}: {what}" for where, what in self.found[:SHOWN]]
        if len(self.found) > SHOWN:
            rest = list(dict.fromkeys(where for where, _ in self.found[SHOWN:]))
            shown.append(f"and {len(self.found) - SHOWN} more, in rows {_ranges(rest)}")
        raise UserError(f"{self.source}: {len(self.found)} problem(s), nothing was written; {'; '.join(shown)}")


def _ranges(places: Sequence[int | str]) -> str:
    """`[3, 4, 5, 9]` as `3-5, 9`; names follow the numbers as they are."""
    runs: list[list[int]] = []
    for number in sorted(place for place in places if isinstance(place, int)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    numbers = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join([*numbers, *(place for place in places if isinstance(place, str))])


def load_dataset(path: str | Path | None = None, *, neutral: str = "neutral") -> pd.DataFrame:
    """Reads and validates a data set.

    Args:
        path: a JSONL or CSV file; None takes the project's own. A relative path is looked up from the working
            directory, then from the repository.
        neutral: the label the others are compared with.

    Returns:
        A table with the columns of `FIELDS`, one row per text.

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
    file = _locate(path)
    problems = Problems(file.name)
    return _complete(_read(file, problems), problems, neutral=neutral, labels=None)


def _locate(path: str | Path | None) -> Path:
    if path is None:
        return paths.data_file()
    for candidate in (Path(path), paths.repository_root() / path):
        if candidate.is_file():
            return candidate
    raise UserError(f"expected a data set at {str(path)!r}, found no such file; give a .jsonl or .csv file")


def _read(path: Path, problems: Problems) -> pd.DataFrame:
    """The rows of a CSV, JSONL or JSON file as they stand there, with the row's number in `_row`."""
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".json": _json_rows}
    if path.suffix.lower() not in readers:
        raise UserError(f"expected a .csv, .jsonl or .json file, got {path.name!r}")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = [n for n, line in enumerate(content.split(b"\n"), start=1) if not _is_utf8(line)]
        raise UserError(f"{path.name}: not valid UTF-8 in line {_ranges(lines)}; save the file as UTF-8") from error
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
    problems.add(number, f"expected an object with text and emotion, got {value!r:.40}")
    return []


def _complete(
    rows: pd.DataFrame, problems: Problems, *, neutral: str, labels: Sequence[str] | None, seed: int = 0
) -> pd.DataFrame:
    """Checks every row and fills the optional fields."""
    source = problems.source
    for name in REQUIRED:
        if name not in rows:
            problems.raise_if_any()
            have = ", ".join(str(column) for column in rows if column != "_row")
            raise UserError(f"{source}: expected a column {name!r}, found {have}; rename the column")
    table = rows[["_row"]].copy()
    for name in FIELDS:
        column = rows[name] if name in rows else [None] * len(rows)
        table[name] = [_clean(v, name, n, problems) for v, n in zip(column, rows["_row"], strict=True)]
    _check_rows(table, problems, labels)
    problems.raise_if_any()
    if neutral not in set(table["emotion"]):
        found = ", ".join(sorted(set(table["emotion"])))
        raise UserError(f"{source}: no rows with the neutral label {neutral!r}, found {found}; give --neutral")
    if table["emotion"].nunique() < 2:
        raise UserError(f"{source}: expected at least one label beside {neutral!r}, found none")
    _fill(table, seed)
    _check_scenarios(table, problems)
    problems.raise_if_any()
    return table[list(FIELDS)].reset_index(drop=True)


def _clean(value: Any, name: str, row: int, problems: Problems) -> str:
    """A field as text; empty where there is none, or where it is something that cannot be text."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, list | dict) or (name == "text" and not isinstance(value, str)):
        problems.add(row, f"expected text in the field {name!r}, got {value!r:.40}")
        return ""
    text = str(value).strip()
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        problems.add(row, f"the field {name!r} holds half of a surrogate pair, which is no character")
        return ""
    return text


def _check_rows(table: pd.DataFrame, problems: Problems, labels: Sequence[str] | None) -> None:
    seen_ids: dict[str, int] = {}
    seen_texts: dict[str, int] = {}
    for row in table.to_dict("records"):
        number = int(row["_row"])
        if not row["text"]:
            problems.add(number, "empty text")
        elif row["text"] in seen_texts:
            problems.add(number, f"the same text as row {seen_texts[row['text']]}")
        seen_texts.setdefault(row["text"], number)
        if not row["emotion"]:
            problems.add(number, "empty emotion")
        elif labels and row["emotion"] not in labels:
            problems.add(number, f"label {row['emotion']!r} is not one of {', '.join(labels)}")
        if row["id"] and row["id"] in seen_ids:
            problems.add(number, f"duplicate id {row['id']!r}, first in row {seen_ids[row['id']]}")
        seen_ids.setdefault(row["id"], number)
        if row["split"] and row["split"] not in SPLITS:
            problems.add(number, f"split {row['split']!r} is not one of {', '.join(SPLITS)}")
        if row["style"] and row["style"] not in STYLES:
            problems.add(number, f"style {row['style']!r} is not one of {', '.join(STYLES)}")


def _fill(table: pd.DataFrame, seed: int) -> None:
    """Optional fields: ids from text hashes, scenarios and splits, topic `general`.

    Where the file names no scenario at all, texts form blocks; where it names some, the other texts are their own.
    """
    pairs = list(zip(table["emotion"], table["text"], strict=True))
    short = [hashlib.sha256(f"{emotion}\x00{text}".encode()).hexdigest()[:10] for emotion, text in pairs]
    given = table["id"].tolist()
    table["id"] = [i or f"{e}-{h}" for i, e, h in zip(given, table["emotion"], short, strict=True)]
    for name, default in (("topic", "general"), ("lang", "en"), ("style", "unspecified")):
        table[name] = [value or default for value in table[name]]
    rng = np.random.default_rng(seed)
    if not (table["scenario"] != "").any():
        _fill_blocks(table, seed, rng)
        return
    table["scenario"] = [s or i or f"s-{h}" for s, i, h in zip(table["scenario"], given, short, strict=True)]
    known = table[table["split"] != ""].drop_duplicates("scenario").set_index("scenario")["split"].to_dict()
    known |= _draw_splits(sorted(set(table["scenario"]) - set(known)), rng)
    table["split"] = [given or known[s] for given, s in zip(table["split"], table["scenario"], strict=True)]


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
    pairs = zip(table["emotion"], table["text"], strict=True)
    order = [hashlib.sha256(f"{seed}\x00{emotion}\x00{text}".encode()).hexdigest() for emotion, text in pairs]
    place = table.assign(order=order).sort_values("order").groupby(["split", "style", "emotion"]).cumcount()
    block = table.groupby(["split", "style", place.reindex(table.index)]).ngroup()
    complete = table["emotion"].groupby(block).transform("nunique") == table["emotion"].nunique()
    drawn: dict = {}
    # apart: a label with many texts would else leave it to chance how many complete blocks a split gets
    for stratum in (complete, ~complete):
        drawn |= _draw_splits(sorted(set(block[stratum & (table["split"] == "")])), rng)
    table["split"] = [given or drawn[b] for given, b in zip(table["split"], block, strict=True)]
    number = block.groupby(table["split"]).rank(method="dense").astype(int)
    table["scenario"] = [f"unpaired-{split}-{n:04d}" for split, n in zip(table["split"], number, strict=True)]


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


def _check_scenarios(table: pd.DataFrame, problems: Problems) -> None:
    for scenario, part in table.groupby("scenario", sort=True):
        if part["split"].nunique() > 1:
            problems.add(f"scenario {scenario}", f"lies in several splits ({', '.join(sorted(set(part['split'])))})")
    duplicated = table.loc[table["id"].duplicated(), "id"]
    for name in duplicated:
        problems.add(f"id {name}", "appears twice")


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
            f"expected {count} scenarios with all {labels} labels in split {split!r}, the data set has "
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


def build_dataset(
    source: str | Path,
    output: str | Path,
    *,
    labels: Sequence[str] | None = None,
    neutral: str = "neutral",
    seed: int = 0,
) -> pd.DataFrame:
    """Converts a CSV, JSONL or JSON file with `text` and `emotion` to the project's layout.

    Any set of labels will do. A file that names no scenario is put into blocks of one text per label (`paired`).

    Args:
        source: the user's file.
        output: the .jsonl file to write.
        labels: the allowed labels; None takes whatever the file has.
        neutral: the label the others are compared with.
        seed: of the blocks and of the splits, where the file gives none.

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
    file = Path(source)
    if not file.is_file():
        raise UserError(f"expected a .csv, .jsonl or .json file at {str(source)!r}, found no such file")
    if Path(output).suffix.lower() != ".jsonl":
        raise UserError(f"expected an output file that ends in .jsonl, got {Path(output).name!r}; rename it")
    if labels and neutral not in labels:
        raise UserError(f"--labels must hold the neutral label {neutral!r}, got {', '.join(labels)}")
    problems = Problems(file.name)
    table = _complete(_read(file, problems), problems, neutral=neutral, labels=labels, seed=seed)
    write_atomically(Path(output), jsonl_bytes(table))
    return table


def jsonl_bytes(table: pd.DataFrame) -> bytes:
    lines = [json.dumps(row, ensure_ascii=False) for row in table[list(FIELDS)].to_dict("records")]
    return ("\n".join(lines) + "\n").encode()


def prompt_files(table: pd.DataFrame) -> dict[str, bytes]:
    """`<label>_prompts.json` for every label: the texts of that label with scenario and split."""
    files = {}
    for label, part in table.groupby("emotion", sort=False):
        prompts = part[["id", "scenario", "split", "text"]].to_dict("records")
        body = json.dumps({"label": label, "prompts": prompts}, indent=1, ensure_ascii=False)
        files[f"{label}_prompts.json"] = (body + "\n").encode()
    return files
