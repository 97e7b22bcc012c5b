"""The experiment on units of strength: its arithmetic on planted thresholds, and a run to its end in small."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from benchmark_runs import SCRIPTS, run_here
from model_folders import save_model

N_PROMPTS, LAYERS, LENGTHS = 24, (1, 2, 3), 2.0 ** np.arange(-6, 9)


@pytest.fixture(scope="module")
def arithmetic() -> Iterator[ModuleType]:
    """The module of breaking lengths."""
    description = importlib.util.spec_from_file_location("breaking_lengths_of_test", SCRIPTS / "breaking_lengths.py")
    module = importlib.util.module_from_spec(description)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, description.name, module)
        description.loader.exec_module(module)
        yield module


def planted(at: dict[tuple[str, int], float], *, broken_unpatched: int = 0) -> tuple[pd.DataFrame, dict]:
    """Rows whose prompts break around a given length of their model and layer; some are broken unpatched."""
    scatter = 2 ** np.linspace(-1, 1, N_PROMPTS)
    order = np.random.default_rng(0).permutation(N_PROMPTS)
    rows = [
        {"model": model, "layer": layer, "family": "isotropic", "direction": f"d{p % 2}", "prompt": p, "length": length}
        | {"broken": bool(length >= at[model, layer] * scatter[order[p]] or p < broken_unpatched)}
        for model, layer in at
        for length in LENGTHS
        for p in range(N_PROMPTS)
    ]
    baseline = pd.Series((np.arange(N_PROMPTS) < broken_unpatched).astype(float))
    return pd.DataFrame(rows), dict.fromkeys({model for model, _ in at}, baseline)


def of_directions(rulers: dict[str, dict[tuple[str, int], float]]) -> dict[str, dict[tuple[str, int, str], float]]:
    """Rulers that have one length for all directions of a layer."""
    return {
        ruler: {(*place, name): length for place, length in lengths.items() for name in ("d0", "d1")}
        for ruler, lengths in rulers.items()
    }


def test_the_break_is_found_where_it_was_planted_and_told_where_it_lies_outside(arithmetic: ModuleType) -> None:
    at = {("a", layer): 2.0**layer for layer in LAYERS}
    for broken in (0, 8):
        rows, baselines = planted(at, broken_unpatched=broken)
        found = arithmetic.breaking_table(rows, baselines["a"], ["layer", "family"]).set_index("layer")["breaking"]
        np.testing.assert_allclose(np.log2(found), LAYERS, atol=0.3)
    early = arithmetic.breaking_table(rows[rows["length"] < 1], baselines["a"], ["layer", "family"])
    late = arithmetic.breaking_table(rows[rows["length"] > 64], baselines["a"], ["layer", "family"])
    assert early["breaking"].isna().all() and late["breaking"].isna().all()


def test_the_ruler_that_follows_the_breaks_has_the_least_dispersion(arithmetic: ModuleType) -> None:
    at = {(model, layer): factor * 4.0**layer for model, factor in (("a", 0.25), ("b", 2.0)) for layer in LAYERS}
    rows, baselines = planted(at, broken_unpatched=3)
    own = {key: (length / 8 if key[0] == "a" else length) for key, length in at.items()}  # good within a model only
    rulers = of_directions({"right": at, "within": own, "flat": dict.fromkeys(at, 1.0)})
    table = arithmetic.dispersions(rows, baselines, rulers, n_resamples=20).set_index(["ruler", "scope"])
    assert set(table.index.get_level_values("scope")) == {"a", "b", "pooled", "between"}
    sd = table["sd"]
    for model in "ab":
        assert sd["right", model] == pytest.approx(0, abs=0.05) and sd["within", model] == pytest.approx(0, abs=0.05)
        assert sd["flat", model] == pytest.approx(2, abs=0.1)
    assert sd["right", "pooled"] < 0.1 and sd["right", "between"] < 0.1
    assert sd["within", "between"] == pytest.approx(3 / np.sqrt(2), abs=0.1) and sd["within", "pooled"] > 1
    assert (table["low"] <= table["high"]).all() and (table["layers"] > 0).all()
    assert table.loc[("flat", "pooled"), "low"] < sd["flat", "pooled"] + 0.2
    assert table.loc[("flat", "pooled"), "high"] > sd["flat", "pooled"] - 0.2
    found = {row["ruler"]: row["auc"] for row in arithmetic.predictions(rows, rulers)}
    assert found["right"] > found["within"] and found["right"] > found["flat"] + 0.02
    assert found["right"] > 0.85


def test_a_ruler_of_each_direction_s_own_is_told_from_one_that_all_share(arithmetic: ModuleType) -> None:
    """Two directions, one of which breaks at 64 times the other's length: deeper layers have more of the tough one."""
    tough = {1: 0.1, 2: 0.5, 3: 0.9}
    length = {"d0": 1.0, "d1": 64.0}
    rng = np.random.default_rng(0)
    rows = [
        {"model": "a", "layer": layer, "family": "isotropic", "direction": name, "prompt": p, "length": tried}
        | {"broken": bool(tried >= length[name] * scatter)}
        for layer in LAYERS
        for p in range(N_PROMPTS)
        for name, scatter in [("d1" if rng.random() < tough[layer] else "d0", 2 ** rng.uniform(-1, 1))]
        for tried in LENGTHS
    ]
    own = {("a", layer, name): length[name] for layer in LAYERS for name in length}
    rulers = {"own": own, "shared": dict.fromkeys(own, 1.0)}
    baselines = {"a": pd.Series(np.zeros(N_PROMPTS))}
    sd = arithmetic.dispersions(pd.DataFrame(rows), baselines, rulers, n_resamples=5).set_index("ruler")["sd"]
    assert sd["own"] < 0.5 < 1 < sd["shared"]


