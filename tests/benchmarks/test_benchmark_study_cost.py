"""The study's cost: its rows follow from the profile, its hours from the rows and the speeds. No speed is judged."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from benchmark_runs import SCRIPTS, run_here
from tiny import Case

import emolib
from emolib.base.config import ModelSpec, model_table
from emolib.base.errors import UserError
from emolib.base.parameters import resolve
from emolib.directions.controls import FAMILIES
from emolib.engine.memory import flops_per_token, weight_bytes
from emolib.models.language_model import LanguageModel
from emolib.steering import cells
from emolib.study.phase5_steering import (
    asking,
    design,
    other_style,
    own_sweeps,
    rival_sweeps,
    shift_rivals,
    sweep_settings,
    validation_sweeps,
)

SCRIPT = SCRIPTS / "study_cost.py"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    """The script as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        description = importlib.util.spec_from_file_location("benchmark_of_study_cost", SCRIPT)
        module = importlib.util.module_from_spec(description)
        patch.setitem(sys.modules, description.name, module)
        description.loader.exec_module(module)
        yield module


# the design's rows


def test_rows_of_the_smoke_profile(benchmark: ModuleType) -> None:
    rows = benchmark.design_rows("baseline_smoke", "smollm2_135m", folds=0)
    # of five training scenarios of each style five are among the first; five neutral texts for the controls
    assert rows.extraction == 4 * (5 + 4 + 4) + 4 * 5 + 5
    assert (rows.reference, rows.decision, rows.new_tokens, rows.parts) == (4 * 5, 0, 11, 1)  # greedy, as it says
    assert rows.sweep == {
        "validation/baseline": 4,
        "validation/emotion": 4 * 2 * 2 * 3,
        "test/baseline": 4,
        "test/emotion": 4 * 3,
        "test/direct_path": 4 * 3,
        "test/zero": 4,
        "test_other_style/other_style": 4 * 3,
        "test/isotropic": 4 * 5,
        "test/covariance": 4 * 5,
        "test/shuffled": 4 * 5,
        "test_dose/emotion": 4 * 2 * 3,  # the other strength, and the opposite of the chosen one
        "validation_alternatives/pca": 4 * 2 * 3,
        "validation_alternatives/probe": 4 * 2 * 3,
        "validation_alternatives/subspace": 4 * 2 * 3,
        "test_alternatives/pca": 4 * 3,
        "test_alternatives/probe": 4 * 3,
        "test_alternatives/subspace": 4 * 3,
        "test_alternatives/prompting": 4 * 3,
        "test_alternatives/prompting_baseline": 4,
        "test_rivals/trained": 4 * 3,
        "test_rivals/prompting": 4 * 3,
    }
    assert rows.scored == 4 * (1 + 12) + 4 * (1 + 6 + 1 + 15) + 4 * 3 + 4 * 6 + 4 * 18 + 4 * (12 + 1) + 4 * 6
    assert rows.generated == rows.scored + 20


def test_rows_of_the_quick_profile(benchmark: ModuleType) -> None:
    rows = benchmark.design_rows("quick", "smollm2_135m", folds=0)
    # of forty scenarios of each style twenty are among the first
    assert rows.extraction == 4 * (40 + 24 + 24) + 4 * 2 * 20 + 40
    assert (rows.reference, rows.decision, rows.new_tokens) == (160, 24, 30)
    assert (rows.sweep["validation/baseline"], rows.sweep["validation/emotion"]) == (24, 24 * 5 * 5 * 3)
    assert (rows.sweep["test/emotion"], rows.sweep["test/covariance"]) == (24 * 3, 24 * 59)
    assert rows.scored == 24 * (1 + 75 + 1 + 6 + 1 + 3 * 59 + 15 + 3 + 36 + 12 + 1 + 6)
    assert rows.generated == rows.scored + 160 + 24


