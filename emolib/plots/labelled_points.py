"""Points in the plane with their names beside them, coloured by a value of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float

from emolib.base.errors import UserError
from emolib.plots.axes import Axes
from emolib.plots.house_style import HEIGHT, INK, house_layout

# where a name stands to its point: plotly's word for it, and the way from the point to the name's middle
BESIDE = {
    "top center": (0.0, 1.0),
    "bottom center": (0.0, -1.0),
    "middle right": (1.0, 0.0),
    "middle left": (-1.0, 0.0),
    "top right": (1.0, 1.0),
    "top left": (-1.0, 1.0),
    "bottom right": (1.0, -1.0),
    "bottom left": (-1.0, -1.0),
}
CHARACTER, LINE, MARK = 0.017, 0.05, 0.014  # of the plot's width and height: half of a wide character, a line, a point
UNKNOWN = "#BDBDBD"


def labelled_points(
    coordinates: Float[np.ndarray, "point 2"],
    names: Sequence[str],
    values: Sequence[float],
    axes: Axes,
    *,
    unknown: str = "",
) -> go.Figure:
    """Points with their names; blue below 0, white at 0, red above, grey where a value is not known.

    Args:
        names: one per point; from outside (a label may be a user's own).
        values: one per point; NaN: not known.
        axes: its `z` is the title of the colours.
        unknown: what the legend calls points without a value.

    Raises:
        UserError: coordinates of another shape, or not one name and value per point.

    >>> fig = labelled_points(np.eye(2), ["joy", "fear"], [2.8, -2.2], Axes("Labels", z="valence"))
    >>> fig.data[0].text
    ('joy', 'fear')
    """
    points, colours = np.asarray(coordinates, dtype=float), np.asarray(values, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or not len(names) == len(colours) == len(points):
        raise UserError(
            f"expected coordinates [n, 2], n names and n values, got shape {points.shape}, {len(names)} names and "
            f"{len(colours)} values"
        )
    sides, known = _sides(points, names), np.isfinite(colours)
    reach = float(np.abs(colours[known]).max()) if known.any() else 1.0
    colour = {"colorscale": "RdBu_r", "cmin": -reach, "cmax": reach, "showscale": True}
    bar = {"colorbar": {"title": {"text": axes.z, "side": "top"}, "thickness": 16}}
    fig = go.Figure()
    for part, marker in ((known, {"color": colours[known], **colour, **bar}), (~known, {"color": UNKNOWN})):
        if part.any():
            fig.add_scatter(
                x=points[part, 0],
                y=points[part, 1],
                mode="markers+text",
                text=[axes.name(name) for name, shown in zip(names, part, strict=True) if shown],
                textposition=[side for side, shown in zip(sides, part, strict=True) if shown],
                textfont={"size": 12},
                cliponaxis=False,
                name="" if part is known else unknown,
                showlegend=part is not known,
                marker={**marker, "size": 11, "line": {"color": INK, "width": 1}},
                hovertemplate="%{text}: %{x:.3g}, %{y:.3g}<extra></extra>",
            )
    house_layout(fig, axes)
    fig.update_layout(height=HEIGHT + 160, showlegend=not known.all())
    if not known.all():
        fig.update_layout(margin_t=80)  # a legend of one entry has no room of its own
    room = 0.14 * np.ptp(points, axis=0) + 1e-9
    fig.update_xaxes(range=[points[:, 0].min() - room[0], points[:, 0].max() + room[0]])
    return fig.update_yaxes(range=[points[:, 1].min() - room[1], points[:, 1].max() + room[1]])


def _sides(points: np.ndarray, names: Sequence[str]) -> list[str]:
    """For each point the side on which its name meets the fewest points and names."""
    extent = np.maximum(np.ptp(points, axis=0), 1e-12)
    at = (points - points.min(axis=0)) / (1.28 * extent)
    taken = [(x, y, MARK, MARK) for x, y in at]
    sides = []
    for place in range(len(at)):
        half = CHARACTER * max(len(str(names[place])), 1) / 2
        boxes = {side: _box(at[place], way, half) for side, way in BESIDE.items()}
        best = min(boxes, key=lambda side: sum(_shared(boxes[side], box) for box in taken))
        taken.append(boxes[best])
        sides.append(best)
    return sides


def _box(at: np.ndarray, way: tuple[float, float], half: float) -> tuple[float, float, float, float]:
    """Middle and half sizes of a name's box."""
    return at[0] + way[0] * (half + MARK), at[1] + way[1] * (LINE / 2 + MARK / 2), half, LINE / 2


def _shared(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    across = one[2] + other[2] - abs(one[0] - other[0])
    along = one[3] + other[3] - abs(one[1] - other[1])
    return across * along if across > 0 and along > 0 else 0.0
