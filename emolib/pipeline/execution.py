"""Executes one notebook by papermill into its copy, and tells meanwhile how far it is."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import nbformat

from emolib.base import paths
from emolib.base.errors import UserError, nearest, shown
from emolib.pipeline.notebook_parameters import OVERRIDES, RUN, assigned_names
from emolib.study import Run

KERNEL = "python3"


def execute(run: Run, output: Path, *, force: bool = False) -> None:
    """Executes one phase's notebook into `output`, with that folder as the working directory."""
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    source = paths.notebook_file(run.params.phase)
    injected = _injected(source, run)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"expected a folder for reports that can be written: {error.strerror}") from error
    partial = output.with_name(f".{output.name}")
    try:
        with _followed_progress(force):
            papermill.execute_notebook(
                str(source),
                str(partial),
                parameters=injected,
                kernel_name=KERNEL,
                progress_bar=False,
                cwd=str(output.parent),
                request_save_on_cell_execute=True,
                config=Config({"KernelManager": {"transport": "ipc"}}),
            )
    except PapermillExecutionError as error:
        os.replace(partial, output)
        message = f"{run.params.phase} failed in cell {error.exec_count}: {error.ename}: {error.evalue}"
        if error.ename == "UserError":
            raise UserError(message) from error
        raise RuntimeError(f"{message} (the partial report is {paths.display(output)})") from error
    _tidy(partial)
    os.replace(partial, output)


def _injected(source: Path, run: Run) -> dict[str, Any]:
    """What papermill writes after the parameters cell: the names that the cell has, the rest as `overrides`.

    Raises:
        UserError: the parameters cell holds values of its own, of which the pipeline would know nothing.
    """
    cell = _parameters_cell(source)
    _check_untouched(source, cell)
    names = assigned_names(cell)
    injected = {"profile": run.params.profile, "model": run.params.model}
    injected |= {key: value for key, value in run.overrides.items() if key in names}
    further = {key: value for key, value in run.overrides.items() if key not in names}
    if not further:
        return injected
    if OVERRIDES not in names:
        raise UserError(
            f"{source.name} has no parameter {shown(next(iter(further)))}: {nearest(next(iter(further)), names)}"
        )
    return {**injected, OVERRIDES: further}


def _parameters_cell(source: Path) -> str:
    for cell in nbformat.read(source, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            return cell.source
    raise UserError(f"expected a cell tagged `parameters` in {paths.display(source)}, found none")


def _check_untouched(source: Path, cell: str) -> None:
    for node in ast.parse(cell).body:
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


def _tidy(path: Path) -> None:
    """Takes out what papermill notes about itself: times, paths and versions belong to the timing log."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
    nbformat.write(notebook, path)


@contextlib.contextmanager
def _followed_progress(force: bool) -> Iterator[None]:
    """Lets the notebook's process tell how far it is, and prints that while it runs."""
    saved = {key: os.environ.get(key) for key in ("EMOLIB_PROGRESS", "EMOLIB_FORCE")}
    finished = threading.Event()
    with tempfile.NamedTemporaryFile("r", prefix="emolib-progress-", suffix=".jsonl", encoding="utf-8") as stream:
        os.environ["EMOLIB_PROGRESS"] = stream.name
        os.environ["EMOLIB_FORCE"] = "1" if force else ""
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
                print(last, end="\n" if not sys.stdout.isatty() else "\r", flush=True)
        if ended:
            break
        finished.wait(0.5)
    if last and sys.stdout.isatty():
        print(" " * len(last), end="\r", flush=True)


def _progress_line(step: Mapping[str, Any]) -> str:
    share = step["done"] / max(step["total"], 1)
    left = "" if step["left_s"] is None else f", about {step['left_s']:.0f} s to go"
    speed = "" if step.get("tokens_per_s") is None else f", {step['tokens_per_s']:.0f} tokens/s"
    shard = f" {step['shard']}" if step["shard"] else ""
    return (
        f"      {step['phase']} {step['label']}{shard}: {step['done']}/{step['total']} rows ({share:.0%}){speed}{left}"
    )
