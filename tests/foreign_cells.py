"""Cells of a notebook that somebody else made: each tries something that a page must not do.

`{host}` stands for the address of a server that counts who asks it, `{secret}` for a file of the machine, `{up}` for
the way from a page to the folder that holds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">'
XHTML = "http://www.w3.org/1999/xhtml"
PLOTLY = "application/vnd.plotly.v1+json"
VIEW = "application/vnd.emolib.circuitsvis+json"
LINE = {"type": "scatter", "x": [1, 2], "y": [3, 4]}
TOKENS = {"element": "ColoredTokens", "caption": "", "props": {"tokens": ["kept token"], "values": [1]}}
TOKENS["props"] |= {"minValue": -1, "maxValue": 1, "negativeColor": "url({host}/c)", "positiveColor": "red"}


@dataclass(frozen=True)
class Foreign:
    """One cell.

    Attributes:
        name: of the case, which is the heading before it, too.
        kind: `markdown` or `raw` for a cell, else the MIME type of an output, `stdout` or `error`.
        text: the cell's source or the output's content.
        shows: what a reader must still see of it.
    """

    name: str
    kind: str
    text: object
    shows: str = ""


REFRESH = '<meta http-equiv="refresh" content="0;url={host}/left">'
MARKDOWN = [
    ("meta-refresh", REFRESH, "<meta http-equiv="),
    ("meta-refresh-inline", f"before {REFRESH} after", "after"),
    ("meta-across-lines", '<meta\nhttp-equiv="refresh"\ncontent="0;url={host}/left">', "http-equiv"),
    ("base", '<base href="{host}/">', "<base"),
    ("script", "<script>window.hacked=1</script>", "window.hacked=1"),
    ("script-in-a-table", "| a |\n|---|\n| <script>window.hacked=1</script> |", "window.hacked=1"),
    ("handler", '<img src="x" onerror="window.hacked=1">', "onerror"),
    ("details-handler", "<details open ontoggle=window.hacked=1>x</details>", "ontoggle"),
    ("iframe", '<iframe src="{host}/f" srcdoc="<script>parent.hacked=1</script>"></iframe>', "<iframe"),
    ("comment-that-hides", "<!-- hidden\n\nseen", "seen"),
    ("unclosed-style", "<style>@import '{host}/s.css';", "@import"),
    ("include", "```{{include}} {secret}\n```"),
    ("include-upwards", "```{{include}} {up}/secret.txt\n```"),
    ("literalinclude", "```{{literalinclude}} {secret}\n```"),
    ("eval-rst", "```{{eval-rst}}\n.. include:: {secret}\n```", ".. include::"),
    ("raw-directive", "```{{raw}} html\n<script>window.hacked=1</script>\n```", "window.hacked=1"),
    ("raw-of-a-file", "```{{raw}} html\n:file: {secret}\n```", ":file:"),
    ("csv-table", "```{{csv-table}}\n:file: {secret}\n```", ":file:"),
    ("figure-directive", "```{{figure}} {up}/secret.png\ncaption\n```", "caption"),
    ("image-directive", "```{{image}} {host}/i.png\n```"),
    ("nested-fences", "````{{note}}\n```{{include}} {secret}\n```\n````", "include"),
    ("tilde-fence", "~~~{{include}} {secret}\n~~~"),
    ("colon-fence", ":::{{include}} {secret}\n:::", ":::"),
    ("code-cell-directive", "```{{code-cell}}\n:load: {secret}\n```", ":load:"),
    ("glue-directive", "```{{glue:md}} x\n:format: myst\n```", "format"),
    ("toctree-directive", "```{{toctree}}\n:glob:\n\n/*\n```", ":glob:"),
    ("only-directive", "```{{only}} html\n<b>x</b>\n```", "<b>x</b>"),
    ("a-directive-in-a-list", "- a\n\n  ```{{include}} {secret}\n  ```\n- b", "b"),
    ("a-directive-in-a-quotation", "> ```{{include}} {secret}\n> ```\n> c", "c"),
    ("download-role", "{{download}}`{secret}`", "{secret}"),
    ("doc-role", "{{doc}}`/index`", "/index"),
    ("eval-role", "{{eval}}`__import__('os').getcwd()`", "__import__"),
    ("math-role", "{{math}}`\\href{{{host}}}{{x}}`", "href"),
    ("image", "![picture]({host}/i.png)", "picture"),
    ("image-of-the-machine", "![picture]({up}/secret.png)", "picture"),
    ("image-at-the-root", "![picture]({secret})", "picture"),
    ("image-by-reference", "![picture][ref]\n\n[ref]: {host}/i.png", "picture"),
    ("link-to-a-file", "[read]({up}/secret.txt)", "read"),
    ("link-to-an-absolute-file", "[read](<{secret}>)", "read"),
    ("link-that-runs", "[click](javascript:window.hacked=1)", "click"),
    ("link-that-runs-encoded", "[click](&#106;avascript&colon;window.hacked=1)", "click"),
    ("link-by-project", "[x](project:/index.md)", "project:"),
    ("link-by-path", "[x](path:{up}/secret.txt)", "path:"),
    ("autolink", "<{host}/auto>", "/auto>"),
    ("bare-address", "{host}/bare", "/bare"),
    ("substitution", "{{{{ name }}}} and |name|", "name"),
    ("front-matter", "---\nmyst:\n  enable_extensions: [colon_fence]\nmystnb:\n  execution_mode: force\n---", "mystnb"),
    ("target-and-comment", '(target)=\n% comment\n+++ {{"load": "{secret}"}}', "% comment"),
    ("attributes", '{{#id .class onclick="window.hacked=1"}}\nword', "word"),
    ("footnote", "word[^1]\n\n[^1]: ![x]({host}/i.png)", "word"),
    ("formula", "$$\n</script><script>window.hacked=1</script>\n$$", "window.hacked=1"),
    ("formula-with-a-label", "$$ x $$ (<script>window.hacked=1</script>)", "window.hacked=1"),
    ("deep-quotation", ">" * 3000 + " deep", ""),
    ("attachment", "![a](attachment:../../secret.png)", "attachment:"),
]
HTML = [
    ("meta", REFRESH + "<p>kept</p>", "kept"),
    ("base", '<base href="{host}/"><p>kept</p>', "kept"),
    ("script", "<script>window.hacked=1</script><p>kept</p>", "kept"),
    ("script-unclosed", "<p>kept</p><script>window.hacked=1", "kept"),
    ("external-script", '<script src="{host}/x.js"></script><p>kept</p>', "kept"),
    ("json-script", '<script type="application/json">{{}}</script><p>kept</p>', "kept"),
    ("figure-of-its-own", '<div class="emolib-figure"><script type="application/json">[]</script>kept</div>', "kept"),
    ("view-of-its-own", '<div class="emolib-view"><div class="emolib-view-fallback">kept</div></div>', "kept"),
    ("iframe", '<iframe src="{host}/f"></iframe><p>kept</p>', "kept"),
    ("object", '<object data="{host}/o"></object><embed src="{host}/e"><p>kept</p>', "kept"),
    ("form", '<form action="{host}/"><input autofocus onfocus="window.hacked=1"></form><p>kept</p>', "kept"),
    ("style", "<style>body {{ background: url({host}/b) }}</style><p>kept</p>", "kept"),
    ("style-attribute", '<p style="background:url({host}/b);position:fixed">kept</p>', "kept"),
    ("stylesheet", '<link rel="stylesheet" href="{host}/s.css"><p>kept</p>', "kept"),
    ("image", '<img src="{host}/i.png" srcset="{host}/i2.png 2x"><p>kept</p>', "kept"),
    ("handler", '<b onmouseover="window.hacked=1" onanimationstart="window.hacked=1">kept</b>', "kept"),
    ("handler-behind-a-slash", "<b/onclick=window.hacked=1>kept</b>", "kept"),
    ("link", '<a href="javascript:window.hacked=1" ping="{host}/p" target="_top">kept</a>', "kept"),
    ("media", '<video src="{host}/v" poster="{host}/p" autoplay></video><p>kept</p>', "kept"),
    ("svg-inside", "<svg onload=window.hacked=1><script>window.hacked=1</script></svg><p>kept</p>", "kept"),
    ("mutation", "<math><mtext><table><mglyph><style><img src=x onerror=window.hacked=1></style></table>kept", ""),
    (
        "mutation-noscript",
        '<noscript><p title="</noscript><img src=x onerror=window.hacked=1>">kept',
        "kept",
    ),
    ("breaks-out", "</div></div></body></html><p>kept</p><div>", "kept"),
    ("identifiers", '<p id="searchbox" class="site-search" name="body">kept</p>', "kept"),
    ("table", '<table border="1" class="dataframe"><tr><td>kept</td><td>1.5</td></tr></table>', "kept"),
    ("cell-text", '<table class="dataframe"><tr><td>&lt;script&gt;kept</td></tr></table>', "<script>kept"),
    ("deep", "<div>" * 20_000 + "kept", "kept"),
    ("control-characters", "<scr\0ipt>window.hacked=1</scr\0ipt>kept\x1b[31m", "kept"),
]
FIGURES = [
    ("image-in-the-layout", {"data": [LINE], "layout": {"images": [{"source": "{host}/i.png", "x": 0, "y": 1}]}}),
    (
        "image-in-the-template",
        {"data": [LINE], "layout": {"template": {"layout": {"images": [{"source": "x"}]}}}},
    ),
    ("link-in-the-title", {"data": [LINE], "layout": {"title": {"text": "<a href='{host}/t'>kept</a>"}}}),
    (
        "script-in-the-title",
        {"data": [LINE], "layout": {"title": {"text": "</script><script>window.hacked=1"}}},
    ),
    ("quote-in-the-title", {"data": [LINE], "layout": {"title": {"text": '" onload="window.hacked=1'}}}),
    ("height-that-is-css", {"data": [LINE], "layout": {"height": "1px;background:url({host}/h)"}}),
    ("height-beyond-measure", {"data": [LINE], "layout": {"height": 1e300}}),
    ("map", {"data": [{"type": "scattergeo", "lat": [1], "lon": [2]}], "layout": {}}),
    ("tiles", {"data": [{"type": "scattermapbox"}], "layout": {"mapbox": {"style": "open-street-map"}}}),
    ("image-trace", {"data": [{"type": "image", "source": "{host}/i.png"}], "layout": {}}),
    ("buttons", {"data": [LINE], "layout": {"updatemenus": [{"buttons": [{"args": ["images", []], "label": "x"}]}]}}),
    ("no-figure", ["not", "a", "figure"]),
    ("no-traces", {"data": {"type": "scatter"}, "layout": []}),
]
VIEWS = [
    ("colours-that-are-css", TOKENS),
    ("unknown-element", {"element": "constructor", "props": {"tokens": [], "values": []}}),
    ("no-numbers", {**TOKENS, "props": {**TOKENS["props"], "values": ["<script>"]}}),
    ("tokens-that-are-objects", {**TOKENS, "props": {**TOKENS["props"], "tokens": [{"a": 1}]}}),
    ("a-list", ["not", "a", "view"]),
]
DRAWINGS = [
    ("script", SVG + "<script>window.hacked=1</script><rect width='1' height='1'/></svg>"),
    ("handler", SVG.replace("<svg", '<svg onload="window.hacked=1"') + "</svg>"),
    (
        "foreign-object",
        SVG + f"<foreignObject><iframe xmlns='{XHTML}' src='{{host}}/f'/></foreignObject></svg>",
    ),
    ("image", SVG + "<image href='{host}/i.png' xlink:href='{host}/j.png'/></svg>"),
    ("use", SVG + "<use href='{host}/u.svg#a'/><a href='javascript:window.hacked=1'><text>x</text></a></svg>"),
    ("style", SVG + "<style>@import '{host}/s.css'; rect {{ fill: url({host}/f) }}</style></svg>"),
    ("animation", SVG + "<set attributeName='href' to='javascript:window.hacked=1'/></svg>"),
    ("entities", "<!DOCTYPE svg [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;'>]>" + SVG + "<text>&b;</text></svg>"),
    ("file-entity", "<!DOCTYPE svg [<!ENTITY s SYSTEM 'file://{secret}'>]>" + SVG + "<text>&s;</text></svg>"),
    ("no-drawing", "<html><script>window.hacked=1</script></html>"),
]
OTHERS = [
    Foreign("raw-html", "raw", "<script>window.hacked=1</script>", "window.hacked=1"),
    Foreign("raw-fence", "raw", "```\n```{{include}} {secret}\n```", "include"),
    Foreign("stdout", "stdout", "</pre><script>window.hacked=1</script>\x1b]8;;{host}\x07x", "window.hacked=1"),
    Foreign("error", "error", "</pre><script>window.hacked=1</script>", "window.hacked=1"),
    Foreign("javascript-output", "application/javascript", "window.hacked=1"),
    Foreign("latex-output", "text/latex", "\\input{{{secret}}}"),
    Foreign("widget-output", "application/vnd.jupyter.widget-view+json", {"model_id": "x"}),
    Foreign("png-that-is-html", "image/png", "PHNjcmlwdD4="),
    Foreign("png-that-is-no-base64", "image/png", "../../secret.png"),
    Foreign("jpeg-in-lines", "image/jpeg", ["../..", "/secret.png"]),
]
CASES = [
    *(Foreign(f"markdown-{name}", "markdown", *rest) for name, *rest in MARKDOWN),
    *(Foreign(f"output-{name}", "text/markdown", *rest) for name, *rest in MARKDOWN if name != "attachment"),
    *(Foreign(f"html-{name}", "text/html", *rest) for name, *rest in HTML),
    *(Foreign(f"figure-{name}", PLOTLY, figure) for name, figure in FIGURES),
    *(Foreign(f"view-{name}", VIEW, view) for name, view in VIEWS),
    *(Foreign(f"svg-{name}", "image/svg+xml", text) for name, text in DRAWINGS),
    *OTHERS,
]
EVERY_TAG = ["remove-cell", "remove-output", "load", "hide-output", 'x" onclick="window.hacked=1']
METADATA = {
    "kernelspec": {"name": "no-such-kernel", "display_name": "<script>window.hacked=1</script>"},
    "mystnb": {"execution_mode": "force", "render_plugin": "os:system", "remove_code_outputs": True},
    "myst": {"enable_extensions": ["colon_fence", "html_image", "substitution"]},
    "substitutions": {"name": "```{include} /etc/hostname\n```"},
    "html_meta": {"refresh": "0", "property=og:title": '"><script>window.hacked=1</script>'},
    "orphan": True,
    "title": "<script>window.hacked=1</script>",
    "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}},
    "source_map": [],
}


def filled(value: object, places: dict[str, str]) -> object:
    """The case's content with the addresses of this run."""
    if isinstance(value, str):
        return value.format(**places) if "{" in value else value
    if isinstance(value, dict):
        return {key: filled(item, places) for key, item in value.items()}
    return [filled(item, places) for item in value] if isinstance(value, list) else value


