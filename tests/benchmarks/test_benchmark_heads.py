"""The benchmark of head screening runs to its end, and the loop of hooks finds the same effects."""

from __future__ import annotations

import json
from pathlib import Path

from benchmark_runs import run_here
from model_folders import save_model


def test_both_ways_of_ablating_are_compared_on_the_same_rows(tmp_path: Path) -> None:
    model, path = save_model(tmp_path / "model", "llama", max_position_embeddings=512), tmp_path / "result.json"
    sizes = ["--scenarios", "2", "--few", "2", "--steps", "1", "--loop-heads", "3"]
    done = run_here("heads.py", "--model", str(model), *sizes, "--json", str(path))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    found = result["found"]
    assert {"date", "device", "versions", "asked", "targets"} <= set(result)
    assert found["hooks_measured_heads"] == 3 and found["worst_difference"] < 2e-3
    assert set(result["targets"]) <= set(found) and found["faster_than_hooks"] > 0
