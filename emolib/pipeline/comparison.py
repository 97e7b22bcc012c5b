"""What differs between two runs: parameters, data, model, libraries, operating points, verdicts, artifacts.

Either may be of another profile, variant, model or results folder. Nothing is computed, loaded or written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from emolib.base import paths, store
from emolib.base.characters import say
from emolib.base.config import find_model, load_profile
from emolib.base.errors import UserError, nearest, shown
from emolib.base.files import read_json
from emolib.base.paths import ResultPaths
from emolib.base.variants import PROFILE, find
from emolib.pipeline.verification.run_files import Artifact, RunFiles, models_of

COLUMNS = ("what", "where", "name", "a", "b")
NAMES = ("profile", "model", "phase")  # which run it is, told at the top
ABSENT = "—"
DECIDING = ("model", "data", "scorers", "version", "parameters")  # where they differ, nearly all artifacts do
ORDER = ("run", *DECIDING, "decoding", "operating point", "verdicts", "libraries", "artifacts")
WIDEST = 40
_CHOSEN = re.compile(r"(layer|k =) -?\d+")
NOT_COMPARED = (
    "record",
    "seal",
    "batch size",
    "figure",
    "verification",
    "alterations",
)  # follow from the rest, or from the machine


def runs_of(name: str) -> dict[str, RunFiles]:
    """The runs that a name means, by model.

    Args:
        name: `PROFILE`, `PROFILE/MODEL`, `PROFILE@VARIANT`, `PROFILE@VARIANT/MODEL`, or a folder with results: of a
            profile, or a results folder that holds one profile alone.

    Raises:
        UserError: no such profile, variant, model or folder, or no results.
    """
    if _is_folder(name):
        return _runs_of_folder(name)
    whole, _, model = name.partition("/")
    profile, at, variant = whole.partition("@")
    load_profile(profile)
    differs = find(profile, variant) if at else PROFILE
    known = models_of(ResultPaths(profile, "", variant=differs.name).own)
    if not known:
        raise UserError(
            f"expected results of {shown(whole)} in {shown(str(paths.results_root()))}, found none; "
            "run it first, or give the folder they lie in"
        )
    spec = find_model(model) if model else None
    wanted = paths.file_name(spec.name if spec else paths.model_name(model)) if model else ""
    if model and wanted not in known:
        raise UserError(f"expected results of {shown(model)} in {shown(whole)}, found none: {nearest(wanted, known)}")
    return {one: RunFiles(profile, one, differs, _others(known, one)) for one in ([wanted] if model else known)}


def _others(known: list[str], one: str) -> tuple[str, ...]:
    return tuple(other for other in known if other != one)


def _runs_of_folder(name: str) -> dict[str, RunFiles]:
    folder = Path(name).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"expected a folder with results, {shown(name)} is none; name another")
    inside = [folder] if models_of(folder) else [path for path in sorted(folder.iterdir()) if models_of(path)]
    if len(inside) != 1:
        told = ", ".join(path.name for path in inside) or "none"
        raise UserError(f"expected the results of one profile in {shown(name)}, found {told}; name that folder")
    (profile,) = inside
    known = models_of(profile)
    return {one: RunFiles(profile.name, one, PROFILE, _others(known, one), profile.parent) for one in known}


def compare(a: str, b: str) -> pd.DataFrame:
    """What differs between two runs, one row per difference.

    Args:
        a, b: see `runs_of`. Where each means one model, these two are compared, else models of the same name.

    Returns:
        what (`run`, `parameters`, `data`, `model`, `scorers`, `libraries`, `operating point`, `decoding`, `verdicts`,
        `artifacts`), where (the model and the phase), name, a, b (what each says; a dash where it says nothing).

    Raises:
        UserError: see `runs_of`.
    """
    ours, theirs = runs_of(a), runs_of(b)
    if len(ours) == len(theirs) == 1:
        pairs = [(next(iter(ours.values())), next(iter(theirs.values())))]
        rows = []
    else:
        shared = [model for model in ours if model in theirs]
        pairs = [(ours[model], theirs[model]) for model in shared]
        alone = sorted(ours.keys() ^ theirs.keys())
        rows = [
            ("run", model, "results", *("there" if model in held else ABSENT for held in (ours, theirs)))
            for model in alone
        ]
    for one, other in pairs:
        rows += list(_differences(one, other))
    return pd.DataFrame(rows, columns=list(COLUMNS))


Row = tuple[str, str, str, str, str]


def _differences(a: RunFiles, b: RunFiles) -> Iterator[Row]:
    model = a.model if a.model == b.model else f"{a.model}, {b.model}"
    yield from _differ("run", model, _run(a), _run(b))
    phases: dict[tuple[str, str, str, str], list[str]] = {}
    for phase in dict.fromkeys([*a.records, *b.records]):
        for what, _, name, ours, theirs in _of_phase(a, b, phase):
            phases.setdefault((what, name, ours, theirs), []).append(phase)
    for (what, name, ours, theirs), named in phases.items():  # what several phases say alike is one row
        yield what, f"{model} {' '.join(named)}", name, ours, theirs
    for what, found in (("operating point", _points), ("decoding", _decoding), ("verdicts", _verdicts)):
        yield from _differ(what, model, found(a), found(b))
    yield from _artifacts(model, a, b)


def _of_phase(a: RunFiles, b: RunFiles, phase: str) -> Iterator[Row]:
    if not (phase in a.records and phase in b.records):
        ours, theirs = ("yes" if phase in run.records else ABSENT for run in (a, b))
        yield "run", phase, "finished", ours, theirs
        return
    one, other = a.records[phase], b.records[phase]
    yield from _differ("parameters", phase, _parameters(one.parameters), _parameters(other.parameters))
    for what, key in (("data", "dataset"), ("scorers", "scorers"), ("version", "step")):
        yield from _differ(what, phase, {key: one.matched.get(key)}, {key: other.matched.get(key)})
    yield from _differ("model", phase, one.matched.get("model") or {}, other.matched.get("model") or {})
    yield from _differ("libraries", phase, _libraries(one.path), _libraries(other.path))


def _differ(what: str, where: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Row]:
    for name in dict.fromkeys([*a, *b]):
        if a.get(name) != b.get(name):
            yield what, where, name, _told(a.get(name)), _told(b.get(name))


def _told(value: Any) -> str:
    if value is None:
        return ABSENT
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _run(run: RunFiles) -> dict[str, Any]:
    return {"profile": run.profile, "variant": run.variant.described() or None, "model": run.model}


def _parameters(held: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "null" if value is None else value for name, value in held.items() if name not in NAMES}


def _libraries(path: Path) -> dict[str, Any]:
    recorded = (store.read_manifest(path) or {"recorded": {}})["recorded"]
    return {"python": recorded.get("python"), **(recorded.get("versions") or {})}


def _tables(run: RunFiles, kind: str) -> list[pd.DataFrame]:
    found = []
    for artifact in run.of_kind(kind):
        try:
            found.append(run.table(artifact))
        except ValueError as error:
            raise UserError(f"{artifact.path.name} cannot be read ({error}); see emolib verify") from error
    return found


def _points(run: RunFiles) -> dict[str, str]:
    """The layer and strength that steer, per part of the design."""
    found = {}
    for table in _tables(run, "sweep test"):
        steered = table[table["kind"] == "emotion"].drop_duplicates(["part", "layer", "alpha"])
        for row in steered.to_dict("records"):
            found[row["part"] or "test"] = f"layer {row['layer']}, α {row['alpha']:g} {row['unit']}"
    return found


def _decoding(run: RunFiles) -> dict[str, Any]:
    path = run.paths.decoding()
    return {"temperature": read_json(path, kind=dict).get("temperature")} if path.is_file() else {}


def _verdicts(run: RunFiles) -> dict[str, str]:
    """Every claim's verdict as Phase 7 tells it, with the layer or size where the run chose one."""
    found = {}
    for table in _tables(run, "statistics claims"):
        for row in table[table["model"] == run.model].to_dict("records"):
            named = f"{row['claim']} {row['emotion']}"
            if _CHOSEN.match(row["measure"]):  # a layer or a size that the run chose is no part of the claim's name
                found[named] = f"{row['verdict']}, {row['measure']}"
            else:
                found[f"{named}, {row['measure']}"] = row["verdict"]
    return found


