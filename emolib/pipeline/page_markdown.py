"""The Markdown of a report's page: CommonMark, tables and formulas, and nothing that acts.

A notebook's Markdown, its cells as well as its outputs, may come from anybody. It has headings, lists, tables,
emphasis, quotations, code and formulas. It has no HTML, no directives and roles (which read files), no images and no
links: these stand on the page as they were typed. `docs/site/conf.py` gives this dialect to Sphinx as an extension.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import myst_nb.core.render
import myst_nb.sphinx_
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.rules_core import StateCore
from mdit_py_plugins.dollarmath import dollarmath_plugin
from myst_parser.config.main import MdParserConfig
from sphinx.application import Sphinx

# Everything that a page's Markdown can do; a rule that is not named here is off.
BLOCK_RULES = ("blockquote", "code", "fence", "heading", "hr", "lheading", "list", "paragraph", "table")
INLINE_RULES = ("backticks", "emphasis", "entity", "escape", "newline", "text")
LANGUAGE = re.compile(r"[a-z0-9+_.-]{1,20}", re.IGNORECASE)


def markdown_parser(config: MdParserConfig, renderer: Callable[[MarkdownIt], RendererProtocol]) -> MarkdownIt:
    """A parser of the dialect, in place of MyST's `create_md_parser`."""
    # MyST's renderer looks for directives in fences unless it is told that the dialect is GitHub's.
    plain = dataclasses.replace(config, gfm_only=True, commonmark_only=False)
    parser = MarkdownIt("zero", {"html": False, "maxNesting": 20}, renderer_cls=renderer)
    parser.enable([*BLOCK_RULES, *INLINE_RULES])
    parser.inline.ruler2.enable(["balance_pairs", "emphasis", "fragments_join"])
    parser.use(dollarmath_plugin, allow_labels=False)
    parser.core.ruler.after("block", "plain_fences", _plain_fences)
    parser.options["myst_config"] = plain
    return parser


def _plain_fences(state: StateCore) -> None:
    """A fence names a language of its code, or nothing."""
    for token in state.tokens:
        if token.type == "fence":
            word = token.info.strip()
            token.info = word if LANGUAGE.fullmatch(word) else "text"
            token.attrs = {}


def setup(app: Sphinx) -> dict[str, Any]:
    """Gives the dialect to the reader of notebooks."""
    for module in (myst_nb.sphinx_, myst_nb.core.render):
        module.create_md_parser = markdown_parser
    return {"parallel_read_safe": True}
