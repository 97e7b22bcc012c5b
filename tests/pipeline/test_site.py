"""The site from executed notebooks: complete, offline, and deaf to hostile text; drawn in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import plotly
import pytest
from browser import Addresses, Views, drawn, external_addresses, find_browser, opened
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from stand_in_language import JAPANESE, own_repository, translate
from traitlets.config import Config

from emolib.base import paths, variants
from emolib.base.errors import UserError
from emolib.pipeline import page_contents, site
from emolib.plots import figures, plot_files

HOSTILE = "<script>window.hacked=1</script>"
# A script that lies raw in an output.
RAW = "<script>window.hacked=3</script><img src='x.png' onerror='window.hacked=4'>"
# CircuitsVis replaces white space in tokens, and a tag with white space dies of that.
RAW_TOKEN = "<img/src='x.png'/onerror='window.hacked=5'>"
CELLS = [
    "import numpy as np, pandas as pd\nfrom IPython.display import HTML, display\nfrom emolib.plots import figures\n"
    "labels = ['gratitude', 'anger'] * 6\n"
    "table = pd.DataFrame({'layer': np.repeat(range(6), 2), 'emotion': labels, 'auc': np.linspace(0.5, 1, 12)})",
    "figures.show(figures.lines_by_layer(table, 'auc', 'emotion', figures.Axes('層ごとの AUC', y='AUC')), 'auc')",
    "table.groupby('emotion')[['auc']].mean().round(3)",
    "points = np.random.default_rng(0).normal(size=(12, 3))\n"
    f"figures.show(figures.scatter(points[:, :2], labels, figures.Axes('二次元'), hover=[{HOSTILE!r}] * 12), 'flat')",
    f"figures.show(figures.scatter(points, labels, figures.Axes('三次元'), hover=[{HOSTILE!r}] * 12), 'solid')",
    f"pd.DataFrame({{'生成文': [{HOSTILE!r}]}})",
    f"print({HOSTILE!r})",
    f"display(HTML({RAW!r}))",
    "from emolib.plots import views\n"
    f"views.show(views.coloured_tokens(['I', ' thank', {RAW_TOKEN!r}], [0.1, 0.9, -0.4]))",
    "views.show(views.attention_patterns(['I', ' thank'], [[[1, 0], [0.3, 0.7]]] * 2, ['L3H5', 'L7H2']))",
]
N_FIGURES = 3
N_VIEWS = 2


def executed_report() -> nbformat.NotebookNode:
    """A report with figures, tables and hostile texts, executed by a kernel of its own."""
    cells = [new_markdown_cell("# 感情ベクトル\n\n## 目的\n\n層ごとの方向を $v_l$ と書く。")]
    notebook = new_notebook(cells=cells + [new_code_cell(source) for source in CELLS])
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=120,
        resources={"metadata": {"path": str(paths.repository_root())}},
        config=Config({"KernelManager": {"transport": "ipc"}}),
    )
    return client.execute()


def failed_report() -> nbformat.NotebookNode:
    error = new_output("error", ename="ValueError", evalue="x", traceback=["ValueError: x"])
    cells = [new_markdown_cell("# データセット"), new_code_cell("1/0", outputs=[error], execution_count=1)]
    return new_notebook(cells=cells)


def save(notebook: nbformat.NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty executed/ and results/ of the test's own; returns executed/."""
    monkeypatch.setenv("EMOLIB_EXECUTED", str(tmp_path / "executed"))
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    return tmp_path / "executed"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a site with one good and one failed report."""
    root = tmp_path_factory.mktemp("site")
    reports = root / "executed" / "quick" / "smollm2_135m"
    save(executed_report(), reports / "phase3_vectors.ipynb")
    save(failed_report(), reports / "phase1_dataset.ipynb")
    save(failed_report(), reports / ".phase5_in_progress.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_EXECUTED", str(root / "executed"))
        patch.setenv("EMOLIB_RESULTS", str(root / "results"))
        yield site.build_site("quick", "smollm2_135m")


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_page_style_or_script_has_an_external_address(built: Path) -> None:
    files = [file for suffix in ("html", "css", "js") for file in built.rglob(f"*.{suffix}")]
    ours = [file for file in files if file.name != "plotly.min.js"]
    assert {"index.html", "phase3_vectors.html", "site.css", "figures.js", "circuitsvis.js"} <= {
        file.name for file in ours
    }
    assert {f.name: found for f in ours if (found := external_addresses(f.read_text("utf-8"), f.suffix))} == {}


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ('<script src="https://cdn.example/x.js"></script>', ".html"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', ".html"),
        ('<a href="http://example.com">x</a>', ".html"),
        ("body { background: url('https://example.com/x.png') }", ".css"),
        ('@import "//fonts.example/x.css";', ".css"),
        ('await import("https://example.com/x.mjs")', ".js"),
    ],
)
def test_an_external_address_would_be_found(text: str, suffix: str) -> None:
    assert len(external_addresses(text, suffix)) == 1


def test_every_local_address_leads_to_a_file(built: Path) -> None:
    pages = list(built.rglob("*.html"))
    targets = [(p, value.split("#")[0].split("?")[0]) for p in pages for _, value in Addresses(p.read_text()).found]
    checked = [(page, target) for page, target in targets if target and target != "x.png"]
    assert len(checked) > 20
    assert [str(target) for page, target in checked if not (page.parent / target).exists()] == []


def test_index_lists_the_reports_with_title_and_state_and_pages_link_back(built: Path) -> None:
    rows = re.findall(r"<tr[^>]*>.*?</tr>", (built / "index.html").read_text(), flags=re.DOTALL)
    states = {"データセット": "失敗", "感情ベクトル": "正常"}
    assert len(rows) == 1 + len(states)
    for title, state in states.items():
        assert [state in row for row in rows if title in row] == [True]
    for page in (built / "smollm2_135m").iterdir():
        assert ("a", "../index.html") in Addresses(page.read_text()).found


def test_code_is_folded_and_figures_come_with_one_shared_plotly(built: Path) -> None:
    page = (built / "smollm2_135m" / "phase3_vectors.html").read_text()
    folded = re.findall(r"<details class=\"[^\"]*hide[^\"]*\">", page)
    assert len(folded) == page.count("コードを表示") == len(CELLS)
    assert "open" not in " ".join(folded)
    assert page.count('class="emolib-figure"') == N_FIGURES
    assert [file.stat().st_size for file in built.rglob("plotly*.js")] == [PLOTLY.stat().st_size]
    assert "plotly.min.js" not in (built / "index.html").read_text()


def test_views_come_with_one_shared_circuitsvis_on_the_pages_that_have_one(built: Path) -> None:
    page = (built / "smollm2_135m" / "phase3_vectors.html").read_text()
    assert page.count('class="emolib-view"') == N_VIEWS
    assert [value for _, value in Addresses(page).found if "circuitsvis" in value] == ["../_static/circuitsvis.js"]
    assert len([file for file in built.rglob("*.js") if "var CircuitsVis=" in file.read_text("utf-8")]) == 1
    for other in (built / "index.html", built / "smollm2_135m" / "phase1_dataset.html"):
        assert "circuitsvis" not in other.read_text()
        assert "views.js" not in other.read_text()


# ── in a browser ──────────────────────────────────────────────────────────────────────────────────────────────────

PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


@pytest.fixture
def browser() -> str:
    return find_browser()


@pytest.fixture
def report_page(built: Path, tmp_path: Path) -> Path:
    """A copy of the report's page, in a copy of the site, that a test may change."""
    shutil.copytree(built, tmp_path / "site")
    return tmp_path / "site" / "smollm2_135m" / "phase3_vectors.html"


