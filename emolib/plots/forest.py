"""A forest plot: estimates with their intervals, one line each, in the house style."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from emolib.base.errors import UserError
from emolib.plots.axes import Axes, Band
from emolib.plots.house_style import HEIGHT, INK, SYMBOLS, colours, house_layout

ROW_HEIGHT = 26
SPREAD = 0.6  # of the distance between two rows


def forest(
    table: pd.DataFrame,
    x: str,
    label: str,
    colour: str,
    axes: Axes,
    *,
    ends: Band,
    reference: float = 0.0,
) -> go.Figure:
    """Column `x` with its interval, one row per value of column `label`, side by side per value of column `colour`.

    Args:
        ends: columns with the ends of the interval; a missing end leaves the point without whiskers, a missing value
            leaves the row empty.
        reference: a vertical line: no effect.

    Raises:
        UserError: a column is missing, or two points share a row and a colour.
    """
    missing = [name for name in (x, label, colour, *ends) if name not in table]
    if missing:
        raise UserError(f"expected a table with the columns {missing} too, got {list(table.columns)}")
    if table.duplicated([label, colour]).any():
        first = table[table.duplicated([label, colour])].iloc[0][[label, colour]].to_dict()
        raise UserError(f"expected one point per {label} and {colour}, got several for {first}")
    rows = list(dict.fromkeys(table[label]))
    series = list(dict.fromkeys(table[colour]))
    paint, fig = colours(series), go.Figure()
    for number, key in enumerate(series):
        part = table[table[colour] == key]
        shift = SPREAD * ((number + 0.5) / len(series) - 0.5)
        fig.add_scatter(
            x=part[x],
            y=[rows.index(value) + shift for value in part[label]],
            mode="markers",
            name=axes.names.get(key, str(key)),
            marker={"color": paint[key], "size": 9, "symbol": SYMBOLS[number % len(SYMBOLS)]},
            error_x=_whiskers(part, x, ends, paint[key]),
            text=part[label],
            hovertemplate="%{text}: %{x:.3g}",
        )
    house_layout(fig, axes)
    fig.add_vline(x=reference, line={"color": INK, "width": 1, "dash": "dot"})
    fig.update_layout(height=max(HEIGHT, 140 + ROW_HEIGHT * len(rows) * max(1, len(series) // 2)))
    ticks = {"tickvals": list(range(len(rows))), "ticktext": rows}
    return fig.update_yaxes(range=[len(rows) - 0.5, -0.5], showgrid=False, zeroline=False, **ticks)


def _whiskers(part: pd.DataFrame, x: str, ends: Band, colour: str) -> dict[str, Any]:
    """plotly wants lengths, not ends."""
    up, down = ((part[ends.high] - part[x]).fillna(0.0), (part[x] - part[ends.low]).fillna(0.0))
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": colour, "thickness": 1.5}
