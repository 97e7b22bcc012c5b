"""No function hands out anything while it has torch's mode changed: whoever asks for it would go on in that mode."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODES = {"inference_mode", "no_grad", "enable_grad", "set_grad_enabled", "autocast"}


def handed_out_in_a_mode(source: str) -> list[int]:
    """Lines that yield inside a `with` of one of torch's modes."""
    found = []
    for block in ast.walk(ast.parse(source)):
        if isinstance(block, ast.With) and any(
            isinstance(part, ast.Attribute) and part.attr in MODES
            for item in block.items
            for part in ast.walk(item.context_expr)
        ):
            found += [part.lineno for part in ast.walk(block) if isinstance(part, ast.Yield | ast.YieldFrom)]
    return found


@pytest.mark.parametrize("room", ["emolib", "tests", "benchmarks"])
def test_nothing_is_handed_out_in_a_changed_mode(room: str) -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / room).rglob("*.py"))
        if (lines := handed_out_in_a_mode(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_the_search_finds_one() -> None:
    assert handed_out_in_a_mode("def f():\n    with torch.inference_mode():\n        yield 1\n    yield 2\n") == [3]
