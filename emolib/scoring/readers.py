"""How far scorers agree with readers who judged generated texts blind: `data/readings.jsonl`.

Each text was read by three readers who saw the text alone and said of every emotion whether its writer expresses it.
They are language models, as docs/scorers.md says with the procedure and its limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from emolib.base import arguments, paths
from emolib.base.errors import shown
from emolib.data.problems import Problems
from emolib.data.row_files import existing_file, read_lines
from emolib.scoring.decisions import decisions
from emolib.scoring.expressed import EMOTIONS

READERS = ("A", "B", "C")
KINDS = ("unpatched", "after_emotion", "steered", "isotropic", "prompted")
FIELDS = ("id", "kind", "emotion", "layer", "alpha", "sampled", "prompt", "text")
N_RESAMPLES = 2000
FEWEST = 10  # texts with the emotion by the readers' majority, below which κ says little


def load_generated_readings(path: str | Path | None = None) -> pd.DataFrame:
    """Reads and checks the readings of generated texts.

    Args:
        path: a file of that form; None takes the project's own.

    Returns:
        A row per text: `FIELDS` (kind: how the text came about; emotion: the one steered or asked for), and a truth
        value `<reader>/<emotion>` for every reader of `READERS` and emotion of `EMOTIONS`.

    Raises:
        UserError: names every bad row: a missing field, an unknown kind, a reading that is neither 0 nor 1, a text
            that stands twice.

    >>> found = load_generated_readings()
    >>> len(found), sorted(set(found["kind"])) == sorted(KINDS)
    (200, True)
    """
    file = existing_file(
        paths.data_file("readings.jsonl") if path is None else arguments.path("a file of readings", path)
    )
    problems = Problems(file.name)
    rows = read_lines(file, problems)
    problems.raise_if_any()
    wanted = (*FIELDS, *READERS)
    lacking = [name for name in wanted if name not in rows]
    if lacking:
        problems.add("fields", f"expected {', '.join(wanted)}, found no {', '.join(lacking)}")
    problems.raise_if_any()
    seen: set[str] = set()
    table = []
    for place, row in enumerate(rows.to_dict("records"), start=1):
        if row["kind"] not in KINDS:
            problems.add(place, f"kind {shown(row['kind'], 40)} is not one of {', '.join(KINDS)}")
        if not isinstance(row["text"], str) or not row["text"].strip() or row["text"] in seen:
            problems.add(place, "expected a text that stands nowhere else in the file")
        seen.add(str(row["text"]))
        table.append({name: row[name] for name in FIELDS} | _readings(row, place, problems))
    problems.raise_if_any()
    return pd.DataFrame(table)


def _readings(row: Mapping[str, object], place: int, problems: Problems) -> dict[str, bool]:
    found = {}
    for reader in READERS:
        given = row[reader] if isinstance(row[reader], dict) else {}
        for emotion in EMOTIONS:
            value = given.get(emotion)
            if value not in (0, 1):
                problems.add(place, f"expected 0 or 1 for {emotion} by reader {reader}, got {shown(value, 40)}")
            found[f"{reader}/{emotion}"] = value == 1
    return found


def majority(readings: pd.DataFrame, emotion: str) -> np.ndarray:
    """Whether most readers find the emotion, `[text]`."""
    votes = readings[[f"{reader}/{emotion}" for reader in READERS]].to_numpy(bool).sum(axis=1)
    return np.asarray(2 * votes > len(READERS))


def reader_agreement(readings: pd.DataFrame, scores: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Cohen's κ (1960) between readers, and of every scorer with the readers' majority.

    Args:
        readings: of `load_generated_readings`.
        scores: of the same texts in the same order, by `emolib.score_texts`.
        seed: of the resamples.

    Returns:
        One row per emotion and scorer (`readers` is the mean κ of the pairs of readers): n, n_present (by the
        majority), kappa, its 95 % percentile interval over texts `low`, `high`, and balanced_accuracy against the
        majority (NaN for the readers). κ is NaN where neither side varies.
    """
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(readings), size=(N_RESAMPLES, len(readings)))
    rows = []
    for emotion in EMOTIONS:
        truth = majority(readings, emotion)
        read = [readings[f"{reader}/{emotion}"].to_numpy(bool) for reader in READERS]
        pairs = list(combinations(read, 2))
        given = {"readers": pairs, **{name: [(says, truth)] for name, says in decisions(scores, emotion).items()}}
        for scorer, compared in given.items():
            low, high = np.nanquantile(_mean_kappas(compared, draws), [0.025, 0.975])
            says = None if scorer == "readers" else compared[0][0]
            rows.append(
                {
                    "emotion": emotion,
                    "scorer": scorer,
                    "n": len(truth),
                    "n_present": int(truth.sum()),
                    "kappa": float(np.mean([_kappa(a, b) for a, b in compared])),
                    "low": float(low),
                    "high": float(high),
                    "balanced_accuracy": float("nan") if says is None else _balanced(truth, says),
                }
            )
    return pd.DataFrame(rows)


def _kappa(a: np.ndarray, b: np.ndarray) -> float:
    varies = len(set(a)) > 1 or len(set(b)) > 1
    return float(cohen_kappa_score(a, b)) if varies else float("nan")


def _mean_kappas(compared: Sequence[tuple[np.ndarray, np.ndarray]], draws: np.ndarray) -> np.ndarray:
    """`[draw]`: the mean over the pairs of κ on the drawn texts, in closed form for two answers."""
    found = []
    for a, b in compared:
        first, second = a[draws].mean(axis=1), b[draws].mean(axis=1)
        same = (a == b)[draws].mean(axis=1)
        chance = first * second + (1 - first) * (1 - second)
        found.append(np.where(chance < 1, (same - chance) / np.where(chance < 1, 1 - chance, 1), np.nan))
    return np.asarray(np.mean(found, axis=0))


def _balanced(truth: np.ndarray, says: np.ndarray) -> float:
    sides = [(says == truth)[truth == side] for side in (False, True)]
    return float(np.mean([side.mean() for side in sides])) if all(len(side) for side in sides) else float("nan")
