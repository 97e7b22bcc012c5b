"""A value means what its parameter's type says, on the command line, in a profile and in a notebook, within limits."""

from __future__ import annotations

import time
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from refusals import Place as Folder
from refusals import Refusal, refused, refused_call

from emolib.base.errors import UserError
from emolib.base.given_paths import Place
from emolib.base.parameters import PHASE_PARAMETERS, parameter_names, resolve
from emolib.base.reading import _READERS, _members, as_text, field_type, read_as
from emolib.study.run import open_run

MODEL = "smollm2_135m"


def value(phase: str, key: str, given: Any) -> Any:
    return getattr(resolve("quick", MODEL, phase, {key: given}), key)


READ = [
    ("phase5", "neutral", "no", "no"),
    ("phase5", "neutral", "1e-1", "1e-1"),
    ("phase5", "neutral", "3:5", "3:5"),
    ("phase5", "neutral", "null", "null"),
    ("phase5", "neutral", "010", "010"),
    ("phase5", "neutral", "calm, quiet", "calm, quiet"),
    ("phase5", "neutral", "[calm]", "[calm]"),
    ("phase5", "neutral", "2024-01-01", "2024-01-01"),
    ("phase5", "neutral", "&anchor *x", "&anchor *x"),
    ("phase5", "neutral", "無感情", "無感情"),
    ("phase5", "alphas", "0.2,0.3", (0.2, 0.3)),
    ("phase5", "alphas", "[0.2, 0.3]", (0.2, 0.3)),
    ("phase5", "alphas", "0.3,0.2", (0.2, 0.3)),
    ("phase5", "alphas", "2e-1", (0.2,)),
    ("phase5", "alphas", ".25", (0.25,)),
    ("phase5", "alphas", 0.2, (0.2,)),
    ("phase5", "alphas", np.array([0.1, 0.2]), (0.1, 0.2)),
    ("phase5", "alphas", [0, 1], (0.0, 1.0)),
    ("phase5", "sites", "resid_pre", ("resid_pre",)),
    ("phase5", "sites", '["resid_pre", "mlp_out"]', ("resid_pre", "mlp_out")),
    ("phase2", "positions", "mean, all", ("mean", "all")),
    ("phase7", "modes", "power", ("power",)),
    ("phase7", "powers", "0.8", (0.8,)),
    ("phase7", "ds", "0.5,0.2", (0.2, 0.5)),
    ("phase7", "n_bootstrap", "null", None),
    ("phase5", "layers", "8-10", (8, 9, 10)),
    ("phase5", "layers", "[12, 8, 8]", (8, 12)),
    ("phase5", "layers", '"8-10"', (8, 9, 10)),
    ("phase5", "layers", "all", ()),
    ("phase5", "layers", [3, 1], (1, 3)),
    ("phase5", "layers", range(3), (0, 1, 2)),
    ("phase5", "layers", "none", None),
    ("phase5", "schedule", "constant", "constant"),
    ("phase5", "schedule", "0.9", 0.9),
    ("phase5", "schedule", "1,0.5,0.5", (1.0, 0.5, 0.5)),
    ("phase5", "schedule", "[0.5]", (0.5,)),
    ("phase5", "max_new_tokens", " 30 ", 30),
    ("phase5", "seed", np.int64(3), 3),
    ("phase5", "seed", 2**32 - 1, 2**32 - 1),
    ("phase5", "png", "Yes", True),
    ("phase5", "png", "off", False),
    ("phase5", "random_weights", "no", False),
    ("phase5", "dtype", "null", None),
    ("phase5", "bos", '"always"', "always"),
    ("phase5", "generation_batch", "32", 32),
    ("phase5", "generation_batch", "auto", "auto"),
    ("phase5", "temperature", "0", 0.0),
    ("phase5", "temperature", "auto", "auto"),
    ("phase5", "folds", "5", 5),
]


@pytest.mark.parametrize(("phase", "key", "given", "expected"), READ)
def test_a_value_is_read_as_its_type_says(phase: str, key: str, given: Any, expected: Any) -> None:
    found = value(phase, key, given)
    assert found == expected and type(found) is type(expected)


