"""Plotly figures in the house style: tables and arrays in, a figure out, in the reader's words.

Every drawing function takes the data, the columns to draw, and `Axes(title, x=…, y=…)` with what stands around them.
`show` puts a figure into a notebook as plotly JSON and a script-free placeholder; the site draws the JSON with one
shared copy of plotly.js.
"""

from __future__ import annotations

import plotly.graph_objects as go

from emolib.plots.axes import Axes, Band, Null
from emolib.plots.bars import bars_by_label
from emolib.plots.forest import forest
from emolib.plots.heatmaps import heatmap
from emolib.plots.labelled_points import labelled_points
from emolib.plots.lines import lines_by_layer, lines_by_strength
from emolib.plots.plot_files import mime_bundle
from emolib.plots.points import calibration, dots_with_null, scatter

__all__ = [
    "Axes",
    "Band",
    "Null",
    "bars_by_label",
    "calibration",
    "dots_with_null",
    "forest",
    "heatmap",
    "labelled_points",
    "lines_by_layer",
    "lines_by_strength",
    "scatter",
    "show",
]


def show(fig: go.Figure, name: str) -> None:
    """Displays one MIME bundle for `fig` (see `mime_bundle`) in the running notebook."""
    from IPython.display import display

    display(mime_bundle(fig, name), raw=True)
