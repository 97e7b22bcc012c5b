"""The whole path on the bundled model: reports, resuming after a kill, and a regression test that can fail."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from smoke_run import MODEL, data_files, emolib_here, environment

from emolib import open_run
from emolib.base import paths, store
from emolib.base.errors import UserError
from emolib.pipeline import phases

# A line of Phase 2, the cheapest with a model: without it the norms of a layer change by a few percent.
FIRST_TOKENS_LEFT_OUT = ("emolib/data/activations.py", "later[self.offsets[:-1]] = False")
# One of its first, before any model is loaded.
WHICH_POSITIONS = (
    "emolib/study/phase2_activations.py",
    "left_out = set(USUAL) - set(usual_positions(run) if held is None else _usual(held))",
)


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
    again = emolib_here(folder, "run", "--profile", "baseline_smoke")
    assert again.returncode == 0 and again.stdout.count("done already") == len(phases.phases_in_order())
    assert {name: path.stat().st_mtime_ns for name, path in data_files(folder).items()} == before
    status = emolib_here(folder, "status", "--profile", "baseline_smoke").stdout
    assert status.count("done") == len(phases.phases_in_order())
    others = emolib_here(folder, "status", "--profile", "baseline_smoke", "-p", "n_train=6").stdout
    assert others.count("missing") == len(phases.phases_in_order()), (
        "other values are a variant, of which nothing is there"
    )


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


def test_the_layers_tried_are_those_extracted_only_where_phase_2_runs_alone():
    both = phases.open_runs("quick", MODEL, ["phase2", "phase5"], {"layers": "8-9"})
    assert [run.params.layers for run in both] == [None, (8, 9)]
    (alone,) = phases.open_runs("quick", MODEL, ["phase2"], {"layers": "8-9"})
    assert alone.params.layers == (8, 9) and alone.variant.name is None


def test_a_second_run_on_the_same_profile_is_told(smoke):
    folder, _ = smoke
    with store.lock(folder / "results" / "baseline_smoke" / ".lock"):
        second = emolib_here(folder, "run", "--profile", "baseline_smoke", "--force")
    assert second.returncode == 2 and "another run holds" in second.stderr


def test_a_failing_notebook_keeps_its_traceback_and_stops_what_follows(tmp_path):
    root = repository_copy(tmp_path)
    breaking(root, *WHICH_POSITIONS, 'raise RuntimeError("planted fault")')
    phases_run = ["--phase", "phase2", "--phase", "phase3"]
    done = emolib_here(tmp_path, "run", "--profile", "baseline_smoke", *phases_run, PYTHONPATH=str(root))
    assert done.returncode == 1 and "planted fault" in done.stderr and "phase3" not in done.stdout.split("phase2")[-1]
    reports = tmp_path / "executed/baseline_smoke" / MODEL
    assert "planted fault" in (reports / "phase2_activations.failed.ipynb").read_text()
    assert [path.name for path in reports.iterdir()] == ["phase2_activations.failed.ipynb"]


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


def test_nbval_passes_as_it_is_and_fails_when_a_library_function_is_broken(smoke, tmp_path):
    root = repository_copy(tmp_path)
    shutil.copytree(smoke[0] / "results", tmp_path / "results")  # `nox -s tests` has nbval begin with nothing
    assert with_another_last_digit(root / "executed" / "baseline_smoke" / MODEL / paths.NOTEBOOKS["phase2"])
    intact = nbval(root, tmp_path, "phase2")
    assert intact.returncode == 0, intact.stdout[-3000:]
    breaking(root, *FIRST_TOKENS_LEFT_OUT, "later[self.offsets[:-1]] = True")
    broken = nbval(root, tmp_path, "phase2")  # over the same activations, too: they are stored before that line
    assert broken.returncode == 1 and "Cell outputs differ" in broken.stdout
