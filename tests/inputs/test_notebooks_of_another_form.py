"""Reports and templates that are no notebooks, or not what a run leaves: told in a line, never complete."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from refusals import Place, Refusal, refused, refused_call

from emolib.base import paths
from emolib.base.parameters import resolve
from emolib.pipeline.notebook_files import is_complete, read_notebook
from emolib.pipeline.phases import status
from emolib.study.run import Run


def cell(**changes: Any) -> dict[str, Any]:
    whole = {"cell_type": "code", "metadata": {}, "source": "1 + 1", "outputs": [], "execution_count": 1}
    return {key: value for key, value in (whole | changes).items() if value is not ...}


def notebook(*cells: Any, **changes: Any) -> dict[str, Any]:
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)}
    return {key: value for key, value in (whole | changes).items() if value is not ...}


def shown_as(data: Any, **changes: Any) -> dict[str, Any]:
    output = {"output_type": "display_data", "metadata": {}, "data": data} | changes
    return notebook(cell(outputs=[{key: value for key, value in output.items() if value is not ...}]))


NO_NOTEBOOKS: dict[str, Any] = {
    "an empty file": b"",
    "binary": bytes(range(256)),
    "UTF-16": json.dumps(notebook(cell())).encode("utf-16"),
    "half of one": json.dumps(notebook(cell())).encode()[:60],
    "nested": b"[" * 100_000,
    "a number of 5000 digits": b'{"nbformat": 4, "nbformat_minor": ' + b"9" * 5000 + b"}",
    "an empty object": {},
    "a list": [],
    "a text": "cells",
    "null": None,
    "no nbformat": notebook(cell(), nbformat=...),
    "nbformat 5": notebook(cell(), nbformat=5),
    "nbformat a text": notebook(cell(), nbformat="4"),
    "nbformat a list": notebook(cell(), nbformat=[4]),
    "nbformat 3 without worksheets": {"nbformat": 3, "nbformat_minor": 0, "metadata": {}},
    "nbformat 3 with a list": {"nbformat": 3, "metadata": [], "worksheets": [3]},
    "no cells": notebook(cells=...),
    "cells an object": notebook(cells={}),
    "cells null": notebook(cells=None),
    "no metadata": notebook(cell(), metadata=...),
    "metadata a list": notebook(cell(), metadata=[]),
    "a cell that is a text": notebook("1 + 1"),
    "a cell that is null": notebook(cell(), None),
    "a cell without a type": notebook(cell(cell_type=...)),
    "a cell whose type is a number": notebook(cell(cell_type=1)),
    "a cell without source": notebook(cell(source=...)),
    "source null": notebook(cell(source=None)),
    "source a list of numbers": notebook(cell(source=[1, 2])),
    "a cell without metadata": notebook(cell(metadata=...)),
    "metadata of a cell a list": notebook(cell(metadata=[])),
    "no outputs": notebook(cell(outputs=...)),
    "outputs an object": notebook(cell(outputs={})),
    "outputs null": notebook(cell(outputs=None)),
    "an output that is a text": notebook(cell(outputs=["2"])),
    "an output without a type": notebook(cell(outputs=[{"data": {}}])),
    "no execution count": notebook(cell(execution_count=...)),
    "an execution count that is a text": notebook(cell(execution_count="1")),
    "an execution count that is true": notebook(cell(execution_count=True)),
    "an output without data": shown_as(...),
    "data a list": shown_as([]),
    "data a text": shown_as("<b>"),
    "HTML that is a number": shown_as({"text/html": 5}),
    "HTML that is an object": shown_as({"text/html": {}}),
    "a stream without text": notebook(cell(outputs=[{"output_type": "stream", "name": "stdout"}])),
    "attachments a list": notebook({"cell_type": "markdown", "metadata": {}, "source": "a", "attachments": []}),
}
PROFILE, MODEL = "quick", "smollm2_135m"


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())


@pytest.mark.parametrize("value", NO_NOTEBOOKS.values(), ids=NO_NOTEBOOKS)
def test_what_is_no_notebook_is_told_and_is_not_complete(place: Place, value: Any) -> None:
    report = paths.executed_file(PROFILE, MODEL, "phase1")
    put(report, value)
    refused_call(lambda: read_notebook(report), ["phase1_dataset.ipynb"])
    assert not is_complete(report)
    refused(place, Refusal("", ["site"], ["phase1_dataset.ipynb"]))


ERROR = {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
INCOMPLETE = {
    "no cells": notebook(),
    "no code": notebook({"cell_type": "markdown", "metadata": {}, "source": "# Title"}),
    "empty code alone": notebook(cell(source=" \n", execution_count=None)),
    "nothing was run": notebook(cell(execution_count=None)),
    "the last cell was not run": notebook(cell(), cell(execution_count=None)),
    "counted from 0": notebook(cell(execution_count=0)),
    "an error": notebook(cell(outputs=[ERROR])),
    "an error at the end": notebook(cell(), cell(outputs=[ERROR])),
}


@pytest.mark.parametrize("value", INCOMPLETE.values(), ids=INCOMPLETE)
def test_a_notebook_that_has_not_run_through_is_not_complete(tmp_path: Path, value: Any) -> None:
    put(tmp_path / "r.ipynb", value)
    assert not is_complete(tmp_path / "r.ipynb")
    put(tmp_path / "r.ipynb", notebook(cell(), cell(source="", execution_count=None)))
    assert is_complete(tmp_path / "r.ipynb")


def test_status_takes_no_such_report_for_a_finished_phase(place: Place) -> None:
    run = Run(resolve(PROFILE, MODEL, "phase1", {}))
    run.record.write({})
    report = paths.executed_file(PROFILE, MODEL, "phase1")
    found = []
    for value in (notebook(cell()), {}, notebook(), notebook(cell(outputs=[ERROR]))):
        put(report, value)
        found.append(status(PROFILE, MODEL)[0].state)
    assert found == ["done", "stale", "stale", "stale"]
    report.unlink()
    assert status(PROFILE, MODEL)[0].state == "missing"


def test_something_else_in_a_reports_place_is_told(place: Place) -> None:
    run = Run(resolve(PROFILE, MODEL, "phase1", {}))
    run.record.write({})
    report = paths.executed_file(PROFILE, MODEL, "phase1")
    report.parent.mkdir(parents=True)
    for make in (report.mkdir, lambda: os.mkfifo(report), lambda: report.symlink_to(report)):
        make()
        for command in ("status", "run"):
            asked = place.ask([command, "--profile", PROFILE, *(["--phase", "phase1"] if command == "run" else [])])
            assert asked.code == 2 and report.name in asked.err and len(asked.err.splitlines()) == 1, asked.err
        report.rmdir() if report.is_dir() else report.unlink()


def test_notebooks_of_other_tools_are_read(tmp_path: Path) -> None:
    old = nbformat.convert(nbformat.from_dict(notebook(cell(source=["a = 1\n", "a"]))), 3)
    lines = notebook(cell(source=["a = 1\n", "a"], more="kept"), nbformat_minor=9, extra=1)
    for name, value in {"old": old, "lines": lines, "BOM": json.dumps(lines).encode("utf-8-sig")}.items():
        put(tmp_path / f"{name}.ipynb", value)
        assert read_notebook(tmp_path / f"{name}.ipynb").cells[0].source == "a = 1\na"
    put(tmp_path / "nan.ipynb", json.dumps(shown_as({"application/json": [float("nan")]})).encode())
    assert is_complete(tmp_path / "nan.ipynb")


def own_templates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own, linked but for its notebooks, which a test may change."""
    root, mine = paths.repository_root(), folder.parent / "repository"
    (mine / "notebooks").mkdir(parents=True)
    for kind in ("data", "docs", "params"):
        (mine / kind).symlink_to(root / kind)
    for file in (root / "notebooks").glob("*.ipynb"):
        (mine / "notebooks" / file.name).write_bytes(file.read_bytes())
    monkeypatch.setenv("EMOLIB_ROOT", str(mine))
    return mine / "notebooks" / paths.NOTEBOOKS["phase1"]


