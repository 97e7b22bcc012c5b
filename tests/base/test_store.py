"""Artifacts are whole, described, checked and reused only when nothing they depend on changed."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load as load_tensors

from emolib.base import store, tensor_files
from emolib.base.errors import UserError

TABLE = pd.DataFrame({"layer": [0, 1], "value": [0.5, float("nan")]})


def test_a_matching_artifact_is_left_untouched_and_a_changed_parameter_recomputes_it(tmp_path):
    path, calls = tmp_path / "t.parquet", []

    def compute():
        calls.append(1)
        return store.table_bytes(TABLE)

    assert store.obtain(path, {"alpha": 0.3}, compute)
    before = path.stat().st_mtime_ns
    assert not store.obtain(path, {"alpha": 0.3}, compute)
    assert path.stat().st_mtime_ns == before
    assert store.obtain(path, {"alpha": 0.4}, compute)
    assert len(calls) == 2
    pd.testing.assert_frame_equal(store.read_table(path), TABLE)


def test_state_tells_missing_stale_and_done(tmp_path):
    path = tmp_path / "x.json"
    assert store.state(path, {"a": 1}) == "missing"
    store.write(path, b"{}", {"a": 1})
    assert store.state(path, {"a": 1}) == "done"
    assert store.state(path, {"a": 2}) == "stale"
    store.manifest_path(path).unlink()
    assert store.state(path, {"a": 1}) == "missing"


def test_a_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "t.parquet"
    store.write(path, store.table_bytes(TABLE), {})
    store.read_table(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"corrupted artifact .*expected sha256"):
        store.read_table(path)


def test_nothing_half_written_stays_when_computing_or_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"

    def broken():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.obtain(path, {}, broken)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(UserError, match=r"expected to write .*t\.parquet.* disk full"):
        store.write_atomically(path, b"abc")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(UserError, match="expected a folder that can be written"):
        store.write_atomically(blocked / "sub" / "t.json", b"{}")
    assert blocked.read_text() == "not a folder"


def test_tables_and_tensors_give_the_same_bytes_twice():
    assert store.table_bytes(TABLE) == store.table_bytes(TABLE.copy())
    tensors = {"b": np.ones((2, 3), np.float32), "a": np.arange(3)}
    assert tensor_files.tensor_bytes(tensors) == tensor_files.tensor_bytes(dict(reversed(tensors.items())))


def test_tensors_are_read_one_at_a_time(tmp_path):
    path = tmp_path / "t.safetensors"
    store.write(path, tensor_files.tensor_bytes({"x": np.arange(4.0), "y": np.zeros(2)}), {})
    with tensor_files.open_tensors(path) as view:
        assert sorted(view.keys()) == ["x", "y"]
        np.testing.assert_array_equal(view.get_tensor("x"), np.arange(4.0))


def test_the_manifest_keeps_times_out_of_what_is_matched(tmp_path):
    path = tmp_path / "x.json"
    store.write(path, b"{}", {"seed": 0}, recorded={"device": "cpu"})
    manifest = json.loads(store.manifest_path(path).read_text())
    assert manifest["matched"] == {"seed": 0}
    assert {"sha256", "time", "versions", "device"} <= set(manifest["recorded"])


def test_a_second_run_is_told_and_a_killed_one_frees_the_lock(tmp_path):
    lock = tmp_path / "p" / ".lock"
    code = (
        "import sys, time; from pathlib import Path; from emolib.base import store\n"
        "with store.lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(UserError, match="another run holds"), store.lock(lock, timeout=0.2):
            pass
    finally:
        holder.kill()
        holder.wait()
    with store.lock(lock, timeout=5):
        pass


def test_the_same_tensors_with_metadata_give_the_same_bytes_every_time():
    given = {"vector/anger": np.arange(6, dtype=np.float32).reshape(2, 3), "count": np.array([1, 2])}
    about = {"model": "m", "revision": "r", "emotions": "anger", "語": "怒り"}
    written = {
        tensor_files.tensor_bytes(given, dict(sorted(about.items(), reverse=turn % 2 == 1))) for turn in range(16)
    }
    assert len(written) == 1
    held = load_tensors(written.pop())
    assert all(np.array_equal(held[name], values) for name, values in given.items())
