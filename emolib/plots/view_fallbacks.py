"""What a view shows where CircuitsVis' script does not run: plain HTML, without any script."""

from __future__ import annotations

import html

import numpy as np
from jaxtyping import Float

from emolib.base import language
from emolib.plots.house_style import FONT

NEGATIVE, POSITIVE = "#0072B2", "#D55E00"  # blue and vermilion of Okabe and Ito (2008)
SIGNIFICANT_DIGITS = 4
TOKENS_STYLE = f"white-space:pre-wrap;line-height:1.9;font-family:{FONT}"


def visible(token: str) -> str:
    """Escaped, with line ends shown; for text that keeps its white space."""
    return html.escape(token).replace("\n", "↵\n")


def token_spans(words: list[str], numbers: list[float | None], reach: float) -> str:
    """One text, each token on the ground of its value; a token without a value stays white."""
    spans = []
    for word, number in zip(words, numbers, strict=True):
        ground, ink = _colour(number or 0.0, reach)
        title = html.escape(language.word("views.no_value")) if number is None else f"{number:.{SIGNIFICANT_DIGITS}g}"
        spans.append(f'<span title="{title}" style="background:{ground};color:{ink}">{visible(word)}</span>')
    return f'<div style="{TOKENS_STYLE}">{"".join(spans)}</div>'


def _colour(value: float, reach: float) -> tuple[str, str]:
    """Ground and ink: the full colour mixed with white, and CircuitsVis' rule for the ink on it."""
    full = POSITIVE if value >= 0 else NEGATIVE
    share = min(abs(value) / reach, 1.0)
    mixed = [round(255 + share * (int(full[i : i + 2], 16) - 255)) for i in (1, 3, 5)]
    brightness = (299 * mixed[0] + 587 * mixed[1] + 114 * mixed[2]) / 255_000
    return "#{:02x}{:02x}{:02x}".format(*mixed), "#fff" if brightness < 0.6 else "#000"


def scale_line(low: float, high: float) -> str:
    """The colours at both ends and in the middle, with their values."""
    ends = [
        f'<span style="background:{ground};color:{ink};padding:0 6px">{value:.{SIGNIFICANT_DIGITS}g}</span>'
        for value in (low, 0.0, high)
        for ground, ink in [_colour(value, high)]
    ]
    return f"<p>{language.word('views.scale', ends=' … '.join(ends))}</p>"


def strongest_keys(words: list[str], array: Float[np.ndarray, "head query key"], heads: list[str]) -> str:
    """A table: a row per query, a column per head, and in it the key with the largest absolute share."""
    places = [f"{visible(word).strip(' ')} ({i})" for i, word in enumerate(words)]
    best = np.abs(array).argmax(axis=2)
    rows = []
    for query, place in enumerate(places):
        cells = [f"{places[key]} {array[head, query, key]:.2f}" for head, key in enumerate(best[:, query])]
        rows.append(f"<tr><th>{place}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    return (
        f"<p>{language.word('views.strongest_keys')}</p><table><thead><tr><th>query</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
