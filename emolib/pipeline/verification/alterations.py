"""What must not pass: a run's results altered in memory, and whether the check that is to notice an alteration does.

Negative runs do what would make a study's findings worthless: labels permuted, signs flipped, a test scenario among the
training ones, vectors of another layer or model, broken texts left out. Faults are single values that went wrong. Every
alteration begins with the same check passing on what lies there, so that a check that always fails proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from emolib.pipeline.verification import claim_checks, lineage_checks, sweep_checks
from emolib.pipeline.verification.altered_numbers import Reading, broken_effect, separation
from emolib.pipeline.verification.check_rows import BROKEN, Rows
from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.recompute.stored_vectors import check_vector_tables, check_vectors
from emolib.pipeline.verification.run_files import Artifact, RunFiles, read_tensors

Check = Callable[[Material, Rows], None]
Group = Literal["negative", "fault"]


@dataclass(frozen=True)
class Alteration:
    """One alteration and what has to notice it.

    Attributes:
        change: alters what is read of the run in memory and gives the file that has to be told; None where the run
            holds nothing to alter.
        reading: a number that a report would rest on, before and after.
    """

    name: str
    group: Group
    change: Callable[[Material], Path | None]
    check: Check
    reading: Reading | None = None


def altered(run: RunFiles, seed: int = 0) -> pd.DataFrame:
    """Every alteration of a run, one row each.

    Returns:
        name, group (`negative` or `fault`), file, status (`pass`: noticed; `fail`: not, or the check failed before;
        `skip`: there is nothing to alter), check, told (what the check said), measure, before, after (a number that
        findings rest on, where there is one).
    """
    intact = Material(run, seed=seed)
    before: dict[Check, tuple[str, pd.DataFrame]] = {}
    rows = []
    for alteration in ALTERATIONS:
        if alteration.check not in before:
            before[alteration.check] = _found(alteration.check, intact)
        rows.append(_row(intact, alteration, before[alteration.check]))
    return pd.DataFrame(rows)


def _row(intact: Material, alteration: Alteration, before: tuple[str, pd.DataFrame]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": alteration.name, "group": alteration.group, "file": "", "status": "skip"}
    row |= {"check": "", "told": "", "measure": "", "before": np.nan, "after": np.nan}
    changed = intact.altered()
    try:
        path = alteration.change(changed)
    except BROKEN as error:
        return {**row, "told": f"cannot be done here: {error}"}
    if path is None:
        return {**row, "told": "the run holds nothing to alter so"}
    already, noticed = (_failures(rows, path) for rows in (before[1], _found(alteration.check, changed)[1]))
    told = f"fails already: {already[0]}" if already else noticed[0] if noticed else "nothing was noticed"
    row |= {"file": path.name, "check": before[0], "told": told}
    row["status"] = "pass" if noticed and not already else "fail"
    if alteration.reading is not None:
        name, read = alteration.reading
        row |= {"measure": name, "before": read(intact), "after": read(changed)}
    return row


def _found(check: Check, material: Material) -> tuple[str, pd.DataFrame]:
    """The check's name and rows."""
    rows = Rows()
    check(material, rows)
    return rows.check, rows.table()


def _failures(table: pd.DataFrame, path: Path) -> list[str]:
    """What is told of a file that failed."""
    return table.loc[(table["status"] == "fail") & table["file"].str.endswith(path.name), "told"].tolist()


# what is altered


def _of_files(check: Callable[[RunFiles, Rows], None]) -> Check:
    return lambda material, rows: check(material.run, rows)


def _first(material: Material, kind: str, **said: str) -> Artifact | None:
    found = [a for a in material.run.of_kind(kind) if all(a.said.get(name) == value for name, value in said.items())]
    return found[0] if found else None


