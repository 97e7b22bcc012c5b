"""Plotly figures in the house style: tables and arrays in, a figure out, in the reader's words.

`show` puts a figure into a notebook as plotly JSON and a script-free placeholder; the site draws the JSON with one
shared copy of plotly.js.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from emolib.base import language
from emolib.base.errors import UserError
from emolib.plots.house_style import HEIGHT, INK, colours, house_layout, hover_text
from emolib.plots.plot_files import mime_bundle

DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot")
NULL_LINE = {"dash": "dot", "width": 1.5}
SYMBOLS = ("circle", "diamond", "square", "cross", "x")
HISTOGRAM_BINS = 20
LABELLED_CELLS, LABELLED_COLUMNS = 200, 16
LABELLED_LAYERS = 12
BAND_OPACITY = 0.18

Names = Mapping[str, str]


def show(fig: go.Figure, name: str) -> None:
    """Displays one MIME bundle for `fig` (see `mime_bundle`) in the running notebook."""
    from IPython.display import display

    display(mime_bundle(fig, name), raw=True)


def bars_by_label(
    table: pd.DataFrame,
    x: str,
    y: str,
    colour: str | None,
    *,
    title: str,
    y_title: str,
    x_title: str | None = None,
    error: str | None = None,
    names: Names | None = None,
) -> go.Figure:
    """Bars of column `y` over column `x`, side by side per value of column `colour` (None: one series).

    Args:
        error: column with the half length of the whiskers; say in the title what they are (standard errors, …).

    Raises:
        UserError: a column is missing, or a bar would have several values.
    """
    fig = go.Figure()
    series = _series(table, x, colour, [y, error])
    paint = colours(label for label, _, _ in series)
    for label, _, part in series:
        fig.add_bar(
            x=[_name(value, names) for value in part[x]],
            y=part[y],
            name=_name(label, names, y),
            marker_color=list(colours(part[x]).values()) if colour is None else paint[label],
            error_y=None if error is None else {"type": "data", "array": part[error], "color": INK, "thickness": 1.3},
            hovertemplate="%{x}: %{y:.4g}",
        )
    several = len(series) > 1 and colour != x
    fig.update_traces(showlegend=several)
    house_layout(fig, title=title, x_title=x_title, y_title=y_title).update_xaxes(type="category")
    return fig.update_layout(barmode="group" if several else "overlay", bargap=0.25)


def grouped_bars_with_error(
    table: pd.DataFrame, x: str, y: str, error: str, colour: str | None, **titles: Any
) -> go.Figure:
    """`bars_by_label` with whiskers of ± column `error`; `titles` are its keyword arguments."""
    return bars_by_label(table, x, y, colour, error=error, **titles)


def lines_by_layer(
    table: pd.DataFrame,
    y: str,
    colour: str | None,
    low: str | None = None,
    high: str | None = None,
    dash: str | None = None,
    null: str | None = None,
    *,
    title: str,
    y_title: str,
    log_y: bool = False,
    null_name: str | None = None,
    names: Names | None = None,
) -> go.Figure:
    """Column `y` over column `layer`, a line per value of column `colour` (None: one line).

    Args:
        low: column with the lower end of a 95 % band; with `high`.
        high: column with its upper end.
        dash: column whose values get a line style each (solid, dashed, …).
        null: column of a null (shuffled labels, random directions), a thin dotted line of the same colour.

    Raises:
        UserError: a column is missing, or one line would have several values at one layer.
    """
    if (low is None) != (high is None):
        raise UserError(f"expected both ends of a band, got low={low!r} and high={high!r}; give both or neither")
    null_name = null_name or language.word("figures.no_effect")
    series = _series(table, "layer", colour, [y, low, high, null], dash)
    paint = colours(label for label, _, _ in series)
    strokes = {key: DASHES[i % len(DASHES)] for i, key in enumerate(dict.fromkeys(key for _, key, _ in series))}
    fig = go.Figure()
    listed = set()
    for label, key, rows in series:
        part = rows.sort_values("layer")
        parts = [_name(label, names, y)] + ([] if dash is None else [_dash_name(dash, key, names)])
        shared = {"x": part["layer"], "name": parts[0], "legendgroup": str(label)}
        if low is not None:
            _add_band(fig, part[low], part[high], paint[label], shared)
        line = {"color": paint[label], "width": 2.5, "dash": strokes[key]}
        shown = {"showlegend": label not in listed, "hovertemplate": _hover(language.word("joined_by").join(parts))}
        fig.add_scatter(y=part[y], mode="lines+markers", marker_size=5, line=line, **shown, **shared)
        if null is not None:
            shown = {"showlegend": False, "hovertemplate": _hover(language.word("joined_by").join([*parts, null_name]))}
            fig.add_scatter(y=part[null], mode="lines", line={**line, **NULL_LINE}, **shown, **shared)
        listed.add(label)
    keys = {} if dash is None else {_dash_name(dash, key, names): {"dash": stroke} for key, stroke in strokes.items()}
    keys |= {} if null is None else {language.word("figures.dotted", name=null_name): NULL_LINE}
    for name, line in keys.items():
        fig.add_scatter(x=[None], y=[None], mode="lines", name=name, line={"color": INK, **line})
    house_layout(fig, title=title, x_title=language.word("figures.layer"), y_title=y_title)
    fig.update_layout(hovermode="x unified", showlegend=len(paint) > 1 or bool(keys))
    layers = sorted(set(table["layer"]))
    fig.update_xaxes(zeroline=False, tickvals=layers if len(layers) <= LABELLED_LAYERS else None)
    return fig.update_yaxes(type="log" if log_y else None)


def lines_by_strength(table: pd.DataFrame, y: str, colour: str | None, **titles: Any) -> go.Figure:
    """`lines_by_layer` over column `alpha` instead; `titles` are its further arguments."""
    fig = lines_by_layer(table.rename(columns={"alpha": "layer"}), y, colour, **titles)
    return fig.update_xaxes(title_text=language.word("figures.strength"), zeroline=True)


def histogram(table: pd.DataFrame, value: str, colour: str, *, title: str, x_title: str, y_title: str) -> go.Figure:
    """How often each value of column `value` occurs, laid over one another per value of column `colour`."""
    fig = go.Figure()
    paint = colours(table[colour])
    low, high = float(table[value].min()), float(table[value].max())
    size = (high - low) / HISTOGRAM_BINS if high > low else 1.0  # of one value alone a bar that can be seen
    bins = {"start": low, "end": high + size / 2, "size": size}
    for label, part in table.groupby(colour, sort=False):
        fig.add_histogram(x=part[value], name=_name(label, None), marker_color=paint[label], opacity=0.6, xbins=bins)
    house_layout(fig, title=title, x_title=x_title, y_title=y_title)
    return fig.update_layout(barmode="overlay")


def _add_band(fig: go.Figure, low: pd.Series, high: pd.Series, colour: str, shared: Mapping[str, Any]) -> None:
    edge = {**shared, "mode": "lines", "line_width": 0, "showlegend": False, "hoverinfo": "skip"}
    fig.add_scatter(y=high, **edge)
    fig.add_scatter(y=low, fill="tonexty", fillcolor=_faint(colour), **edge)


def _hover(name: str) -> str:
    return f"{name}: %{{y:.4g}}<extra></extra>"


def heatmap(
    matrix: pd.DataFrame,
    title: str,
    colour_title: str,
    zero_centred: bool = True,
    text_format: str = "{:.2f}",
    *,
    x_title: str | None = None,
    y_title: str | None = None,
    names: Names | None = None,
) -> go.Figure:
    """A matrix, first row on top. Values are written into the cells where there are few enough to be read.

    Args:
        zero_centred: blue below 0, white at 0, red above, the same reach on both sides; else dark to bright.

    Returns:
        The figure; where the matrix has no rows or columns, one that says so.
    """
    if matrix.empty:
        return _nothing_to_draw(title)
    values = matrix.to_numpy(dtype=float)
    if not np.isfinite(values).any():
        raise UserError(f"expected a matrix with finite values for the heatmap {title!r}, got none")
    scale: dict[str, Any] = {"colorscale": "Cividis"}
    if zero_centred:
        reach = float(np.nanmax(np.abs(values))) or 1.0
        scale = {"colorscale": "RdBu", "reversescale": True, "zmin": -reach, "zmax": reach}
    written = {}
    if values.size <= LABELLED_CELLS and values.shape[1] <= LABELLED_COLUMNS:
        text = [[_written(v, text_format) for v in row] for row in values]
        written = {"text": text, "texttemplate": "%{text}"}
    fig = go.Figure(
        go.Heatmap(
            z=values,
            x=[_name(label, names) for label in matrix.columns],
            y=[_name(label, names) for label in matrix.index],
            colorbar={"title": {"text": colour_title, "side": "right"}, "thickness": 16},
            hovertemplate="%{y} × %{x}: %{z:.4g}<extra></extra>",
            **scale,
            **written,
        )
    )
    house_layout(fig, title=title, x_title=x_title, y_title=y_title)
    fig.update_xaxes(type="category", showgrid=False)
    return fig.update_yaxes(type="category", showgrid=False, autorange="reversed")


def _nothing_to_draw(title: str) -> go.Figure:
    fig = go.Figure()
    house_layout(fig, title=title)
    return fig.add_annotation(
        text=language.word("figures.nothing"), showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5
    )


def _written(value: float, text_format: str) -> str:
    """A cell's number; a dash where there is none, no -0.00."""
    text = text_format.format(value) if np.isfinite(value) else "–"
    return text.removeprefix("-") if not text.strip("-0.") else text