def cell_of(case: Foreign, places: dict[str, str]) -> nbformat.NotebookNode:
    """The case's cell; its metadata try to configure what they can."""
    content = filled(case.text, places)
    if case.kind in ("markdown", "raw"):
        new = new_markdown_cell if case.kind == "markdown" else new_raw_cell
        cell = new(content, metadata={"raw_mimetype": "text/html", "format": "text/html", "tags": ["remove-cell"]})
        if case.kind == "markdown":
            cell["attachments"] = {"../../secret.png": {"image/png": "PHNjcmlwdD4="}}
        return cell
    if case.kind == "stdout":
        output = new_output("stream", name="stdout", text=content)
    elif case.kind == "error":
        output = new_output("error", ename="E", evalue="e", traceback=[content])
    else:
        metadata = {case.kind: {"width": '1" onload="window.hacked=1', "alt": "x"}, "glue": {"name": "x"}}
        output = new_output("display_data", data={case.kind: content, "text/plain": "plain"}, metadata=metadata)
    options = {"tags": EVERY_TAG, "mystnb": {"figure": {"caption": "```{include} /etc/hostname\n```", "name": "n"}}}
    return new_code_cell("1", outputs=[output], execution_count=1, metadata=options)


def foreign_notebook(cases: list[Foreign], places: dict[str, str]) -> nbformat.NotebookNode:
    """One notebook with all cases, each under its name."""
    cells = [new_markdown_cell("# foreign")]
    for case in cases:
        cells += [new_markdown_cell(f"## case-{case.name}"), cell_of(case, places)]
    return new_notebook(cells=cells, metadata=METADATA)
