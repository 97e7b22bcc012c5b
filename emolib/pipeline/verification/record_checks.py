"""What the phases' records say: which artifacts they stand on, with which parameters, of which data and model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from emolib.base import files, store
from emolib.base.errors import UserError, shown
from emolib.base.given_paths import located
from emolib.base.parameters import OF_PAIRS, PHASE_PARAMETERS, resolve
from emolib.base.paths import BETWEEN, data_file, params_folder, prompting_file
from emolib.base.variants import READERS
from emolib.data.dataset import read_dataset
from emolib.pipeline.verification.check_rows import Rows
from emolib.pipeline.verification.run_files import PhaseRecord, RunFiles, manifest_sha256

ELSEWHERE = ("profile", "model", "phase", "device", "png")  # do not decide what a phase finds, or name its place
NOT_MATCHED = ("device", "generation_batch")
OF_READERS = ("records", "variant")
CONTENT = ("model", "dataset", "scorers", "step")  # of every record, the same in all phases of a run


def check_records(run: RunFiles, rows: Rows) -> None:
    """Every phase that left something has a record, and what it stands on is there, unchanged since."""
    rows.check = "record"
    for phase in run.phases:
        if (phase in OF_PAIRS) != (BETWEEN in run.model):  # a pair of models has a record of its own
            continue
        record = run.records.get(phase)
        if record is not None:
            _check_artifacts(run, record, rows)
        elif run.of_phase(phase) or run.report(phase).exists():
            rows.failed(run.paths.record(phase), f"{phase} left artifacts or a report, but no record that can be read")
        else:
            rows.skipped(run.paths.record(phase), f"{phase} was not run")


def _check_artifacts(run: RunFiles, record: PhaseRecord, rows: Rows) -> None:
    found = {artifact.path: artifact.sha256 for artifact in run.artifacts}
    elsewhere = _of_others(run, record.phase)
    problems = 0
    for path, sha256 in record.artifacts.items():
        held = found[path] if path in found else manifest_sha256(path)  # Phase 7 reads every model's
        if path.exists() and (held is None or held == sha256):  # without a manifest: told above
            continue
        problems += 1
        if not path.exists():
            rows.failed(path, f"missing: {record.phase} stands on it")
        elif (path, held) in elsewhere:
            told = (
                f"{elsewhere[path, held]} has made it anew for all models; {record.phase} here stands on the one before"
            )
            rows.skipped(path, told)
        else:
            told = f"stale: it is not the one that {record.phase} stands on ({sha256[:12]}…), but made anew or altered"
            rows.failed(path, told)
    if not problems:
        rows.passed(record.path, len(record.artifacts))


def _of_others(run: RunFiles, phase: str) -> dict[tuple[Path, str | None], str]:
    """What the same phase of the profile's other models stands on → whose record says so."""
    found: dict[tuple[Path, str | None], str] = {}
    for model in run.others:
        record = RunFiles(run.profile, model, run.variant).records.get(phase)
        found |= dict.fromkeys((record.artifacts if record else {}).items(), f"the {phase} of {model}")
    return found


def check_leftovers(run: RunFiles, rows: Rows) -> None:
    """Every artifact of a finished phase is named by some record of the profile."""
    rows.check = "stands on"
    unfinished = [phase for phase in run.phases if phase not in run.records and run.of_phase(phase)]
    if unfinished:  # its artifacts may be what nothing else stands on
        rows.skipped(run.paths.record(unfinished[0]), f"{unfinished[0]} has not finished")
        return
    named = _named(run.paths.root)
    for artifact in run.artifacts:
        if artifact.schema.phase in run.records:
            if artifact.path in named:
                rows.passed(artifact.path)
            elif artifact.schema.phase == "phase5" or artifact.schema.format == "tensors":
                rows.failed(artifact.path, "stale: no finished phase stands on it; remove it, or run its phase again")
            else:  # what a resumed run needs no more, since the table that is made from it was there
                rows.skipped(
                    artifact.path, "no record names it: an earlier attempt made it on the way, or it is left over"
                )


def _named(root: Path) -> set[Path]:
    """What any record of the profile and its variants names."""
    found: set[Path] = set()
    for path in (*root.glob("status/*.json"), *root.glob("variants/*/status/*.json")):
        try:
            held = files.read_json(path)
        except UserError:  # told where the file itself is read
            continue
        names = held.get("artifacts") if isinstance(held, dict) else None
        found |= {root / place for place in names} if isinstance(names, dict) else set()
    return found


# parameters


