"""What a page says and does: its addresses, and what a real browser makes of it without any network."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

EXTERNAL = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
# Tells in the dumped page what became of `window.hacked` and what the page's policy refused to fetch or run.
PROBE = """
const refused = [];
document.addEventListener("securitypolicyviolation", (event) => refused.push(event.blockedURI));
window.addEventListener("load", () => {
  const tell = () => {
    const told = { hacked: window.hacked ?? null, refused: refused };
    document.documentElement.dataset.told = btoa(JSON.stringify(told));
  };
  tell();
  setTimeout(tell, 3000); // what is drawn after the page was loaded
});
"""


class Addresses(HTMLParser):
    """Every address of a page, by tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("src", "href", "srcset", "poster", "data", "action")
        self.found += [(tag, value) for name, value in attrs if name in names and value]


def external_addresses(text: str, suffix: str) -> list[str]:
    """Addresses in HTML, CSS or JavaScript that a browser would fetch (or follow) from another machine."""
    found = [value for _, value in Addresses(text).found] if suffix == ".html" else []
    found += re.findall(r"url\(\s*['\"]?([^'\")]*)", text)
    found += re.findall(r"@import\s+['\"]([^'\"]*)", text)
    found += re.findall(r"\b(?:import|from|importScripts|fetch|src\s*=)\s*\(?\s*['\"]([^'\"]*)", text)
    return sorted({address for address in found if EXTERNAL.match(address)})


def find_browser() -> str:
    """A Chromium; without one the test is skipped, in continuous integration it fails."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("expected chromium or google-chrome for the browser tests, found neither")
    if found is None:
        pytest.skip("needs chromium or google-chrome")
    return found


def opened(browser: str, page: Path, profile: Path, *, reachable: str | None = None) -> tuple[str, dict]:
    """The page's DOM after its scripts ran, without any network, and what the probe told.

    Args:
        reachable: a host that can be reached all the same.
    """
    (page.parent / "probe.js").write_text(PROBE)
    # Before the page's policy, which would refuse the probe.
    page.write_text(page.read_text().replace("<head>", '<head><script src="probe.js"></script>', 1))
    flags = ["--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    flags += [
        "--disable-component-update",
        "--disable-sync",
    ]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND" + (f", EXCLUDE {reachable}" if reachable else "")]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    flags += [f"--user-data-dir={profile}", "--virtual-time-budget=10000", "--dump-dom"]
    done = subprocess.run([browser, *flags, page.as_uri()], capture_output=True, text=True, timeout=180, check=True)
    told = re.search(r'data-told="([^"]*)"', done.stdout)
    assert told, "the page did not finish loading"
    return done.stdout, json.loads(base64.b64decode(told[1]))


def drawn(dom: str) -> list[bool]:
    """For each figure of the page: did plotly draw it?"""
    return ['class="main-svg"' in part for part in dom.split('<div class="emolib-figure')[1:]]


class Views(HTMLParser):
    """The CircuitsVis views of a page: is the fallback shown, what is drawn (tags, and text of leaf to leaf)."""

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.found: list[dict] = []
        self.path: list[str] = []
        self.feed(dom)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("br", "img", "meta", "link", "input", "hr"):
            name = ""
        else:
            name = dict(attrs).get("class") or tag
            self.path.append(name)
        if name == "emolib-view":
            self.found.append({"fallback": True, "tags": [], "drawn": "", "fallback_text": ""})
        elif name == "emolib-view-fallback":
            self.found[-1]["fallback"] = "hidden" not in dict(attrs)
        elif "emolib-view-drawing" in self.path:
            self.found[-1]["tags"].append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.path.pop()

    def handle_data(self, data: str) -> None:
        for place, key in (("emolib-view-drawing", "drawn"), ("emolib-view-fallback", "fallback_text")):
            if place in self.path:
                self.found[-1][key] += data


def opened_text(browser: str, text: str, folder: Path) -> tuple[list[dict], dict, str]:
    """A page that is one text, opened: its views, what the probe told, and its DOM."""
    (folder / "page.html").write_text(text, encoding="utf-8")
    dom, told = opened(browser, folder / "page.html", folder / "profile")
    return Views(dom).found, told, dom
