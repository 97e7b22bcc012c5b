"""Sphinx configuration of the browsable site. `emolib.pipeline.site` fills the folder and runs Sphinx with it.

Nothing is fetched when a page is read: no MathJax, require.js, widget script or font from elsewhere.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import plotly
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxTranslator

from emolib.base import language as reader

project = "emolib"
author = "emolib"
language = reader.current()
extensions = ["myst_nb", "emolib.pipeline.page_markdown"]
exclude_patterns = ["**.ipynb_checkpoints"]

nb_render_markdown_format = "myst"  # Markdown outputs are read as cells are: see emolib.pipeline.page_markdown
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}
nb_code_prompt_show = reader.word("site.page.show_code")
nb_code_prompt_hide = reader.word("site.page.hide_code")
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]

html_theme = "alabaster"
html_title = "emolib"
html_permalinks = False
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_show_search_summary = False
html_use_index = False
html_domain_indices = False
html_math_renderer = "plain"
html_css_files = ["site.css"]
html_static_path = ["static", str(Path(plotly.__file__).parent / "package_data" / "plotly.min.js")]
templates_path = ["templates"]
html_context = {"words": {**reader.words("site.page"), "home": reader.word("site.page.home", project=project)}}
html_sidebars = {"**": ["home.html", "search_field.html", "navigation.html"]}

JAPANESE = "'Noto Sans CJK JP', 'Noto Sans JP', 'Hiragino Sans', 'Yu Gothic', Meiryo, sans-serif"
MONOSPACE = "'Noto Sans Mono CJK JP', 'DejaVu Sans Mono', Consolas, Menlo, monospace"
html_theme_options = {
    "font_family": JAPANESE,
    "head_font_family": JAPANESE,
    "code_font_family": MONOSPACE,
    "page_width": "1260px",
    "sidebar_width": "260px",
    "sidebar_includehidden": True,
    "body_text": "#222222",
}


def _formula(translator: SphinxTranslator, node: nodes.Element) -> None:
    """TeX as it is written: MathJax would come from elsewhere."""
    tag = "div" if isinstance(node, nodes.math_block) else "span"
    translator.body.append(f'<{tag} class="formula">{escape(node.astext())}</{tag}>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("plain", (_formula, None), (_formula, None))
