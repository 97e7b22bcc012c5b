"""The benchmarks run to their end and say what they compared; how fast they found it is no matter here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from benchmark_runs import run_apart, run_here
from model_folders import save_model

from emolib.base.paths import repository_root


def run(*arguments: str, script: str = "steering_throughput.py") -> subprocess.CompletedProcess[str]:
    return run_here(script, *arguments)


@pytest.fixture
def small(tmp_path: Path) -> list[str]:
    """Arguments of a sweep of two rows through a tiny model."""
    model = save_model(tmp_path / "model", "llama", max_position_embeddings=512)
    sizes = {"prompts": 2, "layers": 1, "directions": 1, "max-new-tokens": 3, "repeats": 1, "dtypes": "float32"}
    sizes |= {"model": model, "square": 256}
    return [part for name, value in sizes.items() for part in (f"--{name}", str(value))]


def test_steering_throughput_compares_every_way_on_the_same_rows(tmp_path: Path, small: list[str]) -> None:
    path = tmp_path / "result.json"
    done = run(*small, "--no-peers", "--json", str(path))
    assert done.returncode == 0, done.stderr
    outcome = json.loads(path.read_text())
    result = outcome["results"]["float32"]
    assert {"date", "device", "versions", "settings"} <= set(outcome)
    assert result["rows"] == 2 and result["texts"]["equal"] == result["texts"]["rows"] == 2
    assert all(result[way]["tokens_per_s"] > 0 for way in "acdefg")
    assert result["memory"]["measured_peak"] > result["memory"]["weights"]
    ratios = {"c/a", "c/b", "c/d", "d/e", "c/f", "c/g"}
    assert set(result["targets"]) == {*ratios, "texts equal to (a)", "one row / transformers"}
    for line in ("bridge.generate", "transformers by hand", "bare loop", "fastest products"):
        assert line in done.stdout
    for part, rows in (("distinct", 64), ("few", 2), ("one", 1)):
        assert result[part]["rows"] == rows and {"emolib", "transformers"} <= set(result[part])
        assert "limit of" in result[part]["emolib"]["near"] and f"{part}, transformers" in done.stdout


def test_another_build_takes_turns_with_this_one(tmp_path: Path, small: list[str]) -> None:
    path = tmp_path / "result.json"
    parts = ("--only", "build", "--works", "sweep,fluency,sampled_judged", "--build", str(repository_root()))
    done = run(*small, *parts, "--json", str(path))
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text())["results"]["float32"]["build"]
    assert set(found) == {"emolib", "sweep", "fluency", "sampled_judged"}
    assert found["sweep"]["equal_texts"] == found["sweep"]["rows"] == found["fluency"]["equal_decisions"] == 2
    assert found["fluency"]["largest_nll_difference"] == found["sampled_judged"]["largest_nll_difference"] == 0.0
    assert found["sampled_judged"]["equal_texts"] == found["sampled_judged"]["equal_decisions"] == 2
    for work in ("sweep", "fluency", "sampled_judged"):
        assert min(found[work]["cpu_seconds"]["present"]) > 0
        assert set(found[work]["seconds"]) == {"present", "other"} and found[work]["ratio"] > 0
        assert f"build, {work}" in done.stdout
    missing = run(*small, *parts[:4], "--build", str(tmp_path))
    assert missing.returncode == 2 and "--build" in missing.stderr


@pytest.mark.parametrize(("option", "known"), [("--only", "distinct"), ("--works", "fluency")])
def test_a_part_that_does_not_exist_is_told_in_one_line(option: str, known: str) -> None:
    done = run(option, "sweeep")
    assert done.returncode == 2 and "'sweeep'" in done.stderr and known in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_wrong_argument_is_told_in_one_line_of_a_process_of_its_own() -> None:
    done = run_apart("steering_throughput.py", "--model", "smollm2_135n")
    assert done.returncode == 2
    assert "smollm2_135m" in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.usefixtures("bundled")
def test_extraction_reads_the_same_as_the_first_studys_loop(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    done = run("--texts", "4", "--texts-of-loop", "2", "--repeats", "1", "--json", str(path), script="extraction.py")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(path.read_text())
    assert {"date", "device", "versions", "settings"} <= set(outcome)
    assert 0 < outcome["equal"]["difference"] < outcome["equal"]["limit"]
    assert set(outcome["texts_per_s"]) == set("abcd") and set(outcome["targets"]) == {"c/a", "c/b"}
    assert "run_with_cache" in done.stdout


def test_the_parts_of_a_step_are_timed_and_parts_of_numbers_come_nearer(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    done = run("--rows", "2", "--dtypes", "bfloat16", "--json", str(path), script="step_parts.py")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(path.read_text())
    found = outcome["milliseconds"]["bfloat16"]["2"]
    assert all(taken > 0 for taken in found.values()) and all(name in done.stdout for name in found)
    errors = [row["largest error, in spreads"] for row in outcome["split"]]
    exact, rounded, parts = errors[:2], errors[2], errors[3:]
    assert max(exact) < 1e-4 < rounded and parts[2] < parts[1] < rounded


def test_alignments_equal_the_loop_over_scikit_learn_and_scipy(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    small = ["--anchors", "200", "--layers-a", "3", "--width-a", "24", "--layers-b", "2", "--width-b", "30"]
    small += ["--rank", "8", "--loop-pairs", "2", "--repeats", "1", "--many", "5000"]
    done = run(*small, "--json", str(path), script="alignment.py")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(path.read_text())
    assert outcome["equal"]["met"] and outcome["pairs"] == 6
    assert set(outcome["targets"]) == {"seconds", "loop/emolib, wall", "loop/emolib, CPU", "memory"}
    assert "at least 5" in done.stdout and "R² of both ways" in done.stdout
