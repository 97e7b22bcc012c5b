"""The comparison behind `pytest --nbval`: last digits may differ; a word, a count, a row or 1 % may not."""

from __future__ import annotations

from collections.abc import Iterator

import nbformat
import notebook_outputs
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval.plugin import IPyNbCell, IPyNbFile
from notebook_outputs import difference

TABLE = """          平均      n   判定
感謝   1587.208     72   支持
怒り      0.655      9  不支持
謝罪     -0.000    225   支持"""
SENTENCE = (
    "層 18 の値は 0.71（95 % 区間 [-0.02, 1.40]）で、`0.05` の設定のもとで 178 倍、12% である。版 0.3.1、a3995acd464f。"
)
PASSES = {
    "nothing": (TABLE, TABLE),
    "a last digit": (TABLE, TABLE.replace("1587.208", "1587.209")),
    "a few last digits of a number of many": (
        TABLE.replace("1587.208", "24101.424"),
        TABLE.replace("1587.208", "24101.511"),
    ),
    "a value rounded to the other side": (TABLE, TABLE.replace("0.655", "0.656")),
    "the sign of zero, which widens nothing here": (TABLE, TABLE.replace("-0.000", " 0.000")),
    "the sign of zero, which widens a column": ("[ 0.1  0.  0.5]", "[ 0.1 -0.  0.5]"),
    "a digit printed less": ("0.120  0.655", "0.12  0.655"),
    "a value in a sentence": (SENTENCE, SENTENCE.replace("0.71", "0.72")),
    "a ratio": (SENTENCE, SENTENCE.replace("178 倍", "177 倍")),
    "one value twice": (SENTENCE + SENTENCE, (SENTENCE + SENTENCE).replace("0.71", "0.72")),
}
FAILS = {
    "1 % of one number": (TABLE, TABLE.replace("1587.208", "1603.080")),
    "1 % of a number of three digits": (TABLE, TABLE.replace("0.655", "0.662")),
    "a word": (TABLE, TABLE.replace("怒り", "喜び")),
    "a verdict": (TABLE, TABLE.replace("不支持", "支持")),
    "a row": (TABLE, TABLE.rsplit("\n", 1)[0]),
    "a row of numbers": ("1.5 2.5\n1.5 2.5", "1.5 2.5"),
    "rows as columns": ("1.5 2.5\n1.5 2.5", "1.5 2.5 1.5 2.5"),
    "a count": (TABLE, TABLE.replace("225", "226")),
    "a count that is now a fraction": (TABLE, TABLE.replace("225", "225.0")),
    "a value that is now missing": (TABLE, TABLE.replace("0.655", "  NaN")),
    "a sign": (SENTENCE, SENTENCE.replace("-0.02", "0.02")),
    "two units of a last digit": (TABLE, TABLE.replace("0.655", "0.657")),
    "many last digits at once": ("0.12 0.23 0.34", "0.13 0.24 0.34"),
    "a layer": (SENTENCE, SENTENCE.replace("層 18", "層 19")),
    "a setting": (SENTENCE, SENTENCE.replace("0.05", "0.06")),
    "a dose, whose digits are too few to be rounded ones": ("α = 0.2", "α = 0.3"),
    "a version": (SENTENCE, SENTENCE.replace("0.3.1", "0.2.1")),
    "a hash": (SENTENCE, SENTENCE.replace("a3995acd464f", "a3996acd464f")),
    "a small share": (SENTENCE, SENTENCE.replace("12%", "13%")),
}


def output(kind: str, text: str) -> nbformat.NotebookNode:
    """What a cell gives that shows a text as a table's HTML beside its plain form, as Markdown or as a stream."""
    if kind == "stream":
        return new_output("stream", text=text + "\n")
    data = {"text/html": f"<pre>{text}</pre>", "text/plain": text} if kind == "table" else {"text/markdown": text}
    return new_output("display_data", data=data)


@pytest.fixture(scope="module")
def cell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IPyNbCell]:
    """A cell of nbval's under the project's rule; it is handed its outputs, so no kernel runs.

    `tests/pipeline/test_phases.py` has `pytest --nbval` itself ask so, of a report's cells in a kernel.
    """
    path = tmp_path_factory.mktemp("nbval") / "report.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1", execution_count=1)]), path)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("sanitize", "format_output_compare"):
            patch.setattr(IPyNbCell, name, getattr(IPyNbCell, name))  # put back afterwards
        patch.setattr(request.config.option, "nbval", True)
        notebook_outputs.pytest_configure(request.config)
        (made,) = IPyNbFile.from_parent(request.session, path=path).collect()
        yield made


def compared(cell: IPyNbCell, kind: str, before: str, after: str) -> tuple[bool, str]:
    """Whether nbval takes a cell's output for its reference, and what it says where it does not."""
    agree = cell.compare_outputs([output(kind, after)], [output(kind, before)])
    return agree, "".join(cell.comparison_traceback)


@pytest.mark.parametrize("kind", ["table", "markdown", "stream"])
@pytest.mark.parametrize("name", PASSES)
def test_what_another_processor_may_print_passes(cell, kind, name):
    assert compared(cell, kind, *PASSES[name]) == (True, "")


@pytest.mark.parametrize("kind", ["table", "markdown", "stream"])
@pytest.mark.parametrize("name", FAILS)
def test_what_a_change_of_the_code_would_print_fails(cell, kind, name):
    agree, told = compared(cell, kind, *FAILS[name])
    assert not agree and "mismatch" in told and ("became" in told or "end in another digit" in told)


def test_the_message_names_what_differs():
    assert difference(*FAILS["1 % of one number"]) == "1587.208 became 1603.080"
    assert difference("1.5 2.5 1.5", "1.5 2.5") == "3 numbers became 2"
    assert "'怒り' became" in difference("怒り 1.5", "喜び 1.5")
    assert difference(*FAILS["many last digits at once"]).startswith("2 of 3 numbers end in another digit")
