"""Reads the data that scorers are trained on: GoEmotions' official TSV files and TyDiP's CSV."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from emolib.base import files
from emolib.base.errors import UserError, shown
from emolib.base.given_paths import located
from emolib.scoring.goemotions import LABELS

CORPUS = "dev.tsv"  # the split of GoEmotions that Phase 3 reads


def corpus_folder(corpus: str) -> Path | None:
    """The folder with GoEmotions' dev split, where it is at hand; a relative name starts at the repository's root."""
    folder = located(corpus)
    return folder if (folder / CORPUS).is_file() else None


def read_goemotions(folder: Path, split: str) -> tuple[list[str], np.ndarray]:
    """Texts and labels `[text, 28]` (uint8) of `<folder>/<split>.tsv`.

    Raises:
        UserError: a file is missing, `labels.txt` names other labels, or a line does not hold text, label ids and id.
    """
    names = _read(folder / "labels.txt", f"GoEmotions' labels at {folder / 'labels.txt'}").split()
    if tuple(names) != LABELS:
        raise UserError(f"expected the 28 labels of GoEmotions in labels.txt, got {len(names)}: {' '.join(names):.60}")
    texts, rows = [], []
    known = {str(i): i for i in range(len(LABELS))}
    content = _read(folder / f"{split}.tsv", f"GoEmotions' {split} part at {folder / f'{split}.tsv'}")
    lines = content.removesuffix("\n").split("\n")  # comments hold other line separators
    for number, line in enumerate(lines, 1):
        fields = line.removesuffix("\r").split("\t")
        ids = fields[1].split(",") if len(fields) == 3 else []
        if not ids or not all(i in known for i in ids):
            raise UserError(
                f"{split}.tsv, line {number}: expected text, label ids from 0 to {len(LABELS) - 1} and a comment id, "
                f"separated by tabs; got {shown(line)}"
            )
        texts.append(fields[0])
        rows.append([known[i] for i in ids])
    truth = np.zeros((len(texts), len(LABELS)), np.uint8)
    for row, ids in enumerate(rows):
        truth[row, ids] = 1
    return texts, truth


def read_tydip(path: Path) -> tuple[list[str], np.ndarray]:
    """Requests and their politeness `[text]` of a CSV with columns sentence and score.

    Raises:
        UserError: the file is missing, has other columns, or a score is no number.
    """
    content = _read(path, f"TyDiP's English training part at {path}")
    try:
        table = pd.read_csv(io.StringIO(content), dtype={"sentence": str})
    except ValueError as error:
        reason = " ".join(str(error).split())  # some of pandas' messages end in a new line
        raise UserError(f"expected a CSV with columns sentence and score in {path.name}: {reason}") from error
    if not {"sentence", "score"} <= set(table.columns):
        raise UserError(f"expected columns sentence and score in {path.name}, got {', '.join(map(str, table.columns))}")
    score = pd.to_numeric(table["score"], errors="coerce")
    bad = np.flatnonzero(~np.isfinite(score) | table["sentence"].isna())
    if len(bad):
        raise UserError(f"{path.name}, row {bad[0] + 2}: expected a sentence and a number")
    return table["sentence"].tolist(), score.to_numpy(float)


def _read(path: Path, what: str) -> str:
    """The text as it is: no other sign is made a line's end."""
    return files.read_text(path, name=what, advice="name the file as it was published")