@pytest.mark.parametrize(("model", "n_layers"), [("smollm2_135m", 30), ("gpt2", 12), ("gemma3_12b", 48)])
@pytest.mark.parametrize(("folds", "n_prompts"), [(0, 45), (5, 225)])
def test_rows_of_the_baseline_profile(
    benchmark: ModuleType, model: str, n_layers: int, folds: int, n_prompts: int
) -> None:
    rows = benchmark.design_rows("baseline", model, folds=folds)
    assert rows.extraction == 900 + 135 * (folds or 1) and rows.new_tokens == 30
    assert rows.reference == (5 * 40 * 4 if folds else 135 * 4)
    assert rows.decision == 45  # the first fold's alone
    assert rows.sweep["validation/emotion"] == n_prompts * n_layers * 6 * 3
    assert rows.sweep["test/baseline"] == n_prompts
    assert rows.sweep["test/shuffled"] == n_prompts * 999
    own = n_prompts * (1 + n_layers * 18 + 1 + 6 + 1 + 3 * 999 + 18 + 3 + 42 + 12 + 1)
    assert rows.scored == own + 45 * 6  # what is trained and what is asked, in the first fold alone


def test_rows_follow_the_parameters(benchmark: ModuleType) -> None:
    before = benchmark.design_rows("quick", "smollm2_135m", folds=0).sweep

    def changed(**values: Any) -> dict[str, int]:
        after = benchmark.design_rows("quick", "smollm2_135m", folds=0, **values).sweep
        return {name: count for name, count in after.items() if count != before[name]}

    assert changed() == {}
    assert changed(n_controls=7) == dict.fromkeys([f"test/{family}" for family in FAMILIES], 24 * 7)
    assert changed(unit="vector") == dict.fromkeys([f"test/{family}" for family in FAMILIES], 24 * 59 * 3)
    assert changed(layers=(3,), n_layer_points=9) == {"validation/emotion": 24 * 1 * 5 * 3}
    assert changed(n_samples=2, temperature=0.8) == {name: 2 * count for name, count in before.items()}
    assert changed(alphas=(0.0, 0.3)) == {
        "validation/emotion": 24 * 5 * 1 * 3,
        "test_dose/emotion": 24 * 1 * 3,
        **dict.fromkeys(("validation_alternatives/pca", "validation_alternatives/probe"), 24 * 1 * 3),
    }


def test_every_kind_of_row_is_counted(benchmark: ModuleType) -> None:
    counted = benchmark.design_rows("quick", "smollm2_135m").sweep
    assert {name.partition("/")[2] for name in counted} == set(cells.KINDS)


