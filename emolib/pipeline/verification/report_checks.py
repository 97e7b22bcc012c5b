"""The executed reports: whole, as they were written, of these records, and with no number that the tables lack."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize, stats

from emolib.base import files, paths, store
from emolib.base.errors import UserError, shown
from emolib.base.paths import display
from emolib.pipeline.notebook_files import is_complete
from emolib.pipeline.verification.check_rows import Rows, careful
from emolib.pipeline.verification.run_files import PhaseRecord, RunFiles, read_tensors
from emolib.pipeline.verification.stated_numbers import SPOKEN, Pool, numbers

TEXTS = ("text/markdown", "text/plain")
PARAMETER = re.compile(r"^- `(\w+)`: `(.*)`$", re.MULTILINE)
RUN_ID = re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}")  # its end is the digest of what the run's record matches
MOST = 5


def check_reports(run: RunFiles, rows: Rows) -> None:
    """Every finished phase has its executed notebook, all of it run, with the record's parameters and timing line."""
    rows.check = "report"
    for phase, record in run.records.items():
        report = run.report(phase)
        if not report.is_file():
            rows.failed(report, f"missing: {phase} has finished, its executed notebook is not here")
        elif not careful_complete(report):
            rows.failed(report, "it is no notebook whose cells have all run without an error")
        else:
            rows.judged(report, careful(lambda: list(_summary_problems(run, record, report))))  # noqa: B023


def careful_complete(report: Path) -> bool:
    try:
        return is_complete(report)
    except UserError:
        return False


def _cells(report: Path) -> list[dict[str, Any]]:
    return files.read_json(report, kind=dict)["cells"]


def _source(cell: Mapping[str, Any]) -> str:
    return "".join(cell["source"])


def _displayed(cell: Mapping[str, Any]) -> list[str]:
    """The texts that a code cell displayed."""
    bundles = [output.get("data", {}) for output in cell.get("outputs", ())]
    return ["".join(bundle[kind]) for bundle in bundles for kind in TEXTS if kind in bundle]


def _summary_problems(run: RunFiles, record: PhaseRecord, report: Path) -> Iterator[str]:
    """The summary, the last thing that a report displays, holds the record's parameters and the timing log's line."""
    texts = [text for cell in _cells(report) if "run.finish" in _source(cell) for text in _displayed(cell)]
    if not texts:
        yield "it has no summary"
        return
    told = {name: value for text in texts for name, value in PARAMETER.findall(text)}
    for name, value in record.parameters.items():
        if name in told and not _says(told[name], value):
            yield f"it says {name} is {shown(told[name])}, the record {shown(value)}"
    named = {found for text in texts for found in RUN_ID.findall(text)}
    known = {str(line.get("run_id")) for line in _timing(run) if line.get("phase") == record.phase}
    for run_id in sorted(named):  # a copy for reference leaves it out
        if known and run_id not in known:
            yield f"the run that its summary names, {run_id}, is not in the timing log"
        if not run_id.endswith(store.digest(dict(record.matched))[:8]):
            yield f"stale: its summary is of a run with other parameters, data or model ({run_id})"


def _says(told: str, value: Any) -> bool:
    """Whether a parameter is written so: None as a dash, lists with commas."""
    if value is None:
        return told in ("—", "None", "")
    words = [str(word) for word in value] if isinstance(value, list) else [str(value)]
    return [word.strip("'\" ") for word in told.strip("[]()").split(",")] == [
        w for word in words for w in word.split(",")
    ]


def _timing(run: RunFiles) -> list[dict[str, Any]]:
    path = run.paths.timing()
    if not path.is_file():
        return []
    found = []
    for line in files.read_text(path).splitlines():
        try:
            found.append(files.parse_json(line, path.name, kind=dict))
        except UserError:  # a line that a kill cut off
            continue
    return found


# seals


def check_seals(run: RunFiles, rows: Rows) -> None:
    """A report is, byte for byte, what the run wrote, and it was written with the record that lies here."""
    rows.check = "seal"
    seals = {str(artifact.said["phase"]): artifact for artifact in run.of_kind("seal")}
    for phase, record in run.records.items():
        report = run.report(phase)
        if not report.is_file():
            continue  # told above
        if phase in seals:
            rows.judged(report, careful(lambda: list(_seal_problems(seals[phase].path, report, record))))  # noqa: B023
        elif seals:
            rows.failed(report, f"{display(run.paths.seal(phase))}, which says what was written, is missing")
        else:
            rows.skipped(report, "no report of this run was sealed when it was written (by an earlier version)")


def _seal_problems(place: Path, report: Path, record: PhaseRecord) -> Iterator[str]:
    held = files.read_json(place, kind=dict)
    if held.get("report") != report.name:
        yield f"its seal is that of {held.get('report')}"
    found = store.sha256_of(report)
    if held.get("sha256") != found:
        yield f"it was altered since it was written: sha256 {str(held.get('sha256'))[:12]}… then, {found[:12]}… now"
    if held.get("record") != store.recorded_sha256(record.path):
        yield "stale: it was written with another record of its phase"


# numbers


