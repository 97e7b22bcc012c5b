"""What a notebook's cells say about parameters: nothing is dropped in silence, whatever is written around it."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from emolib.base.errors import UserError
from emolib.pipeline.notebook_parameters import assigned_names, notebook_parameters

PARAMETERS = """\
profile = "quick"
model = "smollm2_135m"
layers = None  # None: five; "8-12"
seed = None
overrides = {}"""
SETUP = 'import emolib\nrun = emolib.open_run(profile, model, "phase5", **emolib.notebook_parameters(globals()))'


def seen(*cells: str, setup: str = SETUP) -> dict[str, Any]:
    """What the setup cell is given once the cells before it were run, as in a kernel."""
    shell = InteractiveShell()
    for cell in (*cells, f"if False:\n    {setup.splitlines()[-1]}"):
        shell.run_cell(cell, store_history=True)
    return notebook_parameters(shell.user_ns)


def changed(old: str, new: str) -> str:
    assert old in PARAMETERS
    return PARAMETERS.replace(old, new)


def test_none_and_no_overrides_mean_the_profile() -> None:
    assert seen(PARAMETERS) == {}


@pytest.mark.parametrize(
    "line",
    [
        'layers = "8-12"',
        'layers: str = "8-12"',
        'layers, seed = "8-12", None',
        '(layers, *_rest) = ["8-12", 1]',
        'layers = _chosen = "8-12"',
        'layers = "8-"\nlayers += "12"',
        'if True:\n    layers = "8-12"',
        'print(layers := "8-12", end="")',
        '%time layers = "8-12"',
        'layers = "8-12"  # import emolib comes later',
        'import emolib\nlayers = "8-12"',
        'from emolib import open_run\nlayers = "8-12"',
        '# Parameters of mine\nlayers = "8-12"',
    ],
)
def test_a_value_counts_however_it_is_assigned(line: str) -> None:
    assert seen(changed('layers = None  # None: five; "8-12"', line)) == {"layers": "8-12"}
    assert seen(line, PARAMETERS.replace("layers = None", "pass")) == {"layers": "8-12"}, "in a cell before"
    assert seen(PARAMETERS, line) == {"layers": "8-12"}, "in a cell between"


@pytest.mark.parametrize(
    "scratch",
    [
        "import emolib",
        "# import emolib",
        "df = [1]; alpha = 3",
        "%matplotlib inline",
        "!true",
        "%%time\nx = 1",
        "%%bash\necho 'import emolib'",
        "def f():\n    window = 5\n    return window",
        "[window for window in range(3)]",
        "this is no python",
        "1 / 0",
    ],
)
def test_scratch_cells_neither_drop_nor_add_parameters(scratch: str) -> None:
    given = changed("seed = None", "seed = 3")
    assert seen(scratch, given) == {"seed": 3}
    assert seen(given, scratch) == {"seed": 3}


def test_a_cell_magic_does_not_hide_the_parameters_cell() -> None:
    assert seen("%%time\n" + changed("seed = None", "seed = 3")) == {"seed": 3}


def test_overrides_are_folded_in_and_none_among_them_is_the_profile() -> None:
    assert seen(changed("overrides = {}", 'overrides = {"window": 2, "unit": None}')) == {"window": 2}


def test_the_present_values_count_when_cells_are_run_again() -> None:
    first, second = changed("seed = None", "seed = 3"), changed("overrides = {}", 'overrides = {"window": 2}')
    assert seen(first, SETUP.splitlines()[0], "layer = 4", second) == {"window": 2}
    assert seen(first, changed("seed = None", "seed = 4")) == {"seed": 4}


def test_what_papermill_injects_counts() -> None:
    injected = '# Parameters\nprofile = "quick"\nmodel = "smollm2_135m"\nlayers = "8-12"\noverrides = {"window": 2}\n'
    assert seen(PARAMETERS, injected) == {"layers": "8-12", "window": 2}


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([changed("seed = None", "sede = 3")], ["unknown parameter 'sede'", "parameters cell", "'seed'"]),
        ([changed("seed = None", "n_folds = 3")], ["unknown parameter 'n_folds'"]),
        ([PARAMETERS, "# Parameters\nsites_typo = 1"], ["unknown parameter 'sites_typo'", "'sites'"]),
        ([changed("{}", '{"windwo": 2}')], ["unknown parameter 'windwo'", "overrides", "'window'"]),
        ([changed("{}", "[1]")], ["overrides", "list"]),
        ([changed("{}", '{"profile": "quick"}')], ["unknown parameter 'profile'"]),
        ([changed("seed = None", "seed = 1").replace("{}", '{"seed": 2}')], ["'seed'", "twice"]),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name(cells: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        seen(*cells)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_corrected_parameters_cell_is_judged_as_it_is_now() -> None:
    assert seen(changed("seed = None", "sede = 3"), changed("seed = None", "seed = 3")) == {"seed": 3}


def test_a_name_of_another_phase_is_a_variable_like_any_other() -> None:
    setup = 'run = emolib.open_run(profile, model, phase="phase3", **emolib.notebook_parameters(globals()))'
    cells = ['profile = "quick"\nmodel = "smollm2_135m"\noverrides = {}', "layers = {'anger': 3}", "n_halves = 5"]
    assert seen(*cells, setup=setup) == {"n_halves": 5}


def test_what_functions_and_loops_name_is_assigned_by_neither() -> None:
    source = "def f(a):\n    b = 1\nclass C:\n    c = 1\nfor d in range(3):\n    e = d\nx.y = 1\nz[0] = 1\nw: int"
    assert assigned_names(source) == ["e", "w"]
