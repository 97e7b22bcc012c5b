"""Lines over layers or over strengths, with bands and nulls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from emolib.base import language
from emolib.plots.axes import Axes, Band, Null
from emolib.plots.house_style import INK, colours, house_layout
from emolib.plots.series import Series, faint, hover_value, series_of

DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot")
NULL_LINE = {"dash": "dot", "width": 1.5}
LABELLED_LAYERS = 12


def lines_by_layer(
    table: pd.DataFrame,
    y: str,
    colour: str | None,
    axes: Axes,
    *,
    dash: str | None = None,
    band: Band | None = None,
    null: Null | None = None,
) -> go.Figure:
    """Column `y` over column `layer`, a line per value of column `colour` (None: one line).

    Args:
        dash: column whose values get a line style each (solid, dashed, …).
        band: columns of the ends of a 95 % band.
        null: column of a null, a thin dotted line of the same colour.

    Raises:
        UserError: a column is missing, or one line would have several values at one layer.

    >>> table = pd.DataFrame({"layer": [1, 0], "auc": [0.9, 0.5], "emotion": "joy"})
    >>> fig = lines_by_layer(table, "auc", "emotion", Axes("AUC by layer", y="AUC"))
    >>> fig.data[0].name, fig.data[0].y.tolist()
    ('joy', [0.5, 0.9])
    """
    ends = (None, None) if band is None else band
    series = series_of(table, "layer", colour, numbers=[y, *ends, null and null.column], dash=dash)
    paint = colours(label for label, _, _ in series)
    strokes = {key: DASHES[i % len(DASHES)] for i, key in enumerate(dict.fromkeys(key for _, key, _ in series))}
    drawing = _Drawing(y, axes, dash, band, null)
    fig = go.Figure()
    listed = set()
    for part in series:
        line = {"color": paint[part.label], "width": 2.5, "dash": strokes[part.key]}
        drawing.add(fig, part, line, listed=part.label not in listed)
        listed.add(part.label)
    keys = drawing.keys(strokes)
    for name, line in keys.items():
        fig.add_scatter(x=[None], y=[None], mode="lines", name=name, line={"color": INK, **line})
    house_layout(fig, replace(axes, x=axes.x or language.word("figures.layer")))
    fig.update_layout(hovermode="x unified", showlegend=len(paint) > 1 or bool(keys))
    layers = sorted(set(table["layer"]))
    fig.update_xaxes(zeroline=False, tickvals=layers if len(layers) <= LABELLED_LAYERS else None)
    return fig.update_yaxes(type="log" if axes.log_y else None)


def lines_by_strength(
    table: pd.DataFrame,
    y: str,
    colour: str | None,
    axes: Axes,
    *,
    dash: str | None = None,
    band: Band | None = None,
    null: Null | None = None,
) -> go.Figure:
    """`lines_by_layer` over column `alpha` instead."""
    strengths = table.rename(columns={"alpha": "layer"})
    named = replace(axes, x=axes.x or language.word("figures.strength"))
    fig = lines_by_layer(strengths, y, colour, named, dash=dash, band=band, null=null)
    return fig.update_xaxes(zeroline=True)


@dataclass(frozen=True)
class _Drawing:
    """What the lines of one figure share."""

    y: str
    axes: Axes
    dash: str | None
    band: Band | None
    null: Null | None

    @property
    def null_name(self) -> str:
        return (self.null and self.null.name) or language.word("figures.no_effect")

    def add(self, fig: go.Figure, series: Series, line: Mapping[str, Any], *, listed: bool) -> None:
        """Draws one line with its band and its null; `listed`: it stands in the legend."""
        part = series.rows.sort_values("layer")
        names = [self.axes.name(series.label, self.y)] + ([] if self.dash is None else [self._dash_name(series.key)])
        shared = {"x": part["layer"], "name": names[0], "legendgroup": str(series.label)}
        if self.band is not None:
            _add_band(fig, part[self.band.low], part[self.band.high], line["color"], shared)
        joined = language.word("joined_by")
        shown = {"showlegend": listed, "hovertemplate": hover_value(joined.join(names))}
        fig.add_scatter(y=part[self.y], mode="lines+markers", marker_size=5, line=line, **shown, **shared)
        if self.null is not None:
            shown = {"showlegend": False, "hovertemplate": hover_value(joined.join([*names, self.null_name]))}
            fig.add_scatter(y=part[self.null.column], mode="lines", line={**line, **NULL_LINE}, **shown, **shared)

    def keys(self, strokes: Mapping[object, str]) -> dict[str, dict[str, Any]]:
        """What the legend says of line styles: name → line."""
        styles = {} if self.dash is None else {self._dash_name(key): {"dash": dash} for key, dash in strokes.items()}
        dotted = language.word("figures.dotted", name=self.null_name)
        return styles | ({} if self.null is None else {dotted: NULL_LINE})

    def _dash_name(self, value: object) -> str:
        return self.axes.name(value) if isinstance(value, str) else f"{self.dash} = {value}"


def _add_band(fig: go.Figure, low: pd.Series, high: pd.Series, colour: str, shared: Mapping[str, Any]) -> None:
    edge = {**shared, "mode": "lines", "line_width": 0, "showlegend": False, "hoverinfo": "skip"}
    fig.add_scatter(y=high, **edge)
    fig.add_scatter(y=low, fill="tonexty", fillcolor=faint(colour), **edge)
