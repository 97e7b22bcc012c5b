"""The simulation of one-sided errors runs to its end and has a row of everything that it names."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from emolib.base.errors import UserError
from emolib.base.paths import repository_root


def test_every_row_is_there_with_shares_of_data_sets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = repository_root() / "benchmarks" / "one_sided_coverage.py"
    monkeypatch.syspath_prepend(str(script.parent))
    description = importlib.util.spec_from_file_location("benchmark_of_sides", script)
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    small = ["--data-sets", "20", "--auc-data-sets", "4", "--resamples", "100"]
    monkeypatch.setattr(sys, "argv", ["one_sided_coverage.py", *small, "--json", str(tmp_path / "found.json")])
    module.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["intervals"]) == 8 and len(found["auc_differences"]) == 8
    rates = ("lower_side_errs", "upper_side_errs", "flip_says_above", "flip_says_below")
    assert all(0 <= row[name] < 0.5 for row in found["intervals"] for name in rates)
    aucs = [row["auc"] for row in found["auc_differences"]]
    assert aucs[0] < 0.9 < aucs[-1] <= 1
    assert "lognormal, tail on the left" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["one_sided_coverage.py", "--data-sets", "0"])
    with pytest.raises(UserError, match="--data-sets"):
        module.main()
