"""Labels, model names, texts and paths that Markdown, HTML or plotly would obey: a report shows them as they are."""

from __future__ import annotations

import ast
import html
import os
import re
import shutil
from pathlib import Path

import plotly.graph_objects as go
import pytest
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from told_notebooks import Told, told_by

from emolib import open_run
from emolib.base import language, paths, store
from emolib.base.escaping import Name, cell, code_span, escape, figure_text, visible
from emolib.base.parameters import OF_PAIRS
from emolib.pipeline.verification import run_verification
from emolib.plots import plot_files
from emolib.report.markup import markdown_table

NAMES = [
    '<meta http-equiv="refresh" content="0;url=http://x.y">',
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<!-- a",
    "```{include} /etc/hostname",
    "joy\n\n```{include} /etc/hostname\n```\n",
    "~~~{eval-rst}",
    ":::{note}",
    "{include}`/etc/hostname`",
    "{{ substitution }}",
    "[a](javascript:window.hacked=1)",
    "![a](http://x.y/i.png)",
    "[a]: http://x.y",
    "[^1]: note",
    "<http://x.y>",
    "http://x.y/z",
    "www.x.yz",
    "mail@x.yz",
    "# heading",
    "- item",
    "+ item",
    "1. item",
    "12) item",
    "> quotation",
    "===",
    "---",
    "(target)=",
    "% comment",
    "+++ {}",
    "| a | b |",
    "a|b",
    "**bold**",
    "__bold__",
    "_it_",
    "*",
    "~~gone~~",
    "`code`",
    "a`b",
    "$x$ and $$y$$",
    r"\begin{align}",
    "back\\slash",
    "&lt;b&gt; &amp;",
    "&#x3c;script&#x3e;",
    "R&B",
    "a\u202eb\x1b[31m\0",
    "\ud800",
    ": definition",
    ":field: value",
    "- [ ] task",
    "{#id .class}",
    'l\'amour, "joie"; 喜び (嬉)',
    "self_love",
    "qwen2.5-0.5b_v1.0",
]
EXTENSIONS = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath", "fieldlist"]
EXTENSIONS += ["html_admonition", "html_image", "strikethrough", "substitution", "tasklist", "gfm_autolink"]
PLAIN = {"inline", "text", "softbreak"}
TABLE = {f"{part}_{end}" for part in ("table", "thead", "tbody", "tr", "th", "td") for end in ("open", "close")}


LISTS = {"bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close", "strong_open", "strong_close"}


def parsers() -> list[MarkdownIt]:
    """MyST with everything that it can do, and GitHub's dialect as JupyterLab reads it."""
    myst = create_md_parser(MdParserConfig(enable_extensions=set(EXTENSIONS)), RendererHTML)
    return [myst, MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])]


