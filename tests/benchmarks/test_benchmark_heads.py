"""The benchmark of head screening runs to its end, and the loop of hooks finds the same effects."""

from __future__ import annotations

import json
from pathlib import Path

from benchmark_runs import run_here
from model_folders import save_model


def test_every_part_is_timed_and_both_ways_of_ablating_are_compared_on_the_same_rows(tmp_path: Path) -> None:
    model, path = save_model(tmp_path / "model", "llama", max_position_embeddings=512), tmp_path / "result.json"
    sizes = ["--scenarios", "2", "--few", "2", "--steps", "1", "--loop-heads", "3"]
    parts = "direct,atp,exact,hooks,star,integrated"  # nnterp needs an installation of its own
    done = run_here("heads.py", "--model", str(model), *sizes, "--parts", parts, "--json", str(path))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    found = result["found"]
    assert {"date", "device", "versions", "asked", "sizes"} <= set(result) and result["complete"]
    assert list(found) == parts.split(",") and all(f"{part} …" in done.stderr for part in found)
    hooks = found["hooks"]
    assert hooks["measured_heads"] == 3 == len(hooks["seconds_per_head"]) and hooks["worst_difference"] < 2e-3
    assert set(result["targets"]) == {"first_order", "corrected", "hooks"}
    assert result["targets"]["hooks"]["reached"] == hooks["extrapolated"] / found["exact"]["seconds"] > 0
    wrong = run_here("heads.py", "--model", str(model), *sizes, "--parts", "hooks")
    assert wrong.returncode == 2 and "expected exact among the parts" in wrong.stderr
