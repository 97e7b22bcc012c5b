"""What of an executed notebook reaches a page. A notebook may come from anybody: nothing in it acts, here or there.

A page copy is built anew from the sources and outputs alone: no metadata, no tags, no attachments, no identifiers of
the notebook's own. Figures and views are made from their data; HTML keeps tables and text; images are checked to be
images. Markdown is left to the dialect of `page_markdown`.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Mapping
from typing import Any

import nbformat
import nh3

from emolib.base import language
from emolib.base.errors import UserError
from emolib.base.escaping import attribute, escape, figure_text
from emolib.pipeline.page_images import svg_image
from emolib.plots.house_style import HEIGHT
from emolib.plots.plot_files import PLOTLY_MIME, script_json
from emolib.plots.views import VIEW_MIME, bundle_of, view_html

NUMBER = r"\s*(?:[-+−–]?[\d.,]*(?:e[-+]?\d+)?\s*%?|NaN|None|-?inf)\s*"
IMAGES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
# HTML on a page: text, and tables as pandas writes them. There is no address, style, identifier or form in it.
TAGS = {
    *("table", "caption", "colgroup", "col", "thead", "tbody", "tfoot", "tr", "th", "td"),
    *("p", "div", "span", "br", "hr", "b", "strong", "i", "em", "u", "s", "sub", "sup", "small", "mark"),
    *("code", "pre", "kbd", "samp", "blockquote", "ul", "ol", "li", "dl", "dt", "dd"),
    *("h3", "h4", "h5", "h6"),
}
ATTRIBUTES = {"th": {"colspan", "rowspan"}, "td": {"colspan", "rowspan"}, "table": {"border"}}
VALUES = {"table": {"class": {"dataframe"}}}
FORGOTTEN = {"script", "style", "title", "template", "noscript", "svg", "math", "textarea", "iframe", "object", "xmp"}
# Traces that plotly draws from their numbers alone; maps and images would be fetched.
TRACES = {
    *("scatter", "scattergl", "bar", "heatmap", "histogram", "histogram2d", "histogram2dcontour", "contour", "box"),
    *("violin", "pie", "scatter3d", "surface", "mesh3d", "scatterpolar", "barpolar", "parcoords", "splom", "waterfall"),
    *("funnel", "sankey", "sunburst", "treemap", "icicle", "scatterternary", "candlestick", "ohlc"),
}
FETCHED = {"images", "mapbox", "map", "geo", "updatemenus", "sliders"}


def page_copy(notebook: nbformat.NotebookNode, title: str) -> dict[str, Any]:
    """The notebook as it goes onto a page: code folded, figures as JSON in the page.

    Args:
        title: the heading of a notebook without one.
    """
    cells = [_page_cell(cell) for cell in notebook.cells]
    if not _has_title(cells):
        cells.insert(0, _cell("markdown", f"# {escape(title)}"))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    python = {"name": "python", "pygments_lexer": "ipython3"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"language_info": python}, "cells": cells}


def _cell(kind: str, source: str) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {}, "source": source}


def _page_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    source = str(cell.get("source", ""))
    if cell["cell_type"] == "markdown":
        return _cell("markdown", source)
    if cell["cell_type"] != "code":  # a raw cell is for another program; here it is text
        return _cell("markdown", fenced(source))
    count = cell.get("execution_count")
    copy = _cell("code", source) | {"metadata": {"tags": ["hide-input"]}}
    outputs = [page for output in cell.get("outputs", []) if (page := page_output(output)) is not None]
    return copy | {"outputs": outputs, "execution_count": count if isinstance(count, int) else None}


def fenced(text: str) -> str:
    """Text as a block of code in Markdown, whatever it holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _has_title(cells: list[dict[str, Any]]) -> bool:
    prose = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
    return any(re.search(r"^#{1,6}\s+\S", source, flags=re.MULTILINE) for source in prose)


