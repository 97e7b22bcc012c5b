"""How the scripts of `benchmarks/` are run: here, where the libraries are loaded, or in a process of their own."""

from __future__ import annotations

import contextlib
import io
import runpy
import subprocess
import sys
from collections.abc import Iterator

import pytest

from emolib.base.paths import repository_root

SCRIPTS = repository_root() / "benchmarks"


def run_apart(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a script as its user does, in a process that loads every library anew."""
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=repository_root(), check=False)


def run_here(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, as `__main__`; a process that the script starts is a process still."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, _modules_gone_afterwards():
        patch.syspath_prepend(str(SCRIPTS))
        patch.chdir(repository_root())
        patch.setattr(sys, "argv", [str(SCRIPTS / script), *arguments])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                runpy.run_path(str(SCRIPTS / script), run_name="__main__")
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return subprocess.CompletedProcess([script, *arguments], code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _modules_gone_afterwards() -> Iterator[None]:
    """Forgets what was imported from beside the script: names such as `scoring` are no other test's."""
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(SCRIPTS)):
                del sys.modules[name]
