"""Phase 2 worked out again: tokens and residuals of drawn texts through plain transformers, one text at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from emolib.pipeline.verification.check_rows import Measured, Rows
from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.run_files import Artifact

POSITIONS = ("last", "mean", "trigger")
TOLERANCES = {True: 1e-3, False: 0.05}  # relative to the text's norm, by whether the model is one of float32
NO_TRIGGER = -1


def check_tokens(material: Material, rows: Rows) -> None:
    """Every text's tokens are those of the plain tokenizer."""
    rows.check = "recomputed tokens"
    for artifact in material.run.of_kind("activations texts"):
        texts = material.texts
        found = Measured(of=len(texts), tolerance=0)
        for text, tokens, count in zip(texts["text"], texts["tokens"], texts["n_tokens"], strict=True):
            same = material.model.prompt_ids(text) == list(tokens) and len(tokens) == count
            found.add(0.0 if same else np.inf, f"the tokens of “{text[:30]}”")
        rows.measured(artifact.path, found)
    for artifact in material.run.of_kind("dataset lengths"):
        rows.measured(artifact.path, _lengths(material, artifact))


def _lengths(material: Material, artifact: Artifact) -> Measured:
    """The mean number of tokens per label in Phase 1."""
    held = material.run.table(artifact)
    part = held[held["unit"] != "characters"]
    found = Measured(of=len(part), tolerance=1e-9)
    counts = material.data.assign(n=[len(material.model.text_ids(text)) for text in material.data["text"]])
    for row in part.to_dict("records"):
        own = counts.loc[counts["emotion"] == row["emotion"], "n"]
        found.add(abs(own.mean() - row["mean"]), f"tokens of {row['emotion']}")
    return found


def check_activations(material: Material, rows: Rows) -> None:
    """`resid_pre` of drawn texts of every label at every stored layer and position, and their tokens' norms."""
    rows.check = "recomputed activations"
    places = {position: material.stored("resid_pre", position) for position in POSITIONS}
    texts = material.texts
    if texts.empty or not any(places.values()):
        rows.skipped(material.run.paths.activations(), "no activations are stored")
        return
    layers = sorted(set().union(*places.values()))
    tolerance = TOLERANCES[material.is_float32]
    measured = {
        artifact.path: Measured(of=len(texts), tolerance=tolerance)
        for found in places.values()
        for artifact in found.values()
    }
    for number in _drawn_texts(material, texts):
        row = texts.iloc[number]
        stream = material.model.residuals([int(token) for token in row["tokens"]], layers)
        for layer, values in zip(layers, stream, strict=True):
            for position, found in places.items():
                if layer in found:
                    _compare(material, found[layer], position, number, values, row, measured)
    for path, one in measured.items():
        if one.compared:
            rows.measured(path, one)
        else:
            rows.skipped(path, "none of the drawn texts has a trigger")
    others = sorted({str(a.said["site"]) for a in material.run.of_kind("activations")} - {"resid_pre"})
    if others:
        rows.skipped(material.run.paths.activations(), f"{', '.join(others)}: only resid_pre is worked out again")


def _drawn_texts(material: Material, texts: pd.DataFrame) -> list[int]:
    """Texts of every split and label."""
    found: list[int] = []
    for key, part in texts.groupby(["split", "emotion"], sort=True):
        drawn = material.drawn(f"activations {' '.join(map(str, key))}", len(part))
        found += texts.index.get_indexer(part.index[drawn]).tolist()
    return sorted(found)


def _compare(
    material: Material,
    artifact: Artifact,
    position: str,
    number: int,
    values: np.ndarray,
    row: pd.Series,
    measured: Mapping[Path, Measured],
) -> None:
    """One text at one layer and position against what is stored of it."""
    held = material.tensors(artifact)
    start, stop = held["offsets"][number : number + 2]
    wanted = _reduced(values, position, int(row.get("trigger", NO_TRIGGER)))
    if (wanted is None) != (start == stop):
        measured[artifact.path].add(np.inf, f"text {row['id']} has a trigger here or there alone")
    elif wanted is not None:
        off = _relative(held["values"][start], wanted)
        if "token_norms" in held:
            first = int(material.texts["n_tokens"].iloc[:number].sum())
            norms = np.linalg.norm(values, axis=1)
            off = max(off, float(np.abs(held["token_norms"][first : first + len(norms)] / norms - 1).max()))
        measured[artifact.path].add(off, f"text {row['id']}")


def _reduced(values: np.ndarray, position: str, trigger: int) -> np.ndarray | None:
    """A text's row of `[pos, d_model]`: the last token, the mean without the first, or the trigger."""
    if position == "last":
        return np.asarray(values[-1])
    if position == "mean":
        return np.asarray(values[1:].mean(axis=0) if len(values) > 1 else values[0])
    return None if trigger == NO_TRIGGER else np.asarray(values[trigger])


def _relative(held: np.ndarray, wanted: np.ndarray) -> float:
    """‖held − wanted‖ / ‖wanted‖."""
    return float(np.linalg.norm(held.astype(np.float64) - wanted)) / max(float(np.linalg.norm(wanted)), 1e-12)
