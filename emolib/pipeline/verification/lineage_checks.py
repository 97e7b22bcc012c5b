"""What manifests say an artifact was made from, held against the records and against what it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from emolib.base import files, store
from emolib.base.errors import UserError, shown
from emolib.base.paths import file_name
from emolib.pipeline.verification.check_rows import Rows, careful
from emolib.pipeline.verification.record_checks import dataset_of
from emolib.pipeline.verification.run_files import Artifact, RunFiles, read_tensors

TOKENS = ("n_tokens", "tokens", "token_strings", "trigger")  # what Phase 2 adds to the data set's columns


def check_lineage(run: RunFiles, rows: Rows) -> None:
    """Model, step, seed and every parameter in a manifest are the record's; digests of what it is made from hold."""
    rows.check = "lineage"
    for artifact in run.artifacts:
        if artifact.manifest is None or artifact.schema.kind in ("record", "seal"):
            continue
        phase = artifact.schema.phase
        problems = list(_against_record(run, artifact)) if phase in run.records else []
        problems += list(_place_problems(artifact))
        problems += careful(lambda: [told for check in _MADE_FROM for told in check(run, artifact)])  # noqa: B023
        rows.judged(artifact.path, problems, len(artifact.matched))


def _against_record(run: RunFiles, artifact: Artifact) -> Iterator[str]:
    record, matched = run.records[artifact.schema.phase], artifact.matched
    if not artifact.schema.of_model and run.others:  # another model's run may have made it
        return
    for name, held in {"model": "model", "data": "dataset", "scorers": "scorers", "step": "step"}.items():
        if name in matched and held in record.matched and matched[name] != record.matched[held]:
            yield f"{name} is {_short(matched[name])} in its manifest, {_short(record.matched[held])} in the record"
    settings = matched.get("settings")
    given = settings if isinstance(settings, dict) else {}
    for name, value in {**matched, **given}.items():
        if name in record.parameters and not isinstance(value, dict) and name != "model":
            wanted = record.parameters[name]
            if value != wanted and not (wanted is None or wanted == "auto" or name == "layers"):
                yield f"{name} is {shown(value)} in its manifest, {shown(wanted)} in the record"


