"""A mock of a sealed file, to rehearse with: validation scenarios with their companions, and others for the prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from emolib.base.errors import UserError, shown
from emolib.base.files import file_to_write
from emolib.base.store import write_atomically
from emolib.data.companions import joined, load_companions
from emolib.data.dataset import jsonl_bytes, load_dataset

SPLIT = "validation"


def mock_sealed(*, permuted: int | None = None) -> pd.DataFrame:
    """Rows in the layout of a sealed file, of the project's own texts; nothing can be confirmed with them.

    Args:
        permuted: a seed; the labels of every scenario's texts are exchanged at random. What is then claimed is claimed
            wrongly.

    Returns:
        The data set's fields: all nine labels of the validation scenarios that have companions, and the neutral texts
        of the others.

    >>> rows = mock_sealed()
    >>> rows.groupby("scenario").size().value_counts().to_dict()
    {9: 30, 1: 15}
    """
    data = load_dataset()
    data = data[data["split"] == SPLIT]
    companions = load_companions()
    held = set(companions.loc[companions["set"] == "five", "scenario"])
    texts = joined(data[data["scenario"].isin(held)], companions[companions["split"] == SPLIT], "five")
    if permuted is not None:
        rng = np.random.default_rng(permuted)
        exchanged = [rng.permutation(part["emotion"].to_numpy()) for _, part in texts.groupby("scenario", sort=False)]
        texts = texts.assign(emotion=np.concatenate(exchanged))
    prompts = data[~data["scenario"].isin(held) & (data["emotion"] == "neutral")]
    return pd.concat([texts, prompts[list(texts)]], ignore_index=True)


def write_mock(output: str | Path, *, permuted: int | None = None) -> pd.DataFrame:
    """Writes `mock_sealed` as a JSONL file.

    Raises:
        UserError: another kind of file, or one that cannot be written.
    """
    target = Path(output)
    if target.suffix.lower() != ".jsonl":
        raise UserError(f"expected an output file that ends in .jsonl, got {shown(target.name)}; rename it")
    rows = mock_sealed(permuted=permuted)
    write_atomically(file_to_write(target), jsonl_bytes(rows))
    return rows
