#!/usr/bin/env bash
# MyST-Parser 5.2.0: `myst_disable_syntax` has no effect beside `myst_gfm_only` or `myst_commonmark_only`.
#
# The setting switches off elements of CommonMark by name, and in MyST's own dialect it does. In either of the plainer
# dialects, which consist of these elements, the page has them all the same, and no warning tells that the setting was
# not heeded. (The reference of 0.15 said so of `myst_commonmark_only`; later ones only list the settings.)
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet myst-parser==5.2.0 Sphinx==9.0.4 docutils==0.22.4 markdown-it-py==4.3.0
cd "$home"
cat >"$home/look.py" <<'PY'
import io
import os
from importlib.metadata import version

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

PAGE = "# Title\n\nA *stressed* word.\n\n> A quotation.\n\n---\n\n- an item\n"
KINDS = {"emphasis": nodes.emphasis, "blockquote": nodes.block_quote, "hr": nodes.transition, "list": nodes.bullet_list}


def built(number, **settings):
    """Which of the elements a site of one page has, and what Sphinx warned of."""
    os.mkdir(f"site{number}")
    with open(f"site{number}/index.md", "w") as page:
        page.write(PAGE)
    said, settings = io.StringIO(), {"extensions": ["myst_parser"], **settings}
    paths = [f"site{number}", None, f"out{number}", f"trees{number}", "dummy"]
    with docutils_namespace():
        app = Sphinx(*paths, confoverrides=settings, status=None, warning=said)
        app.build()
        tree = app.env.get_doctree("index")
    return {name for name, kind in KINDS.items() if any(tree.findall(kind))}, said.getvalue()


print(f"myst-parser {version('myst-parser')}, Sphinx {version('Sphinx')}; disabled: {', '.join(KINDS)}")
for number, dialect in enumerate((None, "myst_gfm_only", "myst_commonmark_only")):
    chosen = {dialect: True} if dialect else {}
    everything, _ = built(f"{number}a", **chosen)
    left, said = built(f"{number}b", **chosen, myst_disable_syntax=list(KINDS))
    print(f"{dialect or 'MyST':21}the page still has: {', '.join(sorted(left)) or 'none'}; warnings: {said!r}")
    assert everything == set(KINDS), "the page uses all four"
    assert left == (set(KINDS) if dialect else set()) and not said, "only MyST's own dialect heeds the setting"
PY
"$home/venv/bin/python" look.py
echo "as described"