def scatter(
    coordinates: np.ndarray,
    labels: Sequence[str],
    styles: Sequence[str] | None = None,
    hover: Sequence[str] | None = None,
    title: str = "",
    *,
    axis_titles: Sequence[str] | None = None,
    names: Names | None = None,
) -> go.Figure:
    """Points `[n, 2]` or `[n, 3]`: colour by label, symbol by style, the text on hover.

    Args:
        hover: one text per point. It may be generated text: it is escaped, wrapped and cut.
    """
    axis_titles = axis_titles or [language.word(f"figures.component_{i}") for i in (1, 2, 3)]
    points = np.asarray(coordinates, dtype=float)
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise UserError(f"expected coordinates [n, 2] or [n, 3], got shape {points.shape}")
    keys = {
        "label": list(labels),
        "style": [""] * len(points) if styles is None else list(styles),
        "hover": list(labels if hover is None else hover),
    }
    for key, values in keys.items():
        if len(values) != len(points):
            raise UserError(f"expected one {key} per point, got {len(values)} for {len(points)} points")
    table = pd.DataFrame(keys)
    paint = colours(table["label"])
    symbols = {style: SYMBOLS[i % len(SYMBOLS)] for i, style in enumerate(dict.fromkeys(table["style"]))}
    trace, size = (go.Scatter, 9) if points.shape[1] == 2 else (go.Scatter3d, 5)
    fig = go.Figure()
    for (label, style), part in table.groupby(["label", "style"], sort=False):
        fig.add_trace(
            trace(
                **dict(zip("xyz", points[part.index].T, strict=False)),
                mode="markers",
                name=language.word("joined_by").join(_name(key, names) for key in (label, style) if key),
                marker={"color": paint[label], "symbol": symbols[style], "size": size, "opacity": 0.8},
                hovertext=[hover_text(text) for text in part["hover"]],
                hoverinfo="text+name",
            )
        )
    house_layout(fig, title=title, x_title=axis_titles[0], y_title=axis_titles[1])
    if points.shape[1] == 3:
        axes = {f"{a}axis": {"title": {"text": t}, "nticks": 5} for a, t in zip("xyz", axis_titles, strict=False)}
        camera = {"eye": {"x": 1.5, "y": 1.5, "z": 0.9}, "center": {"x": 0, "y": 0, "z": -0.15}}
        fig.update_layout(scene={**axes, "camera": camera, "aspectmode": "cube"}, height=HEIGHT + 140, margin_b=10)
    return fig