WRONG = [
    ("neutral", "", ["text", "nothing"]),
    ("neutral", " ", ["text", "nothing"]),
    ("neutral", False, ["text", "False"]),
    ("neutral", "x" * 5_000, ["neutral", "1000"]),
    ("max_new_tokens", "3:5", ["whole number", "3:5"]),
    ("max_new_tokens", "010", ["whole number", "decimal"]),
    ("max_new_tokens", "0x10", ["whole number"]),
    ("max_new_tokens", "1_000", ["whole number"]),
    ("max_new_tokens", "1e2", ["whole number"]),
    ("max_new_tokens", "٣٠", ["whole number", "٣٠"]),
    ("max_new_tokens", "9" * 5_000, ["whole number"]),
    ("max_new_tokens", 30.0, ["whole number", "30.0"]),
    ("max_new_tokens", True, ["whole number", "True"]),
    ("max_new_tokens", 10**9, ["100000"]),
    ("n_controls", 10**12, ["n_controls", "100000"]),
    ("n_controls", 0, ["n_controls", "1"]),
    ("alphas", "", ["at least one"]),
    ("alphas", "[]", ["at least one"]),
    ("alphas", [], ["at least one"]),
    ("alphas", (), ["at least one"]),
    ("alphas", "0.2,", ["commas", "empty"]),
    ("alphas", "0.2,,0.3", ["commas", "empty"]),
    ("alphas", "0.2 0.3", ["decimal number", "'0.2 0.3'"]),
    ("alphas", "0,2;0,3", ["decimal number", "'2;0'"]),
    ("alphas", "1e308", ["alphas", "1000"]),
    ("alphas", [1e308], ["alphas", "1000"]),
    ("alphas", "0.2,0.2", ["once", "0.2"]),
    ("alphas", [True], ["decimal number", "True"]),
    ("alphas", "nan", ["finite"]),
    ("alphas", [float("-inf")], ["finite"]),
    ("alphas", {0.2}, ["decimal number"]),
    ("alphas", [[0.2]], ["decimal number"]),
    ("alphas", list(range(5_000)), ["1,000 values"]),
    ("sites", [], ["at least one"]),
    ("sites", "resid_pre,resid_pre", ["once", "resid_pre"]),
    ("sites", "resid-pre", ["resid_pre", "mlp_out", "'resid-pre'"]),
    ("layers", "3-1", ["smaller one comes first", "1-3"]),
    ("layers", "0-3000000000", ["0 to 9999"]),
    ("layers", range(10**9), ["layers"]),
    ("layers", "true", ["layers such as"]),
    ("layers", True, ["layers such as", "True"]),
    ("layers", 1.5, ["layers such as", "1.5"]),
    ("layers", "٣", ["layers such as"]),
    ("layers", "", ["layers such as"]),
    ("layers", "[]", ["layers such as"]),
    ("layers", (), ["at least one"]),
    ("layers", [-1], ["0 to 9999"]),
    ("layers", "1..3", ["layers such as"]),
    ("schedule", "[.nan,.inf]", ["finite"]),
    ("schedule", [float("nan")], ["finite"]),
    ("schedule", "constnat", ["constant", "decimal number"]),
    ("schedule", 0, ["schedule", "greater than 0"]),
    ("schedule", True, ["schedule", "True"]),
    ("schedule", [], ["at least one"]),
    ("schedule", "1,1e9", ["schedule", "1000"]),
    ("temperature", ".inf", ["finite"]),
    ("temperature", 10**400, ["finite"]),
    ("temperature", -0.1, ["temperature", "0"]),
    ("temperature", "warm", ["decimal number", "auto", "'warm'"]),
    ("temperature", "2000", ["temperature", "1000"]),
    ("folds", 1, ["0", "at least 3"]),
    ("folds", "1", ["0", "at least 3"]),
    ("generation_batch", True, ["whole number", "auto"]),
    ("generation_batch", 0, ["generation_batch", "1"]),
    ("generation_batch", "1.0", ["whole number", "auto"]),
    ("seed", "1" * 29, ["4294967295"]),
    ("seed", 2**32, ["4294967295"]),
    ("seed", -1, ["seed", "0"]),
    ("seed", 1.0, ["whole number"]),
    ("png", "1", ["true or false"]),
    ("png", 1, ["true or false"]),
    ("dtype", "fp16", ["float32", "bfloat16", "fp16"]),
    ("unit", b"resid", ["bulk", "resid", "vector"]),
    ("profile", "quick", ["unknown parameter 'profile'"]),
    ("broken_margin", "50%", ["decimal number"]),
    ("broken_margin", "0,1", ["decimal number", "0.1"]),
    ("alphas", "0", ["alphas", "above 0"]),
    ("alphas", [0.0], ["alphas", "above 0"]),
    ("alphas", "0,2", ["alphas", "0.2", "[0,2]"]),
    ("alphas", "0,2,0,3", ["alphas", "point", "0.2"]),
    ("alphas", "0,05", ["alphas", "0.05"]),
    ("schedule", "0,9", ["schedule", "0.9", "[0,9]"]),
    ("schedule", [0, 0.0], ["schedule", "other than 0"]),
    ("smallest_d", {}, ["decimal number"]),
]


@pytest.mark.parametrize(("key", "given", "says"), WRONG, ids=lambda part: None if isinstance(part, list) else str)
def test_a_wrong_value_is_refused_at_once(key: str, given: Any, says: list[str]) -> None:
    started = time.perf_counter()
    refused_call(lambda: resolve("quick", MODEL, "phase5", {key: given}), says)
    assert time.perf_counter() - started < 2


