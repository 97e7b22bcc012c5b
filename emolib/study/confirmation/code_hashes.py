"""Hashes of what decides a result: the rooms of the package, the rule of a claim, the project's lists and texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from emolib.base import paths, store
from emolib.data.own_files import FILES

ROOMS = (  # below emolib/: what a number or a verdict passes through
    *(
        "base",
        "data",
        "directions",
        "engine",
        "interventions",
        "models",
        "readout",
        "scoring",
        "statistics",
        "steering",
    ),
    *("study/run.py", "study/artifacts.py", "study/phase2_activations.py", "study/phase3_vectors"),
    *("study/phase5_steering", "study/confirmation"),
)
LISTS = ("cues", "keywords", "scorers")  # below params/
RULE = (  # below emolib/: the rule of a claim, from the measure to the verdict
    *("steering/claims.py", "steering/further_conditions.py", "steering/instruments.py", "steering/specific_shift.py"),
    *("steering/shift_measures.py", "steering/shift_parts.py", "steering/shift_tables.py", "steering/own_shift.py"),
    *("steering/cross_fitted.py", "steering/gold.py", "steering/stand_ins.py", "steering/third_scenarios.py"),
    *("steering/placebos.py", "steering/placebo_acts.py", "steering/kl_search.py", "steering/text_claims.py"),
    *("steering/findings.py", "statistics/intervals.py", "statistics/corrections.py", "statistics/exact_tests.py"),
)
UNREAD = ("__pycache__",)


def code_parts() -> dict[str, str]:
    """The hash of every room, and of every folder of lists, by its name."""
    package = Path(__file__).parents[2]
    found = {room: _hash_of(package / room, package) for room in ROOMS}
    found |= {f"params/{name}": _hash_of(paths.params_folder(name), paths.params_folder(name)) for name in LISTS}
    found["params/prompting.yaml"] = store.sha256_of(paths.prompting_file())
    return found


def rule_hash() -> str:
    """Of the files in which the rule of a claim stands."""
    package = Path(__file__).parents[2]
    return _combined((package / name for name in RULE), package)


def data_hashes(dataset_digest: str) -> dict[str, str]:
    """The hash of the data set as it is read, and of the project's files of texts beside it."""
    beside = [name for name in FILES[1:] if paths.data_file(name).is_file()]
    return {"dataset": dataset_digest, **{name: store.sha256_of(paths.data_file(name)) for name in beside}}


def _hash_of(place: Path, root: Path) -> str:
    if place.is_file():
        return _combined([place], root)
    files = (path for path in place.rglob("*") if path.is_file() and not set(path.parts) & set(UNREAD))
    return _combined(sorted(files), root)


def _combined(files: Iterable[Path], root: Path) -> str:
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(root).as_posix()}\0{store.sha256_of(path)}\n".encode())
    return total.hexdigest()
