"""A virtual environment per peer, made once from its pinned requirements, and the call into it.

The peers' requirements exclude each other and emolib's (numpy below 2, transformers below 5), so each lives apart,
in the cache folder. A peer that cannot be installed is no error: the benchmark says why and does without it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from emolib.base import paths
from emolib.base.errors import UserError

HERE = Path(__file__).resolve().parent
SCRIPTS = {
    "transformers": "with_hook.py",  # the hook by hand, in the environment that runs the benchmark
    "steering-vectors": "with_steering_vectors.py",
    "repeng": "with_repeng.py",
    "nnterp": "with_nnterp.py",
    "xllamacpp": "with_llama_cpp.py",
}
INSTALL_SECONDS = 1800


class Environment(NamedTuple):
    """The peer's interpreter, or None and the reason in one line."""

    python: Path | None
    reason: str | None


def environment(peer: str) -> Environment:
    """Finds or makes the peer's environment under `<cache>/peers/<peer>`.

    It is made anew when its requirements or the version of Python have changed.

    Raises:
        UserError: no such peer.
    """
    if peer not in SCRIPTS:
        raise UserError(f"expected a peer of {', '.join(SCRIPTS)}, got {peer!r}")
    requirements = HERE / f"{peer}.txt"
    if not requirements.is_file():
        return Environment(Path(sys.executable), None)
    folder = paths.cache_root() / "peers" / peer
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            return _installed(peer, folder, requirements)
    except OSError as error:
        return Environment(None, f"the cache folder cannot be written ({error.strerror}); set EMOLIB_CACHE")


def measure(
    peer: str, request: dict[str, Any], *, timeout: float | None = None, script: str | None = None
) -> dict[str, Any]:
    """Sends a request to the peer's process and returns its result; `exchange.py` says what both hold.

    Args:
        timeout: seconds; None waits.
        script: another one than the peer's usual, which says itself what both hold.

    Raises:
        UserError: the peer cannot be installed, fails or takes too long.
    """
    python, reason = environment(peer)
    if python is None:
        raise UserError(f"peer {peer} cannot be installed: {reason}")
    # The peer must not find the caller's packages, nor look anything up online.
    apart = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    apart |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory(prefix="emolib-peer-") as folder:
        question, result = Path(folder) / "request.json", Path(folder) / "result.json"
        question.write_text(json.dumps(request, default=str), encoding="utf-8")
        command = [python, HERE / (script or SCRIPTS[peer]), question, result]
        problem = _problem(command, timeout=timeout, env=apart)
        if problem:
            raise UserError(f"peer {peer} failed: {problem}")
        return json.loads(result.read_text(encoding="utf-8"))


def _installed(peer: str, folder: Path, requirements: Path) -> Environment:
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    record = folder / "installed.txt"  # written last: an environment left half made is not taken for a whole one
    wanted = f"# Python {platform.python_version()}\n{requirements.read_text(encoding='utf-8')}"
    if record.is_file() and record.read_text(encoding="utf-8") == wanted and python.exists():
        return Environment(python, None)
    module = peer.replace("-", "_")
    for command in (
        [sys.executable, "-m", "venv", "--clear", folder],
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements],
        [python, "-c", f"import {module}"],
    ):
        problem = _problem(command, timeout=INSTALL_SECONDS)
        if problem:
            return Environment(None, problem)
    record.write_text(wanted, encoding="utf-8")
    return Environment(python, None)


def _problem(command: list[Any], *, timeout: float | None, env: dict[str, str] | None = None) -> str | None:
    """None when the command succeeds, else the last line of what it complained."""
    try:
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=timeout, env=env, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not finished after {timeout:.0f} s"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or [f"exit status {done.returncode}"])[-1]
