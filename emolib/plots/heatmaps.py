"""Matrices as colours, with their values written in where they can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from emolib.base import language
from emolib.base.errors import UserError, shown
from emolib.plots.axes import Axes
from emolib.plots.house_style import house_layout

LABELLED_CELLS, LABELLED_COLUMNS = 200, 16


def heatmap(matrix: pd.DataFrame, axes: Axes, *, zero_centred: bool = True, text_format: str = "{:.2f}") -> go.Figure:
    """A matrix, first row on top. Values are written into the cells where there are few enough to be read.

    Args:
        axes: its `z` is the title of the colours.
        zero_centred: blue below 0, white at 0, red above, the same reach on both sides; else dark to bright.

    Returns:
        The figure; where the matrix has no rows or columns, one that says so.

    Raises:
        UserError: no value is finite.

    >>> matrix = pd.DataFrame([[1.0, -0.25]], index=["joy"], columns=["joy", "fear"])
    >>> heatmap(matrix, Axes("Cosines", z="cosine")).data[0].text
    (['1.00', '-0.25'],)
    """
    if matrix.empty:
        return _nothing_to_draw(axes)
    values = matrix.to_numpy(dtype=float)
    if not np.isfinite(values).any():
        raise UserError(f"expected a matrix with finite values for the heatmap {shown(axes.title)}, got none")
    fig = go.Figure(
        go.Heatmap(
            z=values,
            x=[axes.name(label) for label in matrix.columns],
            y=[axes.name(label) for label in matrix.index],
            colorbar={"title": {"text": axes.z, "side": "right"}, "thickness": 16},
            hovertemplate="%{y} × %{x}: %{z:.4g}<extra></extra>",
            **_scale(values, zero_centred),
            **_texts(values, text_format),
        )
    )
    house_layout(fig, axes)
    fig.update_xaxes(type="category", showgrid=False)
    return fig.update_yaxes(type="category", showgrid=False, autorange="reversed")


def _scale(values: Float[np.ndarray, "row column"], zero_centred: bool) -> dict[str, Any]:
    if not zero_centred:
        return {"colorscale": "Cividis"}
    reach = float(np.nanmax(np.abs(values))) or 1.0
    return {"colorscale": "RdBu", "reversescale": True, "zmin": -reach, "zmax": reach}


def _texts(values: Float[np.ndarray, "row column"], text_format: str) -> dict[str, Any]:
    if values.size > LABELLED_CELLS or values.shape[1] > LABELLED_COLUMNS:
        return {}
    return {"text": [[_written(v, text_format) for v in row] for row in values], "texttemplate": "%{text}"}


def _written(value: float, text_format: str) -> str:
    """A cell's number; a dash where there is none, no -0.00."""
    text = text_format.format(value) if np.isfinite(value) else "–"
    return text.removeprefix("-") if not text.strip("-0.") else text


def _nothing_to_draw(axes: Axes) -> go.Figure:
    fig = go.Figure()
    house_layout(fig, Axes(axes.title))
    nothing = language.word("figures.nothing")
    return fig.add_annotation(text=nothing, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
