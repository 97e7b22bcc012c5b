"""The commands of a confirmation: what they refuse before anything is loaded, and the notebook that they run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pytest
from refusals import Place, Refusal, refused

from emolib.base import paths
from emolib.base.frozen_studies import ConfirmationParameters
from emolib.cli import main
from emolib.data.mock_sealed import write_mock

OPEN = ["run", "--profile", "confirm", "--sealed"]


def mock(folder: Path) -> None:
    write_mock(folder / "mock.jsonl")


CASES = [
    Refusal("no sealed file named", ["run", "--profile", "confirm"], ["--sealed FILE", "docs/confirmation.md"]),
    Refusal("a phase beside it", [*OPEN, "mock.jsonl", "--phase", "phase5"], ["everything else is frozen"], mock),
    Refusal("layers beside it", [*OPEN, "mock.jsonl", "--layers", "3"], ["everything else is frozen"], mock),
    Refusal("another profile", ["run", "--sealed", "mock.jsonl"], ["--profile confirm", "'quick'"], mock),
    Refusal("no such file", [*OPEN, "no.jsonl"], ["a sealed file at 'no.jsonl'", "no such file"]),
    Refusal("an unknown parameter", [*OPEN, "mock.jsonl", "-p", "alphas=3"], ["'alphas' of a confirmation"], mock),
    Refusal("too few samples", [*OPEN, "mock.jsonl", "-p", "n_samples=1"], ["n_samples", "at least 2"], mock),
    Refusal(
        "nothing frozen",
        [*OPEN, "mock.jsonl", "--model", "gpt2", "-p", "rehearsal=10"],
        ["the frozen choice of 'gpt2_small'", "params/frozen/gpt2_small.yaml", "emolib freeze"],
        mock,
    ),
    Refusal("nothing to freeze", ["freeze", "-o", "f.yaml"], ["finished Phase 5 of 'quick'", "emolib run"]),
    Refusal("an unknown profile to freeze", ["freeze", "--profile", "quik"], ["unknown profile 'quik'", "quick"]),
    Refusal("no JSONL for a mock", ["mock-sealed", "-o", "mock.csv"], ["ends in .jsonl", "'mock.csv'"]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_one_line_and_leaves_nothing(place: Place, case: Refusal) -> None:
    refused(place, case)


def test_a_mock_file_is_written(place: Place) -> None:
    asked = place.ask(["mock-sealed", "-o", "mock.jsonl", "--permute", "3"])
    assert asked.code == 0 and "285 texts of 45 scenarios" in asked.out and (place.folder / "mock.jsonl").is_file()
    assert callable(main)


# the notebook


@pytest.fixture(scope="module")
def cells() -> list[nbformat.NotebookNode]:
    return nbformat.read(paths.confirmation_notebook(), as_version=4).cells


def test_the_notebook_is_short_calls_that_name_the_rule_first(cells: list[nbformat.NotebookNode]) -> None:
    kinds = [cell.cell_type for cell in cells]
    assert len(cells) <= 25 and "判定基準" in cells[kinds.index("code") - 1].source
    for cell in cells:
        if cell.cell_type == "code":
            assert not cell.outputs and len(cell.source.splitlines()) <= 15
            assert not re.search(r"^\s*(def|class|for|while) ", cell.source, re.MULTILINE)
    headings = re.findall(r"^## .*", "\n".join(c.source for c in cells if c.cell_type == "markdown"), re.M)
    assert headings[:4] == ["## 目的", "## 問い・仮説・判定基準", "## 凍結した選択と封の中身", "## 結論"]
    assert headings[-4:] == ["## 考察", "## 限界", "## 次のアクション", "## 自動生成サマリ"]


def test_its_parameters_are_those_of_a_confirmation(cells: list[nbformat.NotebookNode]) -> None:
    (cell,) = [one for one in cells if "parameters" in one.metadata.get("tags", [])]
    names = [node.targets[0].id for node in ast.parse(cell.source).body]
    assert names[-1] == "overrides" and set(names[:-1]) <= set(ConfirmationParameters.model_fields)
    for line in cell.source.splitlines()[2:-1]:
        name, comment = re.fullmatch(r"(\w+) = None  # (.+)", line).groups()
        default = ConfirmationParameters.model_fields[name].default
        assert comment.startswith(str(default)) or default in (None, False), line
