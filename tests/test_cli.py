"""What goes wrong is told in one line with exit code 2, and leaves nothing half-written."""

import json
import subprocess
import sys

import pytest

from emolib import cli
from emolib.base import paths, store, variants

ROWS = [
    {"text": "The bus leaves at noon.", "emotion": "neutral"},
    {"text": "Thank you for the ride.", "emotion": "gratitude"},
    {"text": "I'm sorry I was late.", "emotion": "apology"},
]


def emolib(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Runs the command line in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["emolib", *arguments])
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def expect_mistake(result: tuple[int, str, str], *words: str) -> None:
    code, _, err = result
    assert code == 2, err
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err
    for word in words:
        assert word in err


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("EMOLIB_EXECUTED", str(tmp_path / "executed"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--model", "smolm2_135m"], ["unknown model 'smolm2_135m'", "'smollm2_135m'"]),
        (["run", "--profile", "quikc"], ["unknown profile 'quikc'", "'quick'"]),
        (["run", "--phase", "phase9x"], ["unknown phase 'phase9x'", "phase5"]),
        (["run", "-p", "n_contrlos=3"], ["unknown parameter 'n_contrlos'", "'n_controls'"]),
        (["run", "--phase", "phase1", "-p", "alphas=[0.1]"], ["unknown parameter 'alphas'"]),
        (["run", "-p", "n_controls"], ["expected -p key=value"]),
        (["run", "-p", "alphas=[.nan]"], ["alphas", "finite"]),
        (["run", "-p", "alphas=[.inf]"], ["alphas", "finite"]),
        (["run", "--layers", "12-40"], ["layer 31 is out of range", "0-29"]),
        (["run", "-p", "dataset=nowhere.jsonl"], ["expected a data set at 'nowhere.jsonl'"]),
        (["run", "-p", "n_train=0"], ["n_train"]),
        (["run", "--phase", "phase4"], ["expected two models for phase4", "--pair A B"]),
        (["run", "--phase", "phase5", "--pair", "smollm2_135m", "rotated"], ["about two models", "phase4"]),
        (["run", "--pair", "smollm2_135m", "rotatd"], ["unknown model 'rotatd'", "'rotated'"]),
        (["run", "--pair", "smollm2_135m", "rotated", "-p", "n_map=3"], ["unknown parameter 'n_map'", "'n_maps'"]),
        (
            ["run", "--pair", "smollm2_135m", "rotated", "--anchor-texts", "nowhere.txt"],
            ["neutral texts", "nowhere.txt"],
        ),
        (["status", "--profile", "slow"], ["unknown profile 'slow'"]),
        (["site", "--profile", "baseline"], ["baseline"]),
        (["site", "--variant", "abcdefgh"], ["unknown variant 'abcdefgh'"]),
        (["status", "--variant", "abcdefgh"], ["unknown variant 'abcdefgh'"]),
        (["status", "--variant", "abcdefgh", "-p", "alphas=[0.25]"], ["--variant or -p"]),
        (["run", "--phase", "phase7", "-p", "variant=abcdefgh"], ["unknown variant 'abcdefgh'"]),
        (["variants", "--profile", "quikc"], ["unknown profile 'quikc'"]),
        (["variants", "--delete", "../../quick"], ["unknown variant '../../quick'"]),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line(monkeypatch, capsys, tmp_path, arguments, words):
    expect_mistake(emolib(monkeypatch, capsys, *arguments), *words)
    assert not (tmp_path / "executed").exists()


def written(tmp_path, name: str, content: bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def jsonl(rows: list) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


BAD_FILES = {
    "missing column": ("a.jsonl", jsonl([{"text": "x y", "label": "neutral"}]), [], ["column 'emotion'", "label"]),
    "label outside labels": (
        "a.jsonl",
        jsonl([*ROWS, {"text": "Grr!", "emotion": "rage"}]),
        ["--labels", "neutral,gratitude,apology"],
        ["row 4", "'rage'"],
    ),
    "no neutral": ("a.jsonl", jsonl(ROWS[1:]), [], ["no rows with the neutral label"]),
    "empty text": ("a.csv", b"text,emotion\nhello,neutral\n,gratitude\n", [], ["row 3", "empty text"]),
    "duplicate id": (
        "a.jsonl",
        jsonl([{**ROWS[0], "id": "a"}, {**ROWS[1], "id": "a"}]),
        [],
        ["row 2", "duplicate id 'a'", "row 1"],
    ),
    "invalid UTF-8": ("a.csv", b"text,emotion\nhello,neutral\n\xff\xfe,gratitude\n", [], ["line 3", "UTF-8"]),
    "invalid JSON": ("a.jsonl", jsonl(ROWS[:1]) + b"\n{oops\n", [], ["line 2", "not valid JSON"]),
    "not a table": ("a.txt", b"hello", [], ["expected a .csv, .tsv, .jsonl or .json"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_data_set_is_told_by_row_and_nothing_is_written(monkeypatch, capsys, tmp_path, case):
    name, content, extra, words = BAD_FILES[case]
    source, output = written(tmp_path, name, content), tmp_path / "out.jsonl"
    expect_mistake(emolib(monkeypatch, capsys, "build-dataset", source, "--output", str(output), *extra), *words)
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_a_bad_data_set_stops_a_run_before_anything_is_written(monkeypatch, capsys, tmp_path):
    source = written(tmp_path, "a.jsonl", jsonl(ROWS[1:]))
    expect_mistake(emolib(monkeypatch, capsys, "run", "-p", f"dataset={source}"), "no rows with the neutral label")
    assert not (tmp_path / "results").exists() and not (tmp_path / "executed").exists()


def test_a_results_folder_that_cannot_be_written_is_one_line(monkeypatch, capsys, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("kept")
    monkeypatch.setenv("EMOLIB_RESULTS", str(blocked))
    expect_mistake(
        emolib(monkeypatch, capsys, "run", "--profile", "baseline_smoke"), "expected a folder in EMOLIB_RESULTS"
    )
    assert blocked.read_text() == "kept"


def test_a_good_file_is_converted(monkeypatch, capsys, tmp_path):
    source, output = written(tmp_path, "a.jsonl", jsonl(ROWS)), tmp_path / "out.jsonl"
    code, out, err = emolib(monkeypatch, capsys, "build-dataset", source, "-o", str(output))
    assert (code, err) == (0, "") and "3 texts" in out
    assert [json.loads(line)["emotion"] for line in output.read_text().splitlines()] == [r["emotion"] for r in ROWS]


def test_models_and_status_are_listed(monkeypatch, capsys):
    code, out, _ = emolib(monkeypatch, capsys, "models")
    assert code == 0 and "smollm2_135m" in out and "bundled" in out and len(out.splitlines()) == 9
    code, out, _ = emolib(monkeypatch, capsys, "status", "--profile", "baseline_smoke")
    assert code == 0 and out.count("missing") == len(out.splitlines())


def test_status_says_whether_texts_are_greedy_or_sampled_once_it_is_decided(monkeypatch, capsys):
    place = paths.ResultPaths("quick", "smollm2_135m").decoding()
    store.write(place, store.json_bytes({"temperature": 0.7, "broken": 16, "n": 24}), {})
    code, out, _ = emolib(monkeypatch, capsys, "status")
    line = next(line for line in out.splitlines() if line.startswith("phase5"))
    assert code == 0 and line.split(maxsplit=2) == [
        *("phase5", "missing"),
        "sampled at temperature 0.7 (16 of 24 unpatched greedy texts broken)",
    ]
    place.write_text("{}")  # altered: told where it is read, and no reason to say nothing at all
    code, out, _ = emolib(monkeypatch, capsys, "status")
    assert code == 0 and "sampled" not in out and out.count("missing") == len(out.splitlines())


def test_variants_are_listed_shown_and_deleted(monkeypatch, capsys):
    assert emolib(monkeypatch, capsys, "variants") == (0, "", "")
    made = variants.Variant({"alphas": [0.25]})
    variants.note("quick", made)
    store.write_atomically(paths.executed_file("quick", "smollm2_135m", "phase5", made.name), b"1")
    _, out, _ = emolib(monkeypatch, capsys, "variants")
    assert out.split() == [made.name, "alphas=[0.25]", "[nothing", "finished]", "0.0", "MiB"]
    code, out, _ = emolib(monkeypatch, capsys, "status", "--variant", made.name)
    assert code == 0 and out.count("missing") == len(out.splitlines()) == 9
    code, out, _ = emolib(monkeypatch, capsys, "variants", "--delete", made.name)
    assert code == 0 and out.count("removed") == 2 and made.name in out
    assert emolib(monkeypatch, capsys, "variants") == (0, "", "")


def test_the_installed_command_exits_with_two_and_debug_shows_the_traceback():
    command = [sys.executable, "-c", "from emolib.cli import main; main()", "run", "--profile", "nope"]
    plain = subprocess.run(command, capture_output=True, text=True)
    assert plain.returncode == 2 and plain.stdout == "" and len(plain.stderr.splitlines()) == 1
    debug = subprocess.run([*command, "--debug"], capture_output=True, text=True)
    assert debug.returncode != 0 and "Traceback" in debug.stderr


@pytest.mark.parametrize(
    "command", sorted(found.name or found.callback.__name__ for found in cli.app.registered_commands)
)
def test_every_command_says_what_it_does(monkeypatch, capsys, command: str) -> None:
    code, out, err = emolib(monkeypatch, capsys, command.replace("_", "-"), "--help")
    assert code == 0 and err == "" and "Usage" in out
