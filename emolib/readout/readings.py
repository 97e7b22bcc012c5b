"""How readers who did not see a text's label named it, and which word sequences give a label away.

A file of readings has one row per text that was read: the label that the reader chose, a phrase that gave it away (the
cue), and a remark where something was unclear. A text that was rewritten since has no reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from emolib.base.errors import UserError, shown
from emolib.data.problems import Problems
from emolib.data.styles import of_style
from emolib.readout.surface import words

FIELDS = ("id", "reader", "label", "remark")
OPTIONAL = ("cue", "second")


def load_readings(path: str | Path, *, data: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Reads and checks a file of readings.

    Args:
        path: a file of fields separated by tabs, with the columns of `FIELDS`, and `cue` or `second` where readers
            named one.
        data: the texts that were read, with `id`, `scenario`, `emotion`, `style`.
        labels: what the readers could choose from.

    Returns:
        One row per reading: `id`, `reader`, `label`, `cue`, `second`, `remark` (empty where nothing stands), and
        `scenario`, `emotion`, `style` of the text, with `idiomatic` where the data set states it.

    Raises:
        UserError: names every bad row: a text that the data set lacks, a label that was no choice, a missing reader, a
            text that was read twice, or a missing column.
    """
    problems = Problems(Path(path).name)
    table = _rows(Path(path))
    for name in FIELDS:
        if name not in table:
            problems.add("header", f"expected a column {name}, found none; add it")
    problems.raise_if_any()
    for name in (*FIELDS, *OPTIONAL):
        table[name] = table[name].str.strip() if name in table else ""
    _check(table, set(data["id"]), labels, problems)
    problems.raise_if_any()
    texts = data[["id", "scenario", "emotion", "style", *(name for name in ("idiomatic",) if name in data)]]
    columns = ["id", "reader", "label", *OPTIONAL, "remark"]
    return table[columns].merge(texts, on="id", how="left", validate="one_to_one")


def _rows(path: Path) -> pd.DataFrame:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"expected a readable UTF-8 file of readings at {shown(str(path))}; give another") from error
    header, *rows = [line.split("\t") for line in lines] or [[]]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(f"{path.name}: row {number}: expected {len(header)} fields, found {len(row)}; mend the row")
    table = pd.DataFrame(rows, columns=header, dtype=object)
    return table.assign(_row=range(2, len(table) + 2))


def _check(table: pd.DataFrame, known: set[str], labels: Sequence[str], problems: Problems) -> None:
    seen: set[str] = set()
    for row in table.to_dict("records"):
        if row["id"] not in known:
            problems.add(row["_row"], f"the data set has no text {shown(row['id'], 40)}")
        if row["id"] in seen:
            problems.add(row["_row"], f"text {shown(row['id'], 40)} was read before")
        if row["label"] not in labels:
            problems.add(row["_row"], f"label {shown(row['label'], 40)} is not one of {', '.join(labels)}")
        if not row["reader"]:
            problems.add(row["_row"], "expected a reader, found none")
        seen.add(row["id"])


