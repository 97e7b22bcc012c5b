"""The site from notebooks that somebody else made: nothing of them acts, no file of the machine gets into a page."""

from __future__ import annotations

import html
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from browser import drawn, find_browser, opened
from foreign_cells import CASES, REFRESH, Foreign, foreign_notebook
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from emolib.pipeline import site

SECRET = "canary-of-a-file-7d1f"
OWN_SCRIPT = r"(\.\./)*_static/|searchindex\.js$"
FOLDERS = ['"><script>window.hacked=1<', "a`b {doc}`", "x%2f..%2f..%2f", "_static", "改行\nする", "x" * 200, "| pipe |"]
FOLDERS = [name.replace("/", "") for name in FOLDERS]
GOOD = new_output("display_data", data={"text/html": '<table class="dataframe"><tr><td>kept</td></tr></table>'})


@dataclass
class Built:
    """A site, the addresses its notebooks tried, and who was asked."""

    folder: Path
    places: dict[str, str]
    asked: list[str]

    @property
    def page(self) -> Path:
        return self.folder / "foreign" / "phase1_dataset.html"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    root = tmp_path_factory.mktemp("foreign")
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("secret.txt", "secret.png"):
        (root / name).write_text(SECRET)
    places = {
        "host": f"http://127.0.0.1:{server.server_port}",
        "secret": str(root / "secret.txt"),
        "up": "../" * 5 + "..",  # from results/quick/.site-…/source/foreign
    }
    reports = root / "executed" / "quick"
    save(foreign_notebook(CASES, places), reports / "foreign" / "phase1_dataset.ipynb")
    for folder in FOLDERS:
        notebook = new_notebook(cells=[new_code_cell("1", outputs=[GOOD], execution_count=1)])
        save(notebook, reports / folder / f"{folder[:40]}.ipynb")
    (reports / "link").mkdir()
    save(new_notebook(cells=[new_markdown_cell(f"# {SECRET}")]), root / "elsewhere.ipynb")
    (reports / "link" / "phase1_dataset.ipynb").symlink_to(root / "elsewhere.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_EXECUTED", str(root / "executed"))
        patch.setenv("EMOLIB_RESULTS", str(root / "results"))
        yield Built(site.build_site("quick"), places, asked)
    server.shutdown()


def save(notebook: nbformat.NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook), encoding="utf-8")


