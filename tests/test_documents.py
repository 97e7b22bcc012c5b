"""What README, docs and the other documents name exists: paths, modules, functions, pinned versions."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml

from emolib.base.paths import repository_root

ROOT = repository_root()
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "NOTICE", "docs/*.md", "findings/*.md", "benchmarks/*.md", "notebooks/*.ipynb")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # it names what has been
)
FOLDERS = ("emolib", "params", "data", "docs", "tests", "benchmarks", "findings", "notebooks", r"\.ci")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]*)`")
NAME = re.compile(r"\bemolib(?:\.[A-Za-z_]\w*)+(?!\.\w)")
IMPORT = re.compile(r"^from (emolib[\w.]*) import ([\w, ]+)", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
LOCAL = ("data/mine.jsonl", "data/goemotions/")  # a user's own


def missing_paths(text: str) -> list[str]:
    """Paths in backticks, from the repository's root, that do not exist."""
    named = {path.rstrip("/") for path in PATH.findall(text) if path not in LOCAL}
    return sorted(path for path in named if not list(ROOT.glob(path)))


def missing_links(text: str, folder: Path) -> list[str]:
    return sorted({link for link in LINK.findall(text) if not (folder / link).exists()})


def missing_names(text: str) -> list[str]:
    """Dotted names under `emolib` that cannot be reached by importing."""
    named = set(NAME.findall(text))
    for module, names in IMPORT.findall(text):
        named |= {f"{module}.{name.strip().split(' as ')[0]}" for name in names.split(",") if name.strip()}
    return sorted(name for name in named if not _reachable(name))


def _reachable(name: str) -> bool:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[end:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    missing = missing_paths(text) + missing_names(text) + missing_links(text, (ROOT / document).parent)
    assert not missing, f"{document} names what does not exist: {', '.join(missing)}"


def test_what_does_not_exist_is_told() -> None:
    text = "`emolib/engine/generation.py` `emolib/nowhere.py` emolib.generate emolib.engine.nothing [a](../README.md)"
    assert missing_paths(text) == ["emolib/nowhere.py"]
    assert missing_names(text + "\nfrom emolib.base import paths, roads\n") == [
        "emolib.base.roads",
        "emolib.engine.nothing",
    ]
    assert missing_links("[a](../README.md) [b](../READ.md)", ROOT / "docs") == ["../READ.md"]


def test_hooks_are_local_and_their_ruff_is_the_tested_one() -> None:
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repository in settings["repos"] for hook in repository["hooks"]]
    assert {repository["repo"] for repository in settings["repos"]} == {"local"}
    tested = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {pin for hook in hooks for pin in hook["additional_dependencies"] if pin.startswith("ruff")}
    assert pins and pins <= set(tested)
    assert [hook["files"] for hook in hooks if hook["id"] == "stripped-notebooks"] == [r"^notebooks/.*\.ipynb$"]