def read(parser: MarkdownIt, text: str, allowed: set[str]) -> str:
    """The text that a reader sees, of Markdown in which there is nothing but text."""
    tokens = [token for token in parser.parse(text) for token in (token, *(token.children or []))]
    assert {token.type for token in tokens} <= PLAIN | allowed, [token.type for token in tokens]
    return "".join(token.content for token in tokens if token.type in ("text", "text_special", "code_inline"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parser", parsers(), ids=["myst", "github"])
def test_a_name_is_text_wherever_a_sentence_holds_it(parser: MarkdownIt, name: str) -> None:
    paragraph = {"paragraph_open", "paragraph_close", "text_special"}
    seen = visible(name)
    for sentence, around in ((f"{Name(name)}", ""), (f"{escape(name)}", ""), (f"層 {Name(name)}は", "層 は")):
        assert read(parser, sentence, paragraph) == (around[:2] + seen + around[2:] if around else seen)
    listed = read(parser, f"- **{Name(name)}**: x", paragraph | LISTS)
    assert listed == f"{seen}: x"
    assert read(parser, f"## {Name(name)}", {"heading_open", "heading_close", "text_special"}) == seen
    assert read(parser, f"層 {code_span(name)}", paragraph | {"code_inline"}).removeprefix("層 ") == seen


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parser", parsers(), ids=["myst", "github"])
def test_a_name_stays_in_its_cell(parser: MarkdownIt, name: str) -> None:
    for shown in (Name(name), cell(name), code_span(name), escape(name)):
        table = markdown_table([[shown, "second"]], [cell(name), "b"])
        seen = read(parser, table, TABLE | {"code_inline", "text_special"})
        assert seen == f"{visible(name)}b{visible(name)}second"


@pytest.mark.parametrize("name", NAMES)
def test_plotly_reads_no_tag_in_a_name(name: str) -> None:
    drawn = go.Figure(go.Bar(x=[name], y=[1], name=name, hovertext=name), {"title": {"text": name}})
    bundle = plot_files.mime_bundle(drawn, "x")[plot_files.PLOTLY_MIME]
    texts = [bundle["layout"]["title"]["text"], *bundle["data"][0]["x"], bundle["data"][0]["name"]]
    assert all("<" not in text for text in texts)
    assert all(html.unescape(text) == html.unescape(name) for text in texts)


def test_a_figure_keeps_its_own_line_breaks() -> None:
    assert figure_text("a<br>b<extra></extra>") == "a<br>b<extra></extra>"
    assert figure_text({"a": ["<a href='x'>", 1, None]}) == {"a": ["&lt;a href='x'>", 1, None]}


def test_a_name_is_plain_in_a_cell_and_short_in_a_sentence() -> None:
    name = Name("<b>")
    assert name == "<b>" and {"<b>": 1}[name] == 1 and name + "x" == "<b>x"
    assert len(f"{Name('x' * 100_000)}") < 200


def test_ordinary_names_are_printed_as_they_are() -> None:
    for name in ("感謝", "self_love", "smollm2_135m", "Qwen/Qwen2.5-0.5B", "anger (mild)", "a, b; c"):
        assert f"{Name(name)}" == name and cell(name) == name and code_span(name) == f"`{name}`"
    for number in ("+0.25", "-0.1", "0.50 [0.25, 0.75]", "差 [95 % BCa]", "< 0.001", "(1)", "—", "50%"):
        assert cell(number) == number


# ── the reports ───────────────────────────────────────────────────────────────────────────────────────────────────

SHOWN = {
    "gratitude": "<b>g</b> [x](http://y.z) `c` {include}`d` *e* | ~~f~~ $h$",
    "anger": "- <meta http-equiv=refresh>\n```{include} /etc",
    "apology": "![i](//x) www.x.yz a@b.cd",
    "neutral": "<!-- n -->",
}
ACTING = re.compile(r"<[a-z!/]|\]\(|\{\w+\}`|\n```|www\.x|http://y|\*e\*|~~f|\$h\$|a@b|`c`", re.IGNORECASE)


def test_names_join_a_sentence_in_an_f_string_only() -> None:
    """`join` and `+` take a name as it is: right for a cell, wrong for a sentence."""
    loose = []
    for file in sorted((paths.repository_root() / "emolib" / "report").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join"):
                continue
            found = node.args[0]
            element = found.elt if isinstance(found, ast.GeneratorExp | ast.ListComp) else found
            if re.match(r"(map\()?(\w+_name|named?|claim_name|Name)\b", ast.unparse(element)):
                loose.append(f"{file.name}:{node.lineno}")
    assert loose == []


def linked(source: str, copy: str) -> None:
    """Artifacts are replaced, never changed, and need no copy; the timing log is written on."""
    (shutil.copy2 if source.endswith(".jsonl") else os.link)(source, copy)


@pytest.fixture(scope="module")
def told(smoke: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """Every notebook over the results of the undisturbed run, with labels whose names a page would obey."""
    folder = tmp_path_factory.mktemp("hostile") / "results"
    shutil.copytree(smoke[0] / "results", folder, copy_function=linked)
    known = language.names
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(folder))
        place = open_run("baseline_smoke", phase="phase9").paths.verification
        checks, noticed = (store.read_table(place(name)) for name in ("checks", "alterations"))
        patch.setattr(run_verification, "_checks", lambda *given: checks)  # as the run has them: they know no names
        patch.setattr(run_verification.alterations, "altered", lambda *given: noticed)
        patch.setattr(language, "names", lambda *kinds: {k: SHOWN.get(k, v) for k, v in known(*kinds).items()})
        return {phase: told_by(phase, patch) for phase in paths.NOTEBOOKS if phase not in OF_PAIRS}


def test_no_sentence_or_table_of_any_report_obeys_a_label(told: dict[str, Told]) -> None:
    for phase, shown in told.items():
        if phase != "phase9":
            assert any(escape(SHOWN["gratitude"])[:20] in text for text in shown.markdown), phase
        for text in shown.markdown:
            assert ACTING.findall(text) == [], (phase, text)


def test_tables_hold_the_labels_themselves_and_figures_no_tag_of_theirs(told: dict[str, Told]) -> None:
    for phase, shown in told.items():
        tables = [table.to_html() for table in shown.tables]
        if phase not in ("phase6a", "phase6b", "phase8", "phase9"):  # Markdown alone; 9 tells of no labels
            assert any("&lt;b&gt;g&lt;/b&gt;" in table for table in tables), phase
        assert not any("&amp;lt;" in table or "&amp;#" in table or "<b>g" in table for table in tables), phase
        for bundle in shown.bundles:
            assert "<b>g" not in str(bundle.get(plot_files.PLOTLY_MIME)) + str(bundle.get("text/html")), phase
