"""A file or folder that the command line accepts is the one that the notebook reads, wherever either runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from refusals import Place, Refusal, refused

from emolib.base import paths
from emolib.base.parameters import resolve
from emolib.study.run import open_run

MODEL = "smollm2_135m"
OWN = "data/emotion_dataset.jsonl"


def data_set(folder: Path, name: str = "mine.jsonl") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(paths.data_file(), folder / name)
    return folder / name


@pytest.mark.parametrize("written", ["mine.jsonl", "./mine.jsonl", "sub/../mine.jsonl", "{folder}/mine.jsonl"])
def test_a_data_set_is_the_same_from_every_folder(place: Place, tmp_path: Path, written: str) -> None:
    (place.folder / "sub").mkdir()
    there = data_set(place.folder)
    run = open_run("quick", MODEL, "phase1", dataset=written.replace("{folder}", str(place.folder)))
    assert run.params.dataset == run.overrides["dataset"] == str(there)
    place.monkeypatch.chdir(tmp_path)
    again = open_run("quick", MODEL, "phase1", **run.overrides)
    assert again.params == run.params and again.variant == run.variant and len(again.data) == 900


def test_a_home_is_expanded(place: Place) -> None:
    there = data_set(place.folder)
    place.monkeypatch.setenv("HOME", str(place.folder))
    assert resolve("quick", MODEL, "phase1", {"dataset": "~/mine.jsonl"}).dataset == str(there)


def test_the_projects_own_file_keeps_its_name_and_is_meant_where_nothing_is_given(place: Place) -> None:
    for written in (OWN, str(paths.data_file())):
        assert resolve("quick", MODEL, "phase1", {"dataset": written}).dataset == OWN
    mine = data_set(place.folder, OWN)  # a folder that has a file of the same name
    mine.write_text(mine.read_text("utf-8").replace("neutral", "calm"), "utf-8")
    assert "neutral" in set(open_run("quick", MODEL, "phase1").data["emotion"])
    given = open_run("quick", MODEL, "phase1", dataset=OWN, neutral="calm")
    assert given.params.dataset == str(mine) and "calm" in set(given.data["emotion"])


def test_a_corpus_is_the_same_from_every_folder(place: Place, tmp_path: Path) -> None:
    (place.folder / "comments").mkdir()
    run = open_run("quick", MODEL, "phase3", corpus="comments")
    assert run.params.corpus == str(place.folder / "comments")
    place.monkeypatch.chdir(tmp_path)
    assert open_run("quick", MODEL, "phase3", **run.overrides).params == run.params
    assert resolve("baseline_smoke", MODEL, "phase3").corpus == "data/no-corpus", "a profile's own may be absent"


@pytest.mark.parametrize("written", ["./runA/checkpoint-500", "runA/../runA/checkpoint-500/", "~/runA/checkpoint-500"])
def test_a_model_folder_is_the_same_from_every_folder(place: Place, tmp_path: Path, written: str) -> None:
    folder = place.folder / "runA" / "checkpoint-500"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    place.monkeypatch.setenv("HOME", str(place.folder))
    assert resolve("quick", written, "phase1").model == str(folder)
    place.monkeypatch.chdir(tmp_path)
    assert resolve("quick", str(folder), "phase1").model == str(folder)


def as_folder(folder: Path) -> None:
    (folder / "mine.jsonl").mkdir()


CASES = [
    Refusal("no such file", ["run", "-p", "dataset=mine.jsonl"], ["data set", "'mine.jsonl'", "no such file"]),
    Refusal("a folder", ["run", "-p", "dataset=mine.jsonl"], ["data set", "mine.jsonl"], as_folder),
    Refusal("the repository's folder", ["run", "-p", "dataset=data"], ["data set", "'data'"]),
    Refusal("a home that is none", ["run", "-p", "dataset=~/nowhere.jsonl"], ["data set", "~/nowhere.jsonl"]),
    Refusal("an unknown home", ["run", "-p", "dataset=~nobody-here/a.jsonl"], ["data set", "~nobody-here"]),
    Refusal("nothing", ["run", "-p", "dataset="], ["data set", "''"]),
    Refusal("a path that is too long", ["run", "-p", "dataset=" + "a/" * 3_000], ["data set"]),
    Refusal("an address", ["run", "-p", "dataset=https://example.org/a.jsonl"], ["data set", "example.org"]),
    Refusal("no corpus", ["run", "-p", "corpus=nowhere"], ["corpus", "'nowhere'", "no such folder"]),
    Refusal("a file as a corpus", ["run", "-p", f"corpus={OWN}"], ["corpus", OWN]),
    Refusal("only looked at", ["status", "-p", "dataset=mine.jsonl"], ["data set", "mine.jsonl"]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_before_anything_starts(place: Place, case: Refusal) -> None:
    refused(place, case)
