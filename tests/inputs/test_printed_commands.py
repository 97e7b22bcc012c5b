"""Whatever a report or a message prints as a command gives the same values again when it is pasted into a shell."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from refusals import one_good_line

from emolib.base import paths, shell
from emolib.base.errors import UserError
from emolib.cli import app
from emolib.data.dataset import load_dataset
from emolib.pipeline.phases import open_runs
from emolib.report.ja.frame import code_span
from emolib.study.run import Run, open_run

WORDS = {
    "plain": "neutral=calm",
    "spaces": "two  words",
    "edges": " a ",
    "quotes": """it's "so" """,
    "dollar": "$HOME ${x} $(id)",
    "backticks": "`id`",
    "history": "wow! !! !$",
    "bang and quote": "don't!",
    "dash": "-x",
    "two dashes": "--",
    "equals": "=ls",
    "globs": "* ? [ab] {a,b}",
    "tilde": "~root",
    "comment": "# none",
    "operators": "a;b&c|d>e<f(g)",
    "backslashes": "a\\b\\n\\",
    "newline": "a\nb",
    "tab and return": "a\tb\rc",
    "escape": "\x1b[2J",
    "escape and digits": "\x1b7\x0012"[:2],
    "other script": "中立の文",
    "wide space": "中立　文",
    "no-break space": "a\u00a0b",
    "text direction": "a\u202eb",
    "accents": "café cafe\u0301",
    "emoji": "😀",
    "empty": "",
    "percent": "100%s \\0",
    "caret": "^a^b^",
    "parentheses": "(1, 2)",
}


