"""What the notebooks show, without a kernel: their cells run here, one after the other, and every output is kept."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest
from IPython.display import Markdown

from emolib.base import paths


@dataclass
class Told:
    """The outputs of one notebook: sentences and tables as Markdown, tables of pandas, figures and views as bundles."""

    markdown: list[str] = field(default_factory=list)
    tables: list[pd.DataFrame] = field(default_factory=list)
    bundles: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, shown: Any, *, raw: bool = False) -> None:
        """Takes what a notebook would display."""
        if isinstance(shown, Markdown):
            self.markdown.append(shown.data)
        elif isinstance(shown, pd.DataFrame):
            self.tables.append(shown)
        elif raw:
            self.bundles.append(shown)


def told_by(phase: str, patch: pytest.MonkeyPatch, **parameters: object) -> Told:
    """Runs a notebook's code cells with other values of its parameters."""
    told = Told()
    patch.setattr("IPython.display.display", told.keep)
    notebook = json.loads((paths.repository_root() / "notebooks" / paths.NOTEBOOKS[phase]).read_text(encoding="utf-8"))
    space: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        body = ast.parse("".join(cell["source"])).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), phase, "exec"), space)
        if last is not None:
            told.keep(eval(compile(ast.Expression(last.value), phase, "eval"), space))
        if "parameters" in cell["metadata"].get("tags", []):
            space.update(parameters)
    return told