def check_parameters(run: RunFiles, rows: Rows) -> None:
    """A record's parameters are those that the profile (and the variant) give, and the phases' agree."""
    rows.check = "parameters"
    for record in run.records.values():
        rows.judged(record.path, list(_changed(run, record)), len(record.parameters))
    for one, other in combinations(run.records.values(), 2):
        shared = _shared(one.phase, other.phase)
        differ = [name for name in shared if one.parameters.get(name) != other.parameters.get(name)]
        told = [
            f"{name} is {shown(one.parameters.get(name))} in {one.phase} and {shown(other.parameters.get(name))} here"
            for name in differ
        ]
        rows.judged(other.path, told, len(shared))


def _changed(run: RunFiles, record: PhaseRecord) -> Iterator[str]:
    held = record.parameters
    try:
        wanted = resolve(run.profile, str(held.get("model")), record.phase, run.variant.overrides(record.phase))
    except UserError as error:
        yield f"its parameters cannot be had any more: {error}"
        return
    expected = {key: value for key, value in wanted.model_dump(mode="json").items() if key not in NOT_MATCHED}
    for name in sorted(expected.keys() | (held.keys() - set(OF_READERS))):
        if name not in OF_READERS and held.get(name) != expected.get(name):
            yield f"{name} is {shown(held.get(name))} in the record, {shown(expected.get(name))} by the profile"


@cache
def _shared(one: str, other: str) -> tuple[str, ...]:
    """The parameters that two phases have in common, by their common base."""
    classes = [PHASE_PARAMETERS[phase] for phase in (one, other)]
    if any(phase in READERS for phase in (one, other)):
        return ()
    base = next(kind for kind in classes[0].__mro__ if issubclass(classes[1], kind))
    return tuple(name for name in getattr(base, "model_fields", {}) if name not in ELSEWHERE)


# data, model, scorers


def check_content(run: RunFiles, rows: Rows) -> None:
    """All records are of one data set, one model content, one version of the scorers and one step."""
    rows.check = "content"
    for name in CONTENT:
        said = {phase: record.matched.get(name) for phase, record in run.records.items()}
        if name == "model":
            said = {phase: value for phase, value in said.items() if phase not in READERS}
        _judge_alike(run, name, said, rows)


def _judge_alike(run: RunFiles, name: str, said: Mapping[str, Any], rows: Rows) -> None:
    if not said:
        return
    digests = {phase: store.digest(value) for phase, value in said.items()}
    usual = max(digests.values(), key=list(digests.values()).count)
    for phase, found in digests.items():
        others = ", ".join(other for other in digests if digests[other] == usual)
        told = f"{name} is {_short(said[phase])} in the record, not as in {others}"
        rows.judged(run.records[phase].path, [] if found == usual else [told])


def _short(value: Any) -> str:
    return shown(", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value, 120)


def check_sources(run: RunFiles, rows: Rows) -> None:
    """The data set, word lists, prompts and corpus on disk are those of the records."""
    rows.check = "sources"
    for record in run.records.values():
        data = dataset_of(record)
        if data is None:
            rows.failed(record.path, f"its data set {shown(record.parameters.get('dataset'))} cannot be read")
            continue
        told = "the data set on disk is another than the record's"
        same = store.digest(data.to_dict("list")) == record.matched.get("dataset")
        rows.judged(record.path, [] if same else [told], len(data))
        for name, file in _files_of(record).items():
            told = f"{name} on disk is another than the record's"
            rows.judged(record.path, [] if store.sha256_of(file) == record.matched[name] else [told])


def _files_of(record: PhaseRecord) -> dict[str, Path]:
    """Files that a record names by content and that are there; what is not there cannot be held against it."""
    places = {"prompting": prompting_file(), "corpus": located(str(record.parameters.get("corpus"))) / "dev.tsv"}
    places |= {
        name: params_folder("keywords") / f"{name.partition('/')[2]}.yaml"
        for name in record.matched
        if name.startswith("keywords/")
    }
    return {name: file for name, file in places.items() if record.matched.get(name) and file.is_file()}


def dataset_of(record: PhaseRecord) -> pd.DataFrame | None:
    """The data set as it lies on disk now; None where it cannot be read."""
    given = record.parameters
    file = located(str(given["dataset"])) if "dataset" in given else data_file()
    return _dataset(file, str(given.get("neutral", "neutral")))


@cache
def _dataset(file: Path, neutral: str) -> pd.DataFrame | None:
    try:
        return read_dataset(file, neutral=neutral)[0]
    except UserError:
        return None
