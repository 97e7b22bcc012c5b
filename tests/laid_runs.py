"""A copy of a run whose files can be altered, with or without the traces that an alteration leaves.

Files are linked, so a copy costs nothing; an altered file is a new one, and the run that was copied stays as it is.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from smoke_run import MODEL

from emolib.base import store, tensor_files
from emolib.pipeline.verification import file_checks, lineage_checks, report_checks, run_files
from emolib.pipeline.verification.check_rows import Rows
from emolib.pipeline.verification.schemas import Schema
from emolib.pipeline.verification.verify import CHECKS, run_check

PROFILE = "baseline_smoke"


class LaidRun:
    """A run's results and reports in a folder of its own."""

    def __init__(self, source: Path, folder: Path, profile: str = PROFILE, model: str = MODEL) -> None:
        self.folder, self.profile, self.model = folder, profile, model
        for name in ("results", "executed"):
            shutil.copytree(source / name, folder / name, copy_function=os.link)
        self.root = folder / "results" / profile
        self.reports = folder / "executed" / profile / model

    def find(self, pattern: str) -> Path:
        """The first file of that pattern."""
        return sorted(self.root.glob(pattern))[0]

    def all(self, pattern: str) -> list[Path]:
        return sorted(self.root.glob(pattern))

    def put(self, path: Path, data: bytes) -> None:
        """Writes a file anew, without a trace elsewhere."""
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def remove(self, path: Path) -> None:
        for one in (path, store.manifest_path(path)):
            one.unlink(missing_ok=True)

    def json(self, path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        """Alters a JSON file in place."""
        held = json.loads(path.read_text(encoding="utf-8"))
        change(held)
        self.put(path, json.dumps(held, ensure_ascii=False).encode())

    def manifest(self, path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        self.json(store.manifest_path(path), change)

    # alterations that hide their traces

    def hidden(self, path: Path, data: bytes) -> None:
        """Replaces an artifact and whatever tells its hash: its manifest, the records, their manifests, the seals."""
        self.put(path, data)
        sha256 = store.sha256_of(path)
        self.manifest(path, lambda held: held["recorded"].update(sha256=sha256))
        place = path.relative_to(self.root).as_posix()
        for record in self.all("status/*.json"):
            if record.name.endswith(".manifest.json"):
                continue
            if place in json.loads(record.read_text(encoding="utf-8"))["artifacts"]:
                self.json(record, lambda held: held["artifacts"].update({place: sha256}))
                self.sealed(record)

    def sealed(self, record: Path) -> None:
        """Lets a record's manifest and the seal of its report tell the record's hash as it is now."""
        sha256 = store.sha256_of(record)
        self.manifest(record, lambda held: held["recorded"].update(sha256=sha256))
        seal = self.root / "seals" / record.name
        self.json(seal, lambda held: held.update(record=sha256))
        self.manifest(seal, lambda held: held["recorded"].update(sha256=store.sha256_of(seal)))

    def table(self, pattern: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
        """Alters a table and hides it."""
        path = self.find(pattern)
        if path.suffix == ".csv":
            altered = change(pd.read_csv(path, keep_default_na=False, na_values=[""], engine="python"))
            self.hidden(path, altered.to_csv(index=False).encode())
        else:
            self.hidden(path, store.table_bytes(change(pd.read_parquet(path))))
        return path

    def tensors(self, pattern: str, change: Callable[[dict, dict], Any]) -> Path:
        """Alters a tensor file's values and header text, and hides it."""
        path = self.find(pattern)
        header, _, values = run_files.read_tensors(path)
        values = {name: value.copy() for name, value in values.items()}
        change(values, header)
        self.hidden(path, tensor_files.tensor_bytes(values, header))
        return path

    def record(self, phase: str, change: Callable[[dict[str, Any]], Any]) -> None:
        """Alters what a phase's record matches."""
        path = self.root / "status" / f"{self.model}_{phase}.json"
        self.manifest(path, lambda held: change(held["matched"]))

    def report(self, name: str, change: Callable[[str], str]) -> Path:
        path = self.reports / name
        self.put(path, change(path.read_text(encoding="utf-8")).encode())
        return path

    def here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lets the library look here for results and reports."""
        monkeypatch.setenv("EMOLIB_RESULTS", str(self.folder / "results"))
        monkeypatch.setenv("EMOLIB_EXECUTED", str(self.folder / "executed"))

    def found(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[pd.DataFrame]:
        """What verification finds here, check by check: each time everything that was found so far."""
        self.here(monkeypatch)
        (run,) = run_files.opened(self.profile, self.model, None)
        rows = Rows()
        for check in CHECKS:
            run_check(check, run, rows)
            yield rows.table()


def _read_once(read: Callable[..., Any], place: Callable[[Any], Path]) -> Callable[..., Any]:
    """The same function that reads a file once, whatever links to it; an altered file is another."""
    known: dict[tuple[int, ...], Any] = {}

    @functools.wraps(read)
    def reading(given: Any) -> Any:
        try:
            stat = place(given).stat()
        except OSError:
            return read(given)
        key = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if key not in known:
            known[key] = read(given)
        return known[key]

    return reading


def read_files_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets verifications of many copies of one run read what they share once."""
    tensors = _read_once(run_files.read_tensors, lambda path: path)
    monkeypatch.setattr(run_files, "read_table", _read_once(run_files.read_table, lambda artifact: artifact.path))
    monkeypatch.setattr(store, "sha256_of", _read_once(store.sha256_of, lambda path: path))
    for module in (run_files, file_checks, lineage_checks, report_checks):
        monkeypatch.setattr(module, "read_tensors", tensors)
    tensor_problems, table_problems = file_checks._tensor_problems, file_checks._table_problems
    known: dict[tuple, list[str]] = {}

    def of_tensors(run: run_files.RunFiles, artifact: run_files.Artifact) -> list[str]:
        stat = artifact.path.stat()
        key = (artifact.place, stat.st_ino, stat.st_mtime_ns, stat.st_size, store.digest(dict(artifact.matched)))
        if key not in known:
            known[key] = list(tensor_problems(run, artifact))
        return known[key]

    def of_table(run: run_files.RunFiles, table: pd.DataFrame, schema: Schema) -> list[str]:
        key = (id(table), schema.kind)  # a table that was read once lives as long as the test
        if key not in known:
            known[key] = list(table_problems(run, table, schema))
        return known[key]

    monkeypatch.setattr(file_checks, "_tensor_problems", of_tensors)
    monkeypatch.setattr(file_checks, "_table_problems", of_table)
