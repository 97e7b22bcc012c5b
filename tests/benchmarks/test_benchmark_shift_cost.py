"""The count of the continuation shift's operations says what it counted beside what; nothing is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark_runs import run_here

from emolib.study.phase5_steering import shift_design


@pytest.fixture(autouse=True)
def design_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script changes how many texts are judged, for its own process."""
    for name in ("GRID_TEXTS", "CONTROL_TEXTS"):
        monkeypatch.setattr(shift_design, name, getattr(shift_design, name))


def counted(path: Path, *arguments: str) -> dict:
    done = run_here("shift_cost.py", *arguments, "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert "shift/sweeps" in done.stdout and "test/isotropic" in done.stdout
    return json.loads(path.read_text())


def test_the_shift_is_counted_beside_the_sweeps_and_fewer_texts_cost_less(tmp_path: Path) -> None:
    whole = counted(tmp_path / "whole.json")
    assert set(whole["sweeps"]) == {"generate", "read"} and whole["per_token"]["layer"] > 0
    reached = whole["targets"]["shift/sweeps"]["reached"]
    both = sum(one["products"] for one in whole["sweeps"].values())
    assert abs(reached - sum(one["products"] for one in whole["shift"].values()) / both) < 1e-12
    assert whole["shift"]["validation/emotion"]["rows"] == 5 * 5 * 3 * 3 * 24  # layers, alphas, acts, labels, texts
    few = counted(tmp_path / "few.json", "--grid-texts", "6", "--control-texts", "4")
    assert few["shift"]["test/isotropic"]["rows"] == 59 * 3 * 2 * 4 and few["sweeps"] == whole["sweeps"]
    assert few["targets"]["shift/sweeps"]["reached"] < 0.7 * reached
