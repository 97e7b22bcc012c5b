"""The whole path on the bundled model: reports, resuming after a kill, and a regression test that can fail."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from emolib import open_run
from emolib.base import paths, store
from emolib.base.errors import UserError
from emolib.pipeline import phases

MODEL = "smollm2_135m"
DATA_FILES = ("*.parquet", "*.safetensors")
# A line of Phase 2, the cheapest with a model: without it the norms of a layer change by a few percent.
FIRST_TOKENS_LEFT_OUT = ("emolib/data/activations.py", "later[self.offsets[:-1]] = False")


def environment(folder: Path, **more: str) -> dict[str, str]:
    own = {"EMOLIB_RESULTS": str(folder / "results"), "EMOLIB_EXECUTED": str(folder / "executed")}
    dropped = ("PYTEST_VERSION", "PYTEST_CURRENT_TEST")
    return {**{k: v for k, v in os.environ.items() if k not in dropped}, **own, **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from emolib.cli import main; main()", *arguments]


def emolib(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment(folder), capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """One undisturbed run of every phase of `baseline_smoke`, and what it printed."""
    folder = tmp_path_factory.mktemp("smoke")
    done = emolib(folder, "run", "--profile", "baseline_smoke")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def data_files(folder: Path) -> dict[str, Path]:
    root = folder / "results" / "baseline_smoke"
    return {p.relative_to(root).as_posix(): p for pattern in DATA_FILES for p in root.rglob(pattern)}


def shards(folder: Path) -> dict[str, Path]:
    return {name: path for name, path in data_files(folder).items() if "_sweep_" in name}


def test_every_phase_leaves_a_report_without_errors_and_a_timing_line(smoke):
    folder, printed = smoke
    for phase in phases.phases_in_order():
        report = folder / "executed" / "baseline_smoke" / MODEL / paths.NOTEBOOKS[phase]
        notebook = nbformat.read(report, as_version=4)
        outputs = [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]
        assert outputs and not [out for out in outputs if out.output_type in ("error", "stream")]
        assert "自動生成サマリ" in report.read_text()
        assert phase in printed
    lines = (folder / "results/baseline_smoke/timing/phase_timings.jsonl").read_text().splitlines()
    assert [json.loads(line)["phase"] for line in lines] == phases.phases_in_order()
    assert "to go" in printed and "isotropic" in printed  # progress: which shard, how long


def test_a_finished_run_is_not_computed_again_and_status_says_so(smoke):
    folder, _ = smoke
    before = {name: path.stat().st_mtime_ns for name, path in data_files(folder).items()}
    again = emolib(folder, "run", "--profile", "baseline_smoke")
    assert again.returncode == 0 and again.stdout.count("done already") == len(phases.phases_in_order())
    assert {name: path.stat().st_mtime_ns for name, path in data_files(folder).items()} == before
    status = emolib(folder, "status", "--profile", "baseline_smoke").stdout
    assert status.count("done") == len(phases.phases_in_order())
    others = emolib(folder, "status", "--profile", "baseline_smoke", "-p", "n_train=6").stdout
    assert others.count("missing") == len(phases.phases_in_order()), (
        "other values are a variant, of which nothing is there"
    )


def test_a_killed_run_keeps_its_shards_and_ends_with_the_same_bytes(smoke, tmp_path):
    undisturbed, _ = smoke
    run = ["run", "--profile", "baseline_smoke", "--phase", "phase5"]
    without_phase5 = shutil.ignore_patterns("patching*", "status", "timing")
    shutil.copytree(undisturbed / "results", tmp_path / "results", ignore=without_phase5)
    process = subprocess.Popen(
        command(*run), env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while len(_finished(tmp_path)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3)  # the kernel notices that its parent is gone and ends
    kept = {name: shards(tmp_path)[name].stat().st_mtime_ns for name in _finished(tmp_path)}
    assert 3 <= len(kept) < len(shards(undisturbed))
    resumed = emolib(tmp_path, *run)
    assert resumed.returncode == 0, resumed.stderr
    assert {name: shards(tmp_path)[name].stat().st_mtime_ns for name in kept} == kept
    expected, found = shards(undisturbed), shards(tmp_path)
    assert set(found) == set(expected)
    for name, path in expected.items():
        assert found[name].read_bytes() == path.read_bytes(), name


def _finished(folder: Path) -> list[str]:
    return [name for name, path in shards(folder).items() if path.with_name(path.name + ".manifest.json").exists()]


def test_a_corrupted_artifact_stops_with_one_line(smoke, tmp_path):
    folder, _ = smoke
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    name = f"activations/{MODEL}/mean/resid_pre_layer014.safetensors"
    victim = data_files(tmp_path)[name]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    run = ["run", "--profile", "baseline_smoke", "--phase", "phase2"]
    stopped = emolib(tmp_path, *run)
    assert stopped.returncode == 2
    assert len(stopped.stderr.strip().splitlines()) == 1 and "corrupted artifact" in stopped.stderr
    forced = emolib(tmp_path, *run, "--force")
    assert forced.returncode == 0, forced.stderr
    assert victim.read_bytes() == data_files(folder)[name].read_bytes()


def test_a_phase_is_stale_once_a_table_that_it_read_has_other_content(smoke, tmp_path, monkeypatch):
    shutil.copytree(smoke[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    runs = {phase: open_run("baseline_smoke", MODEL, phase) for phase in ("phase3", "phase5", "phase7")}
    path = runs["phase5"].paths.sweep("test")
    table, matched = store.read_table(path), store.read_manifest(path)["matched"]
    store.write(path, store.table_bytes(table), matched)  # written anew, with the same content
    assert {run.record.state() for run in runs.values()} == {"done"}
    store.write(path, store.table_bytes(table.assign(text=table["text"].str.upper())), matched)
    assert [run.record.state() for run in runs.values()] == ["done", "stale", "stale"]
    path.unlink()
    assert runs["phase7"].record.state() == "stale"


def everything(folder: Path, *, variants: bool) -> dict[str, bytes]:
    """Every file of the profile's results and reports, or of its variants', except the lock."""
    files = [p for kind in ("results", "executed") for p in (folder / kind / "baseline_smoke").rglob("*")]
    files = [p for p in files if p.is_file() and p.name != ".lock" and ("variants" in p.parts) == variants]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def test_other_values_make_a_variant_and_leave_every_byte_of_the_profile(smoke, tmp_path):
    shutil.copytree(smoke[0], tmp_path, dirs_exist_ok=True)
    profile = everything(tmp_path, variants=False)
    run = ["run", "--profile", "baseline_smoke", "-p", "alphas=[0.25]", "-p", "n_controls=3", "--layers", "14"]
    first = emolib(tmp_path, *run)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("done already") == 3, "phases 1 to 3 are the profile's own"
    assert everything(tmp_path, variants=False) == profile
    (name,) = [path.name for path in (tmp_path / "executed/baseline_smoke/variants").iterdir()]
    reports = tmp_path / "executed/baseline_smoke/variants" / name / MODEL
    assert sorted(p.name for p in reports.glob("*.ipynb")) == [paths.NOTEBOOKS[p] for p in ("phase5", "phase7")]

    listed = emolib(tmp_path, "variants", "--profile", "baseline_smoke").stdout
    assert listed.startswith(name) and "alphas=[0.25]" in listed and f"{MODEL}: phase5 phase7" in listed
    again = emolib(tmp_path, *run)
    assert again.stdout.count("done already") == 5
    assert emolib(tmp_path, "status", "--profile", "baseline_smoke", "--variant", name).stdout.count(" done ") == 5
    assert emolib(tmp_path, "status", "--profile", "baseline_smoke").stdout.count(" done ") == 5

    timing = tmp_path / "results/baseline_smoke/variants" / name / "timing/phase_timings.jsonl"
    commands = [json.loads(line)["command"] for line in timing.read_text().splitlines()]
    made = {key: data for key, data in everything(tmp_path, variants=True).items() if key.endswith(".parquet")}
    deleted = emolib(tmp_path, "variants", "--profile", "baseline_smoke", "--delete", name)
    assert deleted.stdout.count("removed") == 2 and everything(tmp_path, variants=True) == {}
    words = shlex.split(commands[0])
    assert words[:2] == ["emolib", "run"] and emolib(tmp_path, *words[1:]).returncode == 0
    found = everything(tmp_path, variants=True)
    assert made and {key: found[key] for key in made} == made
    assert everything(tmp_path, variants=False) == profile


def test_the_layers_tried_are_those_extracted_only_where_phase_2_runs_alone():
    both = phases.open_runs("quick", MODEL, ["phase2", "phase5"], {"layers": "8-9"})
    assert [run.params.layers for run in both] == [None, (8, 9)]
    (alone,) = phases.open_runs("quick", MODEL, ["phase2"], {"layers": "8-9"})
    assert alone.params.layers == (8, 9) and alone.variant.name is None


def test_a_second_run_on_the_same_profile_is_told(smoke):
    folder, _ = smoke
    with store.lock(folder / "results" / "baseline_smoke" / ".lock"):
        second = emolib(folder, "run", "--profile", "baseline_smoke", "--force")
    assert second.returncode == 2 and "another run holds" in second.stderr


def test_a_failing_notebook_keeps_its_traceback_and_stops_what_follows(tmp_path):
    root = repository_copy(tmp_path)
    breaking(root, *FIRST_TOKENS_LEFT_OUT, 'raise RuntimeError("planted fault")')
    done = subprocess.run(
        command("run", "--profile", "baseline_smoke", "--phase", "phase2", "--phase", "phase3"),
        env=environment(tmp_path, PYTHONPATH=str(root)),
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "planted fault" in done.stderr and "phase3" not in done.stdout.split("phase2")[-1]
    kept = (tmp_path / "executed/baseline_smoke" / MODEL / paths.NOTEBOOKS["phase2"]).read_text()
    assert "planted fault" in kept
    assert not (tmp_path / "executed/baseline_smoke" / MODEL / paths.NOTEBOOKS["phase3"]).exists()


def test_an_injected_name_the_notebook_does_not_know_is_refused(tmp_path):
    import papermill
    from papermill.exceptions import PapermillExecutionError

    with pytest.raises(PapermillExecutionError, match=r"unknown parameter 'sites_typo'"):
        papermill.execute_notebook(
            str(paths.notebook_file("phase2")),
            str(tmp_path / "out.ipynb"),
            parameters={"sites_typo": ["resid_pre"]},
            progress_bar=False,
            cwd=str(tmp_path),
        )


def test_phases_come_after_what_they_need():
    order = phases.phases_in_order()
    assert order.index("phase2") < order.index("phase3") < order.index("phase5")
    assert phases.phases_in_order(["phase5", "phase2"]) == ["phase2", "phase5"]
    with pytest.raises(UserError, match="did you mean 'phase5'"):
        phases.phases_in_order(["phase55"])


# The regression test itself: it passes on the code as it is, and fails when a function is broken


def repository_copy(folder: Path) -> Path:
    root = folder / "copy"
    for name in ("emolib", "params", "data", "notebooks", "executed", "docs"):
        shutil.copytree(
            paths.repository_root() / name,
            root / name,
            ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
        )
    (root / "tests").mkdir()
    for name in ("pyproject.toml", "conftest.py", "tests/notebook_outputs.py"):
        shutil.copy(paths.repository_root() / name, root / name)
    return root


def with_another_last_digit(report: Path) -> str:
    """Writes a report's first long number as another processor might; returns the number."""
    text = report.read_text()
    number = re.search(r"\b\d{4,}\.\d{1,3}\b", text)[0]
    report.write_text(text.replace(number, f"{number[:-1]}{(int(number[-1]) + 1) % 10}"))
    return number


def breaking(root: Path, file: str, old: str, new: str) -> None:
    source = (root / file).read_text()
    assert source.count(old) == 1
    (root / file).write_text(source.replace(old, new))


def nbval(root: Path, folder: Path, phase: str) -> subprocess.CompletedProcess[str]:
    report = root / "executed" / "baseline_smoke" / MODEL / paths.NOTEBOOKS[phase]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-current-env", "-x", str(report)],
        env=environment(folder, PYTHONPATH=str(root)),
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_nbval_passes_as_it_is_and_fails_when_a_library_function_is_broken(tmp_path):
    root = repository_copy(tmp_path)
    assert with_another_last_digit(root / "executed" / "baseline_smoke" / MODEL / paths.NOTEBOOKS["phase2"])
    intact = nbval(root, tmp_path / "intact", "phase2")
    assert intact.returncode == 0, intact.stdout[-3000:]
    breaking(root, *FIRST_TOKENS_LEFT_OUT, "later[self.offsets[:-1]] = True")
    broken = nbval(root, tmp_path / "broken", "phase2")
    assert broken.returncode == 1 and "Cell outputs differ" in broken.stdout