def cells(change: Callable[[list[Any]], Any]) -> Callable[[Path], Any]:
    def spoil(path: Path) -> None:
        found = json.loads(path.read_text())
        change(found["cells"])
        path.write_text(json.dumps(found))

    return spoil


def parameters(found: list[Any]) -> dict[str, Any]:
    return next(cell for cell in found if "parameters" in cell["metadata"].get("tags", []))


TEMPLATES: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "missing": (Path.unlink, ["no such file"]),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), ["folder"]),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), ["pipe"]),
    "a circle": (lambda path: (path.unlink(), path.symlink_to(path)), ["symbolic links"]),
    "empty": (lambda path: path.write_text(""), ["JSON"]),
    "no JSON": (lambda path: path.write_text("<<<<<<< HEAD"), ["JSON"]),
    "an object": (lambda path: path.write_text("{}"), ["nbformat"]),
    "no cells": (lambda path: path.write_text(json.dumps(notebook())), ["tagged", "parameters"]),
    "no tag": (cells(lambda found: parameters(found)["metadata"].clear()), ["tagged", "parameters"]),
    "prose with the tag": (cells(lambda found: parameters(found).update(cell_type="markdown")), ["tagged"]),
    "no Python": (cells(lambda found: parameters(found).update(source="profile = = 1")), ["Python"]),
    "a magic": (cells(lambda found: parameters(found).update(source="%time profile = None")), ["Python"]),
    "a NUL character": (cells(lambda found: parameters(found).update(source="a = '\0'")), ["Python"]),
    "nested": (cells(lambda found: parameters(found).update(source="a = " + "(" * 5000)), ["Python"]),
    "nbformat 5": (lambda path: path.write_text(json.dumps(notebook(nbformat=5))), ["nbformat"]),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_of_another_form_is_told_before_any_kernel(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    spoil, says = TEMPLATES[name]
    template = own_templates(place.folder, monkeypatch)
    spoil(template)
    asked = place.ask(["run", "--profile", PROFILE])
    assert asked.code == 2 and "running" not in asked.out, asked
    assert len(asked.err.splitlines()) == 1 and not [word for word in says if word not in asked.err], asked.err
    assert template.name in asked.err