@pytest.mark.parametrize(
    "changed",
    [
        {"folds": 0, "unit": "vector", "temperature": "auto"},
        {"folds": 3, "n_train": 12, "vector_style": "all", "alphas": [0.2, 0.3]},
    ],
)
def test_phase_5_makes_the_rows_that_were_counted(
    benchmark: ModuleType,
    tiny_models: dict[str, LanguageModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
) -> None:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    small = {"layers": [1], "alphas": [0.3], "n_controls": 2, "max_new_tokens": 5, "backend": "lexical", **changed}
    run = emolib.open_run("baseline_smoke", "smollm2_135m", "phase5", **small)
    run.__dict__["lm"] = tiny_models["llama"]
    tables = {
        "validation": validation_sweeps.validation_sweep(run),
        "test": own_sweeps.test_sweep(run),
        "test_dose": own_sweeps.dose_sweep(run),
        "validation_alternatives": rival_sweeps.alternatives_sweep(run, "validation"),
        "test_alternatives": rival_sweeps.alternatives_sweep(run, "test"),
        "test_other_style": other_style.sweep(run),
        "test_rivals": shift_rivals.rival_sweep(run),
    }
    made = {f"{name}/{kind}": n for name, table in tables.items() for kind, n in Counter(table["kind"]).items()}
    assert made.pop("test_dose/baseline") == made.pop("test_alternatives/baseline") == made["test/baseline"]  # its rows
    counted = benchmark.design_rows("baseline_smoke", "smollm2_135m", **small)
    expected = dict(counted.sweep)
    if changed["folds"]:  # every training scenario of these few is one that the adjustment is fitted on
        assert not asking.askable(run) and expected.pop("test_rivals/prompting")
    assert made == expected
    assert sum(len(sweep_settings.reference(run, part)) for part in design.parts(run)) == counted.reference
    assert sweep_settings.regime(run).n == counted.decision == (4 if "temperature" in changed else 0)


# hours


def rows_of(benchmark: ModuleType) -> Any:
    return benchmark.DesignRows(7200, 90, 10, {"validation/emotion": 300, "test/isotropic": 600}, 30, 1)


def test_hours_are_rows_divided_by_speed(benchmark: ModuleType) -> None:
    taken = benchmark.hours(rows_of(benchmark), benchmark.Speeds(tokens=2.0, extracted=4.0, fluency=0.5, scored=0.25))
    assert taken == {
        "extraction": pytest.approx(0.5),
        "generation": pytest.approx(1000 * 30 / 2 / 3600),
        "fluency": pytest.approx(1000 / 0.5 / 3600),
        "scorers": pytest.approx(900 / 0.25 / 3600),
        "total": pytest.approx(0.5 + 15000 / 3600 + 2000 / 3600 + 1.0),
    }


def test_a_part_of_unknown_speed_is_left_out_of_the_total(benchmark: ModuleType) -> None:
    taken = benchmark.hours(rows_of(benchmark), benchmark.Speeds(2.0))
    assert taken["total"] == taken["generation"] and taken["extraction"] is taken["fluency"] is taken["scorers"] is None


def test_the_first_studys_speed_follows_from_its_logs(benchmark: ModuleType) -> None:
    speeds = {name: benchmark.first_study_speed(name) for name in benchmark.studied()}
    assert {name for name, speed in speeds.items() if speed} == {"gpt2_small", "llama3_8b", "qwen3_8b"}
    assert [round(speeds[name]) for name in ("gpt2_small", "llama3_8b", "qwen3_8b")] == [432, 7, 14]


def test_a_model_is_extrapolated_from_the_nearest_of_its_dtype(benchmark: ModuleType) -> None:
    sizes = {
        name: benchmark.Size(0, cost) for name, cost in (("gpt2_small", 10), ("llama3_8b", 400), ("qwen3_8b", 800))
    }
    sizes |= {"smollm2_135m": benchmark.Size(0, 700), "gemma3_12b": benchmark.Size(0, 1600)}
    speeds = {name: benchmark.Speeds(8.0, 4.0, 2.0, 1.0) for name in sizes if name != "gemma3_12b"}
    assert benchmark.extrapolated("gemma3_12b", sizes, speeds) == ("qwen3_8b", benchmark.Speeds(4.0, 2.0, 1.0, 1.0))
    del speeds["qwen3_8b"]  # smollm2_135m is nearer, but of another dtype
    assert benchmark.extrapolated("gemma3_12b", sizes, speeds) == ("llama3_8b", benchmark.Speeds(2.0, 1.0, 0.5, 1.0))
    del speeds["llama3_8b"]
    assert benchmark.extrapolated("gemma3_12b", sizes, speeds)[0] == "smollm2_135m"


# what is measured


def test_size_is_known_before_loading(benchmark: ModuleType, tiny_case: Case) -> None:
    tiny = tiny_case.lm
    fields = tiny.spec.model_dump() | {"config": tiny_case.plain.config.to_dict()}
    size = benchmark.size_of(ModelSpec(**fields))
    assert size.flops_per_token == flops_per_token(tiny)
    assert size.weight_bytes == sum(p.numel() * p.element_size() for p in tiny_case.plain.parameters())


def test_size_of_the_bundled_model(benchmark: ModuleType, bundled: LanguageModel) -> None:
    size = benchmark.size_of(bundled.spec)
    assert (size.flops_per_token, size.weight_bytes) == (flops_per_token(bundled), weight_bytes(bundled))


def test_a_large_model_gets_fewer_tokens_then_fewer_rows(benchmark: ModuleType) -> None:
    assert benchmark.portion(10, 256, 30, 1e9) == benchmark.Portion(256, 30, 256)
    assert benchmark.portion(10, 256, 30, 256 * 10 * 10) == benchmark.Portion(256, 10, 85)
    assert benchmark.portion(10, 256, 30, 40 * 8 * 10) == benchmark.Portion(40, 8, 10)
    assert benchmark.portion(10, 256, 30, 1) == benchmark.Portion(16, 8, 4)
    assert benchmark.portion(10, 6, 3, 1) == benchmark.Portion(6, 3, 4)


def test_speed_is_for_rows_of_the_designs_length_and_every_row_has_its_own_steer(
    benchmark: ModuleType, bundled: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def generate(
        lm: LanguageModel, prompts: list[str], acts: list[Any], *, max_new_tokens: int, batch_size: int
    ) -> None:
        calls.append((acts, max_new_tokens))

    def taken(work: Any, device: torch.device, repeats: int) -> float:
        work()
        return 4.0 + 0.5 * calls[-1][1]  # the first token takes longer than the others

    monkeypatch.setattr(benchmark.emolib, "generate", generate)
    monkeypatch.setattr(benchmark, "median_seconds", taken)
    params = resolve("baseline", "smollm2_135m", "phase5")
    prompts = ["It is noon."] * 6
    assert benchmark.generation_speed(bundled, prompts, 30, 30, params, 1) == pytest.approx(6 * 30 / 19)
    assert [count for _, count in calls] == [30]
    assert benchmark.generation_speed(bundled, prompts, 8, 30, params, 1) == pytest.approx(6 * 30 / 19)
    acts = calls[0][0]
    assert len({act.delta().tobytes() for act in acts}) == len(acts) == 6 and {act.layer for act in acts} == {15}


def test_continuations_are_distinct_and_about_as_long_as_asked(benchmark: ModuleType, bundled: LanguageModel) -> None:
    texts = benchmark.made_continuations(2048, 30)
    lengths = [len(row) for row in bundled.tokenizer(texts).input_ids]
    assert len(set(texts)) == 2048 and 25 < sum(lengths) / len(lengths) < 35
    assert max(len(text.split()) for text in benchmark.made_continuations(3, 4)) == 3


def test_a_model_that_does_not_fit_is_left_out_with_the_reason(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "available_memory", lambda device: 20 * 10**9)
    monkeypatch.setattr(benchmark.emolib, "load_model", lambda *args, **kwargs: pytest.fail("it was loaded"))
    size = benchmark.size_of(model_table()["gemma3_12b"])
    arguments = SimpleNamespace(rows=1, new_tokens=2, repeats=1)
    told = benchmark.measure_model(model_table()["gemma3_12b"], size, CPU, arguments)
    assert told == {"reason": "needs 27.0 GB, 20.0 GB are free"}

    def full(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(benchmark.emolib, "load_model", full)
    size = benchmark.size_of(model_table()["gpt2_small"])
    assert benchmark.measure_model(model_table()["gpt2_small"], size, CPU, arguments) == {"reason": "ran out of memory"}


# a GPU's results


def written(path: Path, outcome: dict[str, Any]) -> Path:
    path.write_text(json.dumps(outcome))
    return path


def test_a_gpus_speeds_come_from_its_results_alone(benchmark: ModuleType, tmp_path: Path) -> None:
    speeds = {"tokens": 9000.0, "extracted": 80.0, "fluency": 90.0, "scored": 300.0}
    models = {
        "gpt2_small": {"how": "measured", "speeds": speeds},
        "qwen3_8b": {"how": "extrapolated", "speeds": speeds},
    }
    study = {"benchmark": "study_cost", "settings": {"device": "cuda"}, "models": models}
    sweep = {
        "benchmark": "steering_throughput",
        "settings": {"device": "cuda:0", "model": "llama3_8b"},
        "results": {"bfloat16": {"c": {"tokens_per_s": 5000.0}}},
    }
    paths = [written(tmp_path / "a.json", study), written(tmp_path / "b.json", sweep)]
    found = benchmark.gpu_speeds(paths, strict=True)
    assert found == {"gpt2_small": benchmark.Speeds(**speeds), "llama3_8b": benchmark.Speeds(5000.0)}

    on_cpu = written(tmp_path / "c.json", {**study, "settings": {"device": "cpu"}})
    other = written(tmp_path / "d.json", {"benchmark": "extraction", "settings": {"device": "cuda"}})
    assert benchmark.gpu_speeds([on_cpu, other], strict=False) == {}
    for path in (on_cpu, other, tmp_path / "none.json"):
        with pytest.raises(UserError, match="measured on a GPU"):
            benchmark.gpu_speeds([path], strict=True)


def test_the_gpus_column_says_what_is_not_measured(benchmark: ModuleType) -> None:
    cells = []
    for gpu in (None, benchmark.Speeds(2.0), benchmark.Speeds(2.0, 4.0, 0.5, 0.25)):
        cost = benchmark.cost_of("gpt2_small", benchmark.Speeds(1.0, 1.0, 1.0, 1.0), gpu)
        cells.append(benchmark.gpu_cell(cost["gpu"]))
    assert cells[0] == "not measured"
    assert cells[1].endswith(" (generation alone)") and "(" not in cells[2]
    assert float(cells[1].split()[0]) < float(cells[2])


# the script


@pytest.mark.usefixtures("bundled")
def test_a_small_run_gives_hours_for_every_model(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path)
    monkeypatch.setitem(benchmark.BUDGET, "cpu", 1.0)
    path = tmp_path / "result.json"
    small = ["--models", "smollm2_135m", "--rows", "4", "--new-tokens", "9", "--repeats", "1", "--json"]
    monkeypatch.setattr(sys, "argv", ["study_cost.py", *small, str(path)])
    benchmark.main()
    outcome, printed = json.loads(path.read_text()), capsys.readouterr().out
    assert {"date", "device", "versions", "settings"} <= set(outcome) and set(outcome["models"]) == set(
        benchmark.studied()
    )
    assert {name for name, one in outcome["models"].items() if one["how"] == "measured"} == {"smollm2_135m"}
    own = outcome["models"]["smollm2_135m"]
    assert own["ran"] == {"rows": 4, "new_tokens": 8, "texts": 4} and own["weights"] == "pretrained"
    for name, one in outcome["models"].items():
        ratio = own["flops_per_token"] / one["flops_per_token"]
        assert (
            one["speeds"]["tokens"] == pytest.approx(own["speeds"]["tokens"] * ratio) and one["from"] == "smollm2_135m"
        )
        rows = benchmark.design_rows("baseline", name)
        assert one["hours"] == pytest.approx(benchmark.hours(rows, benchmark.Speeds(**one["speeds"])))
        assert one["rows"]["generated"] == rows.generated and one["gpu"] is None
    for line in ("4 rows × 8 tokens", "not measured", "qwen3_8b: not asked for; extrapolated", "90 to 175 hours"):
        assert line in printed


def test_it_says_why_nothing_could_be_measured(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "available_memory", lambda device: 0)
    monkeypatch.setattr(sys, "argv", ["study_cost.py", "--models", "gpt2,smollm2_135m"])
    with pytest.raises(UserError, match=r"gpt2_small needs 1.6 GB, 0.0 GB are free; smollm2_135m needs"):
        benchmark.main()


@pytest.mark.parametrize("wrong", [("--rows", "0"), ("--new-tokens", "1"), ("--repeats", "0")])
def test_a_number_too_small_is_refused(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["study_cost.py", *wrong])
    with pytest.raises(UserError, match=f"expected {wrong[0]} of at least"):
        benchmark.main()


def test_a_wrong_model_is_told_in_one_line() -> None:
    done = run_here("study_cost.py", "--models", "gpt2_small,smollm2_135n")
    assert done.returncode == 2 and not done.stdout
    assert "smollm2_135m" in done.stderr and len(done.stderr.strip().splitlines()) == 1
