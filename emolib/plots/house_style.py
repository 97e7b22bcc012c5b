"""The house style of figures: sizes, fonts, and colours that colour-blind readers tell apart.

Colours are those of Okabe and Ito (2008) and Tol (2021).
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable
from typing import TypeVar

import plotly.graph_objects as go

from emolib.base import language
from emolib.plots.axes import Axes

HEIGHT = 420
LEGEND_COLUMNS = 3
FONT = "Noto Sans CJK JP, Noto Sans JP, Hiragino Sans, Yu Gothic, Meiryo, sans-serif"
INK, GRID = "#222222", "#E3E3E3"
HOVER_WIDTH, HOVER_LINES = 60, 8

SYMBOLS = ("circle", "diamond", "square", "cross", "x")
Label = TypeVar("Label")
EMOTION_COLOURS = {"gratitude": "#009E73", "anger": "#D55E00", "apology": "#0072B2", "neutral": "#7F7F7F"}
FURTHER_COLOURS = ("#CC79A7", "#E69F00", "#56B4E9", "#332288", "#882255", "#999933")


def house_layout(fig: go.Figure, axes: Axes) -> go.Figure:
    """Sets fonts, margins, colours and the legend above the plot; readable from 800 px of width."""
    listed = [trace for trace in fig.data if trace.name and trace.showlegend is not False]
    rows = -(-len(listed) // LEGEND_COLUMNS) if len(listed) > 1 else 0
    ruled = {"showline": True, "linecolor": INK, "gridcolor": GRID, "zerolinecolor": "#9A9A9A", "automargin": True}
    fig.update_layout(
        template=go.layout.Template(),
        title={
            "text": axes.title,
            "x": 0,
            "xref": "paper",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 18},
            "font": {"size": 17},
        },
        font={"family": FONT, "size": 14, "color": INK},
        height=HEIGHT,
        margin={"l": 70, "r": 24, "t": 56 + 24 * rows, "b": 60},
        paper_bgcolor="white",
        plot_bgcolor="white",
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        hoverlabel={"font": {"family": FONT, "size": 13}, "align": "left", "namelength": -1},
    )
    fig.update_xaxes(title_text=axes.x, **ruled)
    fig.update_yaxes(title_text=axes.y, **ruled)
    return fig


def colours(labels: Iterable[Label]) -> dict[Label, str]:
    """A fixed colour for every emotion, by label or by how it reads; other labels get further colours in order.

    >>> colours(["joy", "anger", "joy"])
    {'joy': '#CC79A7', 'anger': '#D55E00'}
    """
    by_name = {language.name(emotion): colour for emotion, colour in EMOTION_COLOURS.items()}
    fixed = EMOTION_COLOURS | by_name
    distinct = list(dict.fromkeys(labels))
    others = [label for label in distinct if str(label) not in fixed]
    further = {label: FURTHER_COLOURS[i % len(FURTHER_COLOURS)] for i, label in enumerate(others)}
    return {label: fixed.get(str(label)) or further[label] for label in distinct}


def hover_text(text: str) -> str:
    """Untrusted text for a hover box: escaped (plotly reads a subset of HTML), wrapped and cut to eight lines.

    >>> hover_text("<b> & more")
    '&lt;b&gt; &amp; more'
    """
    lines = textwrap.wrap(str(text), HOVER_WIDTH, max_lines=HOVER_LINES, placeholder=" …")
    return "<br>".join(html.escape(line, quote=False) for line in lines)