def test_an_auc_needs_broken_and_whole_texts(arithmetic: ModuleType) -> None:
    at = {("a", layer): 2.0**layer for layer in LAYERS}
    rows, _ = planted(at)
    rulers = of_directions({"right": at})
    (known,) = arithmetic.predictions(rows, rulers)
    (unknown,) = arithmetic.predictions(rows[rows["broken"]], rulers)
    assert known["auc"] > 0.85 and np.isnan(unknown["auc"])


def test_the_experiment_runs_to_its_end_and_says_what_it_compared(tmp_path: Path) -> None:
    path, figure = tmp_path / "result.json", tmp_path / "figure.svg"
    model = save_model(tmp_path / "model", "llama", max_position_embeddings=512)
    sizes = {"prompts": 2, "new-tokens": 6, "directions": 1, "layers": 1, "resamples": 5}
    sizes |= {"training-scenarios": 4, "reference-scenarios": 2, "kl-prompts": 2, "kl-tokens": 4}
    small = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    done = run_here("strength_units.py", "--models", str(model), *small, "--json", str(path), "--figure", str(figure))
    assert done.returncode == 0, done.stderr
    found = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in the JSON file"))
    assert {"date", "device", "versions", "settings", "seconds", "dispersion", "auc", "by_direction"} <= set(found)
    assert {row["family"] for row in found["breaking"]} == {"isotropic", "emotion"}
    assert all(row[ruler] > 0 for row in found["rulers"] for ruler in ("resid", "bulk", "kl", "own kl"))
    assert all(f"in {ruler}" in row for row in found["breaking"] for ruler in ("resid", "bulk", "kl", "own kl"))
    lengths = {(row["family"], row["length"]) for row in found["cells"]}
    assert len(lengths) >= 2 * 4 and all(row["rows"] == 2 for row in found["cells"])
    assert figure.read_text().startswith("<?xml") and "steered rows" in done.stdout


def test_a_wrong_argument_is_told_in_one_line() -> None:
    for wrong, word in ((("--models", "smollm2_135n"), "smollm2_135m"), (("--figure", "x.jpg"), ".svg")):
        done = run_here("strength_units.py", *wrong)
        assert done.returncode == 2
        assert word in done.stderr and len(done.stderr.strip().splitlines()) == 1
