"""`EMOLIB_*` that name something else than a folder, names that no system takes, and numbers below zero."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusals import Place, Refusal, refused, refused_call

from emolib.base import paths
from emolib.pipeline.execution import _followed_progress
from emolib.pipeline.phases import status


def links(folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "pool")
    (folder / "pool").symlink_to(folder / "loop")
    (folder / "file").write_text("mine")
    os.mkfifo(folder / "pipe")


VALUES = ["/dev/null", "/dev/null/x", "file", "file/deep/er", "pipe", "loop", "loop/x"]
VALUES += ["x" * 300, "a/" * 2500, "~nobody-of-that-name/x"]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:30])
@pytest.mark.parametrize("variable", paths.MOVED)
def test_a_folder_that_is_none_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    links(place.folder)
    refused_call(lambda: paths.moved(variable), [variable, "folder", "unset"])
    if variable == "EMOLIB_ROOT":
        refused(place, Refusal("", ["status"], [variable]))  # what `models` lists is kept once read
    if variable in ("EMOLIB_RESULTS", "EMOLIB_EXECUTED"):
        refused(place, Refusal("", ["status"], [variable]))
        refused(place, Refusal("", ["site"], [variable]))
        refused(place, Refusal("", ["run", "--phase", "phase1"], [variable]))


@pytest.mark.parametrize("value", ["params", "no/such/folder", ".", "/"])
def test_a_root_that_is_no_checkout_is_told(place: Place, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("EMOLIB_ROOT", value)
    refused_call(paths.repository_root, ["EMOLIB_ROOT", "params/profiles"])
    refused(place, Refusal("", ["status"], ["EMOLIB_ROOT"]))


def test_relative_folders_mean_the_same_in_a_notebooks_process(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"EMOLIB_RESULTS": "out", "EMOLIB_CACHE": "", "EMOLIB_EXECUTED": "a/../b"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("HOME", str(place.folder))
    with _followed_progress(place.folder / "progress.jsonl", False):
        seen = {variable: os.environ[variable] for variable in ("EMOLIB_RESULTS", "EMOLIB_CACHE", "EMOLIB_EXECUTED")}
        assert Path(os.environ["EMOLIB_ROOT"]).is_absolute() if "EMOLIB_ROOT" in os.environ else True
    root = place.folder.resolve()
    assert seen == {"EMOLIB_RESULTS": str(root / "out"), "EMOLIB_CACHE": "", "EMOLIB_EXECUTED": str(root / "b")}
    assert os.environ["EMOLIB_RESULTS"] == "out"
    monkeypatch.setenv("EMOLIB_RESULTS", "~/mine")
    assert paths.results_root() == root / "mine"
    monkeypatch.setenv("EMOLIB_RESULTS", "")
    assert paths.results_root() == paths.repository_root() / "results"
    assert [row.state for row in status("quick", "smollm2_135m")][-1] in ("missing", "stale", "done")


@pytest.mark.parametrize(
    "value", ["xx", "../ja", "JA", "ja\n", "\x1b[2J", "x" * 5000], ids=lambda value: repr(value)[:20]
)
def test_a_language_without_words_is_told(place: Place, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    put = paths.executed_file("quick", "smollm2_135m", "phase1")
    put.parent.mkdir(parents=True)
    put.write_text('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}')
    monkeypatch.setenv("EMOLIB_LANGUAGE", value)
    refused(place, Refusal("", ["site"], ["language", "EMOLIB_LANGUAGE", "ja"]))


LONG = "x" * 300
VERY_LONG = "x" * 5000
CASES = [
    Refusal("a seed below 0", ["build-dataset", "m.json", "-o", "x.jsonl", "--seed", "-1"], ["seed"]),
    Refusal("a seed of a fraction", ["build-dataset", "m.json", "-o", "x.jsonl", "--seed", "1.5"], ["seed"]),
    Refusal("a seed in a selftest", ["selftest", "--seed", "-1"], ["seed"]),
    Refusal("a seed for a run", ["status", "-p", "seed=-1"], ["seed"]),
    Refusal("no repeats", ["selftest", "--repeats", "0"], ["repeats"]),
    Refusal("repeats below 0", ["selftest", "--repeats", "-5"], ["repeats"]),
    Refusal("too few repeats", ["selftest", "--repeats", "5"], ["repeats", "6"]),
    Refusal("an unknown form", ["selftest", "--form", "x"], ["form", "gpt2"]),
    Refusal("one form of two", ["selftest", "--form", "gpt2", "--form", "bert"], ["form", "bert"]),
    Refusal("an empty form", ["selftest", "--form", ""], ["form", "gpt2"]),
    Refusal("an unknown backend", ["check-scorers", "--backend", "x"], ["backend", "bundled"]),
    Refusal("an empty backend", ["check-scorers", "--backend", ""], ["backend", "bundled"]),
    Refusal("a backend's path", ["check-scorers", "--backend", "../bundled"], ["backend"]),
    Refusal("a backend's long name", ["check-scorers", "--backend", VERY_LONG], ["backend"]),
    Refusal("a profile of 300 characters", ["run", "--profile", LONG], ["profile"]),
    Refusal("a profile with NUL", ["run", "--profile", "a\0b"], ["profile"]),
    Refusal("a profile above", ["run", "--profile", "../profiles/quick"], ["profile"]),
    Refusal("an empty profile", ["run", "--profile", ""], ["profile"]),
    Refusal("variants of a long profile", ["variants", "--profile", VERY_LONG], ["profile"]),
    Refusal("a site of a long profile", ["site", "--profile", VERY_LONG], ["profile"]),
    Refusal("a model of 300 characters", ["status", "--model", LONG], ["model"]),
    Refusal("a model of 5000 characters", ["status", "--model", VERY_LONG], ["model"]),
    Refusal("a model's path of 5000 characters", ["run", "--model", "a/" * 2500], ["model"]),
    Refusal("a model with NUL", ["status", "--model", "a\0b"], ["model"]),
    Refusal("an empty model", ["status", "--model", ""], ["model"]),
    Refusal("a site of a model of 5000 characters", ["site", "--model", VERY_LONG], ["executed notebooks"]),
    Refusal("a site of a model with NUL", ["site", "--model", "a\0b"], ["executed notebooks"]),
    Refusal("a site of a model above", ["site", "--model", "../.."], ["executed notebooks"]),
    Refusal("a long variant", ["status", "--variant", VERY_LONG], ["variant"]),
    Refusal("a variant with NUL", ["status", "--variant", "a\0b"], ["variant"]),
    Refusal("a variant above", ["variants", "--delete", "../.."], ["variant"]),
    Refusal("a site of a variant above", ["site", "--variant", "../../quick"], ["variant"]),
    Refusal("a data set of 5000 characters", ["run", "-p", f"dataset={VERY_LONG}"], ["data set"]),
    Refusal("a data set that is a folder", ["run", "-p", "dataset=."], ["data set"]),
    Refusal("a long phase", ["run", "--phase", VERY_LONG], ["phase"]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused(place: Place, case: Refusal) -> None:
    (place.folder / "m.json").write_text('[{"text": "a", "emotion": "joy"}, {"text": "b", "emotion": "neutral"}]')
    refused(place, Refusal(case.name, case.arguments, case.says, case.prepare, ("Error",)))


def profile_file(make: Callable[[Path], Any]) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root, mine = paths.repository_root(), folder.parent / "repository"
        (mine / "params" / "profiles").mkdir(parents=True)
        for kind in ("data", "docs", "notebooks"):
            (mine / kind).symlink_to(root / kind)
        for entry in (root / "params").iterdir():
            if entry.name != "profiles":
                (mine / "params" / entry.name).symlink_to(entry)
        make(mine / "params" / "profiles" / "mine.yaml")
        monkeypatch.setenv("EMOLIB_ROOT", str(mine))

    return prepare


PROFILES: dict[str, Callable[[Path], Any]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a circle": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to(path.parent / "gone"),
    "another encoding": lambda path: path.write_text("n_train: 6\n", "utf-16"),
}


@pytest.mark.parametrize("name", PROFILES)
def test_something_else_in_a_profiles_place_is_told(place: Place, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    profile_file(PROFILES[name])(place.folder, monkeypatch)
    refused(place, Refusal(name, ["status", "--profile", "mine"], ["gone" if "nothing" in name else "mine"]))
