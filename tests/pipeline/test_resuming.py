"""A run that is killed goes on where it stopped; an artifact that was damaged stops it with one line."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from smoke_run import MODEL, command, data_files, emolib_here, environment, shards


def test_a_killed_run_keeps_its_shards_and_ends_with_the_same_bytes(smoke, tmp_path):
    undisturbed, _ = smoke
    run = ["run", "--profile", "baseline_smoke", "--phase", "phase5"]
    shutil.copytree(undisturbed / "results", tmp_path / "results", ignore=shutil.ignore_patterns("status", "timing"))
    expected, lacking = shards(undisturbed), _from_the_last_sweep_on(undisturbed)
    for name in lacking:
        path = shards(tmp_path)[name]
        path.with_name(path.name + ".manifest.json").unlink()
        path.unlink()
    process = subprocess.Popen(
        command(*run), env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not lacking & _finished(tmp_path) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3)  # the kernel notices that its parent is gone and ends
    kept = {name: shards(tmp_path)[name].stat().st_mtime_ns for name in _finished(tmp_path)}
    assert lacking & kept.keys() and lacking - kept.keys() and kept.keys() | lacking == expected.keys()
    resumed = emolib_here(tmp_path, *run)
    assert resumed.returncode == 0, resumed.stderr
    assert {name: shards(tmp_path)[name].stat().st_mtime_ns for name in kept} == kept
    found = shards(tmp_path)
    assert set(found) == set(expected)
    for name, path in expected.items():
        assert found[name].read_bytes() == path.read_bytes(), name


def _from_the_last_sweep_on(folder: Path) -> set[str]:
    """The shards of the sweep that Phase 5 makes last, one before the other, and what it makes after them."""
    made = {name: path.stat().st_mtime_ns for name, path in shards(folder).items()}
    first = min(moment for name, moment in made.items() if "_test_alternatives_" in name)
    return {name for name, moment in made.items() if moment >= first}


def _finished(folder: Path) -> set[str]:
    return {name for name, path in shards(folder).items() if path.with_name(path.name + ".manifest.json").exists()}


def test_a_corrupted_artifact_stops_with_one_line(smoke, tmp_path):
    folder, _ = smoke
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    name = f"activations/{MODEL}/mean/resid_pre_layer014.safetensors"
    victim = data_files(tmp_path)[name]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    run = ["run", "--profile", "baseline_smoke", "--phase", "phase2"]
    stopped = emolib_here(tmp_path, *run)
    assert stopped.returncode == 2
    assert len(stopped.stderr.strip().splitlines()) == 1 and "corrupted artifact" in stopped.stderr
    forced = emolib_here(tmp_path, *run, "--force")
    assert forced.returncode == 0, forced.stderr
    assert victim.read_bytes() == data_files(folder)[name].read_bytes()
