"""Figures as what a notebook, a browser or a printer takes: MIME bundles, HTML documents, PNG images."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from emolib.base import language
from emolib.base.errors import UserError
from emolib.base.escaping import figure_text
from emolib.plots.house_style import FONT, HEIGHT, INK

PLOTLY_MIME = "application/vnd.plotly.v1+json"
SIGNIFICANT_DIGITS = 6
# plotly.js 4 offers by default to upload a figure to its maker; a report has no such button.
SETTINGS = {"responsive": True, "displaylogo": False, "showSendToCloud": False, "plotlyServerURL": ""}
PNG_REMEDY = "pip install -e .[png] and install Chrome or Chromium (BROWSER_PATH names it where it is not found)"


def mime_bundle(fig: go.Figure, name: str) -> dict[str, Any]:
    """Plotly JSON for JupyterLab and the site, a `<div>` without script for the rest, and plain text.

    Numbers are rounded to 6 significant digits and arrays are plain lists, so that an executed notebook stays small
    and its differences can be read. Strings are text: a label cannot bring a link or another tag of plotly's.
    """
    fallback = language.word("figures.fallback", name=name)
    return {
        PLOTLY_MIME: {**figure_text(_plain(json.loads(fig.to_json()))), "config": SETTINGS},
        "text/html": f'<div class="emolib-figure" data-figure="{html.escape(name)}">{html.escape(fallback)}</div>',
        "text/plain": fallback,
    }


def _plain(value: Any) -> Any:
    """JSON without plotly's base64 arrays, with rounded numbers; what is not finite becomes null."""
    if isinstance(value, dict):
        if {"dtype", "bdata"} <= value.keys():
            return _plain(_decoded(value))
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
    return value


def _decoded(array: Mapping[str, str]) -> list:
    """The numbers of plotly's `{"dtype": "f8", "bdata": …, "shape": "2, 3"}`, little-endian as plotly.js reads them."""
    values = np.frombuffer(base64.b64decode(array["bdata"]), dtype=np.dtype(array["dtype"]).newbyteorder("<"))
    shape = str(array.get("shape", values.size))
    return values.reshape([int(size) for size in shape.split(",")]).tolist()


def script_json(value: object) -> str:
    """JSON that can stand inside a `<script>` of a page, whatever texts it holds.

    >>> script_json({"text": "</script>"})
    '{"text":"\\\\u003c/script\\\\u003e"}'
    """
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Inside <script> only `<` could end the JSON; the others keep it harmless elsewhere too.
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    return data


def standalone_html(fig: go.Figure, name: str) -> bytes:
    """`fig` as an HTML document that needs nothing beside it: plotly.js is inside, no address leads out of it."""
    figure = mime_bundle(fig, name)[PLOTLY_MIME]
    layout = figure.get("layout", {})
    place = "figure-" + (re.sub(r"[^\w-]+", "-", name) or "1")
    body = (
        f'<div id="{place}" style="min-height:{int(layout.get("height") or HEIGHT)}px">'
        f'<script type="application/json">{script_json(figure)}</script></div>'
    )
    draw = (
        f"const place = document.getElementById({script_json(place)});\n"
        "const figure = JSON.parse(place.firstElementChild.textContent);\n"
        "Plotly.newPlot(place, figure.data, figure.layout, figure.config);"
    )
    title = html.unescape(layout.get("title", {}).get("text") or name)
    return standalone_document(title, body, [get_plotlyjs(), draw])


def standalone_document(title: str, body: str, scripts: Sequence[str]) -> bytes:
    """An HTML page with its scripts inside, in which nothing else runs and nothing is fetched; UTF-8.

    Args:
        body: trusted HTML; what is untrusted in it is escaped already.
        scripts: JavaScript, run in this order after the body.
    """
    # `</script` and `<!--` mean something to HTML inside a script; a backslash changes neither in JavaScript's strings.
    inner = [re.sub(r"<(?=/script|!--)", r"<\\", text.replace("\r\n", "\n"), flags=re.IGNORECASE) for text in scripts]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inner]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    # By their hashes the page's own scripts may run and no others; plotly.js compiles some of its drawing itself.
    policy = f"default-src 'none'; script-src {allowed} 'unsafe-eval'; "
    policy += "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    page = (
        f'<!DOCTYPE html>\n<html lang="{language.current()}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n"
        f"<style>body {{ margin: 24px; font-family: {FONT}; color: {INK}; }}</style>\n"
        f"</head>\n<body>\n{body}\n" + "".join(f"<script>{text}</script>\n" for text in inner) + "</body>\n</html>\n"
    )
    return page.encode("utf-8")


def require_png() -> None:
    """Raises `UserError` where PNG images cannot be drawn: kaleido is not installed."""
    try:
        from kaleido import calc_fig_sync  # noqa: F401
        from kaleido.errors import ChromeNotFoundError  # noqa: F401
    except ImportError as error:
        told = "expected the extra `png` for PNG images, kaleido >= 1 is not installed"
        raise UserError(f"{told}; {PNG_REMEDY}") from error


def png_bytes(fig: go.Figure, *, width: int = 1000, height: int | None = None, scale: float = 2) -> bytes:
    """`fig` as a PNG image of `width × scale` by `height × scale` pixels, drawn by kaleido in a Chrome of its own.

    kaleido takes the browser that the environment variable BROWSER_PATH names, else the first Chrome, Chromium or
    Edge it finds.

    Args:
        height: None takes the figure's own height.

    Raises:
        UserError: kaleido is not installed, or no Chrome can be started.
    """
    require_png()
    from kaleido import calc_fig_sync
    from kaleido.errors import BrowserFailedError, ChromeNotFoundError

    size = {"width": width, "height": height or fig.layout.height or HEIGHT, "scale": scale}
    figure = _plain(json.loads(fig.to_json()))
    try:
        # Left to itself, kaleido fetches MathJax from elsewhere.
        return calc_fig_sync(figure, opts={"format": "png", **size}, kopts={"mathjax": False})
    except (BrowserFailedError, ChromeNotFoundError) as error:
        reason = type(error).__name__
        raise UserError(f"expected a Chrome for PNG images (extra `png`), got {reason}; {PNG_REMEDY}") from error