COMMANDS = [
    Refusal("octal", ["run", "-p", "n_controls=010"], ["n_controls", "whole number"]),
    Refusal("sexagesimal", ["run", "-p", "max_new_tokens=3:5"], ["max_new_tokens", "whole number", "3:5"]),
    Refusal("no value", ["status", "-p", "alphas="], ["alphas", "at least one"]),
    Refusal("layers that fall", ["run", "--layers", "3-1"], ["layers", "smaller one"]),
    Refusal("layers without end", ["run", "--layers", "0-3000000000"], ["layers", "9999"]),
    Refusal("given twice", ["run", "-p", "seed=1", "-p", "seed=2"], ["seed", "twice"]),
    Refusal("layers given twice", ["run", "--layers", "1", "-p", "layers=2"], ["layers", "twice"]),
    Refusal("anchors", ["run", "-p", "alphas=[&a [1], *a]"], ["alphas", "decimal number"]),
    Refusal("megabytes", ["run", "-p", "alphas=" + "1," * 500_000], ["alphas"]),
    Refusal("no name", ["run", "-p", "=3"], ["key=value"]),
    Refusal("a device that is not there", ["run", "-p", "device=gpu"], ["device", "gpu"]),
    Refusal("a neutral label that is none", ["run", "-p", "neutral=no"], ["neutral", "'no'"]),
]


@pytest.mark.parametrize("case", COMMANDS, ids=lambda case: case.name)
def test_refused_on_the_command_line(place: Folder, case: Refusal) -> None:
    refused(place, case)


# what holds for every parameter, so that a new one cannot escape

FIELDS = [(phase, name) for phase in PHASE_PARAMETERS for name in parameter_names(phase)]


@pytest.mark.parametrize(("phase", "name"), FIELDS)
def test_every_parameter_has_a_type_that_is_read_and_limits(phase: str, name: str) -> None:
    kind = field_type(PHASE_PARAMETERS[phase], name)
    members, _ = _members(kind)
    assert all((get_origin(member) or member) in _READERS for member in members)
    if not {int, float} & {*members, *(_members(get_args(m)[0])[0][0] for m in members if get_origin(m) is tuple)}:
        return
    for extreme in ("-1000000000000", "1000000000000", "1e300", "-1e300", "nan", "inf"):
        with pytest.raises(UserError):
            value(phase, name, extreme)
        with pytest.raises(UserError):
            value(phase, name, f"[{extreme}]")


@pytest.mark.parametrize(("phase", "name"), FIELDS)
def test_a_boolean_is_no_number_and_no_text(phase: str, name: str) -> None:
    members = _members(field_type(PHASE_PARAMETERS[phase], name))[0]
    if bool not in members:
        with pytest.raises(UserError):
            value(phase, name, True)


@pytest.mark.parametrize(("phase", "name"), FIELDS)
def test_every_list_takes_no_value_twice_and_at_least_one(phase: str, name: str) -> None:
    members = _members(field_type(PHASE_PARAMETERS[phase], name))[0]
    if not any(get_origin(member) is tuple for member in members):
        return
    for empty in ([], (), "[]"):
        with pytest.raises(UserError):
            value(phase, name, empty)
    if name in ("layers", "schedule"):  # a set of layers, and a factor for every step
        return
    item = _members(get_args(members[0])[0])[0][0]
    one = get_args(item)[0] if get_origin(item) is Literal else 2 if item is int else 0.5
    assert value(phase, name, [one]) == (one,)
    with pytest.raises(UserError, match="every value once"):
        value(phase, name, [one, one])


def test_the_free_texts_are_these_and_what_names_a_file_says_so() -> None:
    kinds = {(phase, name): field_type(PHASE_PARAMETERS[phase], name) for phase, name in FIELDS}
    marks = {
        at: [mark for mark in getattr(kind, "__metadata__", ()) if isinstance(mark, Place)]
        for at, kind in kinds.items()
    }
    texts = {name for (phase, name), kind in kinds.items() if str in _members(kind)[0] and not marks[phase, name]}
    assert {name for (_, name), found in marks.items() if found} == {"dataset", "corpus", "anchor_texts"}
    assert texts == {"neutral", "device", "backend", "variant", "other", "heads"}


@pytest.mark.parametrize(("phase", "key", "given", "expected"), READ)
def test_what_was_read_is_read_again_unchanged_also_from_its_text(
    phase: str, key: str, given: Any, expected: Any
) -> None:
    if expected not in (None, ()):
        kind = field_type(PHASE_PARAMETERS[phase], key)
        assert read_as(kind, expected) == expected
        assert read_as(kind, as_text(expected)) == expected


def test_a_notebook_is_given_the_values_as_they_were_understood(place: Folder) -> None:
    given = {"alphas": "0.3,0.2", "layers": "8-10", "neutral": "neutral", "png": "no", "generation_batch": "32"}
    run = open_run("quick", MODEL, "phase5", **given)
    understood = {"alphas": [0.2, 0.3], "layers": [8, 9, 10], "neutral": "neutral", "png": False}
    assert run.overrides == understood | {"generation_batch": 32}
    assert open_run("quick", MODEL, "phase5", **run.overrides).params == run.params
    every = open_run("quick", MODEL, "phase5", layers="all")
    assert every.overrides == {"layers": "all"} and every.variant.overrides("phase5") == {"layers": "all"}


def test_paths_of_the_repository_keep_their_names(place: Folder) -> None:
    run = open_run("quick", MODEL, "phase5", dataset="data/emotion_dataset.jsonl")
    assert run.overrides["dataset"] == run.params.dataset == "data/emotion_dataset.jsonl" and not run.variant.name
