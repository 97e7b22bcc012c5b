"""Runs phases: resolves their parameters, executes their notebooks by papermill, keeps the executed copies.

A finished phase is not run again unless it is stale or `force` is given; inside a phase the notebook's functions find
their finished shards in the store, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import nbformat

from emolib.base import paths, store
from emolib.base.errors import UserError, nearest
from emolib.base.parameters import PHASE_PARAMETERS
from emolib.study import NEEDS, Run, open_run

RESERVED = ("profile", "model", "phase")
KERNEL = "python3"


@dataclass(frozen=True)
class PhaseStatus:
    phase: str
    state: str
    report: Path


def phases_in_order(wanted: Sequence[str] | None = None) -> list[str]:
    """The wanted phases (all by default), each after what it needs."""
    for phase in wanted or ():
        if phase not in NEEDS:
            raise UserError(f"unknown phase {phase!r}: {nearest(phase, NEEDS)}")
    order = list(TopologicalSorter(NEEDS).static_order())
    return [phase for phase in order if not wanted or phase in wanted]


def overrides_for(phase: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the caller's parameters that the phase has."""
    fields = PHASE_PARAMETERS[phase].model_fields
    return {key: value for key, value in given.items() if key in fields and key not in RESERVED}


def check_parameters(phases: Sequence[str], given: Mapping[str, Any]) -> None:
    """Raises `UserError` for a parameter that none of the phases has."""
    valid = {key for phase in phases for key in PHASE_PARAMETERS[phase].model_fields} - set(RESERVED)
    for key in given:
        if key not in valid:
            raise UserError(f"unknown parameter {key!r}: {nearest(key, valid)}")


def open_runs(profile: str, model: str, phases: Sequence[str], given: Mapping[str, Any]) -> list[Run]:
    """One checked `Run` per phase; nothing is loaded or written yet."""
    check_parameters(phases, given)
    return [open_run(profile, model, phase, **overrides_for(phase, given)) for phase in phases]


def status(profile: str, model: str, given: Mapping[str, Any] | None = None) -> list[PhaseStatus]:
    """Whether each phase is done, stale or missing."""
    found, behind = [], False
    for run in open_runs(profile, model, phases_in_order(), given or {}):
        phase = run.params.phase
        report = paths.executed_file(profile, run.paths.model, phase)
        state = run.record.state() if report.exists() else "missing"
        if state == "done" and behind and NEEDS[phase]:
            state = "stale"
        behind = behind or state != "done"
        found.append(PhaseStatus(phase, state, report))
    return found


def run_phases(
    profile: str,
    model: str,
    *,
    phases: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    force: bool = False,
) -> list[Path]:
    """Executes the notebooks of the phases and returns the executed copies.

    Raises:
        UserError: unknown names, values out of range, another run on the same profile, a data set or artifact that
            is broken.
        RuntimeError: a notebook failed; its partial copy with the traceback is kept.
    """
    given = dict(parameters or {})
    order = phases_in_order(phases)
    runs = open_runs(profile, model, order, given)
    for run in runs[:1]:
        _ = run.data  # a broken data set is told before any kernel starts
    done = []
    with store.lock(runs[0].paths.lock()):
        for number, run in enumerate(runs, start=1):
            phase = run.params.phase
            output = paths.executed_file(profile, run.paths.model, phase)
            if not force and run.record.state() == "done" and _is_complete(output) and run.record.artifacts_are_there():
                print(f"[{number}/{len(runs)}] {phase}: done already", flush=True)
            else:
                print(f"[{number}/{len(runs)}] {phase}: running …", flush=True)
                started = time.perf_counter()
                execute(run, output, force=force)
                print(f"[{number}/{len(runs)}] {phase}: done in {time.perf_counter() - started:.0f} s", flush=True)
            done.append(output)
    return done


def _is_complete(report: Path) -> bool:
    if not report.exists():
        return False
    try:
        cells = nbformat.read(report, as_version=4).cells
    except (ValueError, nbformat.reader.NotJSONError):
        return False
    outputs = [out for cell in cells if cell.cell_type == "code" for out in cell.outputs]
    executed = all(cell.execution_count for cell in cells if cell.cell_type == "code" and cell.source.strip())
    return executed and not any(out.output_type == "error" for out in outputs)


def execute(run: Run, output: Path, *, force: bool = False) -> None:
    """Executes one phase's notebook into `output`, with that folder as the working directory."""
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    source = paths.notebook_file(run.params.phase)
    injected = {"profile": run.params.profile, "model": run.params.model, **run.overrides}
    _check_injected(source, injected)
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


def _check_injected(source: Path, injected: Mapping[str, Any]) -> None:
    """papermill only warns about a parameter the notebook does not have; here it is an error."""
    import papermill

    known = papermill.inspect_notebook(str(source))
    for key in injected:
        if key not in known:
            raise UserError(f"{source.name} has no parameter {key!r}: {nearest(key, known)}")


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


def _follow(stream, finished: threading.Event) -> None:
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
