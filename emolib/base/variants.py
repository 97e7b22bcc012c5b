"""Variants: a profile with other values. Their results lie beside the profile's own, never in their place.

A variant is what differs from the profile, and is named by a hash of it. Every phase has its own: of what differs,
only the parameters that the phase knows. With another alpha, Phase 5 has a variant, while Phase 3 is the profile's own
and is found where the profile keeps it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emolib.base import paths, store
from emolib.base.errors import UserError, nearest, shown
from emolib.base.own_folders import own_folder
from emolib.base.parameters import (
    PHASE_PARAMETERS,
    RESERVED,
    Parameters,
    ReaderParameters,
    as_overrides,
    usual,
)
from emolib.base.shell import command
from emolib.base.writing import writing

# where and how a phase runs, and what else it draws; not what it finds
NOT_COUNTED = {"device", "generation_batch", "png", "variant", "other", *RESERVED}
# a part of the layers makes the same files as all of them
NOT_COUNTED_OF = {"phase2": {"layers"}}
READERS = tuple(phase for phase, schema in PHASE_PARAMETERS.items() if issubclass(schema, ReaderParameters))
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")  # a name is never read as a number


@dataclass(frozen=True)
class Variant:
    """What differs from a profile: parameter → value, as JSON has it.

    A phase that only reads other phases' tables has its own parameters under `<phase>.<name>`, beside what differs in
    the phases that it reads.
    """

    differs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str | None:
        """Eight letters; None where nothing differs.

        >>> Variant({"alphas": [0.25]}).name
        'bhcohiio'
        >>> Variant({}).name is None
        True
        """
        return store.digest(dict(self.differs))[:8].translate(_LETTERS) if self.differs else None

    def of_phase(self, phase: str) -> Variant:
        """What differs in one of the phases that compute."""
        return Variant({key: value for key, value in self.differs.items() if key in counted(phase)})

    def read_by(self, phase: str) -> Variant:
        """What differs in the phases that this one reads."""
        own = f"{phase}."
        return Variant({key: value for key, value in self.differs.items() if not key.startswith(own)})

    def overrides(self, phase: str) -> dict[str, Any]:
        """The parameters to open the phase with."""
        if phase not in READERS:
            return as_overrides(phase, self.of_phase(phase).differs)
        own = {key.partition(".")[2]: value for key, value in self.differs.items() if key.startswith(f"{phase}.")}
        read = self.read_by(phase).name
        return own | ({"variant": read} if read else {})

    def described(self) -> str:
        """What differs, on one line.

        >>> Variant({"alphas": [0.25], "unit": "vector"}).described()
        'alphas=[0.25], unit=vector'
        """
        shown = {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in self.differs.items()}
        return ", ".join(f"{key}={value}" for key, value in shown.items())

    def joined(self, other: Variant) -> Variant:
        return Variant({**self.differs, **other.differs})


PROFILE = Variant()


def counted(phase: str) -> frozenset[str]:
    """The parameters of a phase that decide what it finds."""
    return frozenset(PHASE_PARAMETERS[phase].model_fields) - NOT_COUNTED - NOT_COUNTED_OF.get(phase, set())


def variant_of(params: Parameters | ReaderParameters, *, read: Variant | None = None) -> Variant:
    """What differs between these parameters and the profile's own.

    Args:
        read: what differs in the phases whose tables a phase reads; None: the variant that its parameters name.

    Raises:
        UserError: the variant that they name is none of the profile's.
    """
    mine, theirs = params.model_dump(mode="json"), usual(params).model_dump(mode="json")
    differs = {key: mine[key] for key in sorted(counted(params.phase)) if mine[key] != theirs[key]}
    if not isinstance(params, ReaderParameters):
        return Variant(differs)
    if read is None:
        read = find(params.profile, params.variant).read_by(params.phase) if params.variant else PROFILE
    return read.joined(Variant({f"{params.phase}.{key}": value for key, value in differs.items()}))


def result_paths(profile: str, model: str, phase: str, variant: Variant) -> paths.ResultPaths:
    """Where a phase of a variant keeps its artifacts, and where it finds those of the other phases."""
    places = {other: variant.of_phase(other).name for other in PHASE_PARAMETERS if other not in (phase, *READERS)}
    if phase in READERS:  # one that reads another reader's tables reads those of the same variant
        places |= {other: variant.read_by(phase).name for other in READERS if other != phase}
    return paths.ResultPaths(profile, model, variant=variant.name, sources=places)


def note(profile: str, variant: Variant) -> None:
    """Keeps what differs beside the variant's results, so that its name can be looked up."""
    if variant.name is not None:
        path = paths.variant_file(profile, variant.name)
        if store.read_manifest(path) is None:
            store.write(path, store.json_bytes({"differs": dict(variant.differs)}), {})


