"""Artifacts: written whole or not at all, described by a manifest, recomputed only when what they depend on changed.

Beside each file lies `<name>.manifest.json` with two parts. `matched` holds everything that determines the values
(schema, step version, parameters, seed, hashes of the inputs, model and revision, dtype): a file is reused only if it
is equal. `recorded` holds what is good to know (sha256 of the file, library versions, device, seconds, time).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import filelock
import pandas as pd

from emolib.base import files, paths
from emolib.base.errors import UserError, one_line, shown
from emolib.base.writing import (
    PARTIAL,
    not_writable,
    put,
    staged,
    writing,
)
from emolib.base.writing import append_line as append_line
from emolib.base.writing import write_atomically as write_atomically

SCHEMA = 1
AGAIN = "delete it and its manifest, then run the phase again"
VERSIONED = ("torch", "transformers", "transformer-lens", "numpy", "pandas", "scikit-learn")


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes, read in one pass."""
    files.require_file(path)
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise files.not_readable(path, error) from error


def digest(value: Any) -> str:
    """Hex digest of any JSON-like value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def manifest_path(path: Path) -> Path:
    return path.with_name(path.name + ".manifest.json")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of an artifact: `matched` and `recorded`, which holds a sha256.

    None where there is none or it is no manifest, as after a kill: the artifact counts as missing and is made anew.

    Raises:
        UserError: something is in its place that a new one could not be written over.
    """
    place = manifest_path(path)
    if files.kind_of(place) == "missing":
        return None
    data = files.read_bytes(place, advice="remove it")
    try:
        found = files.parse_json(data.decode("utf-8"), place.name, kind=dict, finite=False)
    except ValueError:  # not UTF-8, or no JSON
        return None
    parts = [found.get(name) for name in ("matched", "recorded")]
    if not all(isinstance(part, dict) for part in parts):
        return None
    return found if _is_sha256(found["recorded"].get("sha256")) else None


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Library versions, Python and the git commit: recorded with every artifact, matched with none."""
    versions = {}
    for name in VERSIONED:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=paths.repository_root(),
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError, UserError):
        commit = None
    return {"python": platform.python_version(), "versions": versions, "git_commit": commit}


def write(path: Path, data: bytes, matched: Mapping[str, Any], *, recorded: Mapping[str, Any] | None = None) -> None:
    """Writes an artifact and its manifest; a kill between the two leaves a file that counts as missing.

    Raises:
        UserError: the system refuses to write; what was there stays.
    """
    manifest = manifest_bytes(hashlib.sha256(data).hexdigest(), matched, recorded)
    with staged(path, data) as temporary, staged(manifest_path(path), manifest) as described:
        put_both(temporary, path, described)


def put_both(temporary: Path, path: Path, described: Path) -> None:
    """Gives an artifact and its manifest their names; in between none is there, never one that is not the file's."""
    manifest = manifest_path(path)
    before = described.with_name(f"{described.name.removesuffix(PARTIAL)}.before{PARTIAL}")
    with writing(manifest), contextlib.suppress(FileNotFoundError):
        os.replace(manifest, before)
    try:
        put(temporary, path)
        put(described, manifest)
    except BaseException:
        if temporary.exists():  # the old file still stands
            with contextlib.suppress(OSError):
                os.replace(before, manifest)
        raise
    finally:
        with contextlib.suppress(OSError):
            before.unlink()


def copy(source: Path, target: Path) -> None:
    """Writes an artifact a second time, with what its manifest matches and how it was made.

    Raises:
        UserError: it has changed since it was written.
    """
    check(source)
    manifest = read_manifest(source) or {}
    made = {key: value for key, value in manifest["recorded"].items() if key in ("device", "seconds")}
    write(target, source.read_bytes(), manifest["matched"], recorded={**made, "copied_from": paths.display(source)})


def manifest_bytes(sha256: str, matched: Mapping[str, Any], recorded: Mapping[str, Any] | None) -> bytes:
    manifest = {
        "schema": SCHEMA,
        "matched": _plain(matched),
        "recorded": {
            "sha256": sha256,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **environment(),
            **(recorded or {}),
        },
    }
    return json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode()