def words_of(command: str, program: str = "bash") -> list[str]:
    """What a shell makes of a line that is pasted into it."""
    given = [program, "-c", f"printf '%s\\0' {command}"]
    done = subprocess.run(given, capture_output=True, check=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"})
    assert done.stderr == b""
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


@pytest.mark.parametrize("text", WORDS.values(), ids=WORDS)
def test_a_word_comes_back_from_the_shell_and_from_a_page(text: str) -> None:
    printed = shell.command(["emolib", "run", "-p", f"neutral={text}", text])
    assert printed.isprintable() and len(printed.splitlines()) == 1
    assert words_of(printed) == ["emolib", "run", "-p", f"neutral={text}", text]
    assert code_span(printed) == f"`{printed}`"  # a code span: nothing in it ends it, and typography leaves it alone
    assert "  " not in printed  # a page shows one space where there are several
    assert str(UserError(f"run {printed}")) == f"run {printed}"  # and a message leaves it as it is


@pytest.mark.parametrize("text", WORDS.values(), ids=WORDS)
def test_history_expansion_of_an_interactive_shell_changes_nothing(text: str) -> None:
    printed = shell.word(text)
    script = f"set -o history; set -o histexpand; {{ :; }}\nprintf '%s\\0' {printed}\n"
    done = subprocess.run(["bash"], input=script.encode(), capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == [text]


def test_bytes_that_are_no_text_come_back() -> None:
    assert words_of(shell.word("a\udcff1")) == ["a\udcff1"]


def test_zsh_reads_no_word_otherwise() -> None:
    for text in WORDS.values():
        printed = shell.word(text)
        quoted = printed.startswith(("'", "$'", '"'))
        assert quoted or re.fullmatch(r"[\w@%+:,./-][\w@%+=:,./-]*", printed, re.ASCII), printed


MODEL = "smollm2_135m"
PHASE_VALUES: list[tuple[str, dict[str, Any]]] = [
    ("phase5", {"alphas": [0.1]}),
    ("phase5", {"alphas": [0.25, 1e-7, 3.0]}),
    ("phase5", {"alphas": 0.3}),
    ("phase5", {"layers": "all"}),
    ("phase5", {"layers": "8-12,3"}),
    ("phase5", {"layers": [7]}),
    ("phase5", {"schedule": 0.5}),
    ("phase5", {"schedule": [0.5]}),
    ("phase5", {"schedule": [1.0, 0.5, -1.0]}),
    ("phase5", {"schedule": "constant"}),
    ("phase5", {"generation_batch": "auto"}),
    ("phase5", {"generation_batch": 7}),
    ("phase5", {"random_weights": True, "png": False}),
    ("phase5", {"sites": ["resid_pre"], "seed": 2**32 - 1}),
    ("phase5", {"dtype": "float32", "temperature": 0.7, "top_p": 1e-3}),
    ("phase3", {"sites": ["resid_pre", "mlp_out"], "n_halves": 4}),
    ("phase2", {"positions": ["mean"], "layers": [0, 1, 30]}),
    ("phase1", {"near_duplicate": 99.99999999999999}),
    ("phase7", {"ds": [0.2], "modes": "effect"}),
    ("phase7", {"modes": ["k", "power"], "n_bootstrap": 60, "powers": 0.9}),
]


def given_on(command: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What the command line's own parser reads of a pasted command: its options, and the `-p` values as text."""
    program, verb, *arguments = words_of(command)
    assert (program, verb) == ("emolib", "run")
    options = typer.main.get_command(app).commands["run"].make_context("run", arguments).params
    return options, dict(item.split("=", 1) for item in options["param"] or [])


def expect_the_same(run: Run) -> None:
    options, given = given_on(run.command)
    [again] = open_runs(options["profile"], options["model"], options["phase"], given)
    assert again.params == run.params and again.variant == run.variant and again.overrides == run.overrides
    assert again.command == run.command
    assert again.paths == run.paths


@pytest.mark.parametrize(("phase", "values"), PHASE_VALUES, ids=lambda value: json.dumps(value)[:50])
def test_a_report_s_command_gives_the_same_run(phase: str, values: dict[str, Any]) -> None:
    expect_the_same(open_run("quick", MODEL, phase, **values))


@pytest.mark.parametrize(
    "neutral",
    [
        "no",
        "off",
        "null",
        "~",
        "3:5",
        "010",
        "1e3",
        "true",
        "[a, b]",
        "a, b",
        "中立",
        '"calm"',
        "it's",
        "a=b",
        "--",
        "$x `y` !",
    ],
)
def test_texts_that_look_like_something_else_stay_texts(neutral: str) -> None:
    expect_the_same(open_run("quick", MODEL, "phase1", neutral=neutral))


@pytest.mark.parametrize(
    "name", ["my texts.jsonl", "l'été.jsonl", "$HOME.jsonl", "中立　文.jsonl", "a!b`c.jsonl", "-p.jsonl"]
)
def test_paths_of_any_name_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(paths.data_file().read_bytes())
    run = open_run("quick", MODEL, "phase1", dataset=name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    expect_the_same(run)
    [again] = open_runs("quick", MODEL, ["phase1"], given_on(run.command)[1])
    assert again.data.equals(load_dataset(paths.data_file()))


def test_a_message_that_names_a_command_quotes_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emolib.pipeline.site import executed_reports

    monkeypatch.setenv("EMOLIB_EXECUTED", str(tmp_path))
    with pytest.raises(UserError) as raised:
        executed_reports("quick", "my  model's $x")
    one_good_line(str(raised.value), ["emolib run --profile quick --model"])
    printed = str(raised.value).rpartition("with `")[2].removesuffix("`")
    assert words_of(printed)[-1] == "my  model's $x"


def test_the_documents_commands_are_read_by_the_command_line() -> None:
    found = []
    for file in ("README.md", "CONTRIBUTING.md", "docs/methods.md", "docs/dataset.md", "docs/scorers.md"):
        text = (paths.repository_root() / file).read_text(encoding="utf-8")
        for block in re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            found += [part.strip() for line in block.splitlines() for part in line.split("&&") if "emolib " in part]
    commands = [line.split(" #")[0].strip() for line in found if line.startswith("emolib ")]
    assert len(commands) >= 10
    for line in commands:
        assert not re.search(r"[\[\]*?{}()<>]", line), f"zsh does not take {line} as it stands"
        _, verb, *arguments = words_of(line)
        typer.main.get_command(app).commands[verb].make_context(verb, arguments)
