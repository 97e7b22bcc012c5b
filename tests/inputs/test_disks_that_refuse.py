"""Disks that are full, read-only or broken: one line with the file's name, and the old file or the new one stands."""

from __future__ import annotations

import errno
import os
import pickle
import shlex
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from refusals import Place, one_good_line

from emolib.base import paths, store, tensor_files, writing
from emolib.base.errors import UserError
from emolib.models import hub
from emolib.pipeline.site import run_sphinx
from emolib.scoring.cache import ScoreCache

CALLS = ("open", "write", "pwrite", "fsync", "replace", "ftruncate", "chmod", "mkdir")
TROUBLES = {
    "full": (errno.ENOSPC, ["expected room for", "No space left", "free some space", "EMOLIB_RESULTS"]),
    "over quota": (errno.EDQUOT, ["expected room for", "quota", "free some space", "EMOLIB_RESULTS"]),
    "broken": (errno.EIO, ["expected to write", "Input/output error", "check that disk", "EMOLIB_RESULTS"]),
    "read-only": (errno.EROFS, ["can be written", "Read-only file system", "EMOLIB_RESULTS"]),
    "not allowed": (errno.EACCES, ["can be written", "Permission denied", "EMOLIB_RESULTS"]),
}
SHAPES = {"values": ("float32", (4, 3)), "offsets": ("int64", (5,))}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "results"
    monkeypatch.setenv("EMOLIB_RESULTS", str(folder))
    store.environment()  # asked for once per process; nothing that a full disk would stop
    return folder


@contextmanager
def failing(nth: int, code: int, folder: Path) -> Iterator[list[str]]:
    """Lets the `nth` call of the system that writes below `folder` fail (all others work); gives the calls' names."""
    counted: list[str] = []
    ours: set[int] = set()

    def concerned(name: str, arguments: tuple[object, ...]) -> bool:
        if isinstance(arguments[0], int):
            return arguments[0] in ours
        if name == "open" and not (isinstance(arguments[1], int) and arguments[1] & (os.O_WRONLY | os.O_RDWR)):
            return False
        return str(arguments[0]).startswith(str(folder))

    def wrapped(name: str, original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            if not concerned(name, arguments):
                return original(*arguments, **options)
            counted.append(name)
            if len(counted) == nth:
                raise OSError(code, os.strerror(code), str(arguments[0]))
            found = original(*arguments, **options)
            if name == "open" and isinstance(found, int):
                ours.add(found)
            return found

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, wrapped(name, getattr(os, name)))
        yield counted


def write_artifact(folder: Path, value: int) -> None:
    store.write(folder / "a" / "t.json", store.json_bytes(value), {"value": value})


def write_tensors(folder: Path, value: int) -> None:
    wanted = {folder / "a" / f"{name}.safetensors": SHAPES for name in ("one", "two")}
    with tensor_files.tensor_files(wanted, {path: {"value": value} for path in wanted}) as files:
        for file in files.values():
            file.put("values", 0, np.full((4, 3), value, np.float32))
            file.put("offsets", 0, np.arange(5))


def write_plainly(folder: Path, value: int) -> None:
    store.write_atomically(folder / "a" / "t.json", store.json_bytes(value))


def copy_artifact(folder: Path, value: int) -> None:
    source = folder.parent / "twin" / f"{value}.json"
    store.write(source, store.json_bytes(value), {"value": value})
    store.copy(source, folder / "a" / "t.json")


WRITERS = [write_artifact, write_tensors, write_plainly, copy_artifact]


