"""Runs phases: resolves their parameters, executes their notebooks by papermill, keeps the executed copies.

A finished phase is not run again unless it is stale or `force` is given; inside a phase the notebook's functions find
their finished shards in the store, so a killed run goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from emolib.base import paths, store, variants
from emolib.base.characters import say
from emolib.base.config import find_model
from emolib.base.errors import UserError, nearest, one_line, shown
from emolib.base.files import kind_of
from emolib.base.parameters import check_known, parameter_names
from emolib.base.variants import PROFILE, READERS, Variant
from emolib.base.writing import sweep
from emolib.data.keywords import keyword_digest
from emolib.models import hub
from emolib.models.devices import pick_device
from emolib.pipeline.execution import check_notebook, execute
from emolib.pipeline.notebook_files import is_complete
from emolib.pipeline.seals import seal
from emolib.scoring.measures import require_measures
from emolib.study import MEASURED, NEEDS, OF_PAIRS, Run
from emolib.study.decided import read_regime
from emolib.study.identity import ModelContents
from emolib.study.run import prepared

_running: list[Path] = []  # the results of the profile that runs


@dataclass(frozen=True)
class PhaseStatus:
    """One phase of one model.

    Attributes:
        state: done, stale or missing.
        note: how its texts are continued, where the run has decided it; else empty.
    """

    phase: str
    state: str
    report: Path
    note: str = ""


def phases_in_order(wanted: Sequence[str] | None = None) -> list[str]:
    """The wanted phases (by default all that are about one model), each after what it needs."""
    for phase in wanted or ():
        if phase not in NEEDS:
            raise UserError(f"unknown phase {shown(phase)}: {nearest(phase, NEEDS)}")
    order = list(TopologicalSorter(NEEDS).static_order())
    return [phase for phase in order if (phase in wanted if wanted else phase not in OF_PAIRS)]


def overrides_for(phase: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the caller's parameters that the phase has."""
    return {key: value for key, value in given.items() if key in parameter_names(phase)}


def open_runs(profile: str, model: str, phases: Sequence[str], given: Mapping[str, Any]) -> list[Run]:
    """One checked `Run` per phase; nothing is loaded or written yet.

    A phase that reads others' tables reads those of the variant that the same values make of them. Layers that Phase 5
    tries are not those that Phase 2 extracts beside it, which would make a part of the profile's own.
    """
    check_known(given, phases)
    _check_not_gone(profile, model)
    runs, read, contents = [], PROFILE, ModelContents()
    elsewhere = set().union(*(variants.counted(phase) for phase in phases))
    for phase in phases:
        partial = variants.NOT_COUNTED_OF.get(phase, set()) & elsewhere
        own = {key: value for key, value in overrides_for(phase, given).items() if key not in partial}
        if phase in READERS and read.name and "variant" not in own:
            runs.append(prepared(profile, model, phase, {**own, "variant": read.name}, read=read, contents=contents))
        else:
            runs.append(prepared(profile, model, phase, own, contents=contents))
            read = read if phase in READERS else read.joined(runs[-1].variant)
    return runs


def _check_not_gone(profile: str, model: str) -> None:
    """Raises `UserError` for what has a hub id's form, where a model folder of that path was run here and is gone.

    Such a name must not turn into a hub model, of which nothing is found, without a word.
    """
    if find_model(model) is not None or "/" not in model or paths.means_folder(model):
        return
    place = paths.file_name(os.path.realpath(model))
    root = paths.ResultPaths(profile, place).root
    left = [found for where in ("", f"{paths.VARIANTS}/*/") for found in root.glob(f"{where}status/{place}_*.json")]
    if left and not hub.holds(model):
        raise UserError(
            f"expected the model folder {shown(model)}, it is gone ({paths.display(left[0])} tells of a run of it); "
            "put it back, or name the folder that it is now"
        )


def runs_of_variant(profile: str, model: str, variant: Variant) -> list[Run]:
    """One checked `Run` per phase, each with what differs in it."""
    read = {phase: variant.read_by(phase) if phase in READERS else None for phase in phases_in_order()}
    contents = ModelContents()
    _check_not_gone(profile, model)
    return [
        prepared(profile, model, phase, variant.overrides(phase), read=read[phase], contents=contents) for phase in read
    ]


