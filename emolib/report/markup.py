"""Tables, numbers and text as a report prints them, in no language: rounding, dashes, Markdown, and figures shown and
kept. How untrusted text is printed stands in `emolib.base.escaping`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from IPython.display import Markdown

from emolib.base.escaping import cell
from emolib.plots import figures, views
from emolib.study.run import Run

NOTHING = "—"


def number(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """A number inside a sentence or a cell: a dash where there is none or it has no end, and no minus before a zero.

    >>> number(-0.001), number(0.256, signed=True), number(float("nan"))
    ('0.00', '+0.26', '—')
    """
    if value is None or pd.isna(value) or not math.isfinite(value):
        return NOTHING
    return f"{round(float(value), digits) + 0.0:{'+' if signed else ''}.{digits}f}"


def with_interval(value: float, low: float, high: float, *, digits: int = 2, signed: bool = False) -> str:
    """A number with its 95 % interval, alone where the interval is not known; a dash where there is no number.

    >>> with_interval(0.5, 0.25, 0.75)
    '0.50 [0.25, 0.75]'
    """
    alone = number(value, digits, signed=signed)
    if alone == NOTHING or pd.isna(low) or pd.isna(high):
        return alone
    return f"{alone} [{number(low, digits, signed=signed)}, {number(high, digits, signed=signed)}]"


def p_value(value: float) -> str:
    """A p value with three digits; below that only that it is smaller.

    >>> p_value(0.0004), p_value(0.05)
    ('< 0.001', '0.050')
    """
    if pd.isna(value):
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def tidy(table: pd.DataFrame, *, digits: int = 3, names: dict[str, str] | None = None) -> pd.DataFrame:
    """The table as printed: floats rounded, columns renamed, no -0."""
    shown = table.rename(columns=names or {}).copy()
    for column in shown.columns:
        if pd.api.types.is_float_dtype(shown[column]):
            shown[column] = shown[column].astype(float).round(digits) + 0.0  # float32 would show its own digits
    return shown


def markdown_table(rows: Iterable[Sequence[Any]], header: Sequence[str]) -> str:
    """Rows as a Markdown table; what a model or a user wrote is a `Name`, or goes through `escape` first.

    >>> print(markdown_table([[1, 2]], ["a", "b"]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = ["| " + " | ".join(f"{name}" for name in header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(f"{value}" for value in row) + " |" for row in rows])


def column_table(columns: Mapping[str, Iterable[Any]]) -> Markdown:
    """Columns as a Markdown table; cells are escaped (a pandas column of names holds plain text), their titles are not.

    >>> print(column_table({"a": [1, 2], "b": [3, 4]}).data)
    | a | b |
    |---|---|
    | 1 | 3 |
    | 2 | 4 |
    """
    rows = ([cell(value) for value in row] for row in zip(*columns.values(), strict=True))
    return Markdown(markdown_table(rows, list(columns)))


def plain(value: Any, *, unset: str = NOTHING) -> str:
    """A parameter's value as printed; `unset` where there is none."""
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return unset if value is None else str(value)


def layers_shown(n_layers: int, count: int = 7) -> list[int]:
    """A few layers, evenly spread from 0 to the last, for the tables beside the figures.

    >>> layers_shown(30)
    [0, 5, 10, 15, 20, 25, 30]
    """
    return sorted({round(i * n_layers / (count - 1)) for i in range(count)})


def show(run: Run, fig: go.Figure, name: str) -> None:
    """Shows a figure in the notebook and keeps it as a file of its own under the run's plots."""
    figures.show(fig, name)
    run.artifacts.keep_plot(fig, name)


def show_view(run: Run, view: dict[str, Any], name: str) -> None:
    """Shows a CircuitsVis view in the notebook and keeps it as a file of its own under the run's plots."""
    views.show(view)
    run.artifacts.keep_view(view, name)
