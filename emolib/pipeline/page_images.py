"""SVG drawings of an executed notebook as images of a page, rid of everything but the drawing."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
HREFS = ("href", f"{{{XLINK}}}href")
DRAWN = {
    *("svg", "g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan", "title", "desc"),
    *("defs", "clipPath", "use", "marker", "linearGradient", "radialGradient", "stop", "symbol", "mask"),
    *("style", "image"),
}
# In a value or a style sheet: another address than a part of the same drawing, or an escape that could hide one.
LEADING_OUT = re.compile(r"url\(\s*['\"]?(?!#)|@|\\|expression|javascript:", re.IGNORECASE)
INLINE = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/=\s]*")


def svg_image(text: object) -> str | None:
    """An `<img>` that holds the drawing (a browser runs and fetches nothing for it); None where it is no SVG.

    A document type with declarations of its own is refused: its entities could grow without end.
    """
    written = "".join(map(str, text)) if isinstance(text, list) else str(text)
    written = re.sub(r"<!DOCTYPE[^\[<>]*>", "", written, count=1, flags=re.IGNORECASE)
    if "<!DOCTYPE" in written.upper() or "<!ENTITY" in written.upper():
        return None
    try:
        root = ElementTree.fromstring(written.strip().encode("utf-8", "replace"))
    except (ElementTree.ParseError, ValueError, LookupError):  # an encoding that nobody knows is a LookupError
        return None
    if root.tag != f"{{{SVG}}}svg":
        return None
    _clean(root)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    data = base64.b64encode(ElementTree.tostring(root)).decode()
    return f'<img class="emolib-drawing" alt="" src="data:image/svg+xml;base64,{data}">'


def _clean(root: ElementTree.Element) -> None:
    """Keeps the drawing's own elements, and of their attributes those that lead nowhere."""
    waiting = [root]
    while waiting:
        element = waiting.pop()
        for name, value in list(element.attrib.items()):
            if not _harmless(element, name, value):
                del element.attrib[name]
        for child in list(element):
            if _drawn(child):
                waiting.append(child)
            else:
                element.remove(child)


def _drawn(element: ElementTree.Element) -> bool:
    tag = element.tag if isinstance(element.tag, str) else ""
    known = tag.startswith(f"{{{SVG}}}") and tag.partition("}")[2] in DRAWN
    return known and not (tag.endswith("}style") and LEADING_OUT.search("".join(element.itertext())))


def _harmless(element: ElementTree.Element, name: str, value: str) -> bool:
    if name in HREFS:
        return value.startswith("#") or (element.tag == f"{{{SVG}}}image" and INLINE.fullmatch(value) is not None)
    return not name.lower().startswith("on") and "}" not in name and not LEADING_OUT.search(value)
