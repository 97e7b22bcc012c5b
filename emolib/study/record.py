"""What a finished phase leaves behind: its record, which tells whether it is still current, and a timing line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emolib.base import store
from emolib.base.errors import shown
from emolib.base.parameters import Parameters, ReaderParameters
from emolib.base.paths import ResultPaths, display
from emolib.study.identity import ModelContent, identity, parameters


class Record:
    """The record of one phase of one model.

    Attributes:
        path: the file that holds it.
    """

    def __init__(
        self,
        params: Parameters | ReaderParameters,
        paths: ResultPaths,
        *,
        dataset: Callable[[], str],
        languages: Callable[[], Sequence[str]],
        model: Callable[[Mapping[str, Any]], ModelContent],
    ) -> None:
        """Nothing is read or written yet.

        Args:
            dataset: gives the digest of the data set; called when it is needed.
            languages: gives those of its texts; called when they are needed.
            model: gives what the model of a phase with these parameters is made of; called when it is needed.
        """
        self.path = paths.record(params.phase)
        self._params = params
        self._paths = paths
        self._dataset = dataset
        self._languages = languages
        self._model = model

    def identity(self) -> dict[str, Any]:
        """What decides whether a finished phase is still current."""
        return identity(self._params, self._paths, dataset=self._dataset, languages=self._languages, model=self._model)

    def parameters(self) -> dict[str, Any]:
        """Every resolved parameter, see `emolib.study.identity.parameters`."""
        return parameters(self._params, self._paths)

    def state(self) -> str:
        """`done`, `stale` or `missing`: whether the phase has finished with just these parameters, model and data.

        It is stale, too, once an artifact that it made or read (another phase's, for example) is gone or was made anew
        with other content.

        Raises:
            UserError: there is a record, but the model's folder is gone, or nothing is known of the hub's model.
        """
        if not self.path.exists() or store.read_manifest(self.path) is None:  # nothing to hold the model against
            return "missing"
        found = store.state(self.path, self.identity())
        return "stale" if found == "done" and self._behind() else found

    def artifacts(self) -> dict[Path, str]:
        """The artifacts that the phase made or read, with the sha256 of their files."""
        named = store.read_json(self.path, kind=dict).get("artifacts")
        if not isinstance(named, dict) or not all(map(self._is_artifact, named.items())):
            raise store.unusable(self.path, "artifacts with their sha256", shown(named))
        return {self._paths.root / name: sha256 for name, sha256 in named.items()}

    def _is_artifact(self, entry: tuple[str, object]) -> bool:
        """Whether this is the place of an artifact below the profile's folder, and a hash."""
        name, sha256 = entry
        return isinstance(sha256, str) and ".." not in name.split("/") and not name.startswith("/")

    def artifacts_are_there(self) -> bool:
        """Whether every artifact of the finished phase is still there; their bytes are read.

        Raises:
            UserError: one of them has changed since it was written.
        """
        for path in self.artifacts():
            if not path.exists():
                return False
            store.check(path)
        return True

    def write(self, made: Mapping[Path, str]) -> None:
        """The phase has finished and stands on these artifacts."""
        named = {path.relative_to(self._paths.root).as_posix(): sha256 for path, sha256 in sorted(made.items())}
        store.write(self.path, store.json_bytes({"artifacts": named}), self.identity())

    def summary(self, *, samples: int, seconds: float, device: str, command: str) -> dict[str, Any]:
        """The line of a phase that ends now in the timing log, which it is added to."""
        now = datetime.now(UTC)
        line = {
            "run_id": f"{now:%Y%m%dT%H%M%S}-{store.digest(self.identity())[:8]}",
            "profile": self._params.profile,
            "phase": self._params.phase,
            "model": self._params.model,
            "device": device,
            "samples": samples,
            "elapsed_seconds": round(seconds, 1),
            "timestamp": now.isoformat(timespec="seconds"),
            "timing_log": display(self._paths.timing()),
            "command": command,
        }
        store.append_line(self._paths.timing(), line)
        return line

    def _behind(self) -> bool:
        """Whether the artifacts are others now, by their manifests; `artifacts_are_there` reads the bytes."""
        for path, sha256 in self.artifacts().items():
            if path == self._paths.cross_model_table():  # every model's Phase 3 writes it anew
                continue
            manifest = store.read_manifest(path)
            if manifest is None or not path.exists() or manifest["recorded"]["sha256"] != sha256:
                return True
        return False
