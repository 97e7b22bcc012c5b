"""The house rules of notebooks, and that the committed copies say nothing about a machine or a time."""

import ast
import json
import re

import nbformat
import pytest

from emolib.base import paths
from emolib.base.parameters import OF_PAIRS, PHASE_PARAMETERS
from emolib.pipeline.notebook_parameters import assigned_names
from emolib.readout import leak_search
from emolib.study import phase1_dataset

FIGURE = re.compile(r"\bsay\.figure_")
EXEMPT = "# NBVAL_IGNORE_OUTPUT"
HEADINGS = [
    "## 目的",
    "## 問い・仮説・判定基準",
    "## 実行設定",
    "## 結論",
    "## 考察",
    "## 限界",
    "## 次のアクション",
    "## 自動生成サマリ",
]
PHASES = sorted(paths.NOTEBOOKS)


def source(phase: str) -> nbformat.NotebookNode:
    return nbformat.read(paths.notebook_file(phase), as_version=4)


def committed(phase: str):
    model = "smollm2_135m_vs_rotated" if phase in OF_PAIRS else "smollm2_135m"
    return paths.repository_root() / "executed" / "baseline_smoke" / model / paths.NOTEBOOKS[phase]


def code_of(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("phase", PHASES)
def test_headings_stand_in_the_order_of_a_report(phase):
    text = "\n".join(cell.source for cell in source(phase).cells if cell.cell_type == "markdown")
    places = [text.index(heading) for heading in HEADINGS]
    assert places == sorted(places)
    assert text.startswith("# Phase")


@pytest.mark.parametrize("phase", PHASES)
def test_the_conclusion_is_the_first_result(phase):
    headings = re.findall(
        r"^## .*", "\n".join(c.source for c in source(phase).cells if c.cell_type == "markdown"), re.M
    )
    assert headings[headings.index("## 実行設定") + 1] == "## 結論"
    cells = source(phase).cells
    place = next(i for i, cell in enumerate(cells) if cell.source.startswith("## 結論"))
    assert "say.conclusion(" in cells[place + 1].source.splitlines()[-1]


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


def test_the_report_of_phase_5_is_short_enough_to_be_read():
    assert len(source("phase5").cells) <= 70


def parameters_cell(phase: str) -> str:
    (cell,) = [c for c in source(phase).cells if "parameters" in c.metadata.get("tags", [])]
    return cell.source


@pytest.mark.parametrize("phase", PHASES)
def test_the_parameters_cell_holds_the_turns_people_use_and_the_rest_goes_into_overrides(phase):
    lines = parameters_cell(phase).splitlines()
    assert len(lines) <= 15
    *named, last = [re.fullmatch(r"(\w+) = (.*?)  # (.+)", line).groups() for line in lines]
    assert last[:2] == ("overrides", "{}")
    assert [name for name, *_ in named[:2]] == ["profile", "model"] and 6 <= len(named) <= 8
    assert {name for name, *_ in named} <= set(PHASE_PARAMETERS[phase].model_fields) - {"phase", "variant"}
    assert {value for _, value, _ in named[2:]} == {"None"}


@pytest.mark.parametrize("phase", PHASES)
def test_the_default_beside_a_turn_is_the_default(phase):
    """The comment begins with the default of the phase's parameters, or with a word in Japanese for None."""
    for line in parameters_cell(phase).splitlines()[2:-1]:
        name, comment = re.fullmatch(r"(\w+) = None  # (.+)", line).groups()
        default = PHASE_PARAMETERS[phase].model_fields[name].default
        shown = json.dumps(list(default), ensure_ascii=False) if isinstance(default, tuple) else str(default)
        assert comment.startswith(shown) or (default is None and not comment.isascii()), line


@pytest.mark.parametrize("phase", PHASES)
def test_no_other_cell_assigns_a_parameter(phase):
    """Whatever assigns a parameter's name gives it a value, when the cells are run a second time."""
    assigned = {name for cell in code_of(source(phase))[1:] for name in assigned_names(cell)}
    assert not assigned & set(PHASE_PARAMETERS[phase].model_fields)


@pytest.mark.parametrize("phase", PHASES)
def test_a_notebook_imports_emolib_the_figures_and_one_facade(phase):
    tree = ast.parse("\n".join(code_of(source(phase))))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.asname or alias.name for node in imported for alias in node.names}
    assert names <= {"emolib", "figures", "say"} and {"emolib", "say"} <= names


@pytest.mark.parametrize("phase", PHASES)
def test_beyond_figures_at_most_one_cell_in_ten_is_exempt_and_every_figure_has_a_table(phase):
    cells = code_of(source(phase))
    exempt = [cell for cell in cells if EXEMPT in cell and not FIGURE.search(cell)]
    assert len(exempt) <= len(cells) / 10
    assert all(cell.startswith(EXEMPT) for cell in cells if FIGURE.search(cell))
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


def test_the_bars_in_phase_1s_prose_are_those_that_are_applied() -> None:
    prose = "".join(cell.source for cell in source("phase1").cells if cell.cell_type == "markdown")
    low, high = phase1_dataset.CALENDAR_GATE
    for bar in (f"{phase1_dataset.GATE} 以下", f"{low:.2f}–{high:.2f}", f"{phase1_dataset.LEAK_LIMIT} を超える"):
        assert bar in prose, bar
    assert f"感情ごとに {leak_search.TOP} 個" in prose
