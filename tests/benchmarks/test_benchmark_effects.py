"""The benchmark of effect sizes runs to its end and says what it compared; how fast it found it is no matter here."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.base.paths import repository_root


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    """The script as a module."""
    script = repository_root() / "benchmarks" / "paired_effects.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(script.parent))
        description = importlib.util.spec_from_file_location("benchmark_of_effects", script)
        module = importlib.util.module_from_spec(description)
        patch.setitem(sys.modules, description.name, module)
        description.loader.exec_module(module)
        yield module


def run_benchmark(benchmark: ModuleType, patch: pytest.MonkeyPatch, path: Path, *arguments: str) -> dict[str, Any]:
    patch.setattr(sys, "argv", ["paired_effects.py", *arguments, "--json", str(path)])
    benchmark.main()
    return json.loads(path.read_text())


def test_the_benchmark_compares_the_ways_on_the_same_rows(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    small = ("--rows", "16", "--loop-rows", "8", "--resamples", "300", "--scenarios", "20", "--repeats", "1")
    result = run_benchmark(benchmark, monkeypatch, tmp_path / "result.json", *small)
    assert [way["extrapolated"] for way in result["ways"].values()] == [False, True, True]
    assert [way["measured_rows"] for way in result["ways"].values()] == [16, 8, 8]
    exact = result["equal"]["plain loop, same resamples"]
    assert exact["met"] and exact["difference"] < 1e-8 < 0.1 < exact["between_different_rows"]
    assert "coverage" not in result and len(result["targets"]) == 2
    assert "loop over scipy.stats.bootstrap" in capsys.readouterr().out


def test_the_benchmark_does_not_take_other_bounds_as_equal(benchmark: ModuleType):
    ours = benchmark.emolib_way(benchmark.made_rows(8, 20), 300)
    outs = dict.fromkeys(("emolib", "plain loop, same resamples", "loop over scipy.stats.bootstrap"), ours)
    assert all(check["met"] for check in benchmark.equalities(outs, 8).values())
    for name, off in (("plain loop, same resamples", 1e-6), ("loop over scipy.stats.bootstrap", 1.0)):
        assert not benchmark.equalities({**outs, name: ours + off}, 8)[name]["met"]


def test_simulated_coverage_is_near_the_level_and_far_below_it_where_texts_count_as_scenarios(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    small = ("--rows", "8", "--loop-rows", "4", "--resamples", "200", "--repeats", "1", "--coverage")
    result = run_benchmark(benchmark, monkeypatch, tmp_path / "result.json", *small, "--data-sets", "300")
    table = pd.DataFrame(result["coverage"])
    assert len(table) == 4 * 2 * 3 and (table["data_sets"] == 300).all()
    normal = table[(table["distribution"] == "normal") & (table["scenarios"] == 45)].set_index("design")
    assert normal.loc[["one text", "averaged"], "covered"].min() > 0.87
    assert normal.loc["as if independent", "covered"] < 0.85
    assert len(result["targets"]) == 2 + 4


@pytest.mark.parametrize("name", ["normal", "exponential", "lognormal", "zero-inflated counts"])
def test_the_simulations_data_have_the_mean_and_effect_size_they_are_judged_by(benchmark: ModuleType, name: str):
    for kind in (benchmark.DISTRIBUTIONS[name], benchmark.noisy(benchmark.DISTRIBUTIONS[name])):
        for n_texts in (1, 3):
            values = kind.texts(np.random.default_rng(0), 1000, 1000, n_texts).mean(axis=2).ravel()
            assert values.mean() == pytest.approx(kind.mean, rel=0.01)
            assert values.mean() / values.std() == pytest.approx(kind.d_z(n_texts), rel=0.03)


def test_the_benchmark_refuses_numbers_that_are_too_small(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch):
    for arguments in (("--rows", "3"), ("--repeats", "0"), ("--loop-rows", "2")):
        monkeypatch.setattr(sys, "argv", ["paired_effects.py", *arguments])
        with pytest.raises(UserError, match="expected"):
            benchmark.main()