def _short(value: Any) -> str:
    return shown(", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value, 100)


def _place_problems(artifact: Artifact) -> Iterator[str]:
    """Position, site and layer stand in the file's name, too."""
    for name in ("position", "site", "layer"):
        said = artifact.said.get(name)
        if said is not None and name in artifact.matched and str(artifact.matched[name]) != str(_plain(said)):
            yield f"{name} is {artifact.matched[name]} in its manifest, {said} in its name"


def _plain(said: str) -> str | int:
    return int(said) if said.isdigit() else said


# digests of what it is made from


def _texts_problems(run: RunFiles, artifact: Artifact) -> Iterator[str]:
    """Texts and labels are those of the data set, and the digest in the manifest is theirs."""
    if artifact.schema.kind != "activations texts":
        return
    held = run.table(artifact)
    plain = held.drop(columns=[name for name in TOKENS if name in held])
    if store.digest(plain.to_dict("list")) != artifact.matched.get("texts"):
        yield "texts or labels are not those that its manifest has the digest of"
    record = run.records.get("phase2")
    data = None if record is None else dataset_of(record)
    if data is None:
        return
    both = plain.merge(data, on="id", how="left", suffixes=("", "_there"))
    for name in (name for name in plain if f"{name}_there" in both):
        other = both[both[name] != both[f"{name}_there"]]
        if len(other):
            yield f"{len(other)} texts have another {name} than in the data set, such as {other['id'].iloc[0]}"


def _activation_problems(run: RunFiles, artifact: Artifact) -> Iterator[str]:
    """Activations and everything that is fitted on them are of these texts."""
    texts = {a.matched.get("texts") for a in run.of_kind("activations texts") if a.manifest}
    name = {"activations": "texts"}.get(artifact.schema.kind, "labels")
    if artifact.schema.kind in ("companions", "companions texts", "companions embedding", "activations texts"):
        return
    of_texts = isinstance(artifact.matched.get(name), str) and artifact.schema.phase in ("phase2", "phase3")
    if of_texts and not _of_companions(artifact):
        if texts and artifact.matched[name] not in texts:
            yield f"{name}: it was made of other texts than activations/…/texts.parquet holds"
        yield from _digest_problems(run, artifact)


def _of_companions(artifact: Artifact) -> bool:
    return artifact.place.startswith("emotion_geometry/")


def _digest_problems(run: RunFiles, artifact: Artifact) -> Iterator[str]:
    """The residuals that a table is fitted on are those that lie here."""
    position = artifact.said.get("position") or _position(artifact.place)
    stored = [a for a in run.of_kind("activations") if a.said["position"] == position and a.said["site"] == "resid_pre"]
    if "activations" in artifact.matched and stored and all(a.sha256 for a in stored):
        made = {a.path.name: a.sha256 for a in stored}
        if store.digest(made) != artifact.matched["activations"]:
            yield f"stale: it was made from other activations than those of position {position}"


def _position(place: str) -> str:
    stem = place.rpartition("/")[2].partition(".")[0]
    return next((name for name in ("trigger", "last") if stem.endswith(f"_{name}")), "mean")


def _vector_problems(run: RunFiles, artifact: Artifact) -> Iterator[str]:
    """The unit was measured along the vectors that lie here."""
    record = run.records.get("phase5")
    if artifact.schema.kind != "KL lengths" or artifact.said.get("part") or record is None:
        return
    given = record.parameters
    style = "" if given.get("vector_style") == "all" else f"_{given.get('vector_style')}"
    path = run.paths.vectors(f"{given.get('vector_position')}{style}")
    header, _, tensors = read_tensors(path)
    names = [name for name in header.get("emotions", "").split(",") if f"vector/{name}" in tensors]
    if not names:  # labels with commas in them stand there in another form
        return
    used = np.stack([tensors[f"vector/{name}"][list(artifact.matched["layers"])] for name in names])
    if hashlib.sha256(used.tobytes()).hexdigest() != artifact.matched["vectors"]:
        yield f"stale: it was measured along other vectors than {path.name} holds"


def _sweep_problems(run: RunFiles, artifact: Artifact) -> Iterator[str]:
    """What is made from the test sweep is made from this one; whole sweeps are made from shards that are here."""
    if artifact.schema.kind in ("damage", "control cosines"):
        path = run.paths.sweep("test")
        whole = [a for a in run.artifacts if a.path == path]
        if whole:
            texts = run.table(whole[0])[["row_id", "text", "part"]].to_dict("list")
            if store.digest(texts) != artifact.matched.get("test"):
                yield "stale: it was made from other texts than the test sweep holds"
    if "shards" in artifact.matched:
        here = {a.sha256 for a in run.artifacts if "_sweep_" in a.path.name or "_shift_" in a.path.name}
        gone = [sha for sha in artifact.matched["shards"] if sha not in here]
        if gone:
            yield f"stale: {len(gone)} of the {len(artifact.matched['shards'])} shards it was made from are not here"
    if artifact.schema.kind == "shift claims":
        for name in ("conditions", "ranks"):
            if artifact.matched.get(name) not in {a.sha256 for a in run.of_kind(f"shift {name}")}:
                yield f"stale: it was made from other {name} than lie here"


def _statistics_problems(run: RunFiles, artifact: Artifact) -> Iterator[str]:
    """Phase 7's tables are made from what lies here, and are what their manifests digest."""
    if artifact.schema.phase != "phase7":
        return
    here = {a.path.name: a.sha256 for a in run.artifacts}
    for name, sha256 in _mapping(artifact.matched.get("sources")).items():
        if name in here and here[name] != sha256:
            yield f"stale: it was made from another {name}"
        elif name not in here and name.startswith(f"{file_name(run.model)}_"):
            yield f"it was made from {name}, which is missing"
    for name in ("claims", "table"):
        if name in artifact.matched and store.digest(_text(artifact)) != artifact.matched[name]:
            yield "its rows are not those that its manifest has the digest of"


def _cross_model_problems(run: RunFiles, artifact: Artifact) -> Iterator[str]:
    """The vectors that were compared lie here; of the other models the files' own manifests tell."""
    if artifact.schema.kind != "cross-model similarity":
        return
    for name, sha256 in _mapping(artifact.matched.get("vectors")).items():
        try:
            found = store.read_manifest(artifact.path.with_name(name))
        except UserError:
            found = None
        if found is None or found["recorded"]["sha256"] != sha256:
            yield f"stale: it compares another {name}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(artifact: Artifact) -> str:
    data = artifact.path.read_bytes().decode(errors="replace")
    return data


_MADE_FROM: tuple[Callable[[RunFiles, Artifact], Iterator[str]], ...] = (
    _texts_problems,
    _activation_problems,
    _vector_problems,
    _sweep_problems,
    _statistics_problems,
    _cross_model_problems,
)


def check_limits(run: RunFiles, rows: Rows) -> None:
    """The limit above which a text is broken, and whether texts are greedy, are what the stored reference gives."""
    rows.check = "limits"
    limits = {a.said.get("part") or "": _limit(run.table(a)) for a in run.of_kind("fluency reference")}
    temperature = _temperature(run)
    for artifact in run.of_kind("shard"):
        given = artifact.matched.get("settings")
        if not isinstance(given, dict):
            rows.failed(artifact.path, "its manifest has no settings")
            continue
        part = next((part for part in limits if part and f"_sweep_{part}_" in artifact.path.name), "")
        problems = []
        if part in limits and not np.isclose(given.get("nll_limit", np.nan), limits[part], rtol=1e-12):
            problems.append(f"nll_limit is {given.get('nll_limit')}, the fluency reference gives {limits[part]}")
        if temperature is not None and given.get("temperature") != temperature:
            problems.append(f"temperature is {given.get('temperature')}, the run decided {temperature}")
        problems += careful(lambda: _broken_problems(run.table(artifact), given.get("nll_limit")))  # noqa: B023
        rows.judged(artifact.path, problems, len(artifact.matched.get("cells", ())))


def _limit(reference: pd.DataFrame) -> float:
    return float(np.nanpercentile(reference["nll"], 95.0))


def _temperature(run: RunFiles) -> float | None:
    """What Phase 5 decided, where its parameters leave it to the run."""
    record = run.records.get("phase5")
    path = run.paths.decoding()
    if record is None or record.parameters.get("temperature") != "auto" or not path.is_file():
        return None
    return json.loads(files.read_text(path))["temperature"]


def _broken_problems(table: pd.DataFrame, limit: Any) -> list[str]:
    """Which texts are broken follows from the other columns: too unlikely, too repetitive or too short."""
    if "fluency/broken" not in table or limit is None:
        return []
    likely = table["fluency/nll"] <= float(limit)
    broken = ~likely | (table["fluency/repetition"] > 0.30) | (table["fluency/length"] < 5)
    wrong = table["fluency/broken"].astype(bool) != broken
    return [f"{int(wrong.sum())} texts are marked broken or not against the rule"] if wrong.any() else []
