"""What nox's sessions do with the models that they are given."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import pytest

from emolib.base.paths import repository_root


class Session:
    """Notes the commands that a session runs."""

    def __init__(self, *words: str) -> None:
        self.posargs = list(words)
        self.ran: list[tuple[str, ...]] = []
        self.options: list[dict[str, Any]] = []

    def install(self, *_: str) -> None:
        pass

    def run(self, *words: str, **options: Any) -> None:
        self.ran.append(words)
        self.options.append(options)


@pytest.fixture
def noxfile(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The file as nox reads it, with nox itself left out."""
    stub = types.ModuleType("nox")
    stub.__dict__.update(session=lambda function: function, Session=Session, options=types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "nox", stub)
    place = importlib.util.spec_from_file_location("noxfile_under_test", repository_root() / "noxfile.py")
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


RUN, SITE = ("emolib", "run", "--profile", "quick"), ("emolib", "site", "--profile", "quick")


def test_the_report_of_the_bundled_model(noxfile: types.ModuleType) -> None:
    session = Session("--force", "-p", "alphas=0.2,0.3")
    noxfile.report(session)
    assert session.ran == [(*RUN, "--force", "-p", "alphas=0.2,0.3"), SITE]


def test_the_report_of_one_model_as_before(noxfile: types.ModuleType) -> None:
    session = Session("--model", "x.gguf")
    noxfile.report(session)
    assert session.ran == [(*RUN, "--model", "x.gguf"), SITE]


def test_the_report_of_several_models_fetches_them_first_and_makes_one_site(noxfile: types.ModuleType) -> None:
    session = Session("--models", "smollm2_135m", "gemma3_270m", "--force")
    noxfile.report(session)
    assert session.ran == [
        ("emolib", "fetch", "smollm2_135m"),
        ("emolib", "fetch", "gemma3_270m"),
        (*RUN, "--model", "smollm2_135m", "--force"),
        (*RUN, "--model", "gemma3_270m", "--force"),
        SITE,
    ]


def test_yes_agrees_to_what_is_fetched_and_goes_no_further(noxfile: types.ModuleType) -> None:
    session = Session("--yes", "--models", "gemma3_270m")
    noxfile.report(session)
    assert session.ran == [("emolib", "fetch", "gemma3_270m", "--yes"), (*RUN, "--model", "gemma3_270m"), SITE]


@pytest.mark.parametrize(("asked", "times"), [(None, 0), ("0", 0), ("1", 1)])
def test_the_tests_use_gemma_where_its_terms_are_accepted(
    noxfile: types.ModuleType, monkeypatch: pytest.MonkeyPatch, asked: str | None, times: int
) -> None:
    monkeypatch.delenv("EMOLIB_GEMMA", raising=False)
    if asked is not None:
        monkeypatch.setenv("EMOLIB_GEMMA", asked)
    session = Session("tests/test_cli.py")
    noxfile.tests(session)
    fetching = [options for words, options in zip(session.ran, session.options, strict=True) if "fetch" in words]
    assert fetching == [{"success_codes": [0, 2]}] * times  # without it the tests go on