def test_every_figure_is_drawn_offline_and_nothing_is_fetched_or_run(
    browser: str, report_page: Path, tmp_path: Path
) -> None:
    dom, told = opened(browser, report_page, tmp_path / "profile")
    assert drawn(dom) == [True] * N_FIGURES
    assert told["hacked"] is None
    assert told["refused"] == []  # the raw script and handler of the notebook never came here
    assert "Download plot" in dom
    assert "Share chart" not in dom


def test_an_attempt_to_fetch_from_elsewhere_is_refused_and_told(
    browser: str, report_page: Path, tmp_path: Path
) -> None:
    address = "https://example.com/x.png"
    report_page.write_text(report_page.read_text().replace("</body>", f'<img src="{address}"></body>'))
    _, told = opened(browser, report_page, tmp_path / "profile")
    assert told["refused"] == [address]


def test_the_policy_refuses_a_raw_script_and_handler(browser: str, report_page: Path, tmp_path: Path) -> None:
    report_page.write_text(report_page.read_text().replace("</body>", f"{RAW}</body>"))
    _, told = opened(browser, report_page, tmp_path / "profile")
    assert told["hacked"] is None and set(told["refused"]) == {"inline"}


def test_without_plotly_no_figure_is_drawn_and_the_page_says_so(
    browser: str, report_page: Path, tmp_path: Path
) -> None:
    (report_page.parent.parent / "_static" / "plotly.min.js").unlink()
    dom, _ = opened(browser, report_page, tmp_path / "profile")
    assert drawn(dom) == [False] * N_FIGURES
    assert dom.count("図を描けませんでした: ") == N_FIGURES