class Page(HTMLParser):
    """What of a page acts, and the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.acting: list[str] = []
        self.seen: list[str] = []
        self.silent = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.silent = tag in ("script", "style", "title")
        allowed = {
            "meta": set(given) <= {"charset", "name", "content"} or "Security-Policy" in given.get("http-equiv", "")
        }
        allowed["script"] = given.get("type") == "application/json" or re.match(OWN_SCRIPT, given.get("src", ""))
        allowed["form"] = given.get("class") in ("site-search", "search") or given.get("action") == ""
        allowed |= dict.fromkeys(
            ("base", "iframe", "frame", "object", "embed", "applet", "svg", "math", "video"), False
        )
        if not allowed.get(tag, True):
            self.acting.append(self.get_starttag_text() or tag)
        for name, value in given.items():
            led = name in ("href", "src", "srcset", "action", "formaction", "data", "poster", "ping", "background")
            plain = re.match(r"(?!\w*:|//)|data:image/svg\+xml;base64,", value.strip())
            if name.startswith("on") or name == "srcdoc" or (led and not plain) or "url(" in given.get("style", ""):
                self.acting.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag: str) -> None:
        self.silent = False

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.seen.append(data)


def part_of(page: str, case: Foreign) -> str:
    """The page from the case's heading to the next."""
    start = page.index(f">case-{case.name}<")
    return page[start : page.find(">case-", start + 1)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_somebody_else_wrote_is_shown_and_does_nothing(built: Built, case: Foreign) -> None:
    page = Page("<a" + part_of(built.page.read_text("utf-8"), case))
    assert page.acting == []
    shown = case.shows.format(**built.places) if "{" in case.shows else case.shows
    assert " ".join(shown.split()) in " ".join("".join(page.seen).split())


def test_no_page_has_anything_that_acts_or_leads_out(built: Built) -> None:
    pages = list(built.folder.rglob("*.html"))
    assert len(pages) == len(FOLDERS) + 3  # the list, the search, the page of all cases
    assert {str(page): Page(page.read_text("utf-8")).acting for page in pages} == {str(page): [] for page in pages}


@pytest.mark.parametrize(
    "text",
    [
        REFRESH,
        '<base href="x">',
        "<script>1</script>",
        '<script src="http://x/y.js"></script>',
        '<a href="javascript:x">',
        '<img src="//x/y">',
        "<b onclick=x>",
        '<p style="background:url(x)">',
        '<iframe src="x">',
    ],
)
def test_what_acts_would_be_found(text: str) -> None:
    assert Page(text).acting


def test_no_file_of_the_machine_is_in_the_site(built: Built) -> None:
    files = [file for file in built.folder.rglob("*") if file.is_file()]
    assert [str(file) for file in files if SECRET.encode() in file.read_bytes()] == []
    assert [file.name for file in files if "secret" in file.name or file.parent.name == "_downloads"] == []
    assert (built.folder.parents[2] / "secret.txt").read_text() == SECRET  # it was there to be found


def test_the_addresses_and_files_of_the_site_stay_plain_and_inside(built: Built) -> None:
    names = [part for file in built.folder.rglob("*") for part in file.relative_to(built.folder).parts]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in names), names
    index = (built.folder / "index.html").read_text("utf-8")
    for folder in FOLDERS:
        assert html.escape(" ".join(folder.split()), quote=False) in index.replace("&quot;", '"')
    local = re.findall(r'href="([^"#?]+\.html)"', index)
    assert len(set(local)) >= len(FOLDERS) + 1
    assert all((built.folder / address).is_file() for address in local)


def test_a_name_becomes_the_same_address_only_for_the_same_name() -> None:
    assert site.page_name("smollm2_135m") == "smollm2_135m"
    awkward = [
        "..",
        ".",
        "a/b",
        "a b",
        "a-b",
        "a<b",
        "",
        "A",
        "a",
        "é",
        "e\u0301",
        "con.",
        ".hidden",
        "_static",
        "x" * 300,
    ]
    pages = [site.page_name(name) for name in awkward]
    assert len(set(pages)) == len(awkward)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", page) and ".." not in page for page in pages)


# ── in a browser ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def browser() -> str:
    return find_browser()


def copied(built: Built, folder: Path) -> Path:
    """The page of all cases in a copy of the site without its policy: the first wall stands alone."""
    shutil.copytree(built.folder, folder)
    page = folder / built.page.relative_to(built.folder)
    page.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text("utf-8")), "utf-8")
    return page


def test_a_browser_stays_asks_nobody_and_runs_nothing_even_without_the_policy(
    browser: str, built: Built, tmp_path: Path
) -> None:
    page = copied(built, tmp_path / "site")
    before = len(built.asked)
    dom, told = opened(browser, page, tmp_path / "profile", reachable="127.0.0.1")
    assert told["hacked"] is None and f">case-{CASES[-1].name}<" in dom
    assert built.asked[before:] == []
    assert set(drawn(dom)) == {True}


def test_a_browser_finds_nothing_to_refuse(browser: str, built: Built, tmp_path: Path) -> None:
    shutil.copytree(built.folder, tmp_path / "site")
    page = tmp_path / "site" / built.page.relative_to(built.folder)
    _, told = opened(browser, page, tmp_path / "profile", reachable="127.0.0.1")
    assert told["refused"] == [] and told["hacked"] is None


def test_a_raw_page_would_ask_and_run(browser: str, built: Built, tmp_path: Path) -> None:
    page = copied(built, tmp_path / "site")
    raw = f"<img src='{built.places['host']}/raw.png'><script>window.hacked=1</script></body>"
    page.write_text(page.read_text("utf-8").replace("</body>", raw), "utf-8")
    before = len(built.asked)
    _, told = opened(browser, page, tmp_path / "profile", reachable="127.0.0.1")
    assert told["hacked"] == 1 and "/raw.png" in built.asked[before:]
