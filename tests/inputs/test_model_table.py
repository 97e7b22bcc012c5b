"""The table of models: a name leads to one model and to places of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from refusals import Place, Refusal, refused, refused_call

from emolib.base import config, paths
from emolib.base.parameters import resolve

ENTRY = {
    "name": "one",
    "hub_id": "owner/one",
    "n_layers": 2,
    "d_model": 48,
    "n_heads": 4,
    "n_kv_heads": 2,
    "d_vocab": 257,
}


@pytest.fixture
def table(place: Place, tmp_path: Path) -> Iterator[Path]:
    """The folder params/models of a repository of its own, with no models but the bundled one."""
    root = tmp_path / "repository"
    shutil.copytree(paths.repository_root() / "params", root / "params")
    for file in (root / "params" / "models").glob("*.yaml"):
        if file.stem != "smollm2_135m":
            file.unlink()
    place.monkeypatch.setenv("EMOLIB_ROOT", str(root))
    config.model_table.cache_clear()
    yield root / "params" / "models"
    config.model_table.cache_clear()


def add(folder: Path, file: str, **changes: object) -> None:
    text = yaml.safe_dump({**ENTRY, **changes}, allow_unicode=True, sort_keys=False)
    (folder / f"{file}.yaml").write_text(text, encoding="utf-8")


BOTH = ["a.yaml", "b.yaml"]
CLASHES: dict[str, tuple[dict, dict, list[str]]] = {
    "one name": ({}, {"hub_id": "owner/two"}, ["one", *BOTH]),
    "one name in two cases": ({}, {"name": "ONE", "hub_id": "owner/two"}, ["one", "case", *BOTH]),
    "a ligature": ({"name": "\ufb01ne"}, {"name": "fine", "hub_id": "owner/two"}, ["fine", *BOTH]),
    "full-width letters": ({}, {"name": "\uff4f\uff4e\uff45", "hub_id": "owner/two"}, ["one", *BOTH]),
    "an alias like the other's name": ({}, {"name": "two", "aliases": ["one"]}, ["one", *BOTH]),
    "a name like the other's alias": ({"aliases": ["two"]}, {"name": "two"}, ["two", *BOTH]),
    "one alias": ({"aliases": ["x"]}, {"name": "two", "aliases": ["y", "X"]}, ["x", *BOTH]),
    "a hub id like the other's name": ({}, {"name": "two", "hub_id": "one"}, ["hub_id", "one", *BOTH]),
    "a hub id like the other's alias": (
        {"hub_id": "gpt"},
        {"name": "two", "aliases": ["gpt"]},
        ["hub_id", "gpt", *BOTH],
    ),
}


@pytest.mark.parametrize(("first", "second", "says"), CLASHES.values(), ids=CLASHES)
@pytest.mark.parametrize("turned", [False, True])
def test_two_entries_that_one_name_may_mean(
    place: Place, table: Path, first: dict, second: dict, says: list[str], turned: bool
) -> None:
    add(table, "b" if turned else "a", **first)
    add(table, "a" if turned else "b", **second)
    refused(place, Refusal("clash", ["models"], says))


WRONG: dict[str, tuple[dict, list[str]]] = {
    "an empty name": ({"name": ""}, ["name", "a.yaml"]),
    "a blank name": ({"name": " "}, ["name", "a.yaml"]),
    "a name with a slash": ({"name": "a/b"}, ["a/b", "a.yaml"]),
    "a way up": ({"name": "../evil"}, ["evil", "a.yaml"]),
    "dots": ({"name": ".."}, ["a.yaml"]),
    "a hidden name": ({"name": ".one"}, [".one", "a.yaml"]),
    "a name like an option": ({"name": "-one"}, ["-one", "a.yaml"]),
    "a space inside": ({"name": "my model"}, ["my model", "a.yaml"]),
    "a line": ({"name": "one\n"}, ["a.yaml"]),
    "a backslash": ({"name": "a\\b"}, ["a.yaml"]),
    "a hub id's place": ({"name": "owner--one"}, ["owner--one", "a.yaml"]),
    "a local folder's place": ({"name": "one@0123456789ab"}, ["a.yaml"]),
    "the folder of variants": ({"name": "variants"}, ["variants", "a.yaml"]),
    "a mark of its own": ({"name": "cafe\u0301"}, ["name", "a.yaml"]),
    "a long name": ({"name": "x" * 300}, ["64", "a.yaml"]),
    "an empty alias": ({"aliases": [""]}, ["alias", "a.yaml"]),
    "an alias with a slash": ({"aliases": ["ok", "a/b"]}, ["alias", "a/b", "a.yaml"]),
    "an empty hub id": ({"hub_id": ""}, ["hub_id", "a.yaml"]),
    "heads that the width does not hold": ({"d_model": 50}, ["d_model", "n_heads", "50", "a.yaml"]),
    "key heads that do not divide": ({"n_kv_heads": 3}, ["n_kv_heads", "3", "a.yaml"]),
    "more key heads than heads": ({"n_kv_heads": 8}, ["n_kv_heads", "8", "a.yaml"]),
}


@pytest.mark.parametrize(("changes", "says"), WRONG.values(), ids=WRONG)
def test_an_entry_that_is_refused(place: Place, table: Path, changes: dict, says: list[str]) -> None:
    add(table, "a", **changes)
    refused(place, Refusal("entry", ["models"], says))


RIGHT = ["gpt-neo-125m", "llama3.1_8b", "a", "感情", "Ünïcode", "x" * 64, "a-b_c.d"]


@pytest.mark.parametrize("name", RIGHT)
def test_names_that_are_taken(table: Path, name: str) -> None:
    add(table, "a", name=name, aliases=["other"])
    assert config.find_model(name).name == name == config.find_model("other").name


def test_a_width_that_heads_do_not_divide_needs_a_head_dim(table: Path) -> None:
    add(table, "a", d_model=50, config={"model_type": "llama", "head_dim": 16})
    assert config.find_model("one").d_model == 50


def test_two_revisions_of_one_hub_model_stand_beside_each_other_and_the_id_alone_is_refused(table: Path) -> None:
    add(table, "a", name="step1", revision="step1")
    add(table, "b", name="step2", revision="step2")
    assert config.find_model("step2").revision == "step2"
    refused_call(lambda: resolve("quick", "owner/one", "phase1"), ["owner/one", "step1, step2"])


def test_a_model_may_be_called_like_its_own_hub_id_and_alias(table: Path) -> None:
    add(table, "a", name="gpt2", hub_id="gpt2", aliases=["gpt2"])
    assert config.find_model("gpt2").hub_id == "gpt2"


def test_the_projects_own_table_is_sound() -> None:
    assert {"smollm2_135m", "gpt2_small"} <= set(config.model_table())