def _table(kind: str, change: Callable[[Material, pd.DataFrame], pd.DataFrame]) -> Callable[[Material], Path | None]:
    """Alters the first table of a kind."""

    def alter(material: Material) -> Path | None:
        artifact = _first(material, kind)
        if artifact is None or artifact.manifest is None:
            return None
        held = material.run.table(artifact)
        new = change(material, held.copy())
        if new.equals(held):
            return None
        material.run.put(artifact, new)
        return artifact.path

    return alter


def _vectors(change: Callable[[Material, dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Callable[..., Path | None]:
    """Alters the vectors at the mean position, fitted on all styles."""

    def alter(material: Material) -> Path | None:
        artifact = next((a for a in material.run.of_kind("vectors") if a.said["position"] == "mean"), None)
        if artifact is None:
            return None
        held = material.tensors(artifact)
        new = change(material, {name: held[name] for name in held if name.startswith("vector/")})
        material.put(artifact, {**held, **new})
        return artifact.path

    return alter


def _manifest(kind: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Material], Path | None]:
    """Alters what the first manifest of a kind says that its file was made from."""

    def alter(material: Material) -> Path | None:
        artifact = _first(material, kind)
        if artifact is None or artifact.manifest is None:
            return None
        manifest = {**artifact.manifest, "matched": change(dict(artifact.matched))}
        material.run.put_manifest(artifact, manifest)
        return artifact.path

    return alter


def _permuted(material: Material, texts: pd.DataFrame) -> pd.DataFrame:
    """Labels permuted within every scenario."""
    rng = np.random.default_rng(material.seed)
    labels = texts.groupby("scenario")["emotion"].transform(lambda held: rng.permutation(held.to_numpy()))
    return texts.assign(emotion=labels)


def _leaked(material: Material, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The vectors with one test scenario among the training ones: a step towards its differences."""
    texts = material.texts
    held = texts[texts["split"] == "test"]
    own = held[held["scenario"] == held["scenario"].iloc[0]]
    places = dict(zip(own["emotion"], texts.index.get_indexer(own.index), strict=True))
    count = texts.loc[material.trained_on(frozenset(), "all"), "scenario"].nunique()
    neutral = places[str(material.parameters.get("neutral", "neutral"))]
    layers = [material.activations("mean", layer) for layer in range(len(next(iter(vectors.values()))))]
    found = {}
    for name, vector in vectors.items():
        place = places[name.partition("/")[2]]
        differences = np.stack([values[place] - values[neutral] for values in layers])
        found[name] = ((vector * count + differences) / (count + 1)).astype(np.float32)
    return found


def _turned(material: Material, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: -values for name, values in vectors.items()}


def _of_the_layer_before(material: Material, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.roll(values, 1, axis=0) for name, values in vectors.items()}


def _of_another_model(material: Material, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Another model's vectors, where the profile has one of the same size; else these in rotated coordinates."""
    folder = material.run.paths.vectors("mean")
    for other in material.run.others:
        path = folder.with_name(folder.name.replace(material.run.model, other, 1))
        tensors = read_tensors(path)[2] if path.is_file() else {}
        if all(name in tensors and tensors[name].shape == vector.shape for name, vector in vectors.items()):
            return {name: tensors[name] for name in vectors}
    size = next(iter(vectors.values())).shape[1]
    basis, _ = np.linalg.qr(np.random.default_rng(material.seed).standard_normal((size, size)))
    return {name: (vector @ basis).astype(np.float32) for name, vector in vectors.items()}


def _without_broken(material: Material, sweep: pd.DataFrame) -> pd.DataFrame:
    """Steered texts that are broken left out, as if they had never been."""
    return sweep[~(sweep["fluency/broken"].astype(bool) & (sweep["kind"] == "emotion"))]


def _one(name: str, change: Callable[[Any], Any], where: str = "") -> Callable[[Material, pd.DataFrame], pd.DataFrame]:
    """One value of one column; of the first row for which `where` holds."""

    def alter(material: Material, table: pd.DataFrame) -> pd.DataFrame:
        at = table.query(where).index[0] if where else table.index[0]
        values = table[name].copy()
        values.loc[at] = change(values.loc[at])
        return table.assign(**{name: values})

    return alter


def _swapped(material: Material, table: pd.DataFrame) -> pd.DataFrame:
    """Two emotions' names exchanged."""
    one, other = list(dict.fromkeys(table.loc[table["kind"] == "emotion", "emotion"]))[:2]
    return table.assign(emotion=table["emotion"].replace({one: other, other: one}))


def _flipped_verdict(verdict: str) -> str:
    return "supported" if verdict != "supported" else "not_supported"


def _other_seed(matched: dict[str, Any]) -> dict[str, Any]:
    settings = {**matched["settings"], "seed": int(matched["settings"]["seed"]) + 1}
    return {**matched, "settings": settings}


_SWEEPS, _SHARDS = _of_files(sweep_checks.check_sweeps), _of_files(sweep_checks.check_shards)
_ZERO, _CONTROLS = _of_files(sweep_checks.check_zero), _of_files(sweep_checks.check_controls)
_LINEAGE, _CLAIMS = _of_files(lineage_checks.check_lineage), _of_files(claim_checks.check_claims)
_VERDICTS = _of_files(claim_checks.check_study_claims)
_STEERED, _RANDOM = "kind == 'emotion'", "kind == 'isotropic'"

ALTERATIONS: tuple[Alteration, ...] = (
    Alteration("labels_permuted", "negative", _table("activations texts", _permuted), _LINEAGE, separation("fitted")),
    Alteration(
        "sign_flipped",
        "negative",
        _vectors(_turned),
        check_vectors,
        separation("stored"),
    ),
    Alteration("scenario_leaked", "negative", _vectors(_leaked), check_vectors, separation("stored")),
    Alteration(
        "another_layer",
        "negative",
        _vectors(_of_the_layer_before),
        check_vectors,
        separation("stored"),
    ),
    Alteration("another_model", "negative", _vectors(_of_another_model), check_vectors, separation("stored")),
    Alteration("broken_dropped", "negative", _table("sweep test", _without_broken), _SWEEPS, broken_effect()),
    Alteration("score_edited", "fault", _table("sweep test", _one("sentiment/compound", lambda x: x + 0.1)), _SWEEPS),
    Alteration("text_edited", "fault", _table("sweep test", _one("text", lambda x: f"{x}!", _STEERED)), _SWEEPS),
    Alteration("row_dropped", "fault", _table("sweep validation", lambda m, t: t.iloc[:-1]), _SWEEPS),
    Alteration("shard_row_dropped", "fault", _table("shard", lambda m, t: t.iloc[:-1]), _SHARDS),
    Alteration("emotions_swapped", "fault", _table("sweep test", _swapped), _SWEEPS),
    Alteration("zero_changed", "fault", _table("sweep test", _one("text", lambda x: f"{x}.", "kind == 'zero'")), _ZERO),
    Alteration(
        "control_norm",
        "fault",
        _table("sweep test", _one("delta_ratio", lambda x: 3 * x, _RANDOM)),
        _CONTROLS,
    ),
    Alteration("claim_edited", "fault", _table("claims", _one("vs_others", lambda x: x + 0.01)), _CLAIMS),
    Alteration("verdict_edited", "fault", _table("statistics claims", _one("verdict", _flipped_verdict)), _VERDICTS),
    Alteration("norm_edited", "fault", _table("vectors norms", _one("l2", lambda x: x + 1)), check_vector_tables),
    Alteration("label_edited", "fault", _table("activations texts", _one("style", lambda x: "another")), _LINEAGE),
    Alteration("seed_changed", "fault", _manifest("shard", _other_seed), _LINEAGE),
    Alteration("lineage_changed", "fault", _manifest("vectors", lambda m: {**m, "activations": "0" * 64}), _LINEAGE),
)
