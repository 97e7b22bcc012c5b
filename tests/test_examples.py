"""Every public name shows how it is used, and what the examples of the package show is true."""

from __future__ import annotations

import doctest
import functools
import importlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest

import emolib

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PACKAGE = Path(emolib.__file__).parent


def modules_with_examples() -> list[str]:
    """Read from the files, so that nothing is imported before a test runs."""
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if ">>> " in file.read_text(encoding="utf-8")]
    parts = [file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files]
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


def examples_of(thing: object, name: str) -> list[doctest.DocTest]:
    """The docstring's examples, of a module all of its docstrings'; each starts from its module's names."""
    found = doctest.DocTestFinder().find(thing, name)
    return [test for test in found if test.examples]


def failures(test: doctest.DocTest) -> str:
    """What differs from what an example says, or nothing."""
    report = io.StringIO()
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.write)
    return report.getvalue() if result.failed else ""


@pytest.fixture(scope="module")
def load_once() -> Callable[..., object]:
    return functools.cache(emolib.load_model)


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_give_what_they_say(
    module: str, load_once: Callable[..., object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(emolib, "load_model", load_once, raising=False)
    tests = examples_of(importlib.import_module(module), module)
    assert tests, f"the examples of {module} stand in no docstring"
    found = {test.name: failures(test) for test in tests}
    assert not any(found.values()), "\n".join(found.values())


def test_every_public_name_carries_an_example() -> None:
    without = [name for name in emolib.__all__ if not examples_of(getattr(emolib, name), name)]
    assert not without, f"expected an example (>>>) in the docstring of emolib.{', emolib.'.join(without)}"


def test_an_example_that_is_not_true_is_told() -> None:
    def half(value: float) -> float:
        """>>> 1 + 1
        3
        """
        return value / 2

    (wrong,) = examples_of(half, "half")
    assert failures(wrong).split()[-4:] == ["Expected:", "3", "Got:", "2"]
    half.__doc__ = "Half of it."
    assert not examples_of(half, "half")