def state(path: Path, matched: Mapping[str, Any]) -> str:
    """`done` (present and matching), `stale` (made from something else) or `missing`."""
    manifest = read_manifest(path)
    if manifest is None or files.kind_of(path) == "missing":
        return "missing"
    same = manifest.get("schema") == SCHEMA and manifest["matched"] == _plain(matched)
    return "done" if same else "stale"


def check(path: Path) -> None:
    """Raises `UserError` unless the file is there and its bytes are those its manifest recorded."""
    expected = recorded_sha256(path)
    if files.kind_of(path) == "missing":
        raise _absent(path)
    found = sha256_of(path)
    if found != expected:
        raise UserError(
            f"corrupted artifact {paths.display(path)}: expected sha256 {expected[:12]}…, found {found[:12]}…; "
            "delete the file or run again with --force"
        )


def recorded_sha256(path: Path) -> str:
    """The sha256 of an artifact's file, as its manifest says; the file itself is not read.

    Raises:
        UserError: there is no manifest.
    """
    manifest = read_manifest(path)
    if manifest is None:
        raise _absent(path)
    return manifest["recorded"]["sha256"]


def _absent(path: Path) -> UserError:
    return UserError(f"expected the artifact {paths.display(path)}, found none; run the phase that makes it")


def _plain(value: Any) -> Any:
    """The value as it comes back from JSON, so that what is compared is what was stored."""
    return json.loads(json.dumps(value, sort_keys=True, ensure_ascii=False))


def table_bytes(table: pd.DataFrame) -> bytes:
    """Parquet without anything that depends on when or where it is written."""
    return table.to_parquet(None, index=False, engine="pyarrow", compression="zstd")


def read_table(path: Path, *, needs: Collection[str] = (), rows: bool = False) -> pd.DataFrame:
    """A table artifact, its hash checked.

    Args:
        needs: columns without which it is of no use.
        rows: whether a table without rows is of no use.

    Raises:
        UserError: it is not there, has changed, is no table, or lacks what is needed.
    """
    check(path)
    try:
        table = pd.read_parquet(path, engine="pyarrow")
    except Exception as error:  # what the machinery says to a broken file has no common type
        raise unusable(path, "a table", one_line(error) or "no reason given") from error
    missing = [name for name in needs if name not in table]
    if missing or (rows and not len(table)):
        reason = f"it has no column {shown(missing[0])}" if missing else "it has no row"
        raise unusable(path, "a table", reason)
    return table


def read_json(path: Path, *, kind: type | None = None) -> Any:
    """A JSON artifact, its hash checked; of a `kind` (`dict` or `list`) if given.

    Raises:
        UserError: it is not there, has changed, or is no JSON of that kind.
    """
    check(path)
    return files.read_json(path, kind=kind, advice=AGAIN)


def unusable(path: Path, wanted: str, reason: str) -> UserError:
    """The error about an artifact with the right hash and the wrong content."""
    return UserError(f"expected {wanted} in {paths.display(path)}, got something else ({reason:.200}); {AGAIN}")


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def obtain(
    path: Path,
    matched: Mapping[str, Any],
    compute: Callable[[], bytes],
    *,
    force: bool = False,
    recorded: Mapping[str, Any] | None = None,
) -> bool:
    """Makes sure that `path` holds what `matched` describes. Returns True if it had to be computed.

    A present, matching file is left untouched, but its hash is checked.
    """
    if not force and state(path, matched) == "done":
        check(path)
        return False
    started = time.perf_counter()
    data = compute()
    seconds = round(time.perf_counter() - started, 3)
    write(path, data, matched, recorded={"seconds": seconds, **(recorded or {})})
    return True


@contextlib.contextmanager
def lock(path: Path, *, timeout: float = 5.0) -> Iterator[None]:
    """Holds a profile's lock; the system frees it when the process dies, however it dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = filelock.FileLock(path, timeout=timeout)
        holder.acquire()
    except filelock.Timeout as error:
        raise UserError(
            f"another run holds {paths.display(path)}; wait until it has ended (or stop it), then start again"
        ) from error
    except OSError as error:
        raise not_writable(path, error) from error
    try:
        yield
    finally:
        holder.release()