def dots_with_null(
    effects: Mapping[str, float],
    nulls: Mapping[str, np.ndarray],
    y_title: str,
    title: str,
    *,
    own_name: str | None = None,
    null_name: str | None = None,
    names: Names | None = None,
) -> go.Figure:
    """Each emotion's own effect as a large diamond over the strip of effects of control directions."""
    own_name, null_name = own_name or language.word("figures.own"), null_name or language.word("figures.controls")
    missing = [emotion for emotion in effects if emotion not in nulls]
    if missing:
        raise UserError(f"expected random-direction effects for every emotion, got none for {', '.join(missing)}")
    families = {label: label.split("<br>")[0] for label in effects}  # a second line names what the dots are
    paint = {label: colours(families.values())[family] for label, family in families.items()}
    fig = go.Figure()
    for position, emotion in enumerate(effects):
        strip = np.asarray(nulls[emotion], dtype=float)
        jitter = np.random.default_rng(0).uniform(-0.22, 0.22, len(strip))
        fig.add_scatter(
            x=position + jitter,
            y=strip,
            mode="markers",
            name=null_name,
            legendgroup="null",
            showlegend=position == 0,
            marker={"color": "#7F7F7F", "size": 6, "opacity": 0.55},
            hovertemplate=_hover(null_name),
        )
    for position, (emotion, effect) in enumerate(effects.items()):
        fig.add_scatter(
            x=[position],
            y=[effect],
            mode="markers",
            name=language.word("figures.own_symbol", name=own_name),
            legendgroup="own",
            showlegend=position == 0,
            marker={"color": paint[emotion], "symbol": "diamond", "size": 17, "line": {"color": INK, "width": 1}},
            hovertemplate=_hover(own_name),
        )
    house_layout(fig, title=title, y_title=y_title)
    fig.update_layout(legend_itemsizing="constant")
    ticks = {"tickvals": list(range(len(effects))), "ticktext": [_name(emotion, names) for emotion in effects]}
    return fig.update_xaxes(range=[-0.5, len(effects) - 0.5], showgrid=False, zeroline=False, **ticks)


