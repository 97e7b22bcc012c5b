"""Figures as bundles, documents and images: the same every time, complete, and fetching nothing."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from browser import external_addresses, find_browser, opened_text
from plotly.offline import get_plotlyjs

from emolib.base.errors import UserError
from emolib.plots import house_style, plot_files
from emolib.plots.axes import Axes


@pytest.fixture
def browser() -> str:
    return find_browser()


def test_a_shown_figure_holds_plain_rounded_lists_and_no_script() -> None:
    fig = go.Figure(go.Heatmap(z=np.array([[1 / 3, np.nan], [2.0, 12345678.9]])))
    assert "bdata" in fig.to_json()  # what plotly does by itself
    bundle = plot_files.mime_bundle(fig, "<script>")
    assert bundle[plot_files.PLOTLY_MIME]["data"][0]["z"] == [[0.333333, None], [2.0, 12345700.0]]
    assert "<script" not in bundle["text/html"]
    assert 'class="emolib-figure"' in bundle["text/html"]


@pytest.fixture
def fig() -> go.Figure:
    fig = go.Figure(go.Bar(x=["</script><b>"], y=[1 / 3]))
    return house_style.house_layout(fig, Axes("棒 </title><i>", x="層", y="AUC"))


def test_a_figures_document_is_the_same_every_time_with_one_plotly_and_no_external_address(fig: go.Figure) -> None:
    page = plot_files.standalone_html(fig, "bar of auc")
    assert page == plot_files.standalone_html(fig, "bar of auc") != plot_files.standalone_html(fig, "other")
    text = page.decode("utf-8")
    assert '<html lang="ja">' in text and '<meta charset="utf-8">' in text
    assert text.count(get_plotlyjs()[:2000]) == 1
    own = text.replace(get_plotlyjs(), "")
    assert len(own) < 10_000
    assert external_addresses(own, ".html") == []
    assert 'id="figure-bar-of-auc"' in own
    assert "<title>棒 &lt;/title&gt;&lt;i&gt;</title>" in own
    assert '"showSendToCloud":false' in own


def test_a_figures_document_is_drawn_without_anything_beside_it(browser: str, fig: go.Figure, tmp_path: Path) -> None:
    _, told, dom = opened_text(browser, plot_files.standalone_html(fig, "bar").decode("utf-8"), tmp_path)
    page = re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)  # plotly.js has the words of every button
    assert 'class="main-svg"' in page
    assert "Download plot" in page
    assert "Share chart" not in page
    assert told == {"hacked": None, "refused": []}


def test_a_document_runs_no_other_script_and_fetches_nothing(browser: str, tmp_path: Path) -> None:
    body = "<img src='https://example.com/x.png'><img src='x.png' onerror='window.hacked=1'><script>hacked=2</script>"
    page = plot_files.standalone_document("題", body, ["document.title = '</script>';"]).decode("utf-8")
    _, told, dom = opened_text(browser, page, tmp_path)
    assert told["hacked"] is None
    assert {"inline", "https://example.com/x.png"} <= set(told["refused"])
    assert "<title>&lt;/script&gt;</title>" in dom  # its own script ran


def test_without_kaleido_a_png_says_which_extra_to_install(fig: go.Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(UserError, match=r"pip install -e \.\[png\]") as error:
        plot_files.png_bytes(fig)
    assert "\n" not in str(error.value)


needs_kaleido = pytest.mark.skipif(importlib.util.find_spec("kaleido") is None, reason="needs the extra png (kaleido)")


@needs_kaleido
def test_a_png_has_the_size_asked_for(browser: str, fig: go.Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER_PATH", browser)
    for size, expected in (
        ({}, (2000, 2 * house_style.HEIGHT)),
        ({"width": 300, "height": 200, "scale": 1}, (300, 200)),
    ):
        image = plot_files.png_bytes(fig, **size)
        assert image.startswith(b"\x89PNG\r\n")
        assert tuple(int.from_bytes(image[i : i + 4], "big") for i in (16, 20)) == expected


@needs_kaleido
def test_without_a_chrome_a_png_says_so(fig: go.Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER_PATH", "/nowhere/chrome")
    with pytest.raises(UserError, match=r"expected a Chrome for PNG.*\[png\]") as error:
        plot_files.png_bytes(fig)
    assert "\n" not in str(error.value)