def check_numbers(run: RunFiles, rows: Rows) -> None:
    """Every number in a computed conclusion is found, see `emolib.pipeline.verification.stated_numbers`."""
    rows.check = "numbers"
    for phase, record in run.records.items():
        report = run.report(phase)
        if not report.is_file() or not careful_complete(report):
            continue  # told above
        told: list[str] = []
        count = 0
        try:
            count, told = _number_problems(run, record, report)
        except (UserError, ValueError, KeyError, TypeError, OSError) as error:
            told = [f"it cannot be checked: {type(error).__name__}: {error}"]
        rows.judged(report, told, count)


def _number_problems(run: RunFiles, record: PhaseRecord, report: Path) -> tuple[int, list[str]]:
    pool, spoken = Pool(), []
    for number, cell in enumerate(_cells(report)):
        if cell["cell_type"] != "code":
            continue
        if SPOKEN.search(_source(cell)):
            spoken += [(number, stated) for text in _displayed(cell) for stated in numbers(text)]
        else:
            for text in _displayed(cell):
                pool.add_text(text)
    _add_stored(run, record, pool)
    missing = [(number, stated) for number, stated in spoken if not pool.has(stated)]
    told = [f"{stated.text} in cell {number} (“{stated.beside}”) is in no table" for number, stated in missing[:MOST]]
    if len(missing) > MOST:
        told.append(f"{len(missing) - MOST} more numbers are in no table")
    return len(spoken), told


def _add_stored(run: RunFiles, record: PhaseRecord, pool: Pool) -> None:
    """What a report may state besides its own tables: bars of the template, parameters, stored tables, what follows."""
    template = paths.notebook_file(record.phase)
    for cell in _cells(template):
        if cell["cell_type"] == "markdown":
            pool.add_text(_source(cell))
    pool.add_values(dict(record.parameters))
    pool.add(range(11))  # how many labels, measures, models or conditions
    for artifact in run.artifacts:
        if artifact.schema.told and artifact.path in record.artifacts:
            if artifact.schema.format == "json":
                pool.add_values(files.read_json(artifact.path))
            else:
                pool.add_table(run.table(artifact))
    for name in ("n_test", "n_validation", "n_train"):
        if isinstance(record.parameters.get(name), int):
            pool.add(_detectable(int(record.parameters[name])))
    if record.phase == "phase1":
        _add_data(pool)
    if record.phase == "phase2":
        pool.add(activation_facts(run))
        inner = max((run.n_layers or 2) - 1, 1)
        pool.add(np.arange(inner + 1) / inner)  # shares of the layers


def _add_data(pool: Pool) -> None:
    """How many rows the project's data files have, and what the bundled scorers' own tests gave."""
    for file in paths.data_file().parent.glob("*.jsonl"):
        pool.add([sum(1 for line in file.read_bytes().splitlines() if line.strip())])
    for name in ("metrics", "expressed"):
        pool.add_values(files.read_json(paths.params_folder("scorers") / f"{name}.json"))


def _detectable(n: int) -> list[float]:
    """The smallest d_z that the two-sided paired t test over n scenarios detects with a power of 0.8."""
    if n < 3:
        return []
    bar = stats.t.ppf(0.975, n - 1)

    def lack(d: float) -> float:
        shift = d * np.sqrt(n)
        return float(
            stats.nct.sf(bar, n - 1, shift) + stats.norm.cdf(-bar - shift) - 0.8
        )  # the far side is next to none

    highest = 2.0
    while lack(highest) < 0:
        highest *= 2
    return [float(optimize.brentq(lack, 0.01, highest))]


def activation_facts(run: RunFiles) -> list[float]:
    """How norms grow and what dominates them, from the stored activations: what Phase 2 tells of them.

    Per position the median norm of a layer's later tokens beside the first layer's and beside its first tokens'; of
    every layer the largest dimensions' mean size beside the median dimension's, and their share of the squared norm.
    """
    found: list[float] = []
    medians: dict[int, float] = {}
    for artifact in run.of_kind("activations"):
        if artifact.said["site"] != "resid_pre" or "token_norms" not in (tensors := read_tensors(artifact.path)[2]):
            continue
        layer, norms = int(artifact.said["layer"] or 0), tensors["token_norms"]
        if layer not in medians:
            first = np.zeros(len(norms), dtype=bool)
            first[_starts(run)] = True
            medians[layer] = float(np.median(norms[~first]))
            found += [medians[layer], float(np.median(norms[first])) / medians[layer]]
        if artifact.said["position"] in ("mean", "last"):
            found += _dimension_facts(tensors["values"].astype(float))
    blocks = sorted(medians)[:-1] or sorted(medians)
    return [*found, medians[blocks[-1]] / medians[blocks[0]]] if blocks else found


def _starts(run: RunFiles) -> np.ndarray:
    """Where every text's tokens begin."""
    (texts,) = run.of_kind("activations texts")
    lengths = run.table(texts)["n_tokens"].to_numpy()
    return np.concatenate([[0], np.cumsum(lengths)[:-1]])


def _dimension_facts(values: np.ndarray) -> list[float]:
    size, energy = np.abs(values).mean(0), np.sort((values**2).mean(0))[::-1]
    top = np.argsort(-size)[:3]
    shares = (values**2).mean(0)[top] / energy.sum()
    ratios = size[top] / np.median(size) if np.median(size) else []
    return [*ratios, *shares, *(energy[:count].sum() / energy.sum() for count in (1, 3, 10))]