def calibration(table: pd.DataFrame, colour: str, *, floor: float, title: str) -> go.Figure:
    """Observed share over mean predicted probability, both logarithmic, with the diagonal of perfect calibration.

    Args:
        table: columns predicted, observed, and the one named by `colour`; a row per bin.
        floor: where smaller values, and a share of 0, which a logarithmic axis does not have, are drawn.
    """
    fig = go.Figure()
    predicted, observed = language.word("figures.predicted"), language.word("figures.observed")
    fig.add_scatter(
        x=[floor, 1], y=[floor, 1], mode="lines", line={"color": INK, "width": 1, "dash": "dot"}, showlegend=False
    )
    paint = colours(table[colour])
    for label, part in table.groupby(colour, sort=False):  # two bins may have one mean prediction
        fig.add_scatter(
            x=part["predicted"].clip(lower=floor),
            y=part["observed"].clip(lower=floor),
            name=str(label),
            mode="lines+markers",
            line={"color": paint[label], "width": 2},
            marker={"size": 8, "color": paint[label]},
            hovertemplate=f"{predicted} %{{x:.3f}}<br>{observed} %{{y:.3f}}",
        )
    axes = {"x_title": language.word("figures.predicted_axis"), "y_title": language.word("figures.observed_axis")}
    house_layout(fig, title=title, **axes)
    fig.update_layout(height=HEIGHT + 120)
    fig.update_xaxes(type="log", dtick=1)
    return fig.update_yaxes(type="log", dtick=1)


# ── shared by the figures ─────────────────────────────────────────────────────────────────────────────────────────


def _series(
    table: pd.DataFrame, x: str, colour: str | None, columns: Sequence[str | None], dash: str | None = None
) -> list[tuple[Any, Any, pd.DataFrame]]:
    """(colour's value, dash's value, rows) of each line or set of bars, in the table's order; None where not given."""
    numbers = [column for column in columns if column is not None]
    keys = list(dict.fromkeys(key for key in (x, colour, dash) if key is not None))
    missing = [column for column in (*keys, *numbers) if column not in table]
    if missing:
        raise UserError(f"expected a table with the columns {missing} too, got {list(table.columns)}")
    for column in numbers:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise UserError(f"expected numbers to draw in the column {column!r}, got {table[column].dtype}")
    repeated = table[table.duplicated(keys)]
    if len(repeated):
        first = repeated.iloc[0][keys].to_dict()
        raise UserError(f"expected one row per {' and '.join(keys)}, got several for {first}; filter or average first")
    chosen = [key for key in (colour, dash) if key is not None]
    if not chosen:
        return [(None, None, table)]
    groups = table.groupby(chosen, sort=False, observed=True)
    named = [(dict(zip(chosen, values, strict=True)), part) for values, part in groups]
    return [(values.get(colour), values.get(dash), part) for values, part in named]


def _dash_name(column: str | None, value: Any, names: Names | None) -> str:
    return _name(value, names) if isinstance(value, str) else f"{column} = {value}"


def _name(label: Any, names: Names | None, fallback: str = "") -> str:
    """How a label reads in a legend or on an axis."""
    if label is None:
        label = fallback
    return {**language.names(*language.READ_BY_NAME), **(names or {})}.get(label, str(label))


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{BAND_OPACITY})"
