"""Executes one notebook by papermill into its copy, and tells meanwhile how far it is."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from emolib.base import files, paths
from emolib.base.characters import say
from emolib.base.errors import UserError, nearest, shown
from emolib.base.interrupts import before_leaving
from emolib.base.own_folders import own_folder
from emolib.base.writing import OWN, disk_trouble, make_folder, write_atomically, writing
from emolib.pipeline.notebook_files import read_notebook
from emolib.pipeline.notebook_parameters import OVERRIDES, RUN, assigned_names
from emolib.study import Run

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

KERNEL = "python3"
LONGEST_SOCKET = 100  # bytes of a socket's path; systems take 104 to 108


def execute(run: Run, output: Path, *, force: bool = False) -> None:
    """Executes one phase's notebook into `output`; see `execute_notebook`."""
    source, params = paths.notebook_file(run.params.phase), run.params
    given = {"profile": params.profile, "model": params.model}
    execute_notebook(source, injected(source, given, run.overrides), output, name=params.phase, force=force)


def execute_notebook(
    source: Path, injected: Mapping[str, Any], output: Path, *, name: str, force: bool = False
) -> None:
    """Executes a notebook into `output`, with that folder as the working directory.

    A report of an earlier run stays until the new one is finished.

    Args:
        injected: what is written after the parameters cell; see `injected`.
        name: what it is called where it fails.

    Raises:
        UserError: the notebook refused something, or the disk did; nothing of it is left.
        RuntimeError: the notebook failed; its copy with the traceback lies at `failed_file(output)`.
    """
    from papermill.exceptions import PapermillExecutionError

    failed = paths.failed_file(output)
    with _gone_if_empty(output.parent), own_folder(_short_folder(), OWN + "run-") as folder:
        make_folder(output.parent)
        files.file_to_write(output)
        copy = folder / "notebook.ipynb"
        try:
            with _followed_progress(folder / "progress.jsonl", force):
                _run_notebook(source, copy, injected, output.parent)
        except PapermillExecutionError as error:
            message = f"{name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}"
            trouble = disk_trouble(f"{error.evalue}") if error.ename in ("OSError", "SafetensorError") else None
            if error.ename == "UserError" or trouble is not None:
                raise UserError(message) from error
            kept = ""
            with contextlib.suppress(UserError):  # a disk that refuses must not hide the fault
                write_atomically(failed, _tidied(copy))
                kept = f" (as far as it came: {paths.display(failed)})"
            raise RuntimeError(message + kept) from error
        write_atomically(output, _tidied(copy))
    with contextlib.suppress(OSError):
        failed.unlink(missing_ok=True)


@contextlib.contextmanager
def _gone_if_empty(folder: Path) -> Iterator[None]:
    """Removes a folder that the block made, and those above it, if nothing is in them afterwards."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()


def _run_notebook(source: Path, copy: Path, injected: Mapping[str, Any], working_directory: Path) -> None:
    """Runs the notebook in a kernel of its own, whose connection file and sockets lie beside the copy."""
    import papermill
    from jupyter_client.manager import AsyncKernelManager
    from traitlets.config import Config

    kernels: list[AsyncKernelManager] = []
    connection = copy.with_name("kernel.json")

    class Kernel(AsyncKernelManager):
        """A kernel that is known here from the moment it is to be started."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            kernels.append(self)

        async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
            """Asks an idle kernel to end; without the interrupt before, of which it would complain on stderr."""
            await self.request_shutdown(restart=restart)
            await self.finish_shutdown(restart=restart)
            await self.cleanup_resources(restart=restart)

    try:
        with before_leaving(lambda: _kill(kernels)), writing(copy, only_disk=True):
            papermill.execute_notebook(
                str(source),
                str(copy),
                parameters=injected,
                kernel_name=KERNEL,
                language="python",  # a notebook saved elsewhere may not say
                progress_bar=False,
                cwd=str(working_directory),
                request_save_on_cell_execute=True,
                kernel_manager_class=Kernel,
                config=Config({"KernelManager": {"transport": "ipc", "connection_file": str(connection)}}),
            )
    finally:
        _kill(kernels)


def _kill(kernels: Sequence[AsyncKernelManager]) -> None:
    """Ends kernels that still live, and what they have started, at once; their files are whole at any moment."""
    for kernel in kernels:
        process = getattr(kernel.provisioner, "process", None)
        if process is not None and process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # a kernel leads a group of its own
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)


def _short_folder() -> Path:
    """The system's temporary folder, or another where the names of sockets are short enough."""
    for folder in (Path(tempfile.gettempdir()), Path("/tmp")):
        if len(os.fsencode(folder / OWN)) <= LONGEST_SOCKET - len("run-12345678/kernel-ipc-5"):
            return folder
    raise UserError(f"expected a temporary folder with a shorter name, got {shown(tempfile.gettempdir())}; set TMPDIR")


