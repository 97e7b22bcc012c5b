"""`emolib compare`: what differs between two runs is told, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from laid_runs import LaidRun
from smoke_run import MODEL, emolib_here

from emolib.base.errors import UserError
from emolib.pipeline.comparison import compare


@pytest.fixture
def pair(smoke: tuple[Path, str], tmp_path: Path) -> tuple[LaidRun, LaidRun]:
    return LaidRun(smoke[0], tmp_path / "a"), LaidRun(smoke[0], tmp_path / "b")


def test_a_run_does_not_differ_from_its_copy(pair: tuple[LaidRun, LaidRun]) -> None:
    ours, theirs = (run.folder / "results" for run in pair)
    done = emolib_here(pair[0].folder, "compare", str(ours), str(theirs))
    assert (done.returncode, done.stdout) == (0, "no difference\n"), done.stdout + done.stderr
    assert compare(str(ours), str(theirs / "baseline_smoke")).empty


def test_every_kind_of_difference_is_told(pair: tuple[LaidRun, LaidRun]) -> None:
    ours, theirs = pair
    theirs.record("phase5", lambda matched: matched["parameters"].update(n_controls=9, alphas=[1.0, 3.0]))
    theirs.record("phase3", lambda matched: matched.update(dataset="0" * 64))
    theirs.record("phase2", lambda matched: matched["model"].update(revision="1" * 64))
    theirs.record("phase1", lambda matched: matched.update(scorers="2" * 64))
    path = theirs.root / "status" / f"{MODEL}_phase7.json"
    theirs.manifest(path, lambda held: held["recorded"]["versions"].update(torch="1.0"))
    theirs.table("statistics/claims.csv", lambda table: table.assign(verdict="supported"))
    theirs.table("patching/residual/*_sweep_test.parquet", lambda table: table.assign(layer=table["layer"] - 1))

    table = compare(str(ours.root), str(theirs.root))
    told = {(row["what"], row["where"], row["name"]): (row["a"], row["b"]) for row in table.to_dict("records")}
    assert told["parameters", f"{MODEL} phase5", "n_controls"] == ("5", "9")
    assert told["parameters", f"{MODEL} phase5", "alphas"] == ("1.0, 2.0", "1.0, 3.0")
    assert told["data", f"{MODEL} phase3", "dataset"][1].startswith("000")
    assert told["model", f"{MODEL} phase2", "revision"][1].startswith("111")
    assert told["scorers", f"{MODEL} phase1", "scorers"][1].startswith("222")
    assert told["libraries", f"{MODEL} phase7", "torch"][1] == "1.0"
    a, b = told["operating point", MODEL, "test"]
    assert a != b and a.split(", ")[1] == b.split(", ")[1]
    assert {b.partition(",")[0] for (what, _, _), (_, b) in told.items() if what == "verdicts"} == {"supported"}
    assert told["artifacts", MODEL, "sweep test"][1] == "1 files, 1 of 1 differ"
    assert {what for what, _, _ in told} == {
        *("parameters", "data", "model", "scorers", "libraries", "operating point", "verdicts", "artifacts")
    }

    done = emolib_here(ours.folder, "compare", "baseline_smoke", str(theirs.root))
    assert done.returncode == 1
    place, first, header, *lines, follow, last = done.stdout.splitlines()
    assert place == f"results in {ours.folder / 'results'}"
    assert first.startswith("differ: model 1, data 1, scorers 1, parameters 2") and "verdicts" in first
    assert header.split() == ["what", "where", "name", "a", "b"] and last.startswith(f"{len(table)} differences")
    kinds = [line.split()[0] for line in lines]
    assert kinds[:5] == ["model", "data", "scorers", "parameters", "parameters"] and "artifacts" not in kinds
    assert follow == "2 kinds of artifacts have other bytes, as other model, data, scorers, parameters make them"
    assert len(lines) == len(table) - 2


def test_artifacts_are_told_by_kind_where_nothing_decides_them(pair: tuple[LaidRun, LaidRun]) -> None:
    ours, theirs = pair
    theirs.table("dataset/leaks.parquet", lambda table: table.assign(auc=0.5))
    done = emolib_here(ours.folder, "compare", str(ours.root), str(theirs.root))
    first, _, line, last = done.stdout.splitlines()
    assert first == "differ: artifacts 1" and line.split()[:4] == ["artifacts", MODEL, "dataset", "leaks"]
    assert last == "1 differences (baseline_smoke, baseline_smoke)"


def test_a_phase_that_one_run_lacks_is_told(pair: tuple[LaidRun, LaidRun]) -> None:
    ours, theirs = pair
    theirs.remove(theirs.root / "status" / f"{MODEL}_phase7.json")
    table = compare(str(ours.root), str(theirs.root))
    assert table[["what", "name", "a", "b"]].to_numpy().tolist() == [["run", "finished", "yes", "—"]]


def test_a_folder_of_several_profiles_is_refused(pair: tuple[LaidRun, LaidRun]) -> None:
    ours = pair[0]
    (ours.root.parent / "quick" / "activations" / MODEL).mkdir(parents=True)
    with pytest.raises(UserError, match="results of one profile"):
        compare(str(ours.root.parent), str(ours.root))
