"""What a notebook's cells say about the parameters of its phase.

Names count, not places: whatever a cell assigns to a parameter of the phase is a parameter, with its value at the time
the setup cell runs, whether it stands in the parameters cell, in the cell that papermill injects after it, or in a
scratch cell. In the first two an unknown name is a mistake; in a scratch cell it is a variable like any other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.base.parameters import PHASE_PARAMETERS, known_elsewhere, parameter_names
from emolib.base.signatures import told

OVERRIDES = "overrides"
RUN = ("profile", "model")  # what is run, which `open_run` takes by itself
INJECTED = "# Parameters"  # how the cell begins that papermill writes
MAGICS = (".run_line_magic", ".run_cell_magic")  # what `%time alphas = [0.2]` and `%%time` become
_OWN_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr)


@told
def notebook_parameters(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the notebook's cells give to parameters of its phase; None, "as the profile says", left out.

    `overrides` holds further parameters; a name that a cell sets, too, is refused. A parameters cell that was corrected
    and run again is judged by its last version.

    Args:
        namespace: the notebook's `globals()`; its `In` holds the cells run so far, the present one last.

    Raises:
        UserError: an unknown name in the parameters cell or in `overrides`, or a parameter given twice.

    Example:
        >>> import emolib
        >>> layers, overrides = "8-12", {"window": 2}  # what the parameters cell assigns
        >>> cells = ['layers, overrides = "8-12", {"window": 2}', 'emolib.open_run(profile, model, "phase5")']
        >>> emolib.notebook_parameters({"In": cells, "layers": layers, "overrides": overrides})
        {'layers': '8-12', 'window': 2}
    """
    arguments.instance("namespace", namespace, Mapping, "globals()")
    cells = [source for source in namespace.get("In") or [] if isinstance(source, str) and source.strip()]
    valid = _valid_names(cells[-1] if cells else "")
    for name in _listed(cells):
        if name not in (*valid, *RUN, OVERRIDES) and not name.startswith("_"):
            raise UserError(f"unknown parameter {shown(name)} in the parameters cell: {known_elsewhere(name, valid)}")
    names = dict.fromkeys(name for source in cells for name in assigned_names(source) if name in valid)
    chosen = {name: namespace[name] for name in names if namespace.get(name) is not None}
    further = _overrides(namespace.get(OVERRIDES), valid)
    for name in further:
        if name in chosen:
            raise UserError(f"{shown(name)} is given twice, in a cell and in overrides; keep one, or set one to None")
    return chosen | further


def assigned_names(source: str) -> list[str]:
    """The names that a cell assigns outside of functions and classes; none where it is no Python."""
    return list(dict.fromkeys(name for node in _parsed(source).body for name in _assigned(node)))


def _valid_names(setup: str) -> list[str]:
    """The parameters of the phase that the setup cell opens; those of all phases where it does not name one."""
    for node in ast.walk(_parsed(setup)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "open_run":
            given = [*node.args[2:3], *(keyword.value for keyword in node.keywords if keyword.arg == "phase")]
            for value in given:
                if isinstance(value, ast.Constant) and value.value in PHASE_PARAMETERS:
                    return parameter_names(value.value)
    return sorted({name for phase in PHASE_PARAMETERS for name in parameter_names(phase)})


def _listed(cells: Sequence[str]) -> list[str]:
    """What the last version of the parameters cell assigns, and of papermill's cell after it."""
    listed: dict[str, list[str]] = {}
    for source in cells:
        names = assigned_names(source)
        if source.startswith(INJECTED):
            listed["injected"] = names
        elif {*RUN, OVERRIDES} <= set(names):
            listed["parameters"] = names
    return [name for names in listed.values() for name in names]


def _overrides(given: Any, valid: Sequence[str]) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise UserError(f"expected overrides = {{}} with parameters by name, got {type(given).__name__}")
    for name in given:
        if name not in valid:
            raise UserError(f"unknown parameter {shown(name)} in overrides: {known_elsewhere(name, valid)}")
    return {name: value for name, value in given.items() if value is not None}


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(TransformerManager().transform_cell(source))
    except SyntaxError:  # it could not run either
        return ast.Module(body=[], type_ignores=[])


def _assigned(node: ast.AST) -> Iterator[str]:
    """The names that a statement assigns, magics that run one included; the variables of loops are none of them."""
    if isinstance(node, _OWN_SCOPE):
        return
    if isinstance(node, _ASSIGNMENTS):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name) and _stored(part))
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(MAGICS):
        yield from assigned_names(ast.literal_eval(node.args[-1]))
    for child in ast.iter_child_nodes(node):
        yield from _assigned(child)


def _stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)