# ── outputs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def page_output(output: Mapping[str, Any]) -> dict[str, Any] | None:
    """One output of a cell, built anew: `figure_html` for plotly, `view_html` for CircuitsVis, else what is harmless.

    None where it has nothing that a page shows.
    """
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return {"output_type": "stream", "name": name, "text": str(output.get("text", ""))}
    if kind == "error":
        traceback = [str(line) for line in output.get("traceback", [])]
        told = {key: str(output.get(key, "")) for key in ("ename", "evalue")}
        return {"output_type": "error", "traceback": traceback, **told}
    data = page_data(output.get("data", {})) if kind in ("display_data", "execute_result") else {}
    return {"output_type": "display_data", "metadata": {}, "data": data} if data else None


def page_data(data: Mapping[str, Any]) -> dict[str, str]:
    """The one form of a MIME bundle that a page shows, by its type; empty where there is none."""
    for mime, made in (
        (PLOTLY_MIME, figure_html),
        (VIEW_MIME, _view),
        ("text/html", clean_html),
        ("image/svg+xml", svg_image),
    ):
        try:
            page = made(data[mime]) if mime in data else None
        except (RecursionError, ValueError, TypeError):  # numbers and nesting that no figure has
            page = None
        if page is not None:
            return {"text/html": page}
    for mime, begins in IMAGES.items():
        if mime in data and (image := _image(data[mime], begins)) is not None:
            return {mime: image}
    for mime in ("text/markdown", "text/plain"):
        if mime in data:
            return {mime: _joined(data[mime])}
    return {}


def _joined(text: object) -> str:
    return "".join(map(str, text)) if isinstance(text, list) else str(text)


def clean_html(text: object) -> str | None:
    """HTML with its text and tables alone; None where nothing of it is left to read."""
    page = nh3.clean(
        _joined(text),
        tags=TAGS,
        attributes=ATTRIBUTES,
        tag_attribute_values=VALUES,
        clean_content_tags=FORGOTTEN,
        url_schemes=set(),
        link_rel=None,
        generic_attribute_prefixes=set(),
    )
    if not re.sub(r"<[^>]*>", "", page).strip():
        return None
    return mark_text_cells(page)


def mark_text_cells(table: str) -> str:
    """Gives the cells of a pandas table that hold no number the class `text`, which the style sets flush left."""
    if 'class="dataframe' not in table:
        return table
    return re.sub(rf"<td>(?!{NUMBER}</td>)", '<td class="text">', table)


def _image(text: object, begins: bytes) -> str | None:
    """Base64 of an image, if that is what it is."""
    try:
        image = base64.b64decode("".join(_joined(text).split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return base64.b64encode(image).decode() if image.startswith(begins) else None


def figure_html(figure: object) -> str | None:
    """The figure's JSON in a `<div>` with its place reserved; `static/figures.js` draws it.

    None for what plotly would not draw from its numbers alone.
    """
    if not isinstance(figure, Mapping):
        return None
    traces, layout = figure.get("data"), figure.get("layout") or {}
    if not isinstance(traces, list) or not isinstance(layout, Mapping):
        return None
    if not all(isinstance(trace, Mapping) and trace.get("type", "scatter") in TRACES for trace in traces):
        return None
    drawn = figure_text({"data": traces, "layout": _drawn_alone(layout)})
    return (
        f'<div class="emolib-figure" role="img" aria-label="{attribute(html.unescape(_title(layout)))}" '
        f'style="min-height:{_height(layout)}px"><script type="application/json">{script_json(drawn)}</script></div>'
    )


def _drawn_alone(layout: Any) -> Any:
    """A figure's layout without what would be fetched, or would change the figure into something else."""
    if isinstance(layout, Mapping):
        return {key: _drawn_alone(value) for key, value in layout.items() if key not in FETCHED}
    return [_drawn_alone(item) for item in layout] if isinstance(layout, list) else layout


def _title(layout: Mapping[str, Any]) -> str:
    title = layout.get("title")
    text = title.get("text") if isinstance(title, Mapping) else title
    return str(text or language.word("figures.untitled"))


def _height(layout: Mapping[str, Any]) -> int:
    height = layout.get("height")
    return int(height) if isinstance(height, int | float) and 0 < height < 10_000 else HEIGHT


def _view(view: object) -> str | None:
    try:
        made = bundle_of(view)
    except UserError:
        return None
    return view_html(made[VIEW_MIME], made["text/html"])
