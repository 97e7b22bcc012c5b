"""The files of trained scorers: how they are written, all or none, and how logits are calibrated before they are."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from emolib.base.own_folders import own_folder
from emolib.base.writing import make_folder, put, writing


def calibrated(logits: Sequence[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """`[label, n + 1]`: per label a logistic regression of the truth on the logits (Platt 1999)."""
    rows = []
    for i, y in enumerate(truth.T):
        model = LogisticRegression(C=1e3, max_iter=1000).fit(np.stack([z[:, i] for z in logits], axis=1), y)
        rows.append([*model.coef_[0], model.intercept_[0]])
    return np.array(rows, np.float32)


def expit32(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def check_writable(output: Path) -> None:
    """`UserError` now rather than after minutes of training."""
    make_folder(output)
    with writing(output):
        tempfile.TemporaryFile(dir=output).close()


def rounded(curve: pd.DataFrame) -> dict[str, list[float]]:
    return {name: [round(float(v), 4) for v in column] for name, column in curve.items()}


def json_bytes(value: Any) -> bytes:
    def plain(v: Any) -> Any:
        if isinstance(v, dict):
            return {k: plain(x) for k, x in v.items()}
        if isinstance(v, list):
            return [plain(x) for x in v]
        return round(v, 5) if isinstance(v, float) else v

    return (json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n").encode()


def write_files(output: Path, files: dict[str, bytes]) -> None:
    """Writes beside the files first, then moves them into place; what was there comes back if a move fails."""
    with own_folder(output, ".emolib-training-") as waiting:
        for name, content in files.items():
            with writing(output / name):
                (waiting / name).write_bytes(content)
        with writing(output):
            before = {name: (output / name).read_bytes() for name in files if (output / name).exists()}
        try:
            for name in files:
                put(waiting / name, output / name)
        except BaseException:
            for name in files:
                if name in before:
                    (output / name).write_bytes(before[name])
                else:
                    (output / name).unlink(missing_ok=True)
            raise