def test_every_view_is_drawn_offline_and_its_tokens_stay_text(browser: str, report_page: Path, tmp_path: Path) -> None:
    dom, told = opened(browser, report_page, tmp_path / "profile")
    tokens, attention = Views(dom).found
    assert [tokens["fallback"], attention["fallback"]] == [False, False]
    assert "colored-tokens" in dom
    assert RAW_TOKEN in tokens["drawn"].replace("\u2060", "")
    assert not {"script", "img"} & set(tokens["tags"])
    assert attention["tags"].count("canvas") == 3  # each head small, and the chosen one large
    assert "L3H5" in attention["drawn"] and "L7H2" in attention["drawn"]
    assert told["hacked"] is None


def test_without_circuitsvis_the_fallbacks_stay(browser: str, report_page: Path, tmp_path: Path) -> None:
    (report_page.parent.parent / "_static" / "circuitsvis.js").unlink()
    dom, _ = opened(browser, report_page, tmp_path / "profile")
    tokens, attention = Views(dom).found
    assert [(view["fallback"], view["drawn"]) for view in (tokens, attention)] == [(True, "")] * 2
    assert RAW_TOKEN in tokens["fallback_text"]
    assert "thank (1) 0.70" in attention["fallback_text"]
    assert drawn(dom) == [True] * N_FIGURES


def test_without_its_policy_the_page_would_run_a_raw_script(browser: str, report_page: Path, tmp_path: Path) -> None:
    page = report_page.read_text().replace("</body>", f"{RAW}</body>")
    report_page.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page))
    _, told = opened(browser, report_page, tmp_path / "profile")
    assert told["hacked"] in (3, 4)
    assert told["refused"] == []


# ── building ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_build_keeps_the_old_site_and_leaves_nothing(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(failed_report(), folders / "quick" / "smollm2_135m" / "phase1_dataset.ipynb")
    old = paths.ResultPaths("quick", "").site()
    old.mkdir(parents=True)
    (old / "index.html").write_text("old")

    def fail(*_: Path) -> list[str]:
        raise site.SiteError("no pages")

    monkeypatch.setattr(site, "run_sphinx", fail)
    with pytest.raises(site.SiteError):
        site.build_site("quick")
    assert [(f.name, f.read_text()) for f in old.iterdir()] == [("index.html", "old")]
    assert list(old.parent.iterdir()) == [old]

    monkeypatch.undo()
    monkeypatch.setenv("EMOLIB_EXECUTED", str(folders))
    monkeypatch.setenv("EMOLIB_RESULTS", str(folders.parent / "results"))
    assert "データセット" in (site.build_site("quick") / "index.html").read_text()
    assert list(old.parent.iterdir()) == [old]


