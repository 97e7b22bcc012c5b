"""The house rules of notebooks, and that the committed copies say nothing about a machine or a time."""

import re

import nbformat
import pytest

from emolib.base import paths
from emolib.base.parameters import PHASE_PARAMETERS

FIGURE = "report.show"  # show, show_view, show_cross_model
EXEMPT = "# NBVAL_IGNORE_OUTPUT"
HEADINGS = [
    "## 目的",
    "## 問い・仮説・判定基準",
    "## 実行設定",
    "## 考察",
    "## 限界",
    "## 次のアクション",
    "## 自動生成サマリ",
]
PHASES = sorted(paths.NOTEBOOKS)


def source(phase: str) -> nbformat.NotebookNode:
    return nbformat.read(paths.notebook_file(phase), as_version=4)


def committed(phase: str):
    return paths.repository_root() / "executed" / "baseline_smoke" / "smollm2_135m" / paths.NOTEBOOKS[phase]


def code_of(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("phase", PHASES)
def test_headings_stand_in_the_order_of_a_report(phase):
    text = "\n".join(cell.source for cell in source(phase).cells if cell.cell_type == "markdown")
    places = [text.index(heading) for heading in HEADINGS]
    assert places == sorted(places)
    assert text.startswith("# Phase")


@pytest.mark.parametrize("phase", PHASES)
def test_questions_and_bars_come_before_any_code(phase):
    kinds = [cell.cell_type for cell in source(phase).cells]
    first_code = kinds.index("code")
    assert "判定基準" in source(phase).cells[first_code - 1].source


@pytest.mark.parametrize("phase", PHASES)
def test_cells_are_short_calls_without_outputs(phase):
    for cell in source(phase).cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
            assert not re.search(r"^\s*(def|class|for|while) ", cell.source, re.MULTILINE)
            assert "parameters" in cell.metadata.get("tags", []) or len(cell.source.splitlines()) <= 15


@pytest.mark.parametrize("phase", PHASES)
def test_the_parameters_cell_holds_every_parameter_of_the_phase(phase):
    (cell,) = [c for c in source(phase).cells if "parameters" in c.metadata.get("tags", [])]
    names = re.findall(r"^(\w+) = ", cell.source, re.MULTILINE)
    assert set(names) == set(PHASE_PARAMETERS[phase].model_fields) - {"phase"}


@pytest.mark.parametrize("phase", PHASES)
def test_beyond_figures_at_most_one_cell_in_ten_is_exempt_and_every_figure_has_a_table(phase):
    cells = code_of(source(phase))
    exempt = [cell for cell in cells if EXEMPT in cell and FIGURE not in cell]
    assert len(exempt) <= len(cells) / 10
    assert all(cell.startswith(EXEMPT) for cell in cells if FIGURE in cell)
    assert not any("NBVAL_SKIP" in cell or "NBVAL_RAISES" in cell for cell in cells)


@pytest.mark.parametrize("phase", PHASES)
def test_committed_copies_are_complete_small_and_free_of_machine_and_time(phase):
    path = committed(phase)
    assert path.stat().st_size < 1_000_000
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
    assert not re.search(r"20\d\d-\d\d-\d\dT", text)
    assert "papermill" not in nbformat.read(path, as_version=4).metadata
    outputs = [o for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code" for o in c.outputs]
    assert outputs and not [o for o in outputs if o.output_type in ("error", "stream")]


@pytest.mark.parametrize("phase", PHASES)
def test_committed_copies_were_made_from_the_notebooks_as_they_are(phase):
    executed = [c.source for c in nbformat.read(committed(phase), as_version=4).cells]
    executed = [s for s in executed if not s.startswith("# Parameters")]  # what papermill injected
    assert executed == [c.source for c in source(phase).cells]