def check_notebook(run: Run) -> None:
    """Raises `UserError` where the notebook of a run cannot be executed with its parameters; nothing is made."""
    injected(paths.notebook_file(run.params.phase), {}, run.overrides)


def injected(source: Path, given: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What papermill writes after the parameters cell: the names that the cell has, the rest as `overrides`.

    Args:
        given: what is run, which every notebook has a name for.
        overrides: values of parameters.

    Raises:
        UserError: the parameters cell holds values of its own, of which the pipeline would know nothing.
    """
    cell = _parameters_cell(source)
    _check_untouched(source, cell)
    names = assigned_names(cell)
    found = {**given, **{key: value for key, value in overrides.items() if key in names}}
    further = {key: value for key, value in overrides.items() if key not in names}
    if not further:
        return found
    if OVERRIDES not in names:
        raise UserError(
            f"{source.name} has no parameter {shown(next(iter(further)))}: {nearest(next(iter(further)), names)}"
        )
    return {**found, OVERRIDES: further}


def _parameters_cell(source: Path) -> str:
    for cell in read_notebook(source).cells:
        if cell.cell_type == "code" and "parameters" in (cell.metadata.get("tags") or ()):
            return cell.source
    raise UserError(
        f"expected a code cell tagged `parameters` in {paths.display(source)}, found none; restore the notebook"
    )


def _check_untouched(source: Path, cell: str) -> None:
    try:
        statements = ast.parse(cell).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(
            f"expected Python in the parameters cell of {paths.display(source)}, got {shown(cell)} "
            f"({getattr(error, 'msg', 'nested too deeply')}); restore the notebook"
        ) from error
    for node in statements:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            names = [name for name in assigned_names(ast.unparse(node)) if name not in RUN]
            if names and not _says_nothing(node.value):
                raise UserError(
                    f"expected None for {', '.join(names)} in the parameters cell of {paths.display(source)}, got "
                    f"{shown(ast.unparse(node))}: set it back and give -p {names[0]}=…, or run the "
                    f"notebook in JupyterLab"
                )


def _says_nothing(value: ast.expr | None) -> bool:
    """Whether the value is None or an empty dict, or several of these."""
    if isinstance(value, ast.Tuple):
        return all(map(_says_nothing, value.elts))
    return value is None or ast.unparse(value) in ("None", "{}")


def _tidied(path: Path) -> bytes:
    """The copy without what papermill notes about itself: times, paths and versions belong to the timing log."""
    import nbformat

    notebook = read_notebook(path)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
    return (nbformat.writes(notebook).rstrip("\n") + "\n").encode()


@contextlib.contextmanager
def _followed_progress(file: Path, force: bool) -> Iterator[None]:
    """Lets the notebook's process tell in `file` how far it is, and prints that while it runs."""
    saved = {key: os.environ.get(key) for key in ("EMOLIB_PROGRESS", "EMOLIB_FORCE", *paths.MOVED)}
    finished = threading.Event()
    with writing(file):
        stream = open(file, "a+", encoding="utf-8")  # noqa: SIM115 - closed below
    with stream:
        os.environ["EMOLIB_PROGRESS"] = str(file)
        os.environ["EMOLIB_FORCE"] = "1" if force else ""
        os.environ.update(paths.moved_folders())  # the notebook's process has a working directory of its own
        follower = threading.Thread(target=_follow, args=(stream, finished), daemon=True)
        follower.start()
        try:
            yield
        finally:
            finished.set()
            follower.join(timeout=5)
            for key, value in saved.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value


def _follow(stream: IO[str], finished: threading.Event) -> None:
    last = ""
    while True:
        ended = finished.is_set()
        for line in stream.readlines():
            if line.endswith("\n"):
                last = _progress_line(json.loads(line))
                say(last, end="\n" if not sys.stdout.isatty() else "\r")
        if ended:
            break
        finished.wait(0.5)
    if last and sys.stdout.isatty():
        say(" " * len(last), end="\r")


def _progress_line(step: Mapping[str, Any]) -> str:
    share = step["done"] / max(step["total"], 1)
    left = "" if step["left_s"] is None else f", about {step['left_s']:.0f} s to go"
    speed = "" if step.get("tokens_per_s") is None else f", {step['tokens_per_s']:.0f} tokens/s"
    shard = f" {step['shard']}" if step["shard"] else ""
    return (
        f"      {step['phase']} {step['label']}{shard}: {step['done']}/{step['total']} rows ({share:.0%}){speed}{left}"
    )
