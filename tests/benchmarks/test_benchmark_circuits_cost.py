"""The benchmark of circuits runs every part and says what each took; how fast is no matter here."""

from __future__ import annotations

import json
from pathlib import Path

from benchmark_runs import run_here
from model_folders import save_model


def test_every_part_is_timed(tmp_path: Path) -> None:
    model, path = save_model(tmp_path / "model", "llama", max_position_embeddings=512), tmp_path / "result.json"
    done = run_here("circuits_cost.py", "--model", str(model), "--controls", "3", "--texts", "2", "--json", str(path))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    parts = {"typical inputs", "OV projection", "promoted tokens", "QK routing", "composition", "neurons"}
    assert set(result["seconds"]) == parts | {"reconstruction"}
    assert result["targets"]["all"]["reached"] == sum(result["seconds"].values()) > 0
    assert "composition" in done.stdout