def standing(folder: Path) -> dict[str, bytes]:
    """Every file below, without the time of its manifest."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): b"" if path.name.endswith("manifest.json") else path.read_bytes()
        for path in files
    }


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("before", [False, True], ids=["anew", "over an old one"])
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_whichever_call_fails_the_old_or_the_new_stands_and_nothing_else(
    results: Path, write: Callable[[Path, int], None], before: bool, trouble: str
) -> None:
    code, says = TROUBLES[trouble]
    if before:
        write(results, 1)
    old, nth = standing(results), 0
    write(results.parent / "elsewhere", 2)
    new = standing(results.parent / "elsewhere")
    while True:
        nth += 1
        with failing(nth, code, results) as calls:
            try:
                write(results, 2)
            except UserError as error:
                one_good_line(str(error), [*says, "results"])
        found = standing(results)
        if len(calls) < nth:
            break
        states = [{**old, **dict(list(new.items())[:count])} for count in range(len(new) + 1)]
        assert all(name in new for name in found), (nth, calls[-1], sorted(found))
        assert all(found[name] in (old.get(name), new[name]) for name in found), (nth, calls[-1])
        if calls[nth - 1] != "replace":  # before any file has its name
            assert found in (old, new), (nth, calls[-1], states)
        _consistent(results)
        if before and found != old:
            write(results, 1)
        elif not before:
            _clear(results)
    assert nth > 4 and found == new


def _consistent(folder: Path) -> None:
    """No manifest tells of a file that is not the one beside it."""
    for manifest in folder.rglob("*.manifest.json"):
        store.check(manifest.with_name(manifest.name.removesuffix(".manifest.json")))


def _clear(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    if folder.is_dir():
        folder.rmdir()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_log_gets_a_whole_line_or_none(results: Path, trouble: str) -> None:
    code, says = TROUBLES[trouble]
    log = results / "log.jsonl"
    store.append_line(log, {"a": 1})
    for nth in (2, 3):  # the first makes the folder, which is there
        with failing(nth, code, results), pytest.raises(UserError) as raised:
            store.append_line(log, {"b": 2})
        one_good_line(str(raised.value), [*says, "log.jsonl"])
        assert log.read_text() == '{"a": 1}\n'


def test_a_line_for_which_there_is_half_the_room_is_taken_back(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = results / "log.jsonl"
    store.append_line(log, {"a": 1})
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:3]))
    with pytest.raises(UserError, match=r"expected room for .*log\.jsonl"):
        store.append_line(log, {"b": 2})
    assert log.read_text() == '{"a": 1}\n'


def test_data_that_the_system_takes_in_parts_arrive_whole(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:7]))
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, place: pwrite(descriptor, bytes(data)[:7], place))
    write_artifact(results, 123456789)
    write_tensors(results, 3)
    assert store.read_json(results / "a" / "t.json") == 123456789
    with tensor_files.open_tensors(results / "a" / "two.safetensors") as view:
        assert (view.get_tensor("values") == 3).all()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_lock_that_cannot_be_made_is_told(results: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    code, says = TROUBLES[trouble]
    with failing(2, code, results), pytest.raises(UserError) as raised, store.lock(results / "quick" / "run.lock"):
        pass
    one_good_line(str(raised.value), ["results", *says[-1:]])


PLACES = {
    "EMOLIB_EXECUTED": "executed/quick/m/phase1.ipynb",
    "EMOLIB_CACHE": "cache/scores/bundled.sqlite",
    "EMOLIB_RESULTS": "results/quick/timing.jsonl",
    "TMPDIR": "temporary/emolib-abc/kernel.json",
    "another place": "my file.jsonl",
}


@pytest.mark.parametrize("variable", PLACES)
def test_the_way_out_is_the_place_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name, folder in (("RESULTS", "results"), ("EXECUTED", "executed"), ("CACHE", "cache")):
        monkeypatch.setenv(f"EMOLIB_{name}", str(tmp_path / folder))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    error = writing.not_writable(tmp_path / PLACES[variable], OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    one_good_line(str(error), [variable, Path(PLACES[variable]).name, "No space left"])


def test_what_killed_writers_left_is_swept_and_what_is_being_written_stays(results: Path) -> None:
    left = results / "quick" / "m" / ".t.json.abcd.partial"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    kept = results / "quick" / "m" / "t.partial"
    kept.write_bytes(b"a user's own")
    with writing.staged(results / "quick" / "t.json", b"whole") as temporary:
        writing.sweep(results)
        assert temporary.read_bytes() == b"whole" and not left.exists() and kept.exists()
    with tensor_files.tensor_files({results / "t.safetensors": SHAPES}, {results / "t.safetensors": {}}) as files:
        writing.sweep(results)
        for file in files.values():
            file.put("values", 0, np.zeros((4, 3), np.float32))
    assert (results / "t.safetensors").exists()
    assert [path.name for path in results.rglob("*.partial")] == ["t.partial"]


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere/a file.bin")


COMMANDS = {
    "build-dataset": (["build-dataset", "{data}", "-o", "mine.jsonl"], "os.fsync", ["mine.jsonl", "name another"]),
    "import-pickle": (["import-pickle", "{folder}/old.pkl", "-o", "new"], "os.rename", ["new", "name another"]),
    "site": (["site", "--profile", "quick"], "emolib.pipeline.site.write_sources", ["site", "EMOLIB_RESULTS"]),
    "models": (["models"], "emolib.base.config.model_table", ["a file.bin"]),
    "run": (["run", "--profile", "quick"], "os.mkdir", ["results", "EMOLIB_RESULTS"]),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_of_a_full_disk_in_one_line(place: Place, command: str) -> None:
    arguments, call, says = COMMANDS[command]
    data = place.folder / "texts.jsonl"
    data.write_bytes(paths.data_file().read_bytes())
    (place.folder / "old.pkl").write_bytes(pickle.dumps(old_study(), protocol=4))
    report = place.folder / "executed" / "quick" / "smollm2_135m" / paths.NOTEBOOKS["phase1"]
    report.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 1")]), report)
    before = {path for path in place.folder.rglob("*") if path.is_file()}
    place.monkeypatch.setattr(call, no_room)
    asked = place.ask([word.replace("{data}", str(data)) for word in arguments])
    place.monkeypatch.undo()
    assert asked.code == 2, asked.err
    one_good_line(asked.err, ["emolib: expected room for", "No space left", *says])
    assert {path for path in place.folder.rglob("*") if path.is_file()} == before


def old_study() -> dict[str, object]:
    """The smallest pickle of the first study."""
    layer = [[np.zeros((3, 4), np.float32)]]
    return {"residual_stream": layer, "labels": ["joy"], "metadata": {"model_name": "m"}}


def test_a_score_cache_on_a_full_disk_keeps_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: Path
) -> None:
    monkeypatch.setenv("EMOLIB_CACHE", str(tmp_path / "cache"))
    cache = ScoreCache(paths.score_cache())
    kept = cache.scores(Lengths(), ["a", "bb"])
    connect = sqlite3.connect

    def full(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")  # as SQLite sees a disk without room
        return connection

    many = [f"{number:06d}" * 50 for number in range(3000)]
    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(UserError) as raised:
        cache.scores(Lengths(), many)
    one_good_line(str(raised.value), ["expected room for", "lengths.sqlite", "EMOLIB_RESULTS"], never=["delete it"])
    monkeypatch.setattr(sqlite3, "connect", connect)
    assert cache.scores(Lengths(), ["a", "bb"]).equals(kept) and len(cache.scores(Lengths(), many)) == 3000


class Lengths:
    """A scorer that counts letters."""

    name, version = "lengths", "1"

    def score(self, texts: Sequence[str]) -> pd.DataFrame:
        return pd.DataFrame({"length": [float(len(text)) for text in texts]})


LIBRARIES = {
    "I/O error: No space left on device (os error 28)": errno.ENOSPC,
    "OSError: [Errno 30] Read-only file system: 'x'": errno.EROFS,
    "[Errno 5] Input/output error": errno.EIO,
    "[Errno 122] Disk quota exceeded": errno.EDQUOT,
    "[Errno 2] No such file or directory": None,
    "error 28 of the model": None,
}


@pytest.mark.parametrize("said", LIBRARIES)
def test_what_libraries_say_of_a_disk_is_understood(said: str) -> None:
    found = writing.disk_trouble(said)
    assert (found and found.errno) == LIBRARIES[said]


def test_sphinx_on_a_full_disk_is_the_disk_s_trouble(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Exception occurred:\nOSError: [Errno 28] No space left on device\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 2, "", said))
    with pytest.raises(UserError) as raised:
        run_sphinx(place.folder / "a" / "source", place.folder / "a" / "html", place.folder / "a" / "doctrees")
    one_good_line(str(raised.value), ["expected room for", "html", "No space left"])


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_takes_nothing_is_no_fault(stream: str) -> None:
    command = [sys.executable, "-m", "emolib", "models" if stream == "stdout" else "no-such-command"]
    with open("/dev/full", "w") as full:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        done = subprocess.run(command, text=True, **streams)
    assert done.returncode == 2
    if stream == "stdout":
        one_good_line(done.stderr, ["emolib: expected room for", "the output"])


def test_a_reader_that_has_seen_enough_ends_a_command_quietly() -> None:
    command = f"{shlex.quote(sys.executable)} -m emolib models | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ["No space left", "HF_HOME", "some/model"]),
        (OSError(errno.EROFS, os.strerror(errno.EROFS), "blobs/a"), ["Read-only", "HF_HOME"]),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "blobs/a"), ["Permission denied", "HF_HOME"]),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), ["no hub answered (PermissionError)"]),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), ["no hub answered (ConnectionRefusedError)"]),
    ],
)
def test_a_hub_s_files_that_find_no_room_are_the_disk_s_trouble(
    monkeypatch: pytest.MonkeyPatch, error: OSError, says: list[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    with pytest.raises(UserError) as raised:
        hub.snapshot("some/model", "main", ["*.json"], otherwise="wait")
    one_good_line(str(raised.value), says, never=["connect"] if "HF_HOME" in says else [])
