"""Foreign text in Markdown, HTML and figures: shown as it is, never obeyed.

Labels, texts, model names, paths and messages come from outside. What a report prints of them is decided here:

- a sentence is an f-string, and a `Name` in it escapes itself; in a table's cell, as a key and in a figure a `Name` is
  plain text (pandas escapes its cells, `figure_text` guards every string of a figure);
- `code_span` for what stands in a code span, `escape` for any other text.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any

LONGEST_NAME = 120
# What Markdown (CommonMark, GFM, MyST, JupyterLab) reads as more than text. Inside a word `_` means nothing; a word
# before a colon and two strokes, or `www.`, becomes a link; at the start of a line a few more characters speak.
ACTIVE = re.compile(r"[\\`*|\[\]~$<>&{}@^]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE)
FIRST = re.compile(r"^[#+=:%!(-]|(?<=^\d)[.)]|(?<=^\d\d)[.)]|(?<=^\d{3})[.)]")
HTML = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
# Tags that plotly reads and that our figures use; every other `<` in a figure is a sign.
FIGURE_TAG = re.compile(r"<(?!br>|/?extra>)", re.IGNORECASE)
SPOILING = ("Cc", "Cs")  # control characters, lone surrogates
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # text direction


def escape(text: object) -> str:
    """Text from outside, harmless in a Markdown sentence, heading or table, and in HTML between tags.

    >>> escape("<b>|"), escape("a, b. c"), escape("[x](http://y)")
    ('&lt;b&gt;&#124;', 'a, b. c', '&#91;x&#93;(http&#58;//y)')
    """
    return name_text(text).replace("_", "&#95;")


def name_text(text: object) -> str:
    """The same for a name, in which `_` between letters is no mark.

    >>> name_text("smollm2_135m"), name_text("_x_")
    ('smollm2_135m', '&#95;x&#95;')
    """
    line = visible(text)
    begins = FIRST.search(line)
    if begins is None:
        return escape_inside(line)
    at = begins.start()
    return f"{escape_inside(line[:at])}&#{ord(line[at])};{escape_inside(line[at + 1 :])}"


def escape_inside(line: str) -> str:
    """The same for text that no line begins with."""
    return ACTIVE.sub(lambda found: HTML.get(found[0]) or f"&#{ord(found[0])};", line)


def visible(text: object) -> str:
    r"""Text from outside on one line, without what drives a terminal or turns the direction of reading.

    >>> visible("a\n b\x1b")
    'a b�'
    """
    line = " ".join(str(text).split())
    if line.isprintable():
        return line
    return "".join("\ufffd" if c in TURNING or unicodedata.category(c) in SPOILING else c for c in line)


def code_span(text: object) -> str:
    """Text from outside as a code span; what would end the span or its table's cell is escaped without one.

    >>> code_span("runs/a_b"), code_span("a`b")
    ('`runs/a_b`', 'a&#96;b')
    """
    line = visible(text)
    return escape(line) if re.search(r"[`|<>]", line) else f"`{line}`"


class Name(str):
    """A name from outside: itself in a cell or as a key, escaped (and cut, if it is very long) in an f-string.

    >>> name = Name("a<b>")
    >>> name == "a<b>", f"{name}", [name]
    (True, 'a&lt;b&gt;', ['a<b>'])
    """

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return format(name_text(shortened(self)), spec)


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """A long text without its middle.

    >>> shortened("a" * 9 + "b" * 9, 9)
    'aaa … bbb'
    """
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]} … {text[-half:]}"


# Numbers as a report prints them: an interval, what is smaller than a number; and signs at their beginning.
NUMERIC = re.compile(r"(^[+\-(=%]?|\[(?:[-+−–\d., —]*|95 % \w[\w ]{0,9})\](?![(\[:])|<(?= ?\d))")


def cell(value: object) -> str:
    """A finished table's cell in a Markdown table: numbers and intervals as they are, anything else escaped.

    >>> cell("0.50 [0.25, 0.75]"), cell("a|b"), cell("< 0.001")
    ('0.50 [0.25, 0.75]', 'a&#124;b', '< 0.001')
    """
    parts = NUMERIC.split(visible(value))
    return "".join(part if odd % 2 else escape_inside(part) for odd, part in enumerate(parts))


def figure_text(value: Any) -> Any:
    """A figure's JSON in which every string is text: plotly would read a part of HTML, links among it.

    >>> figure_text({"name": "<a href='x'>y</a>", "text": ["1<br>2"]})
    {'name': "&lt;a href='x'>y&lt;/a>", 'text': ['1<br>2']}
    """
    if isinstance(value, str):
        return FIGURE_TAG.sub("&lt;", value)
    if isinstance(value, dict):
        return {key: figure_text(item) for key, item in value.items()}
    return [figure_text(item) for item in value] if isinstance(value, list) else value


def attribute(text: object) -> str:
    """Text from outside as the value of an HTML attribute, in double quotes."""
    return html.escape(visible(text), quote=True)