def test_sphinx_that_fails_raises_with_its_message(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(site.SiteError, match="index"):
        site.run_sphinx(tmp_path / "source", tmp_path / "html", tmp_path / "doctrees")


@pytest.mark.parametrize(
    ("profile", "model", "message"),
    [
        ("quick", "smollm2_135m", "emolib run --profile quick --model smollm2_135m"),
        ("quick", "../../elsewhere", "found none"),
        ("quik", None, "did you mean 'quick'"),
    ],
)
def test_missing_reports_are_the_users_mistake(folders: Path, profile: str, model: str | None, message: str) -> None:
    save(failed_report(), folders.parent / "elsewhere" / "phase1_dataset.ipynb")
    with pytest.raises(UserError, match=message):
        site.build_site(profile, model)


def test_a_variant_has_a_site_of_its_own(folders: Path) -> None:
    variant = variants.Variant({"alphas": [0.25]})
    variants.note("quick", variant)
    save(failed_report(), folders / "quick" / "m" / "phase1_dataset.ipynb")
    save(failed_report(), paths.executed_file("quick", "m", "phase5", variant.name))
    assert [report.file for report in site.executed_reports("quick")] == ["phase1_dataset.ipynb"]
    (report,) = site.executed_reports("quick", variant=variant.name)
    assert (report.group, report.file) == ("m", paths.NOTEBOOKS["phase5"])
    index = site.build_site("quick", variant=variant.name)
    assert index == paths.variants_folder("quick") / variant.name / "site" and (index / "index.html").is_file()
    assert variant.name in (index / "index.html").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"unknown variant 'abc'"):
        site.build_site("quick", variant="abc")
    with pytest.raises(UserError, match="found none"):
        site.executed_reports("quick", f"variants/{variant.name}/m")


def test_a_broken_notebook_is_named(folders: Path) -> None:
    (folders / "quick" / "m").mkdir(parents=True)
    (folders / "quick" / "m" / "phase1_dataset.ipynb").write_text('{"cells": [')
    with pytest.raises(UserError, match=r"phase1_dataset\.ipynb"):
        site.build_site("quick")


def test_run_state_tells_failed_incomplete_and_whole_runs() -> None:
    whole, half = new_code_cell("1", execution_count=1), new_code_cell("2")
    assert site.run_state(new_notebook(cells=[whole])) == "ok"
    assert site.run_state(new_notebook(cells=[whole, half])) == "incomplete"
    assert site.run_state(failed_report()) == "failed"


def test_a_figures_json_cannot_end_its_script_and_comes_back_with_its_tags_as_signs() -> None:
    figure = {"data": [{"type": "scatter", "text": ["</script><b>&\u2028"]}], "layout": {"title": {"text": '"><i>'}}}
    page = page_contents.figure_html(figure)
    assert page.count("</script") == 1
    assert "<i>" not in page
    read = json.loads(re.search(r'json">(.*)</script>', page)[1])
    assert read["data"] == [{"type": "scatter", "text": ["&lt;/script>&lt;b>&\u2028"]}]
    assert read["layout"] == {"title": {"text": '">&lt;i>'}}


def test_text_cells_of_pandas_tables_are_marked_and_numbers_are_not() -> None:
    table = pd.DataFrame({"text": ["ありがとう", "1 apple"], "value": [0.5, np.nan], "share": ["12.5 %", "-1e-05"]})
    marked = page_contents.mark_text_cells(table._repr_html_())
    assert re.findall(r'<td class="text">([^<]*)</td>', marked) == ["ありがとう", "1 apple"]
    assert page_contents.mark_text_cells("<td>x</td>") == "<td>x</td>"


# ── languages ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_in_another_language_no_page_holds_a_japanese_word(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repository").mkdir()
    own_repository(tmp_path / "repository", monkeypatch)
    translate(tmp_path / "repository", "en")
    monkeypatch.setenv("EMOLIB_LANGUAGE", "en")
    fig = figures.bars_by_label(pd.DataFrame({"x": [1, 2], "y": 1.0}), "x", "y", None, figures.Axes("title"))
    shown = new_output("display_data", data=plot_files.mime_bundle(fig, "name"))
    cells = [new_markdown_cell("# Vectors"), new_code_cell("1", outputs=[shown], execution_count=1)]
    save(new_notebook(cells=cells), folders / "quick" / "smollm2_135m" / "phase3_vectors.ipynb")
    pages = {page.name: page.read_text() for page in site.build_site("quick").rglob("*.html")}
    assert {"index.html", "phase3_vectors.html", "search.html"} <= set(pages)
    for page in pages.values():
        assert '<html lang="en"' in page
        assert not JAPANESE.search(page)
        assert ".site.page.home" in page
    assert "site.page.show_code" in pages["phase3_vectors.html"]
    assert 'data-not-drawn=".site.page.not_drawn"' in pages["phase3_vectors.html"]
    assert ".site.states.ok" in pages["index.html"]
