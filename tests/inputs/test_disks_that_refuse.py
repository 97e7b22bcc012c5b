"""Disks that are full, read-only or broken: one line with the file's name, and the old file or the new one stands."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from refusals import one_good_line

from emolib.base import store, writing
from emolib.base.errors import UserError

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
    with store.tensor_files(wanted, {path: {"value": value} for path in wanted}) as files:
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
    with store.open_tensors(results / "a" / "two.safetensors") as view:
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
    with store.tensor_files({results / "t.safetensors": SHAPES}, {results / "t.safetensors": {}}) as files:
        writing.sweep(results)
        for file in files.values():
            file.put("values", 0, np.zeros((4, 3), np.float32))
    assert (results / "t.safetensors").exists()
    assert [path.name for path in results.rglob("*.partial")] == ["t.partial"]
