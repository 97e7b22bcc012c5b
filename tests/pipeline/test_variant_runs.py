"""Trying other values on the command line leaves the profile's results as they are."""

import json
import re
import shlex
import shutil
from pathlib import Path

from smoke_run import MODEL, emolib_here, environment
from told_notebooks import told_by

from emolib.base import paths


def everything(folder: Path, *, variants: bool) -> dict[str, bytes]:
    """Every file of the profile's results and reports, or of its variants', except the lock."""
    files = [p for kind in ("results", "executed") for p in (folder / kind / "baseline_smoke").rglob("*")]
    files = [p for p in files if p.is_file() and p.name != ".lock" and ("variants" in p.parts) == variants]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def test_other_values_make_a_variant_and_leave_every_byte_of_the_profile(smoke, tmp_path):
    shutil.copytree(smoke[0], tmp_path, dirs_exist_ok=True)
    profile = everything(tmp_path, variants=False)
    run = ["run", "--profile", "baseline_smoke", "-p", "ds=0.4", "-p", "significance=0.01"]
    run += [word for phase in "12357" for word in ("--phase", f"phase{phase}")]
    first = emolib_here(tmp_path, *run)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("done already") == 4, "all but Phase 7 are the profile's own"
    assert everything(tmp_path, variants=False) == profile
    (name,) = [path.name for path in (tmp_path / "executed/baseline_smoke/variants").iterdir()]
    reports = tmp_path / "executed/baseline_smoke/variants" / name / MODEL
    assert sorted(p.name for p in reports.glob("*.ipynb")) == [paths.NOTEBOOKS["phase7"]]

    listed = emolib_here(tmp_path, "variants", "--profile", "baseline_smoke").stdout
    assert listed.startswith(name) and "significance=0.01" in listed and f"{MODEL}: phase7" in listed
    again = emolib_here(tmp_path, *run)
    assert again.stdout.count("done already") == 5
    states = emolib_here(tmp_path, "status", "--profile", "baseline_smoke", "--variant", name).stdout
    assert re.search(rf"^phase7 +done +\S*variants/{name}/", states, re.M) and re.search(
        r"^phase9 +missing$", states, re.M
    )
    assert re.search(r"^phase2 +done +\S*baseline_smoke/smollm2", states, re.M), "a phase that is the profile's own"
    assert emolib_here(tmp_path, "status", "--profile", "baseline_smoke").stdout.count(" done ") == 9
    verified = emolib_here(tmp_path, "verify", "--profile", "baseline_smoke")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    compared = emolib_here(tmp_path, "compare", "baseline_smoke", f"baseline_smoke@{name}").stdout
    assert "significance" in compared and "ds" in compared
    deleted = emolib_here(tmp_path, "variants", "--profile", "baseline_smoke", "--delete", name)
    assert deleted.stdout.count("removed") == 2 and everything(tmp_path, variants=True) == {}
    assert everything(tmp_path, variants=False) == profile


def test_the_printed_command_makes_a_deleted_variant_again(smoke, tmp_path, monkeypatch):
    shutil.copytree(smoke[0], tmp_path, dirs_exist_ok=True)
    profile = everything(tmp_path, variants=False)
    for name in ("EMOLIB_RESULTS", "EMOLIB_EXECUTED"):
        monkeypatch.setenv(name, environment(tmp_path)[name])
    told_by("phase2", monkeypatch, overrides={"n_train": 4, "sites": ["resid_pre"]})  # as in JupyterLab
    (folder,) = (tmp_path / "results/baseline_smoke/variants").iterdir()
    (line,) = (folder / "timing/phase_timings.jsonl").read_text().splitlines()
    made = {key: data for key, data in everything(tmp_path, variants=True).items() if key.endswith(".parquet")}
    emolib_here(tmp_path, "variants", "--profile", "baseline_smoke", "--delete", folder.name)
    assert made and everything(tmp_path, variants=True) == {}
    words = shlex.split(json.loads(line)["command"])
    assert words[:2] == ["emolib", "run"] and emolib_here(tmp_path, *words[1:]).returncode == 0
    found = everything(tmp_path, variants=True)
    assert {key: found[key] for key in made} == made
    assert everything(tmp_path, variants=False) == profile
