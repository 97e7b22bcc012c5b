"""The files of a run as they lie on disk: found, told apart by kind, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open

from emolib.base import files, paths, store
from emolib.base.config import find_model
from emolib.base.errors import UserError, nearest, shown
from emolib.base.parameters import OF_PAIRS, PHASE_PARAMETERS
from emolib.base.paths import ResultPaths
from emolib.base.variants import PROFILE, READERS, Variant, find
from emolib.base.writing import PARTIAL
from emolib.pipeline.verification.schemas import WITHOUT_MANIFEST, Schema, schema_of

PHASES = tuple(PHASE_PARAMETERS)
MANIFEST = ".manifest.json"


@dataclass(frozen=True)
class Artifact:
    """One file with what its place and its manifest say.

    Attributes:
        place: below the folder of the profile or the variant.
        said: what the place says, such as `position`, `site`, `layer`.
        manifest: None where there is none that can be read.
    """

    path: Path
    place: str
    schema: Schema
    said: Mapping[str, str | None]
    manifest: Mapping[str, Any] | None

    @property
    def matched(self) -> Mapping[str, Any]:
        return self.manifest["matched"] if self.manifest else {}

    @property
    def sha256(self) -> str | None:
        return self.manifest["recorded"]["sha256"] if self.manifest else None


@dataclass(frozen=True)
class PhaseRecord:
    """What a finished phase left: the artifacts it stands on, by path, and what its manifest matches."""

    phase: str
    path: Path
    artifacts: Mapping[Path, str]
    matched: Mapping[str, Any]

    @property
    def parameters(self) -> Mapping[str, Any]:
        found = self.matched.get("parameters")
        return found if isinstance(found, Mapping) else {}


@dataclass
class RunFiles:
    """A run of one model: its artifacts, records and reports.

    Attributes:
        model: by the name of its places.
        variant: what differs from the profile.
        others: the other models of the profile, whose files are not this run's.
        results: where the results lie, if elsewhere than usual.
        phases: those that are looked at.
    """

    profile: str
    model: str
    variant: Variant = PROFILE
    others: tuple[str, ...] = ()
    results: Path | None = None
    phases: tuple[str, ...] = PHASES
    _tables: dict[Path, pd.DataFrame] = field(default_factory=dict)

    @cached_property
    def paths(self) -> ResultPaths:
        read = {phase: self.variant.of_phase(phase).name for phase in PHASES if phase not in READERS}
        where = {} if self.results is None else {"results": self.results}
        return ResultPaths(self.profile, self.model, variant=self.variant.name, sources=read, **where)

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        """Where the run's artifacts lie: a variant reads phases that the profile holds, or another variant."""
        return tuple(dict.fromkeys([self.paths.own, *(self.paths.folder(phase) for phase in PHASES)]))

    @cached_property
    def _sorted(self) -> tuple[list[Artifact], list[tuple[Path, str]], list[Path]]:
        """Artifacts of this run, files of no known kind with what is wrong, and manifests whose file is gone."""
        known: list[Artifact] = []
        unknown: list[tuple[Path, str]] = []
        alone: list[Path] = []
        for folder in self.folders:
            for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
                place = path.relative_to(folder).as_posix()
                if path.is_dir() or WITHOUT_MANIFEST.fullmatch(place):
                    continue
                if place.endswith(MANIFEST):
                    if not path.with_name(path.name.removesuffix(MANIFEST)).exists() and self._mine(place):
                        alone.append(path.with_name(path.name.removesuffix(MANIFEST)))
                    continue
                found = schema_of(place, self.model)
                if found is not None:
                    phase = found[0].phase or found[1].get("phase") or PHASES[0]
                    if phase in self.phases and self._read_here(folder, found[0], found[1]):
                        known.append(Artifact(path, place, *found, _manifest(path)))
                elif folder == self.paths.own and not self._of_another(_whole(place)):
                    half = place != _whole(place)
                    told = "half written, by a run that was killed or is running" if half else "no kind has this name"
                    unknown.append((path, told))
        return known, unknown, alone

    def _mine(self, place: str) -> bool:
        return schema_of(place.removesuffix(MANIFEST), self.model) is not None

    def _of_another(self, place: str) -> bool:
        return any(schema_of(place, model) is not None for model in self.others)

    def _read_here(self, folder: Path, schema: Schema, said: Mapping[str, str | None]) -> bool:
        """Whether the run finds this kind of artifact in that folder; of two models it is what is about both."""
        phase = schema.phase or said.get("phase") or ""
        if schema.phase and (schema.phase in OF_PAIRS) != (paths.BETWEEN in self.model):
            return False
        return folder == (self.paths.folder(phase) if phase else self.paths.own)

    @property
    def artifacts(self) -> list[Artifact]:
        return self._sorted[0]

    @property
    def unknown(self) -> list[tuple[Path, str]]:
        return self._sorted[1]

    @property
    def gone(self) -> list[Path]:
        """Files of which only the manifest is left."""
        return self._sorted[2]

    def of_kind(self, kind: str) -> list[Artifact]:
        return [artifact for artifact in self.artifacts if artifact.schema.kind == kind]

    def of_phase(self, phase: str) -> list[Artifact]:
        return [artifact for artifact in self.artifacts if artifact.schema.phase == phase]

    @cached_property
    def records(self) -> dict[str, PhaseRecord]:
        """The finished phases, those whose record can be read."""
        found = {}
        for phase in self.phases:
            path = self.paths.record(phase)
            manifest = _manifest(path) if path.is_file() else None
            try:
                named = files.read_json(path, kind=dict).get("artifacts") if manifest else None
            except UserError:  # told where the file itself is read
                continue
            if manifest and isinstance(named, dict):
                root = self.paths.root
                artifacts = {root / place: str(sha256) for place, sha256 in named.items()}
                found[phase] = PhaseRecord(phase, path, artifacts, manifest["matched"])
        return found

    def report(self, phase: str) -> Path:
        """The executed notebook of a phase."""
        own = self.variant if phase in READERS else self.variant.of_phase(phase)
        return paths.executed_file(self.profile, self.model, phase, own.name)

    def table(self, artifact: Artifact) -> pd.DataFrame:
        """A table as it lies on disk, whatever its manifest says.

        Raises:
            ValueError: it cannot be read.
        """
        if artifact.path not in self._tables:
            self._tables[artifact.path] = read_table(artifact)
        return self._tables[artifact.path]

    # what differs in memory from what lies on disk

    def copied(self) -> RunFiles:
        """The same run, which can be altered in memory without this one; tables that were read are shared."""
        other = replace(self, _tables=dict(self._tables))
        known, unknown, alone = self._sorted
        other.__dict__["_sorted"] = (list(known), unknown, alone)
        return other

    def put(self, artifact: Artifact, table: pd.DataFrame) -> None:
        """Lets the artifact's table be read as this one; the file stays as it is."""
        self._tables[artifact.path] = table

    def put_manifest(self, artifact: Artifact, manifest: Mapping[str, Any]) -> None:
        """Lets the artifact's manifest be read as this one."""
        known = self._sorted[0]
        known[known.index(artifact)] = replace(artifact, manifest=manifest)

    @cached_property
    def emotions(self) -> list[str]:
        """The labels that have vectors, as the vector files' headers say; empty where there are none."""
        for artifact in self.of_kind("vectors"):
            try:
                with safe_open(artifact.path, framework="numpy") as view:
                    return sorted(key.removeprefix("vector/") for key in view.keys() if key.startswith("vector/"))  # noqa: SIM118
            except Exception:
                continue
        return []

    @cached_property
    def n_layers(self) -> int | None:
        """The model's blocks, as the activations' headers say."""
        for artifact in self.of_kind("activations"):
            try:
                with safe_open(artifact.path, framework="numpy") as view:
                    return int((view.metadata() or {})["n_layers"])
            except Exception:
                continue
        return None


