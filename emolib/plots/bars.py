"""Bars: one value per label."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from emolib.plots.axes import Axes
from emolib.plots.house_style import INK, colours, house_layout
from emolib.plots.series import series_of


def bars_by_label(
    table: pd.DataFrame, x: str, y: str, colour: str | None, axes: Axes, *, error: str | None = None
) -> go.Figure:
    """Bars of column `y` over column `x`, side by side per value of column `colour` (None: one series).

    Args:
        error: column with the half length of the whiskers; say in the title what they are (standard errors, …).

    Raises:
        UserError: a column is missing, or a bar would have several values.

    >>> table = pd.DataFrame({"emotion": ["joy", "fear"], "words": [1.5, 0.25]})
    >>> bars_by_label(table, "emotion", "words", None, Axes("Own words", y="words")).data[0].x
    ('joy', 'fear')
    """
    fig = go.Figure()
    series = series_of(table, x, colour, numbers=[y, error])
    paint = colours(label for label, _, _ in series)
    for label, _, part in series:
        fig.add_bar(
            x=[axes.name(value) for value in part[x]],
            y=part[y],
            name=axes.name(label, y),
            marker_color=list(colours(part[x]).values()) if colour is None else paint[label],
            error_y=None if error is None else {"type": "data", "array": part[error], "color": INK, "thickness": 1.3},
            hovertemplate="%{x}: %{y:.4g}",
        )
    several = len(series) > 1 and colour != x
    fig.update_traces(showlegend=several)
    house_layout(fig, axes).update_xaxes(type="category")
    return fig.update_layout(barmode="group" if several else "overlay", bargap=0.25)
