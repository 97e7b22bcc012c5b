"""Phase 3 worked out again: vectors as differences of means in plain numpy, and the tables that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.pipeline.verification.check_rows import Measured, Rows
from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.run_files import Artifact

TOLERANCE = 1e-4  # relative to the vector's norm
OF_TABLES = 1e-4  # of a norm or a distance relative to it, of a cosine absolute
TRIMMED = 3  # dimensions of the largest spread


def check_vectors(material: Material, rows: Rows) -> None:
    """Every emotion's vector at every layer is the mean of its training texts less that of the neutral ones."""
    rows.check = "recomputed vectors"
    for artifact in material.run.of_kind("vectors"):
        position, style = str(artifact.said["position"]), artifact.said.get("style") or "all"
        if not material.stored("resid_pre", position):
            rows.skipped(artifact.path, f"no activations at position {position} are stored")
            continue
        rows.measured(artifact.path, _vectors(material, artifact, position, style))


def _vectors(material: Material, artifact: Artifact, position: str, style: str) -> Measured:
    held = material.tensors(artifact)
    neutral = str(material.parameters.get("neutral", "neutral"))
    emotions = [name.partition("/")[2] for name in held if name.startswith("vector/")]
    layers = range(len(held["neutral_norms"]))
    found = Measured(of=len(emotions) * len(layers), tolerance=TOLERANCE)
    for layer in layers:
        for emotion in emotions:
            wanted = mean_difference(material, Fit(position, style, neutral), layer, emotion)
            size = max(float(np.linalg.norm(wanted)), 1e-6 * float(held["neutral_norms"][layer]))
            off = float(np.linalg.norm(held[f"vector/{emotion}"][layer] - wanted)) / size
            found.add(off, f"the vector of {emotion} at layer {layer}")
    return found


@dataclass(frozen=True)
class Fit:
    """What vectors are fitted on.

    Attributes:
        held_out: scenarios that a part of a cross-fitted design keeps out; empty for the data set's own split.
    """

    position: str
    style: str
    neutral: str
    held_out: frozenset[str] = frozenset()


def mean_difference(material: Material, fit: Fit, layer: int, emotion: str) -> np.ndarray:
    """`[d_model]` in float64; at the trigger the neutral mean is that of the emotion's scenarios at position mean."""
    trained, neutral = material.trained_on(fit.held_out, fit.style).to_numpy(), fit.neutral
    labels, scenarios = (material.texts[name].to_numpy() for name in ("emotion", "scenario"))
    if fit.position != "trigger":
        values = material.activations(fit.position, layer).astype(np.float64)
        return np.asarray(
            values[trained & (labels == emotion)].mean(axis=0) - values[trained & (labels == neutral)].mean(axis=0)
        )
    file = material.tensors(material.stored("resid_pre", "trigger")[layer])
    there = np.diff(file["offsets"]) > 0
    own = trained & (labels == emotion) & there
    means = material.activations("mean", layer).astype(np.float64)
    beside = trained & (labels == neutral) & np.isin(scenarios, scenarios[own])
    held = file["values"][file["offsets"][:-1][own]].astype(np.float64)
    return np.asarray(held.mean(axis=0) - means[beside].mean(axis=0))


# the tables beside the vectors


def check_vector_tables(material: Material, rows: Rows) -> None:
    """Norms, distances and plain cosines are those of the stored vectors."""
    rows.check = "recomputed vector tables"
    makers: dict[str, Callable[[Material, dict[str, np.ndarray], pd.DataFrame], Iterator[tuple[float, str]]]] = {
        "norms": _norms,
        "cosines": _cosines,
        "distances": _distances,
    }
    files = {a.said["position"]: a for a in material.run.of_kind("vectors") if not a.said.get("style")}
    for kind, make in makers.items():
        for artifact in material.run.of_kind(f"vectors {kind}"):
            position = artifact.path.stem.rpartition("_")[2]
            held = material.run.table(artifact)
            if position not in files:
                rows.skipped(artifact.path, f"no vectors at position {position} are stored")
                continue
            found = Measured(of=len(held), tolerance=OF_TABLES)
            for off, told in make(material, material.tensors(files[position]), held):
                found.add(off, told)
            rows.measured(artifact.path, found)


def _norms(material: Material, vectors: dict[str, np.ndarray], held: pd.DataFrame) -> Iterator[tuple[float, str]]:
    for row in held.to_dict("records"):
        vector = vectors[f"vector/{row['emotion']}"][row["layer"]].astype(np.float64)
        wanted = {"l1": np.abs(vector).sum(), "l2": np.sqrt((vector**2).sum())}
        wanted |= {"resid_norm": float(vectors["neutral_norms"][row["layer"]])}
        off = max(abs(row[name] / value - 1) if value else abs(row[name]) for name, value in wanted.items())
        yield float(off), f"norms of {row['emotion']} at layer {row['layer']}"


def _cosines(material: Material, vectors: dict[str, np.ndarray], held: pd.DataFrame) -> Iterator[tuple[float, str]]:
    for row in held.to_dict("records"):
        layer = row["layer"]
        one, other = (vectors[f"vector/{row[name]}"][layer].astype(np.float64) for name in ("first", "second"))
        spread = vectors["pooled_sd"][layer].astype(np.float64)
        kept = np.argsort(-spread)[TRIMMED:]
        sd = np.maximum(spread, 1e-6)
        wanted = {
            "raw": _cosine(one, other),
            "standardised": _cosine(one / sd, other / sd),
            "trimmed": _cosine(one[kept], other[kept]),
        }
        off = max(_apart(row[name], value) for name, value in wanted.items())
        yield off, f"cosines of {row['pair']} at layer {layer}"


def _distances(material: Material, vectors: dict[str, np.ndarray], held: pd.DataFrame) -> Iterator[tuple[float, str]]:
    for row in held.to_dict("records"):
        layer = row["layer"]
        places = [vectors.get(f"vector/{row[name]}") for name in ("first", "second")]
        one, other = (np.zeros(1) if place is None else place[layer].astype(np.float64) for place in places)
        wanted = float(np.linalg.norm(one - other))
        yield _apart(row["distance"], wanted) / max(wanted, 1.0), f"the distance of {row['pair']} at layer {layer}"


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    size = np.sqrt((one @ one) * (other @ other))
    return float(one @ other / size) if size else float("nan")


def _apart(held: float, wanted: float) -> float:
    """How far two numbers are apart; not at all where neither is one."""
    return 0.0 if np.isnan(held) and np.isnan(wanted) else float(abs(held - wanted))
