"""Text that is not valid UTF-8 is one line wherever it is given, and words of a command are read by one rule."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
import typer
from refusals import Place, Refusal, refused, refused_call
from tiny import tiny_model

import emolib
from emolib.base.command_lines import FILE_NAMES, decimal
from emolib.base.parameters import resolve
from emolib.cli import app

ODD = "caf\udce9"  # what Python makes of the bytes caf\xe9 in a command line
SOURCE = Path(emolib.__file__).parent


def texts(folder: Path) -> None:
    rows = [{"text": f"{i} {name}", "emotion": name} for i in range(10) for name in ("joy", "neutral")]
    (folder / "a.json").write_text(json.dumps(rows))


def column(folder: Path) -> None:
    (folder / "a.jsonl").write_text('{"text": "a", "emotion": "joy", "x\\ud800": 1}\n')


def odd_file(folder: Path) -> None:
    (folder / os.fsdecode(b"\xff.csv")).write_text("text,emotion\na,joy\n")


UTF8 = "valid UTF-8"
CASES = [
    Refusal("a label by -p", ["run", "-p", f"neutral={ODD}"], [UTF8, "\\udce9"]),
    Refusal("a data set by -p", ["run", "-p", "dataset=\udcff.csv"], [UTF8], odd_file),
    Refusal("the name of a parameter", ["run", "-p", f"{ODD}=1"], [UTF8]),
    Refusal("no parameter at all", ["run", "-p", ODD], [UTF8]),
    Refusal("a profile", ["run", "--profile", ODD], [UTF8, "--profile"]),
    Refusal("a profile's status", ["status", "--profile", ODD], [UTF8]),
    Refusal("a model", ["run", "--model", ODD], [UTF8, "--model"]),
    Refusal("a model folder", ["run", "--model", f"./{ODD}"], [UTF8]),
    Refusal("a model by =", ["run", f"--model={ODD}"], [UTF8]),
    Refusal("a phase", ["run", "--phase", ODD], [UTF8, "--phase"]),
    Refusal("layers", ["run", "--layers", "1\udcff"], [UTF8]),
    Refusal("a variant to delete", ["variants", "--delete", ODD], [UTF8]),
    Refusal("a variant", ["status", "--variant", ODD], [UTF8]),
    Refusal("a site's model", ["site", "--model", ODD], [UTF8]),
    Refusal("a command", [ODD], ["\\udce9"]),
    Refusal("an option", ["run", f"--{ODD}"], ["\\udce9"]),
    Refusal("labels", ["build-dataset", "a.json", "-o", "b.jsonl", "--labels", "joy,neutral,\udcff"], [UTF8], texts),
    Refusal("a neutral label", ["build-dataset", "a.json", "-o", "b.jsonl", "--neutral", ODD], [UTF8], texts),
    Refusal("on-conflict", ["build-dataset", "a.json", "-o", "b.jsonl", "--on-conflict", ODD], [UTF8], texts),
    Refusal("a seed", ["build-dataset", "a.json", "-o", "b.jsonl", "--seed", "\udcff"], [UTF8], texts),
    Refusal("a form", ["selftest", "--form", ODD], [UTF8]),
    Refusal("a backend", ["check-scorers", "--backend", ODD], [UTF8]),
    Refusal("a file that is not there", ["build-dataset", f"{ODD}.csv", "-o", "b.jsonl"], ["no such file"]),
    Refusal("a column's name", ["build-dataset", "a.jsonl", "-o", "b.jsonl"], [UTF8, "column", "\\ud800"], column),
    # numbers: decimal digits, within limits
    Refusal("an octal seed", ["build-dataset", "a.json", "-o", "b.jsonl", "--seed", "010"], ["--seed", "010"], texts),
    Refusal("a parted seed", ["build-dataset", "a.json", "-o", "b.jsonl", "--seed", "1_0"], ["--seed", "1_0"], texts),
    Refusal("a seed of other digits", ["build-dataset", "a.json", "-o", "b.jsonl", "--seed", "１"], ["--seed"], texts),
    Refusal("a seed of 30 digits", ["build-dataset", "a.json", "-o", "b.jsonl", "--seed", "9" * 30], ["seed"], texts),
    Refusal("a seed of 60 digits", ["build-dataset", "a.json", "-o", "b.jsonl", "--seed", "9" * 60], ["seed"], texts),
    Refusal("a seed below 0", ["build-dataset", "a.json", "-o", "b.jsonl", "--seed", "-1"], ["seed"], texts),
    Refusal("octal repeats", ["selftest", "--repeats", "010"], ["--repeats", "decimal"]),
    Refusal("parted repeats", ["selftest", "--repeats", "1_0"], ["--repeats", "decimal"]),
    Refusal("repeats of 30 digits", ["selftest", "--repeats", "9" * 30], ["repeats", "100000"]),
    Refusal("a self-test's seed", ["selftest", "--seed", "9" * 30], ["seed", "4294967295"]),
    Refusal("too few repeats", ["selftest", "--repeats", "5"], ["repeats", "6"]),
    Refusal("octal layers", ["run", "-p", "layers=08"], ["layers", "08"]),
    Refusal("octal layers in a range", ["run", "--layers", "01-3"], ["layers", "01-3"]),
    Refusal("too many layers", ["run", "--layers", "0-9999"], ["out of range", "0-29"]),
    Refusal("a number that would be 0", ["run", "-p", "alphas=1e-400"], ["alphas", "a computer can hold"]),
    Refusal("one among others", ["run", "-p", "alphas=0.1,1e-4000"], ["alphas", "a computer can hold"]),
    Refusal("a number without end", ["run", "-p", "alphas=1e400"], ["alphas", "a computer can hold"]),
    # options: once
    Refusal("layers twice", ["run", "--layers", "1", "--layers", "2"], ["--layers", "twice"]),
    Refusal("a profile twice", ["run", "--profile", "quick", "--profile", "quick"], ["--profile", "twice"]),
    Refusal("a model twice", ["status", "--model", "a", "--model=b"], ["--model", "twice"]),
    Refusal("an output twice", ["build-dataset", "a.json", "-o", "b", "--output", "c"], ["--output", "twice"], texts),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_on_the_command_line(place: Place, case: Refusal) -> None:
    refused(place, case)


def test_refused_by_the_library(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    half = "a\ud800"
    calls = [
        lambda: emolib.extract_activations(lm, [half]),
        lambda: emolib.extract_activations(lm, ["a", half]),
        lambda: emolib.score_texts([half]),
        lambda: emolib.load_dataset(neutral=half),
        lambda: emolib.open_run("quick", phase="phase1", neutral=half),
        lambda: emolib.open_run("quick", phase="phase1", dataset=f"{half}.csv"),
        lambda: emolib.open_run(half),
        lambda: emolib.open_run("quick", half),
        lambda: emolib.open_run("quick", phase="phase7", variant=half),
        lambda: emolib.build_dataset(tmp_path / "a.json", tmp_path / "b.jsonl", labels=["neutral", half]),
    ]
    for call in calls:
        refused_call(call, [UTF8, "\\ud800"])


def test_a_data_set_may_have_a_name_of_any_bytes(place: Place) -> None:
    texts(place.folder)
    os.rename(place.folder / "a.json", place.folder / "\udcff.json")
    asked = place.ask(["build-dataset", "\udcff.json", "-o", "\udcfe.jsonl", "--seed", "10"])
    assert (asked.code, asked.err, asked.made) == (0, "", ["\udcfe.jsonl"])
    assert asked.out.startswith("20 texts of 10 scenarios")


def test_numbers_that_are_read() -> None:
    for given, read in (("1e-300", 1e-300), ("0e-400", 0.0), ("0.000", 0.0), ("00.1", None)):
        if read is None:
            refused_call(lambda: resolve("quick", "smollm2_135m", "phase5", {"alphas": "00.1"}), ["decimal"])
        else:
            assert resolve("quick", "smollm2_135m", "phase5", {"alphas": f"{given},0.5"}).alphas == (read, 0.5)
    assert resolve("quick", "smollm2_135m", "phase5", {"layers": "10,8-9"}).layers == (8, 9, 10)


def test_file_names_are_parameters_of_commands() -> None:
    commands = typer.main.get_command(app).commands
    named = {param.name for command in commands.values() for param in command.params}
    assert named >= FILE_NAMES
    assert {type(command).__name__ for command in commands.values()} == {"StrictCommand"}


def test_whole_numbers_of_commands_are_read_by_one_rule() -> None:
    found = []
    for command in app.registered_commands:
        for name, kind in get_type_hints(command.callback, include_extras=True).items():
            plain, *said = get_args(kind) if get_origin(kind) is Annotated else [kind]
            assert plain is not float, name
            if plain is int:
                assert said[0].parser is decimal, name
                found.append(name)
    assert found == ["seed", "repeats", "seed"]


def test_nothing_but_say_prints_on_stdout() -> None:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                aimed = any(keyword.arg == "file" for keyword in node.keywords)
                assert aimed or path.name == "characters.py", f"{path.name}:{node.lineno}"
