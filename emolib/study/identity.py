"""A run's identity: what decides whether a finished phase is still current.

It is made of the resolved parameters (less those that change no value), the content of the model, of the data set and
of the other files that the phase reads, and the version of the scorers. Whatever else an artifact is made from stands
in its manifest; a phase whose artifacts are others now is stale, too (`emolib.study.record`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emolib.base import store
from emolib.base.config import find_model
from emolib.base.errors import UserError
from emolib.base.given_paths import located
from emolib.base.parameters import (
    AlignmentParameters,
    DatasetParameters,
    ExtractionParameters,
    Parameters,
    PatchingParameters,
    ReaderParameters,
    VectorParameters,
    VerificationParameters,
)
from emolib.base.paths import ResultPaths, data_file, params_folder, prompting_file
from emolib.models.sources import model_identity
from emolib.scoring import version_of
from emolib.scoring.corpora import CORPUS, corpus_folder
from emolib.study.artifacts import STEP

NOT_MATCHED = ("device", "generation_batch")
PLAIN_TEXTS = "expressed.jsonl"  # whose texts without emotion maps between models are fitted on
READ_BY_PHASE7 = ("phase3", "phase5")
READ_BY_PHASE9 = ("phase1", "phase2", "phase3", "phase5", "phase6a", "phase6b", "phase7", "phase8")

ModelContent = dict[str, str]


class ModelContents:
    """What the models of one command are made of, each asked for once."""

    def __init__(self) -> None:
        self._known: dict[tuple, ModelContent | UserError] = {}

    def __call__(self, given: Mapping[str, Any]) -> ModelContent:
        """See `emolib.models.sources.model_identity`.

        Args:
            given: parameters of a phase that runs the model.

        Raises:
            UserError: a folder that is gone, or a hub model of which nothing is known here.
        """
        key = tuple(given[name] for name in ("model", "dtype", "random_weights", "seed"))
        if key not in self._known:
            name, dtype, random_weights, seed = key
            try:
                self._known[key] = model_identity(name, dtype=dtype, random_weights=random_weights, seed=seed)
            except UserError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, UserError):
            raise found
        return found


def identity(
    params: Parameters | ReaderParameters,
    paths: ResultPaths,
    *,
    dataset: Callable[[], str],
    languages: Callable[[], Sequence[str]],
    model: Callable[[Mapping[str, Any]], ModelContent],
) -> dict[str, Any]:
    """What a finished phase's record must say for the phase to count as done.

    Args:
        dataset: gives the digest of the data set.
        languages: gives those of its texts.
        model: gives what the model of a phase with these parameters is made of.
    """
    values = {key: value for key, value in parameters(params, paths).items() if key not in NOT_MATCHED}
    found: dict[str, Any] = {"step": STEP, "parameters": values, "scorers": version_of(params.backend)}
    found["dataset"] = dataset()
    if isinstance(params, ReaderParameters):
        return {**found, "read": _records(params, paths, model)}
    if isinstance(params, AlignmentParameters):
        found["other"] = model({**values, "model": params.other})
    return {**found, "model": model(values), **_files(params, languages)}


def parameters(params: Parameters | ReaderParameters, paths: ResultPaths) -> dict[str, Any]:
    """Every resolved parameter; of a phase that reads others' tables also `records`, the finished phases that it
    finds: with a new one it is stale."""
    values = params.model_dump(mode="json")
    if isinstance(params, ReaderParameters):
        values["records"] = [f"{model}_{phase}" for phase, model in finished(params, paths)]
    return values


def finished(params: ReaderParameters, paths: ResultPaths) -> list[tuple[str, str]]:
    """The finished phases that a reader reads, with their models: Phase 7 every model's, Phase 9 its own model's."""
    if isinstance(params, VerificationParameters):
        return [(phase, paths.model) for phase in READ_BY_PHASE9 if paths.model in paths.finished_models(phase)]
    return [(phase, model) for phase in READ_BY_PHASE7 for model in paths.finished_models(phase)]


def _records(
    params: ReaderParameters, paths: ResultPaths, content: Callable[[Mapping[str, Any]], ModelContent]
) -> dict[str, str]:
    """What the phases whose tables are read stood on when they finished, as a digest of each; of the own model also
    whether it still holds that."""
    found = {}
    for phase, model in finished(params, paths):
        manifest = store.read_manifest(paths.of_model(model).record(phase)) or {}
        matched = manifest.get("matched")
        current = model != paths.model or _still_holds(matched, content)
        found[f"{model}_{phase}"] = store.digest(matched) if current else "of another model"
    return found


def _still_holds(matched: Any, content: Callable[[Mapping[str, Any]], ModelContent]) -> bool:
    """Whether nothing speaks against the model being the one of the record."""
    try:
        return content(matched["parameters"]) == matched["model"]
    except (UserError, KeyError, TypeError):  # out of reach, or a record of another version
        return True


def _files(params: Parameters, languages: Callable[[], Sequence[str]]) -> dict[str, Any]:
    """What is read besides, by content: files that a parameter or the phase itself names, the table's word on chat."""
    files: dict[str, Path | None] = {}
    if isinstance(params, DatasetParameters | ExtractionParameters):
        lists = {file.stem: file for file in params_folder("keywords").glob("*.yaml")}
        files = {f"keywords/{language}": lists.get(language) for language in languages()}
    if isinstance(params, VectorParameters):
        folder = corpus_folder(params.corpus)
        files["corpus"] = folder / CORPUS if folder else None
    if isinstance(params, AlignmentParameters):
        given = located(params.anchor_texts) if params.anchor_texts else None
        files |= {"plain texts": data_file(PLAIN_TEXTS), "anchor texts": given}
    found: dict[str, Any] = {}
    if isinstance(params, PatchingParameters):
        files["prompting"] = prompting_file()
        spec = find_model(params.model)
        found["chat"] = spec is not None and spec.chat
    return found | {name: store.sha256_of(file) if file else None for name, file in files.items()}
