"""The benchmark of generation under head acts runs to its end and compares the same texts; how fast is no matter."""

from __future__ import annotations

import json
from pathlib import Path

from benchmark_runs import run_here
from model_folders import save_model


def test_head_generation_writes_the_texts_of_the_first_study_s_loop(tmp_path: Path) -> None:
    path, model = tmp_path / "result.json", save_model(tmp_path / "model", "llama", max_position_embeddings=512)
    sizes = {"prompts": 2, "heads": 2, "rows-of-loop": 3, "max-new-tokens": 4, "repeats": 1, "model": model}
    given = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    done = run_here("head_generation.py", *given, "--json", str(path))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    assert {"date", "device", "versions", "settings"} <= set(result)
    assert result["rows"] == {"loop": 3, "emolib": 4} and result["equal_texts"] == 3
    assert 0 < result["changed_texts"] <= 4 and min(result["tokens_per_s"].values()) > 0
    assert "emolib/loop" in done.stdout and "repeat 1 of 1" in done.stderr and result["complete"]