def _artifacts(model: str, a: RunFiles, b: RunFiles) -> Iterator[Row]:
    """How many artifacts of every kind have other bytes, or are in one run alone; figures and records follow."""
    ours, theirs = _hashes(a), _hashes(b)
    for kind in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(kind, {}), theirs.get(kind, {})
        if one != other:
            both = one.keys() & other.keys()
            changed = sum(one[place] != other[place] for place in both)
            yield "artifacts", model, kind, f"{len(one)} files", f"{len(other)} files, {changed} of {len(both)} differ"


def _hashes(run: RunFiles) -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    for artifact in run.artifacts:
        if artifact.schema.kind not in NOT_COMPARED:
            found.setdefault(artifact.schema.kind, {})[_place(artifact, run)] = artifact.sha256
    return found


def _place(artifact: Artifact, run: RunFiles) -> str:
    return artifact.place.replace(run.model, "{model}")


def print_comparison(a: str, b: str) -> bool:
    """Prints what differs between two runs, what decides the rest first, and says whether nothing does.

    Where the model, the data, the scorers or parameters differ, so do nearly all artifacts: then their number is told,
    not each kind.
    """
    table = compare(a, b)
    if not all(map(_is_folder, (a, b))):
        say(f"results in {paths.results_root()}")
    if table.empty:
        say("no difference")
        return True
    counts = {what: int((table["what"] == what).sum()) for what in ORDER if (table["what"] == what).any()}
    say(f"differ: {', '.join(f'{what} {count}' for what, count in counts.items())}")
    follow = table["what"].eq("artifacts") & bool(counts.keys() & set(DECIDING))
    shown_rows = table[~follow].sort_values("what", key=lambda held: held.map(ORDER.index), kind="stable")
    for line in _lines(shown_rows):
        say(line)
    if follow.any():
        named = ", ".join(what for what in DECIDING if what in counts)
        say(f"{int(follow.sum())} kinds of artifacts have other bytes, as other {named} make them")
    say(f"{len(table)} differences ({_place_of(a)}, {_place_of(b)})")
    return False


def _lines(table: pd.DataFrame) -> Iterator[str]:
    widths = {name: max(len(name), *map(len, table[name]), 0) for name in COLUMNS}
    for row in [COLUMNS, *table.itertuples(index=False)]:
        yield "  ".join(str(cell).ljust(widths[name]) for name, cell in zip(COLUMNS, row, strict=True)).rstrip()


def _is_folder(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or Path(name).is_dir()


def _place_of(name: str) -> str:
    return name if not Path(name).is_absolute() else Path(name).name
