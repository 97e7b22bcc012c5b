"""`emolib verify` as a command: its lines, exit codes and JSON; it writes nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from laid_runs import LaidRun
from refusals import Place, Refusal, refused
from smoke_run import MODEL, emolib_here, environment

from emolib.base import store

ASK = ("verify", "--profile", "baseline_smoke")


@pytest.fixture
def laid(smoke: tuple[Path, str], tmp_path: Path) -> LaidRun:
    return LaidRun(smoke[0], tmp_path / "copy")


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


def test_an_untouched_run_passes_and_nothing_is_written(laid: LaidRun, tmp_path: Path) -> None:
    before, place = files_of(laid.folder), tmp_path / "found.json"
    done = emolib_here(laid.folder, *ASK, "--json", str(place))
    assert done.returncode == 0, done.stdout + done.stderr
    assert files_of(laid.folder) == before
    *_, last = done.stdout.splitlines()
    rows = json.loads(place.read_text(encoding="utf-8"))["rows"]
    passed = sum(row["status"] == "pass" for row in rows)
    assert last.startswith(f"{passed} passed, 0 failed") and passed > 500
    assert "FAIL" not in done.stdout


def test_a_fault_is_told_with_exit_code_1(laid: LaidRun) -> None:
    path = laid.find("dataset/leaks.parquet")
    laid.put(path, path.read_bytes()[:-1])
    done = emolib_here(laid.folder, *ASK, "--model", MODEL)
    assert done.returncode == 1
    assert "FAIL  sha256: results/baseline_smoke/dataset/leaks.parquet: its manifest says sha256" in done.stdout
    assert done.stdout.splitlines()[-1].split(", ")[1] != "0 failed"


def test_a_run_that_was_not_sealed_is_told_so(laid: LaidRun) -> None:
    for path in laid.all("seals/*"):
        path.unlink()
    done = emolib_here(laid.folder, *ASK)
    assert done.returncode == 0, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "no report of this run was sealed" in line]
    assert line.startswith("skip  seal: ") and "phase1_dataset.ipynb and 8 more files: no report" in line
    assert "9 skipped" in done.stdout.splitlines()[-1] and "seal 9" in done.stdout.splitlines()[-1]


def test_phases_that_were_not_run_are_no_failure(laid: LaidRun) -> None:
    """A part of the phases is a run, too; what a phase left without finishing is none."""
    for phase in ("phase5", "phase6a", "phase6b", "phase7", "phase8", "phase9"):
        laid.remove(laid.root / "status" / f"{MODEL}_{phase}.json")
        laid.remove(laid.root / "seals" / f"{MODEL}_{phase}.json")
    assert "phase5 left artifacts or a report" in emolib_here(laid.folder, *ASK).stdout
    left = [
        *laid.all("patching*/**/*"),
        *laid.all("statistics/*"),
        *laid.all("emotion_vectors/*explicit*"),
        *laid.all("screening/*"),
        *laid.all("circuits/*"),
    ]
    left += [path for phase in (5, 6, 7, 8, 9) for path in laid.reports.glob(f"phase{phase}*")] + laid.all(
        "verification/*"
    )
    for path in (path for path in left if path.is_file()):
        path.unlink()
    done = emolib_here(laid.folder, *ASK)
    assert done.returncode == 0, done.stdout
    assert "phase5 was not run" in done.stdout and "phase7 was not run" in done.stdout


def test_what_does_not_need_a_model_library_loads_none(laid: LaidRun) -> None:
    code = (
        "import sys\n"
        "from emolib.pipeline.verification import verify\n"
        "verify.CHECKS = verify.CHECKS[:-1]\n"
        "found = verify.verify('baseline_smoke')\n"
        "print(len(found), 'torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    given = {"env": environment(laid.folder), "capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run([sys.executable, "-c", code], check=True, **given)
    count, torch, transformers = done.stdout.split()
    assert int(count) > 500 and (torch, transformers) == ("False", "False")


REFUSALS = [
    Refusal("no results", ASK, ("expected results of profile", "baseline_smoke", "emolib run")),
    Refusal("an unknown profile", ("verify", "--profile", "quikc"), ("unknown profile", "quick")),
    Refusal("an unknown variant", (*ASK, "--variant", "abcdefgh"), ("unknown variant",)),
    Refusal("a folder that is not there", (*ASK, "--json", "no/such/found.json"), ("--json", "folder")),
    Refusal("results that are not there", ("compare", "quick", "baseline"), ("expected results of 'quick'",)),
    Refusal("a folder that is none", ("compare", "./nothing", "./nothing"), ("expected a folder", "nothing")),
]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: case.name)
def test_bad_input_is_refused(case: Refusal, place: Place) -> None:
    refused(place, case)


def test_an_unknown_model_is_refused(laid: LaidRun) -> None:
    done = emolib_here(laid.folder, *ASK, "--model", "pythia_70m")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "expected results of 'pythia_70m'" in done.stderr and MODEL in done.stderr


def test_a_report_is_sealed_as_it_was_written(laid: LaidRun) -> None:
    for seal in (path for path in laid.all("seals/*.json") if not path.name.endswith(".manifest.json")):
        held = json.loads(seal.read_text(encoding="utf-8"))
        assert held["sha256"] == store.sha256_of(laid.reports / held["report"])
        assert held["record"] == store.recorded_sha256(laid.root / "status" / seal.name)
