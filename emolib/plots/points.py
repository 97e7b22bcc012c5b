"""Points: texts in the plane or in space, effects beside their null, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from emolib.base import language
from emolib.base.errors import UserError
from emolib.plots.axes import Axes
from emolib.plots.house_style import HEIGHT, INK, SYMBOLS, colours, house_layout, hover_text
from emolib.plots.series import hover_value

JITTER = 0.22  # half the width of a strip of dots, where 1 lies between two labels


def scatter(
    coordinates: Float[np.ndarray, "point axis"],
    labels: Sequence[str],
    axes: Axes,
    *,
    styles: Sequence[str] | None = None,
    hover: Sequence[str] | None = None,
) -> go.Figure:
    """Points `[n, 2]` or `[n, 3]`: colour by label, symbol by style, the text on hover.

    Args:
        axes: without titles of its axes, they are principal components.
        hover: one text per point. It may be generated text: it is escaped, wrapped and cut.

    Raises:
        UserError: coordinates of another shape, or not one label, style and text per point.
    """
    points = np.asarray(coordinates, dtype=float)
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise UserError(f"expected coordinates [n, 2] or [n, 3], got shape {points.shape}")
    table = _described(len(points), labels, styles, hover)
    paint = colours(table["label"])
    symbols = {style: SYMBOLS[i % len(SYMBOLS)] for i, style in enumerate(dict.fromkeys(table["style"]))}
    trace, size = (go.Scatter, 9) if points.shape[1] == 2 else (go.Scatter3d, 5)
    fig = go.Figure()
    for (label, style), part in table.groupby(["label", "style"], sort=False):
        fig.add_trace(
            trace(
                **dict(zip("xyz", points[part.index].T, strict=False)),
                mode="markers",
                name=language.word("joined_by").join(axes.name(key) for key in (label, style) if key),
                marker={"color": paint[label], "symbol": symbols[style], "size": size, "opacity": 0.8},
                hovertext=[hover_text(text) for text in part["hover"]],
                hoverinfo="text+name",
            )
        )
    given = enumerate((axes.x, axes.y, axes.z), start=1)
    titles = [title or language.word(f"figures.component_{i}") for i, title in given]
    house_layout(fig, Axes(axes.title, x=titles[0], y=titles[1]))
    return fig if points.shape[1] == 2 else _in_space(fig, titles)


def _described(
    n_points: int, labels: Sequence[str], styles: Sequence[str] | None, hover: Sequence[str] | None
) -> pd.DataFrame:
    """A row per point: label, style, hover."""
    keys = {
        "label": list(labels),
        "style": [""] * n_points if styles is None else list(styles),
        "hover": list(labels if hover is None else hover),
    }
    for key, values in keys.items():
        if len(values) != n_points:
            raise UserError(f"expected one {key} per point, got {len(values)} for {n_points} points")
    return pd.DataFrame(keys)


def _in_space(fig: go.Figure, titles: Sequence[str]) -> go.Figure:
    axes = {f"{a}axis": {"title": {"text": t}, "nticks": 5} for a, t in zip("xyz", titles, strict=True)}
    camera = {"eye": {"x": 1.5, "y": 1.5, "z": 0.9}, "center": {"x": 0, "y": 0, "z": -0.15}}
    scene = {**axes, "camera": camera, "aspectmode": "cube"}
    return fig.update_layout(scene=scene, height=HEIGHT + 140, margin_b=10)


def dots_with_null(
    effects: Mapping[str, float],
    nulls: Mapping[str, Float[np.ndarray, " direction"]],
    axes: Axes,
    *,
    own_name: str | None = None,
    null_name: str | None = None,
) -> go.Figure:
    """Each emotion's own effect as a large diamond over the strip of effects of control directions.

    Raises:
        UserError: an emotion without a null.
    """
    missing = [emotion for emotion in effects if emotion not in nulls]
    if missing:
        raise UserError(f"expected random-direction effects for every emotion, got none for {', '.join(missing)}")
    fig = go.Figure()
    for position, emotion in enumerate(effects):
        _add_strip(fig, position, nulls[emotion], null_name or language.word("figures.controls"))
    families = {label: label.split("<br>")[0] for label in effects}  # a second line names what the dots are
    for position, (emotion, effect) in enumerate(effects.items()):
        colour = colours(families.values())[families[emotion]]
        _add_diamond(fig, position, effect, own_name or language.word("figures.own"), colour)
    house_layout(fig, axes)
    fig.update_layout(legend_itemsizing="constant")
    ticks = {"tickvals": list(range(len(effects))), "ticktext": [axes.name(emotion) for emotion in effects]}
    return fig.update_xaxes(range=[-0.5, len(effects) - 0.5], showgrid=False, zeroline=False, **ticks)


def _add_strip(fig: go.Figure, position: int, values: Float[np.ndarray, " direction"], name: str) -> None:
    strip = np.asarray(values, dtype=float)
    fig.add_scatter(
        x=position + np.random.default_rng(0).uniform(-JITTER, JITTER, len(strip)),
        y=strip,
        mode="markers",
        name=name,
        legendgroup="null",
        showlegend=position == 0,
        marker={"color": "#7F7F7F", "size": 6, "opacity": 0.55},
        hovertemplate=hover_value(name),
    )


def _add_diamond(fig: go.Figure, position: int, effect: float, name: str, colour: str) -> None:
    fig.add_scatter(
        x=[position],
        y=[effect],
        mode="markers",
        name=language.word("figures.own_symbol", name=name),
        legendgroup="own",
        showlegend=position == 0,
        marker={"color": colour, "symbol": "diamond", "size": 17, "line": {"color": INK, "width": 1}},
        hovertemplate=hover_value(name),
    )


def calibration(table: pd.DataFrame, colour: str, *, floor: float, title: str) -> go.Figure:
    """Observed share over mean predicted probability, both logarithmic, with the diagonal of perfect calibration.

    Args:
        table: columns predicted, observed, and the one named by `colour`; a row per bin.
        floor: where smaller values, and a share of 0, which a logarithmic axis does not have, are drawn.
    """
    fig = go.Figure()
    diagonal: dict[str, Any] = {"color": INK, "width": 1, "dash": "dot"}
    fig.add_scatter(x=[floor, 1], y=[floor, 1], mode="lines", line=diagonal, showlegend=False)
    predicted, observed = language.word("figures.predicted"), language.word("figures.observed")
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
    axes = Axes(title, x=language.word("figures.predicted_axis"), y=language.word("figures.observed_axis"))
    house_layout(fig, axes)
    fig.update_layout(height=HEIGHT + 120)
    fig.update_xaxes(type="log", dtick=1)
    return fig.update_yaxes(type="log", dtick=1)
