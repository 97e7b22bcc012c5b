"""A circuit as a drawing: layers upwards, heads side by side, MLPs to their right, edges by what they carry."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from emolib.base.errors import UserError
from emolib.plots.axes import Axes
from emolib.plots.house_style import FURTHER_COLOURS, INK, house_layout, hover_text

RAISES, LOWERS = "#D55E00", "#0072B2"
LEAST_SHARE = 0.02  # of the whole effect that an edge is drawn from
WIDEST = 12.0
HEIGHT = 620


def circuit_diagram(
    nodes: pd.DataFrame, edges: pd.DataFrame, axes: Axes, *, n_heads: int, kinds: Mapping[str, str]
) -> go.Figure:
    """Nodes coloured by their role, edges between them.

    Args:
        nodes: columns node (unique), name (as printed), layer, kind (`head` or another), index, role, told (hover).
        edges: columns sender, receiver (nodes), carried (share of the effect); orange raises the effect, blue lowers
            it, thin ones are left out.
        n_heads: of a layer: where the MLPs stand.
        kinds: role → its name in the legend, in the order of the legend.

    Raises:
        UserError: no nodes, or an edge of a node that is not there.

    >>> nodes = pd.DataFrame({"node": ["h0.1", "m2"], "name": ["0:1", "MLP 2"], "layer": [0, 2], "told": "",
    ...                       "kind": ["head", "mlp"], "index": [1, 0], "role": ["a", "b"]})
    >>> edges = pd.DataFrame({"sender": ["h0.1"], "receiver": ["m2"], "carried": [0.5]})
    >>> fig = circuit_diagram(nodes, edges, Axes("Circuit"), n_heads=4, kinds={"a": "writes", "b": "reads"})
    >>> [trace.name for trace in fig.data]
    [None, 'writes', 'reads']
    """
    missing = (set(edges["sender"]) | set(edges["receiver"])) - set(nodes["node"])
    if nodes.empty or missing:
        raise UserError(f"expected nodes and the edges between them, got {len(nodes)} nodes, without {sorted(missing)}")
    columns = zip(nodes["kind"], nodes["index"], strict=True)
    placed = nodes.assign(x=[float(index) if kind == "head" else n_heads + 0.5 for kind, index in columns])
    at = {row["node"]: (row["x"], row["layer"]) for row in placed.to_dict("records")}
    fig = go.Figure()
    for edge in edges.to_dict("records"):
        if abs(edge["carried"]) >= LEAST_SHARE:
            _add_edge(fig, at[edge["sender"]], at[edge["receiver"]], edge["carried"])
    for number, (role, name) in enumerate(kinds.items()):
        part = placed[placed["role"] == role]
        if len(part):
            _add_nodes(fig, part, name, FURTHER_COLOURS[number % len(FURTHER_COLOURS)])
    house_layout(fig, axes)
    ticks = {"tickvals": [*range(n_heads), n_heads + 0.5], "ticktext": [*map(str, range(n_heads)), "MLP"]}
    fig.update_xaxes(range=[-0.7, n_heads + 1.2], zeroline=False, **ticks)
    low, high = placed["layer"].min(), placed["layer"].max()
    fig.update_yaxes(range=[low - 1, high + 1], zeroline=False, dtick=max(1, round((high - low) / 12)))
    return fig.update_layout(height=HEIGHT)


def _add_edge(fig: go.Figure, start: tuple[float, int], end: tuple[float, int], share: float) -> None:
    fig.add_scatter(
        x=[start[0], end[0]],
        y=[start[1], end[1]],
        mode="lines",
        line={"color": RAISES if share > 0 else LOWERS, "width": max(1.0, min(WIDEST, WIDEST * abs(share)))},
        opacity=0.55,
        showlegend=False,
        hoverinfo="skip",
    )


def _add_nodes(fig: go.Figure, part: pd.DataFrame, name: str, colour: str) -> None:
    fig.add_scatter(
        x=part["x"],
        y=part["layer"],
        mode="markers+text",
        name=name,
        text=part["name"],
        textposition="middle right",
        marker={
            "color": colour,
            "size": 18,
            "symbol": ["circle" if kind == "head" else "square" for kind in part["kind"]],
            "line": {"color": INK, "width": 1},
        },
        hovertext=[hover_text(text) for text in part["told"]],
        hoverinfo="text+name",
    )
