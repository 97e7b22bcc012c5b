"""Every file for itself: it is there, has a manifest, the recorded bytes, and what its kind holds."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from emolib.base import files, store
from emolib.base.errors import UserError
from emolib.pipeline.verification.check_rows import Rows
from emolib.pipeline.verification.run_files import Artifact, RunFiles, read_tensors
from emolib.pipeline.verification.schemas import RANGES, ROUNDING, SHARES, Schema

MOST = 5  # names that a line tells
UNDEFINED = re.compile(r"(whitened|discriminant)/")  # NaN at a layer where texts do not vary


def check_manifests(run: RunFiles, rows: Rows) -> None:
    """Every file has a manifest, every manifest its file, and every file a kind."""
    rows.check = "manifest"
    for artifact in run.artifacts:
        if artifact.manifest is None:
            there = store.manifest_path(artifact.path).exists()
            rows.failed(artifact.path, "its manifest cannot be read" if there else "an orphan: it has no manifest")
        else:
            rows.passed(artifact.path)
    for path, told in run.unknown:
        rows.failed(path, f"an orphan: {told}")
    for path in run.gone:
        rows.failed(path, "the file is missing, its manifest is there")


def check_hashes(run: RunFiles, rows: Rows) -> None:
    """The bytes are those that the manifest recorded."""
    rows.check = "sha256"
    for artifact in run.artifacts:
        if artifact.sha256 is None:
            continue  # told above
        try:
            found = store.sha256_of(artifact.path)
        except UserError as error:
            rows.failed(artifact.path, str(error))
            continue
        same = found == artifact.sha256
        told = f"its manifest says sha256 {artifact.sha256[:12]}…, the file has {found[:12]}…"
        rows.judged(artifact.path, [] if same else [told], artifact.path.stat().st_size)


def check_schemas(run: RunFiles, rows: Rows) -> None:
    """What is in the file is what its kind holds (`emolib.pipeline.verification.schemas`)."""
    rows.check = "schema"
    for artifact in run.artifacts:
        try:
            problems, compared = _content(run, artifact)
        except ValueError as error:
            rows.failed(artifact.path, f"it cannot be read as {artifact.schema.format}: {error}")
            continue
        rows.judged(artifact.path, problems, compared)


def _content(run: RunFiles, artifact: Artifact) -> tuple[list[str], int]:
    match artifact.schema.format:
        case "table" | "csv":
            table = run.table(artifact)
            return list(_table_problems(run, table, artifact.schema)), table.size
        case "tensors":
            return list(_tensor_problems(run, artifact)), 1
        case "json":
            return list(_json_problems(artifact)), 1
        case _:
            begins = {"html": b"<!doctype html>", "png": b"\x89png", "md": b"# "}[artifact.schema.format]
            head = artifact.path.read_bytes()[:64].lstrip().lower()
            known = head.startswith((begins, b"<html"))
            return ([] if known else [f"it is no {artifact.schema.format}"]), 1


# tables


def _table_problems(run: RunFiles, table: pd.DataFrame, schema: Schema) -> Iterator[str]:
    if table.empty and schema.empty:
        return
    missing = [name for name in schema.types if name not in table]
    if missing:
        yield f"it lacks the column {', '.join(missing[:MOST])}"
        return
    if table.empty:
        yield "it has no row"
        return
    further = [
        name for name in table if name not in schema.types and not str(name).startswith(schema.families or (" ",))
    ]
    if further:
        yield f"it has a column that its kind has not: {', '.join(map(str, further[:MOST]))}"
    yield from _type_problems(table, schema)
    yield from _value_problems(table, schema)
    yield from _row_problems(run, table, schema)


def _type_problems(table: pd.DataFrame, schema: Schema) -> Iterator[str]:
    for name in table:
        wanted = schema.types.get(str(name), "number")
        if not _is(table[name], wanted):
            yield f"expected {wanted} in the column {name}, found {table[name].dtype}"


def _is(column: pd.Series, wanted: str) -> bool:
    kind, held = pd.api.types, column.dropna()
    if wanted == "any" or held.empty:
        return True
    whole = kind.is_integer_dtype(column) or (kind.is_float_dtype(column) and bool((held % 1 == 0).all()))
    match wanted:
        case "str":
            return kind.is_string_dtype(column) or all(isinstance(value, str) for value in held)
        case "list":
            return all(isinstance(value, list | np.ndarray) for value in held)
        case "int":
            return whole and not kind.is_bool_dtype(column)
        case "float":
            return kind.is_numeric_dtype(column) and not kind.is_bool_dtype(column)
        case "bool":
            return kind.is_bool_dtype(column) or set(held) <= {True, False}
    return kind.is_numeric_dtype(column) or kind.is_bool_dtype(column) or str(column.name) == "topic"


def _value_problems(table: pd.DataFrame, schema: Schema) -> Iterator[str]:
    may_miss = set(table) if "*" in schema.blank.split() else set(schema.blank.split())
    for name in table:
        column = table[name]
        if column.isna().any() and name not in may_miss:
            yield f"{int(column.isna().sum())} values are missing (NaN) in the column {name}"
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            continue
        values = column.dropna().to_numpy(dtype=float)
        if np.isinf(values).any():
            yield f"a value is infinite in the column {name}"
        low, high = (0, 1) if str(name).startswith(SHARES) else RANGES.get(str(name), (-np.inf, np.inf))
        if values.size and (values.min() < low - ROUNDING or values.max() > high + ROUNDING):
            yield f"a value of the column {name} lies outside {low} to {high}"


def _row_problems(run: RunFiles, table: pd.DataFrame, schema: Schema) -> Iterator[str]:
    key = schema.key.split()
    if not key:
        return
    again = table.duplicated(key)
    if again.any():
        told = ", ".join(str(value) for value in table.loc[again, key].iloc[0])
        yield f"{int(again.sum())} rows are there twice, such as {told}"
        table = table[~again]
    if schema.crossed:
        levels = int(np.prod([table[name].nunique(dropna=False) for name in key]))
        if len(table) != levels:
            yield f"expected {levels} rows ({' × '.join(key)}), found {len(table)}: {_missing_combination(table, key)}"
    for name in schema.every.split():
        expected = run.emotions if name == "emotion" else list(range((run.n_layers or -1) + 1))
        lacking = [str(value) for value in expected if value not in set(table[name])]
        if lacking:
            yield f"no row is of {name} {', '.join(lacking[:MOST])}"


def _missing_combination(table: pd.DataFrame, key: list[str]) -> str:
    every = pd.MultiIndex.from_product([table[name].unique() for name in key], names=key)
    lacking = every.difference(pd.MultiIndex.from_frame(table[key]))
    return f"none is of {', '.join(str(value) for value in lacking[0])}" if len(lacking) else "none is missing"


# tensors and JSON


def _tensor_problems(run: RunFiles, artifact: Artifact) -> Iterator[str]:
    header, shapes, values = read_tensors(artifact.path)
    wanted = artifact.schema.tensors
    for name, (shape, kind) in shapes.items():
        fits = [found for pattern, found in wanted.items() if re.fullmatch(pattern, name)]
        if not fits:
            yield f"its kind has no tensor {name}"
        elif (fits[0][0] not in (-1, len(shape))) or kind not in fits[0][1]:
            yield f"the tensor {name} has {len(shape)} axes of type {kind}"
        elif np.isinf(values[name]).any() or (np.isnan(values[name]).any() and not UNDEFINED.match(name)):
            yield f"a value of the tensor {name} is not finite"
    needed = ("values", "offsets") if artifact.schema.kind in ("activations", "companions") else ()
    for name in needed:
        if name not in shapes:
            yield f"it has no tensor {name}"
    yield from _header_problems(header, artifact)
    if artifact.schema.kind in ("activations", "companions") and "offsets" in values:
        yield from _offset_problems(artifact, values)
    elif artifact.schema.kind in ("vectors", "companion vectors") and run.n_layers is not None:
        yield from (
            f"the tensor {name} has {shape[0]} layers, the model {run.n_layers + 1}"
            for name, (shape, _) in shapes.items()
            if shape[0] != run.n_layers + 1
        )


def _header_problems(header: dict[str, str], artifact: Artifact) -> Iterator[str]:
    """The model that the file names is the one that its manifest names."""
    model = artifact.matched.get("model") or {}
    for name in ("model", "revision"):
        if name in header and model and header[name] != model.get(name):
            yield f"its header says {name} {header[name][:20]}, its manifest {str(model.get(name))[:20]}"


def _offset_problems(artifact: Artifact, values: dict[str, np.ndarray]) -> Iterator[str]:
    offsets, rows = values["offsets"], len(values["values"])
    if (np.diff(offsets) < 0).any() or offsets[0] != 0 or offsets[-1] != rows:
        yield f"offsets end at {int(offsets[-1])}, there are {rows} rows"
    if artifact.said.get("site") == "resid_pre" and "token_norms" not in values:
        yield "it has no tensor token_norms"


def _json_problems(artifact: Artifact) -> Iterator[str]:
    try:
        found = files.read_json(artifact.path)
    except UserError as error:
        raise ValueError(str(error)) from error
    wanted = artifact.schema.types
    if wanted and not isinstance(found, dict):
        yield "expected an object"
        return
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "list": (list,)}
    for name, kind in wanted.items():
        if name not in found:
            yield f"it lacks {name}"
        elif kind in kinds and not isinstance(found[name], kinds[kind]):
            yield f"expected {kind} in {name}, found {type(found[name]).__name__}"