def agreement_table(readings: pd.DataFrame, data: pd.DataFrame) -> pd.DataFrame:
    """Per label, how many of its texts were read, and the share read as intended.

    Returns:
        Index `emotion`; columns `n_texts`, `n_read`, `agreed` (a share of those read), its 95 % Wilson interval `low`,
        `high` (a label has one text per scenario, so its texts count as independent), and `remarks` (a number). A
        label without readings has NaN shares.
    """
    rows = {}
    for emotion in dict.fromkeys(data["emotion"]):
        part = readings[readings["emotion"] == emotion]
        hits = part["label"] == part["emotion"]
        low = high = float("nan")
        if len(part):
            found = binomtest(int(hits.sum()), len(part)).proportion_ci(method="wilson")
            low, high = float(found.low), float(found.high)
        rows[emotion] = {
            "n_texts": int((data["emotion"] == emotion).sum()),
            "n_read": len(part),
            "agreed": float(hits.mean()) if len(part) else float("nan"),
            "low": low,
            "high": high,
            "remarks": int((part["remark"] != "").sum()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("emotion")


def confusions(readings: pd.DataFrame) -> pd.DataFrame:
    """The pairs of an intended and another read label that occur, the most frequent first: `emotion`, `label`, `n`."""
    wrong = readings[readings["label"] != readings["emotion"]]
    counts = wrong.groupby(["emotion", "label"]).size().rename("n").reset_index()
    return counts.sort_values(["n", "emotion", "label"], ascending=[False, True, True], ignore_index=True)


def cue_shares(readings: pd.DataFrame) -> pd.DataFrame:
    """Per label, the share of its implicit texts in which the reader named a cue: `n_read`, `with_cue`, `share`.

    A phrase that the reader marked as weak, by a `~` before it, counts in `share_with_weak` alone.
    """
    implicit = readings[of_style(readings, "implicit")]
    strong = (implicit["cue"] != "") & ~implicit["cue"].str.startswith("~")
    cues = strong.groupby(implicit["emotion"], sort=False)
    found = {"n_read": cues.size(), "with_cue": cues.sum().astype(int), "share": cues.mean()}
    named = (implicit["cue"] != "").groupby(implicit["emotion"], sort=False)
    return pd.DataFrame({**found, "share_with_weak": named.mean()})


def shared_sequences(data: pd.DataFrame, *, length: int = 3, style: str = "implicit") -> pd.DataFrame:
    """Per label, the share of test texts with a word sequence that the training texts of one label alone have.

    Args:
        length: words in a sequence.
        style: the style of the test texts; the training texts are of all styles.

    Returns:
        Index `emotion`; columns `n` (test texts), `same` (a share: the sequence is its own label's alone), `other`
        (the mean share over the other labels).
    """
    train = data[data["split"] == "train"]
    held = {
        str(label): set().union(*(_sequences(text, length) for text in part["text"]))
        for label, part in train.groupby("emotion")
    }
    own = {
        label: found.difference(*(other for name, other in held.items() if name != label))
        for label, found in held.items()
    }
    test = data[(data["split"] == "test") & of_style(data, style)]
    rows = {}
    for label, part in test.groupby("emotion", sort=False):
        texts = [_sequences(text, length) for text in part["text"]]
        shares = {name: sum(bool(text & found) for text in texts) / len(texts) for name, found in own.items()}
        others = [share for name, share in shares.items() if name != label]
        rows[str(label)] = {
            "n": len(texts),
            "same": shares.get(str(label), 0.0),
            "other": sum(others) / len(others) if others else float("nan"),
        }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["n", "same", "other"]).rename_axis("emotion")


def _sequences(text: str, length: int) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[place : place + length]) for place in range(len(found) - length + 1)}


def label_phrases(train: pd.DataFrame, texts: pd.DataFrame, *, length: int = 3, fewest: int = 4) -> pd.Series:
    """Which texts hold a stock phrase of their own label, as a mask: one that its training texts alone have.

    `shared_sequences` counts texts with *any* sequence that training texts of their label alone have, which short texts
    of a small vocabulary share by chance. A stock phrase stands in several scenarios.

    Args:
        train: columns scenario, emotion, text.
        texts: columns emotion, text.
        length: words in a sequence.
        fewest: training scenarios of the label that hold it.

    >>> train = pd.DataFrame({"scenario": list("abcd") * 2, "emotion": ["joy"] * 4 + ["neutral"] * 4})
    >>> train["text"] = ["that made my day"] * 4 + ["that made my bed"] * 4
    >>> label_phrases(train, pd.DataFrame({"emotion": "joy", "text": ["it made my day", "it made my bed"]})).tolist()
    [True, False]
    """
    counts: dict[str, Counter[tuple[str, ...]]] = {}
    for (label, _), part in train.groupby(["emotion", "scenario"], sort=False):
        counts.setdefault(str(label), Counter()).update(
            set().union(*(_sequences(text, length) for text in part["text"]))
        )
    own = {
        label: {
            sequence
            for sequence, count in found.items()
            if count >= fewest and not any(sequence in other for name, other in counts.items() if name != label)
        }
        for label, found in counts.items()
    }
    held = [
        bool(_sequences(text, length) & own.get(str(label), set()))
        for label, text in zip(texts["emotion"], texts["text"], strict=True)
    ]
    return pd.Series(held, index=texts.index)
