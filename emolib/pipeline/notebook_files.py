"""Reads notebooks: templates and executed reports, whatever wrote them.

Only what the pipeline and the site use is checked, so that a notebook of another tool that holds more is welcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emolib.base import files, paths
from emolib.base.errors import UserError, one_line, shown

if TYPE_CHECKING:
    from nbformat import NotebookNode

_TEXT, _LINES = (str,), (str, list)
_PARTS: dict[str, dict[str, tuple[type, ...]]] = {  # what each kind of part must hold, and of which types
    "notebook": {"metadata": (dict,), "cells": (list,)},
    "cell": {"cell_type": _TEXT, "metadata": (dict,), "source": _LINES},
    "code cell": {"outputs": (list,), "execution_count": (int, type(None))},
    "output": {"output_type": _TEXT},
    "output of data": {"data": (dict,), "metadata": (dict,)},
    "output of text": {"text": _LINES},
}
_OUTPUTS = {"display_data": "output of data", "execute_result": "output of data", "stream": "output of text"}


def read_notebook(path: Path) -> NotebookNode:
    """A notebook in the layout of nbformat 4, checked as far as it is used.

    Raises:
        UserError: the file is missing, no JSON, no notebook, or of an nbformat that cannot be converted.
    """
    import nbformat

    return nbformat.versions[4].to_notebook_json(_checked(path))


def _checked(path: Path) -> dict[str, Any]:
    """The notebook as plain objects. nbformat takes a second to load, and reads a notebook of this layout as it is."""
    name = f"the notebook {shown(paths.display(path))}"
    advice = "run its phase again, or restore it"
    text = files.read_text(path, name=name, advice=advice)
    found = files.parse_json(text, name, kind=dict, advice=advice, finite=False)
    if found.get("nbformat") != 4:
        found = _converted(found, name)
    for problem in _problems(found):
        raise UserError(f"expected a notebook in {paths.display(path)}, {problem}; {advice}")
    return found


def _converted(found: dict[str, Any], name: str) -> dict[str, Any]:
    major = found.get("nbformat")
    if major not in (1, 2, 3):
        raise UserError(f"expected a notebook of nbformat 4 in {name}, got nbformat {shown(major)}; save it as 4")
    import nbformat

    try:
        return nbformat.convert(nbformat.versions[major].to_notebook_json(found), 4)
    except Exception as error:  # what an old layout of any shape makes the conversion say has no common type
        reason = one_line(error)
        raise UserError(
            f"expected a notebook of nbformat 4 in {name}, nbformat {major} cannot be converted ({reason:.100}); "
            f"save it as 4"
        ) from error


def is_complete(report: Path) -> bool:
    """Whether a report is there, a notebook, and all of its code has run without an error.

    Raises:
        UserError: something stands in its place that a new report could not replace.
    """
    if files.kind_of(report) == "missing":
        return False
    files.require_file(report, advice="remove it")
    try:
        cells = [cell for cell in _checked(report)["cells"] if cell["cell_type"] == "code"]
    except UserError:
        return False
    cells = [cell for cell in cells if "".join(cell["source"]).strip()]
    executed = bool(cells) and all(cell["execution_count"] for cell in cells)
    return executed and not any(output["output_type"] == "error" for cell in cells for output in cell["outputs"])


def _problems(notebook: dict[str, Any]) -> Iterator[str]:
    """What is wrong, beginning with what everything else needs."""
    yield from _unlike(notebook, "notebook", "the notebook")
    for number, cell in enumerate(notebook["cells"], start=1):
        where = f"cell {number}"
        yield from _unlike(cell, "cell", where)
        if cell["cell_type"] == "code":
            yield from _unlike(cell, "code cell", where)
            for output in cell["outputs"]:
                yield from _unlike(output, "output", f"an output of {where}")
                yield from _unlike(output, _OUTPUTS.get(output["output_type"], "output"), f"an output of {where}")
                yield from _odd_texts(output.get("data", {}), f"an output of {where}")
        attached = cell.get("attachments", {})
        if not isinstance(attached, dict) or not all(isinstance(bundle, dict) for bundle in attached.values()):
            yield f"{where} has {shown(attached)} as attachments"


def _odd_texts(bundle: dict[str, Any], where: str) -> Iterator[str]:
    for mime, value in bundle.items() if isinstance(bundle, dict) else ():
        if mime.startswith(("text/", "image/")) and not _is_one_of(value, _LINES):
            yield f"{where} has {shown(value)} as {shown(mime)}"


def _unlike(part: Any, kind: str, where: str) -> Iterator[str]:
    if not isinstance(part, dict):
        yield f"{where} is no object but {shown(part)}"
        return
    for key, types in _PARTS[kind].items():
        if key not in part:
            yield f"{where} has no {key}"
        elif not _is_one_of(part[key], types):
            yield f"{where} has {shown(part[key])} as {key}"


def _is_one_of(value: Any, types: tuple[type, ...]) -> bool:
    if types == _LINES and isinstance(value, list):
        return all(isinstance(line, str) for line in value)
    return isinstance(value, types) and not isinstance(value, bool)
