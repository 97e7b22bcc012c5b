"""A further language made for a test: what a translator would add, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from emolib.base import paths

JAPANESE = re.compile(r"[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]")


def own_repository(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `folder` a repository like this one whose params/wording/ a test may change, and goes there."""
    root = paths.repository_root()
    for kind in ("data", "docs", "notebooks"):
        (folder / kind).symlink_to(root / kind)
    (folder / "params" / "wording").mkdir(parents=True)
    for entry in (root / "params").iterdir():
        if entry.name != "wording":
            (folder / "params" / entry.name).symlink_to(entry)
    for file in paths.params_folder("wording").iterdir():
        (folder / "params" / "wording" / file.name).write_bytes(file.read_bytes())
    monkeypatch.setenv("EMOLIB_ROOT", str(folder))


def write_words(folder: Path, name: str, words: object) -> None:
    """Writes `params/wording/<name>.yaml`: words, or a text that is no YAML."""
    text = words if isinstance(words, str) else yaml.safe_dump(words, allow_unicode=True)
    (folder / "params" / "wording" / f"{name}.yaml").write_text(text, encoding="utf-8")


def translate(folder: Path, name: str) -> None:
    """Gives a repository words in the language `name`: every word is its key, with its placeholders."""
    words = marked(yaml.safe_load((folder / "params" / "wording" / "ja.yaml").read_text("utf-8")))
    words["names"]["labels"]["gratitude"] = f"gratitude ({name})"
    write_words(folder, name, words)


def marked(value: object, key: str = "") -> object:
    if isinstance(value, dict):
        return {part: marked(inner, f"{key}.{part}") for part, inner in value.items()}
    return " ".join([key, *re.findall(r"\{\w+\}", value)])