def status(
    profile: str,
    model: str,
    given: Mapping[str, Any] | None = None,
    *,
    variant: str | None = None,
    phases: Sequence[str] | None = None,
) -> list[PhaseStatus]:
    """Whether each phase is done, stale or missing, with the profile's values, with those given or of a variant.

    Args:
        phases: by default all that are about one model.

    Raises:
        UserError: an unknown name, or values and a variant at once.
    """
    if variant is None:
        runs = open_runs(profile, model, phases_in_order(phases), given or {})
    elif given:
        raise UserError(f"expected --variant or -p, got both: {variant} says by itself what differs")
    else:
        runs = runs_of_variant(profile, model, variants.find(profile, variant))
    found, behind = [], False
    for run in runs:
        phase, report = run.params.phase, report_of(run)
        state = run.record.state() if kind_of(report) != "missing" else "missing"
        if state == "done" and not is_complete(report):
            state = "stale"
        if state == "done" and behind and NEEDS[phase]:
            state = "stale"
        behind = behind or state == "stale"  # one that was never run makes nothing stale: what was read is checked
        found.append(PhaseStatus(phase, state, report, _decoding_of(run)))
    return found


def _decoding_of(run: Run) -> str:
    """Whether Phase 5's texts are greedy or sampled, where the run has decided it."""
    if run.params.phase != "phase5" or run.params.temperature != "auto":
        return ""
    try:
        if kind_of(run.paths.decoding()) == "missing":
            return ""
        return read_regime(run.paths.decoding()).told()
    except UserError:  # not there, or altered: the phase says so where it reads it
        return ""


def report_of(run: Run) -> Path:
    """The executed copy of the run's notebook."""
    return paths.executed_file(run.params.profile, run.paths.model, run.params.phase, run.variant.name)


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
        RuntimeError: a notebook failed; its copy with the traceback is kept under another name.
    """
    given = dict(parameters or {})
    order = phases_in_order(phases)
    if set(order) & set(OF_PAIRS) and "other" not in given:
        raise UserError(f"expected two models for {' and '.join(OF_PAIRS)}, got one; give --pair A B")
    runs = open_runs(profile, model, order, given)
    check_data(runs)
    pick_device(getattr(runs[0].params, "device", "auto"))  # one that is not there is told before any kernel, too
    paths.executed_root()
    for run in runs:
        check_notebook(run)
    done = []
    lock = runs[0].paths.lock()
    with store.lock(lock), _swept(lock.parent, *{report_of(run).parent for run in runs}):
        _running[:] = [lock.parent]
        for number, run in enumerate(runs, start=1):
            phase, output = run.params.phase, report_of(run)
            if not force and run.record.state() == "done" and is_complete(output) and run.record.artifacts_are_there():
                say(f"[{number}/{len(runs)}] {phase}: done already")
            else:
                say(f"[{number}/{len(runs)}] {phase}: running …{_named(run.variant)}")
                started = time.perf_counter()
                variants.note(profile, run.variant)
                variants.note(profile, run.variant.read_by(phase))  # the notebook looks it up
                with variants.forgotten_if_empty(profile, run.variant, run.variant.read_by(phase)):
                    execute(run, output, force=force)
                seal(run, output)
                say(f"[{number}/{len(runs)}] {phase}: done in {time.perf_counter() - started:.0f} s")
            done.append(output)
    return done


def keeps_something() -> bool:
    """Whether the profile that runs here has any finished artifact."""
    found = (path.name for root in _running for path in root.rglob("*.manifest.json"))
    return any(not name.startswith(paths.VARIANT_FILE) for name in found)


@contextlib.contextmanager
def _swept(*folders: Path) -> Iterator[None]:
    """Removes half-written files that a kill left there, before and after the block."""
    for folder in folders:
        sweep(folder)
    try:
        yield
    finally:
        for folder in folders:
            sweep(folder)


def check_data(runs: Sequence[Run]) -> None:
    """What the data set has against these phases is told before any kernel starts; merged labels go to stderr.

    Raises:
        UserError: a language without word lists, a label that nothing measures where a phase needs a measure, or what
            `check_run` has against a phase.
    """
    from emolib.study.checks import check_run  # brings what the phases compute with

    first = runs[0]
    keyword_digest(first.data)  # a language without word lists
    for run in runs:
        if run.params.phase in MEASURED:
            require_measures(run.emotions)
    for number, run in enumerate(runs):
        check_run(run, before=[other.params.phase for other in runs[:number]])
    for merge in first.merges:
        print(f"emolib: {Path(first.params.dataset).name}: {one_line(merge)}", file=sys.stderr, flush=True)


def _named(variant: Variant) -> str:
    return f" (variant {variant.name}: {variant.described()})" if variant.name else ""