@contextlib.contextmanager
def forgotten_if_empty(profile: str, *noted: Variant) -> Iterator[None]:
    """Removes the notes of variants for which the block, where it fails, has kept nothing."""
    try:
        yield
    except BaseException:
        for variant in noted:
            kept = [] if variant.name is None else folders(profile, variant.name)
            files = [path for folder in kept for path in folder.rglob("*") if not path.is_dir()]
            if files and all(path.name.startswith(paths.VARIANT_FILE) for path in files):
                with contextlib.suppress(OSError):
                    shutil.rmtree(files[0].parent)
        raise


def names(profile: str) -> list[str]:
    """The variants of a profile for which something is kept."""
    return sorted(path.parent.name for path in paths.variants_folder(profile).glob(f"*/{paths.VARIANT_FILE}"))


def find(profile: str, name: str) -> Variant:
    """The variant of that name.

    Raises:
        UserError: the profile has none.
    """
    _require_known(profile, name)
    path = paths.variant_file(profile, name)
    way_out = f"remove it: {command(['emolib', 'variants', '--profile', profile, '--delete', name])}"
    if store.read_manifest(path) is None:
        raise UserError(f"expected {paths.display(path)} with its manifest, found it without one; {way_out}")
    try:
        differs = store.read_json(path, kind=dict).get("differs")
    except UserError as error:
        raise UserError(f"{error}; or {way_out}") from error
    found = Variant(differs if isinstance(differs, dict) else {})
    if found.name != name:
        raise UserError(
            f"expected what differs in variant {name} in {paths.display(path)}, got {shown(differs)}; {way_out}"
        )
    return found


def told(profile: str, name: str) -> str:
    """What differs in a variant, on one line; or why that cannot be read, and the way out."""
    try:
        return find(profile, name).described()
    except UserError as error:
        return f"unreadable: {error}"


def _require_known(profile: str, name: str) -> None:
    known = names(profile)
    if name not in known:
        raise UserError(f"unknown variant {shown(name)} of profile {shown(profile)}: {nearest(name, known)}")


def folders(profile: str, name: str) -> list[Path]:
    """Where the results and the executed reports of a variant lie, those that are there."""
    places = [paths.variants_folder(profile) / name, paths.executed_folder(profile, name)]
    return [folder for folder in places if folder.is_dir()]


def finished(profile: str, name: str) -> dict[str, list[str]]:
    """The variant's models, each with the phases that have finished on it."""
    where = paths.ResultPaths(profile, "", variant=name)
    done = [(model, phase) for phase in PHASE_PARAMETERS for model in where.finished_models(phase)]
    return {model: [phase for other, phase in done if other == model] for model in sorted(dict(done))}


def size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def delete(profile: str, name: str) -> list[tuple[Path, int]]:
    """Removes a variant's results and executed reports; returns what was removed, with its bytes.

    Raises:
        UserError: the profile has no such variant, its folder leads elsewhere, or a run holds the profile.
    """
    _require_known(profile, name)
    found = folders(profile, name)
    for folder in found:
        if folder.resolve() != folder.parent.resolve() / name or folder.is_symlink():
            raise UserError(f"expected {paths.display(folder)} to be a folder of its own, it leads elsewhere")
    with store.lock(paths.ResultPaths(profile, "").lock()):
        removed = [(folder, size(folder)) for folder in found]
        for folder in reversed(found):  # the results last: as long as they are there, the same call can go on
            if folder.parent == paths.variants_folder(profile):
                with own_folder(folder.parent, ".deleted-") as waste, writing(folder):
                    os.rename(folder, waste / folder.name)
            else:
                with writing(folder):
                    shutil.rmtree(folder)
    return removed
