"""Whatever a user names as an output, it is looked at before any work, and nothing half-written is left.

The sandbox of these tests is root's: a folder without permission is played by refusing the system's call.
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import Place, Refusal, refused, refused_call

from emolib.base import files
from emolib.data.dataset import build_dataset
from emolib.exchange.first_study import export_pickle, import_pickle

ROWS = [
    {"text": f"{text}, {i}.", "emotion": name} for i in range(6) for name, text in {"joy": "A", "neutral": "B"}.items()
]


def texts(folder: Path) -> None:
    (folder / "mine.json").write_text(json.dumps(ROWS), encoding="utf-8")


def old_pickle(folder: Path) -> None:
    values = [[np.ones((3, 4), np.float32)] for _ in range(2)]
    held = {"residual_stream": values, "mlp_output": None, "labels": ["anger"], "metadata": {"model_name": "m"}}
    (folder / "old.pkl").write_bytes(pickle.dumps({**held, "tokens": None, "token_strings": None}, 4))


def imported(folder: Path) -> None:
    old_pickle(folder)
    import_pickle(folder / "old.pkl", folder / "imported")


def a_folder(folder: Path) -> None:
    (folder / "there.jsonl").mkdir()


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jsonl")


def a_file(folder: Path) -> None:
    (folder / "plain").write_text("mine", encoding="utf-8")


def a_loop(folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "pool")
    (folder / "pool").symlink_to(folder / "loop")


def a_dangling_link(folder: Path) -> None:
    (folder / "link.jsonl").symlink_to(folder / "nowhere" / "far")


def a_dangling_folder(folder: Path) -> None:
    (folder / "away").symlink_to(folder / "gone")


PLACES: dict[str, tuple[str, list[str], Callable[[Path], Any]]] = {
    # name: (output, words of the line, what is prepared)
    "a folder": ("there.jsonl", ["is a folder", "name a file in it"], a_folder),
    "a pipe": ("pipe.jsonl", ["pipe or a device"], a_pipe),
    "below a file": ("plain/x.jsonl", ["place where files can be written", "plain"], a_file),
    "deep below a file": ("plain/a/b/x.jsonl", ["place where files can be written", "plain"], a_file),
    "a circle of links": ("loop", ["symbolic links"], a_loop),
    "below a circle of links": ("loop/x.jsonl", ["symbolic links"], a_loop),
    "a link to nothing": ("link.jsonl", ["link to nothing", "remove it"], a_dangling_link),
    "below a link to nothing": ("away/x.jsonl", ["place where files can be written"], a_dangling_folder),
    "a name of 300 characters": ("x" * 300 + ".jsonl", ["too long"], lambda folder: None),
    "a name that only just fits": ("x" * 249 + ".jsonl", ["too long"], lambda folder: None),
    "a name of 130 signs of another script": ("感" * 130 + ".jsonl", ["too long"], lambda folder: None),
    "a path of 5000 characters": ("a/" * 2500 + "x.jsonl", ["too long"], lambda folder: None),
    "a NUL character": ("a\0b.jsonl", ["\\x00"], lambda folder: None),
    "half a character": ("a\udc00\ud800.jsonl", ["place where files can be written"], lambda folder: None),
    "below /proc": ("/proc/emolib/x.jsonl", ["place where files can be written"], lambda folder: None),
    "below a device": ("/dev/null/x.jsonl", ["place where files can be written"], lambda folder: None),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_data_set_is_not_written_there(place: Place, name: str) -> None:
    output, says, prepare = PLACES[name]
    texts(place.folder)
    if not output.endswith(".jsonl"):
        says = ["ends in .jsonl"]
    refused(place, Refusal(name, ["build-dataset", "mine.json", "-o", output], says, prepare))


@pytest.mark.parametrize("name", PLACES)
def test_a_pickle_is_not_exported_there(place: Place, name: str) -> None:
    output, says, prepare = PLACES[name]
    imported(place.folder)
    refused(place, Refusal(name, ["export-pickle", "imported", "-o", output], says, prepare))


@pytest.mark.parametrize("name", PLACES)
def test_the_selftest_does_not_begin_for_a_table_there(place: Place, name: str) -> None:
    output, says, prepare = PLACES[name]
    refused(place, Refusal(name, ["selftest", "--repeats", "6", "--json", output], says, prepare))


FOLDERS = {
    "an old folder": ("there.jsonl", ["does not exist yet"], a_folder),
    "a file": ("plain", ["does not exist yet"], a_file),
    "a pipe": ("pipe.jsonl", ["does not exist yet"], a_pipe),
    "a link to nothing": ("link.jsonl", ["does not exist yet"], a_dangling_link),
    "this folder": (".", ["name"], lambda folder: None),
    "the folder above": ("..", ["name"], lambda folder: None),
    "an empty name": ("", ["name"], lambda folder: None),
    "the root": ("/", ["name"], lambda folder: None),
    **{name: PLACES[name] for name in list(PLACES) if "below" in name or "character" in name or "signs" in name},
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_pickle_is_not_imported_there(place: Place, name: str) -> None:
    output, says, prepare = FOLDERS[name]
    old_pickle(place.folder)
    refused(place, Refusal(name, ["import-pickle", "old.pkl", "-o", output], says, prepare))


@pytest.mark.parametrize("output", ["", ".", "..", "a/..", "/", "sub/"])
def test_what_is_no_files_name_is_told(place: Place, output: str) -> None:
    imported(place.folder)
    refused(place, Refusal(output, ["export-pickle", "imported", "-o", output], ["file", shown_end(output)]))


def shown_end(output: str) -> str:
    return "is a folder" if output == "sub/" else "name"


CASES = [
    Refusal("a device", ["export-pickle", "imported", "-o", "/dev/null"], ["pipe or a device"], imported),
    Refusal("a device for a table", ["selftest", "--json", "/dev/full"], ["pipe or a device"]),
    Refusal("no such folder", ["selftest", "--json", "no/such/t.json"], ["folder that exists"]),
    Refusal(
        "over its source",
        ["build-dataset", "mine.jsonl", "-o", "mine.jsonl"],
        ["overwrite"],
        lambda folder: (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8"),
    ),
    Refusal(
        "over its source by a link",
        ["build-dataset", "mine.jsonl", "-o", "alias.jsonl"],
        ["overwrite"],
        lambda folder: (
            (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8"),
            (folder / "alias.jsonl").symlink_to(folder / "mine.jsonl"),
        ),
    ),
    Refusal(
        "into what is exported", ["export-pickle", "imported", "-o", "imported/index.json"], ["overwrite"], imported
    ),
    Refusal("a source that is a folder", ["import-pickle", "there.jsonl", "-o", "new"], ["it is a folder"], a_folder),
    Refusal("a source that is a pipe", ["import-pickle", "pipe.jsonl", "-o", "new"], ["pipe or a device"], a_pipe),
    Refusal("a source that is missing", ["import-pickle", "none.pkl", "-o", "new"], ["no such file"]),
    Refusal("a source in a circle", ["import-pickle", "loop", "-o", "new"], ["symbolic links"], a_loop),
    Refusal("a source with NUL", ["import-pickle", "a\0b", "-o", "new"], ["no such file", "\\x00"]),
    Refusal("a source of 5000 characters", ["import-pickle", "a" * 5000, "-o", "new"], ["no such file"]),
    Refusal("an empty source", ["import-pickle", "plain", "-o", "new"], ["pickle"], lambda f: (f / "plain").touch()),
    Refusal("texts from a pipe", ["build-dataset", "pipe.jsonl", "-o", "x.jsonl"], ["pipe or a device"], a_pipe),
    Refusal("texts from a circle", ["build-dataset", "loop", "-o", "x.jsonl"], ["symbolic links"], a_loop),
    Refusal("texts with NUL", ["build-dataset", "a\0.csv", "-o", "x.jsonl"], ["\\x00"]),
    Refusal("texts of 5000 characters", ["build-dataset", "a" * 5000, "-o", "x.jsonl"], ["no such file"]),
    Refusal("an export of no folder", ["export-pickle", "old.pkl", "-o", "x.pkl"], ["import-pickle"], old_pickle),
    Refusal("an export of a circle", ["export-pickle", "loop", "-o", "x.pkl"], ["symbolic links"], a_loop),
    Refusal("an export of 5000 characters", ["export-pickle", "a" * 5000, "-o", "x.pkl"], ["import-pickle"]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused(place: Place, case: Refusal) -> None:
    refused(place, Refusal(case.name, case.arguments, case.says, case.prepare, ("Error",)))


REASONS = {  # what the system answers where the tests' user may do everything
    "no permission": PermissionError(13, "Permission denied"),
    "a read-only disk": OSError(30, "Read-only file system"),
    "a full disk": OSError(28, "No space left on device"),
    "a quota": OSError(122, "Disk quota exceeded"),
    "no inode": OSError(5, "Input/output error"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_folder_that_takes_no_file_is_told_before_any_work(
    place: Place, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    texts(place.folder), imported(place.folder)

    def no(*arguments: Any, **keywords: Any) -> Any:
        raise REASONS[reason]

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", no)
    words = [REASONS[reason].strerror, "name another"]
    for arguments in (
        ["build-dataset", "mine.json", "-o", "new.jsonl"],
        ["import-pickle", "old.pkl", "-o", "new"],
        ["export-pickle", "imported", "-o", "new.pkl"],
        ["selftest", "--json", "new.json"],
        ["train-scorers", "--goemotions", "g", "--tydip", "t", "-o", "new"],
    ):
        refused(place, Refusal(reason, arguments, words))


@pytest.mark.parametrize("error", REASONS.values(), ids=REASONS)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    texts(tmp_path)
    usual = {"read": Path.read_bytes, "look": os.stat}

    def no(kind: str) -> Callable[..., Any]:
        def answer(path: Any, *arguments: Any, **keywords: Any) -> Any:
            if str(path).endswith("mine.json"):
                raise error
            return usual[kind](path, *arguments, **keywords)

        return answer

    monkeypatch.setattr(Path, "read_bytes", no("read"))
    refused_call(lambda: files.read_json(tmp_path / "mine.json"), ["mine.json", "cannot be read", error.strerror])
    monkeypatch.setattr(os, "stat", no("look"))
    refused_call(lambda: files.kind_of(tmp_path / "mine.json"), ["mine.json", "the system refuses", error.strerror])


def test_what_can_be_written_is_written(place: Place) -> None:
    texts(place.folder), imported(place.folder)
    (place.folder / "held").mkdir()
    (place.folder / "held" / "old.jsonl").write_text("old", encoding="utf-8")
    (place.folder / "alias.jsonl").symlink_to(place.folder / "held" / "old.jsonl")
    for output in (
        "new.jsonl",
        "made/for/it/new.jsonl",
        "held/../up.jsonl",
        "名前.jsonl",
        "x" * 230 + ".jsonl",
        "alias.jsonl",
    ):
        asked = place.ask(["build-dataset", "mine.json", "-o", output])
        assert asked.code == 0, asked.err
        assert len((place.folder / output).read_text(encoding="utf-8").splitlines()) == len(ROWS)
    assert (place.folder / "alias.jsonl").is_symlink()  # written through, not replaced
    assert (place.folder / "held" / "old.jsonl").read_text(encoding="utf-8").startswith("{")
    assert place.ask(["export-pickle", "imported", "-o", "again.pkl"]).code == 0
    assert pickle.loads((place.folder / "again.pkl").read_bytes())["labels"] == ["anger"]
    assert not list(place.folder.rglob(".*"))


def test_the_library_refuses_the_same(tmp_path: Path) -> None:
    texts(tmp_path), imported(tmp_path), a_pipe(tmp_path)
    refused_call(lambda: build_dataset(tmp_path / "mine.json", tmp_path / "pipe.jsonl"), ["pipe or a device"])
    refused_call(lambda: export_pickle(tmp_path / "imported", tmp_path / "imported"), ["is a folder"])
    refused_call(lambda: import_pickle(tmp_path / "old.pkl", tmp_path / "imported"), ["does not exist yet"])
