"""The benchmark of the continuation shift runs to its end and says what it compared; how fast is no matter here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from benchmark_runs import run_here
from model_folders import save_model


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_here("continuation_shift.py", *arguments)


def test_the_shift_and_generation_are_timed_under_the_same_acts(tmp_path: Path) -> None:
    path, model = tmp_path / "result.json", save_model(tmp_path / "model", "llama", max_position_embeddings=1024)
    sizes = {"prompts": 2, "texts": 1, "controls": 3, "max-new-tokens": 5, "repeats": 1, "layer": 1, "model": model}
    done = run(*(part for name, value in sizes.items() for part in (f"--{name}", str(value))), "--json", str(path))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert {"date", "device", "versions", "settings"} <= set(result)
    assert result["rows"] == {"shift": 2 * 4 * 3, "generate": 2 * 3}
    assert all(set(by) == {"1", "3"} and min(by.values()) > 0 for by in result["seconds"].values())
    assert result["equal"]["met"] and result["equal"]["difference"] < 1e-3 < result["equal"]["between_acts"]
    assert result["extrapolated"]["acts"] == 180 and set(result["targets"]) == {"shift/both"}
    assert "continuation shift" in done.stdout and "extrapolated to 180 acts" in done.stdout


def test_too_few_controls_are_told_in_one_line() -> None:
    done = run("--controls", "1")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "at least 2 controls" in done.stderr
