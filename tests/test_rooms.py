"""Every behaviour is found from the folder listing: a file says what, and says it once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "emolib"
DIRECTLY = {"__init__.py", "__main__.py", "cli.py", "py.typed"}


def modules() -> list[Path]:
    return [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]


def test_no_file_name_stands_in_two_rooms() -> None:
    counts = Counter(path.name for path in modules())
    assert [str(path) for path in modules() if counts[path.name] > 1] == []


def test_nothing_but_the_commands_lies_outside_the_rooms() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert found == DIRECTLY


@pytest.mark.parametrize("word", ["utils", "helpers", "misc", "common"])
def test_no_file_is_called_what_says_nothing(word: str) -> None:
    assert [str(path) for path in modules() if word in path.stem.split("_")] == []
