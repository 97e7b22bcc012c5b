"""What a notebook's parameters cell (and the one papermill injects after it) assigned."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

SETUP_MARK = "import emolib"


def notebook_parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Names assigned in the cells before the setup cell, with their present values, None left out.

    papermill only warns when it injects a name that the notebook does not know. Here every injected name reaches
    `open_run`, which refuses the unknown ones.

    Args:
        namespace: the notebook's `globals()`; its `In` holds the executed cells.
    """
    names: list[str] = []
    for source in namespace.get("In", []):
        if SETUP_MARK in source:
            break
        names += _assigned(source)
    chosen = {name: namespace.get(name) for name in names if name not in ("profile", "model")}
    return {name: value for name, value in chosen.items() if value is not None}


def _assigned(source: str) -> list[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a cell with notebook magics assigns no parameters
        return []
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return [target.id for target in targets if isinstance(target, ast.Name)]
