"""One undisturbed run of `baseline_smoke`, made once for all tests that read it, and how commands are run beside it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from emolib.cli import main

MODEL = "smollm2_135m"
DATA_FILES = ("*.parquet", "*.safetensors")


def environment(folder: Path, **more: str) -> dict[str, str]:
    own = {"EMOLIB_RESULTS": str(folder / "results"), "EMOLIB_EXECUTED": str(folder / "executed")}
    dropped = ("PYTEST_VERSION", "PYTEST_CURRENT_TEST")
    return {**{k: v for k, v in os.environ.items() if k not in dropped}, **own, **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from emolib.cli import main; main()", *arguments]


def emolib_here(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in this process, which has loaded the libraries already; a notebook has a kernel of its own."""
    printed = {name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for name in ("stdout", "stderr")}
    known, code = environment(folder, **more), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        for name in os.environ.keys() - known.keys():
            patch.delenv(name)
        for name, value in known.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["emolib", *arguments])
        stack.enter_context(contextlib.redirect_stdout(printed["stdout"]))
        stack.enter_context(contextlib.redirect_stderr(printed["stderr"]))
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    texts = {}
    for name, stream in printed.items():
        stream.seek(0)
        texts[name] = stream.read()
    return subprocess.CompletedProcess(["emolib", *arguments], code, **texts)


def smoke_run(base: Path) -> tuple[Path, str]:
    """The folder of the run and what it printed; the first process that asks makes it, others wait for it."""
    folder, printed = base / "smoke-run", base / "smoke-run.txt"
    with FileLock(base / "smoke-run.lock"):
        if not printed.exists():
            done = emolib_here(folder, "run", "--profile", "baseline_smoke")
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout, encoding="utf-8")
    return folder, printed.read_text(encoding="utf-8")


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all processes of a test session see."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def data_files(folder: Path) -> dict[str, Path]:
    root = folder / "results" / "baseline_smoke"
    return {p.relative_to(root).as_posix(): p for pattern in DATA_FILES for p in root.rglob(pattern)}


def shards(folder: Path) -> dict[str, Path]:
    return {name: path for name, path in data_files(folder).items() if "_sweep_" in name}