def _whole(place: str) -> str:
    """The place that a half-written file was to have."""
    folder, _, name = place.rpartition("/")
    if not name.endswith(PARTIAL):
        return place
    name = name.removesuffix(PARTIAL).removeprefix(".").removesuffix(MANIFEST)
    return f"{folder}/{name}" if folder else name


def read_table(artifact: Artifact) -> pd.DataFrame:
    """A parquet or CSV table. Raises ValueError where it cannot be read."""
    try:
        if artifact.schema.format == "csv":
            text = [name for name, kind in artifact.schema.types.items() if kind == "str"]
            given = {"keep_default_na": False, "na_values": [""], "dtype": dict.fromkeys(text, str)}
            return pd.read_csv(artifact.path, engine="python", **given)  # type: ignore[call-overload]
        return pd.read_parquet(artifact.path, engine="pyarrow")
    except Exception as error:  # what the machinery says to a broken file has no common type
        raise ValueError(str(error) or type(error).__name__) from error


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, tuple[tuple[int, ...], str]], dict[str, np.ndarray]]:
    """A tensor file's header text, the shape and type of every tensor, and its values. Raises ValueError."""
    try:
        with safe_open(path, framework="numpy") as view:
            names = list(view.keys())
            shapes = {
                name: (tuple(view.get_slice(name).get_shape()), view.get_slice(name).get_dtype()) for name in names
            }
            return dict(view.metadata() or {}), shapes, {name: view.get_tensor(name) for name in names}
    except Exception as error:  # what the machinery says to a broken file has no common type
        raise ValueError(str(error) or type(error).__name__) from error


def _manifest(path: Path) -> Mapping[str, Any] | None:
    try:
        return store.read_manifest(path)
    except UserError:
        return None


def manifest_sha256(path: Path) -> str | None:
    """The hash that a file's manifest tells; None without one that can be read."""
    manifest = _manifest(path)
    return manifest["recorded"]["sha256"] if manifest else None


def models_of(own: Path) -> list[str]:
    """The models with anything in the folder of a profile or a variant, by the names of their places."""
    found = {path.name for folder in ("activations", "plots") for path in (own / folder).glob("*") if path.is_dir()}
    endings = tuple(f"_{phase}.json" for phase in PHASES)
    for path in (own / "status").glob("*.json"):
        found |= {path.name.removesuffix(ending) for ending in endings if path.name.endswith(ending)}
    return sorted(found)


def opened(profile: str, model: str | None, variant: str | None) -> list[RunFiles]:
    """The runs to verify: of one model, or of every model that has results.

    Raises:
        UserError: no such variant or model, or no results.
    """
    differs = PROFILE if variant is None else find(profile, variant)
    known = models_of(ResultPaths(profile, "", variant=differs.name).own)
    told = f"variant {variant} of profile {shown(profile)}" if variant else f"profile {shown(profile)}"
    if not known:
        raise UserError(
            f"expected results of {told} in {shown(str(paths.results_root()))}, found none; "
            f"run it first (emolib run --profile {profile}), or name another folder by EMOLIB_RESULTS"
        )
    wanted = known
    if model is not None:
        spec = find_model(model)
        name = paths.file_name(spec.name if spec else paths.model_name(model))
        if name not in known:
            raise UserError(f"expected results of {shown(model)} in {told}, found none: {nearest(name, known)}")
        wanted = [name]
    return [RunFiles(profile, name, differs, tuple(other for other in known if other != name)) for name in wanted]
