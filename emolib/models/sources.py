"""Which model a name means, where its weights come from, and what decides its results; nothing is loaded here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from emolib.base import store
from emolib.base.config import ModelSpec, find_model, model_table
from emolib.base.errors import UserError, nearest, shown
from emolib.base.paths import folder_label, is_gguf, means_folder, model_name
from emolib.models import hub
from emolib.models.bundled import BUNDLED, bundled_revision
from emolib.models.content import content_hash
from emolib.models.gguf import gguf_revision
from emolib.models.model_names import models_here

WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.spm")
OTHERWISE = f"use the bundled {BUNDLED}, or random_weights=true for the architecture alone"


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Attributes:
        name: what reports call it; no part of what the model is.
        place: the folder, the GGUF file, or the hub's repository; empty for what needs none.
        spec: the table's entry, where there is one.
    """

    kind: Literal["random", "bundled", "rotated", "folder", "gguf", "hub"]
    name: str
    place: str = ""
    spec: ModelSpec | None = None

    @property
    def repository_revision(self) -> str:
        """What is asked of the hub: a branch, a tag or a commit."""
        return self.spec.revision if self.spec else "main"


def source_of(name: str, *, random_weights: bool = False) -> ModelSource:
    """Where the model of that name comes from: the table's entry, else a local folder or file, else the hub.

    Raises:
        UserError: the name is none of these.
    """
    spec = find_model(name)
    if spec is not None and spec.rotation is not None:  # of random weights, too, it is made of the other's
        return ModelSource("rotated", spec.name, spec=spec)
    if random_weights or (spec is not None and spec.random_weights):
        found = spec or _without_entry(name)
        return ModelSource("random", found.name, spec=found)
    if spec is not None and spec.bundled is not None:
        return ModelSource("bundled", spec.name, spec=spec)
    if spec is not None:
        return ModelSource("hub", spec.name, spec.hub_id, spec)
    if means_folder(name):
        place = model_name(name)
        return ModelSource("gguf" if is_file(place) else "folder", folder_label(place), place)
    if "/" not in name:
        unknown_model(name)
    return ModelSource("hub", name.replace("/", "--"), name)


def is_file(place: str) -> bool:
    """Whether a local model is one GGUF file; a folder may have such a name, too."""
    return is_gguf(place) and not Path(place).is_dir()


def model_identity(
    name: str, *, dtype: str | None = None, random_weights: bool = False, seed: int = 0
) -> dict[str, str]:
    """What the `identity` of the loaded model would be now: its content, number type and quantisation.

    Of a local folder every deciding file is hashed (and remembered), a GGUF file alike; of a hub model the commit is
    asked for.

    Raises:
        UserError: an unknown name, a folder that is gone, or a hub model of which nothing is known here.

    >>> identity = model_identity("smollm2_135m")
    >>> identity["dtype"], identity["revision"][:8]
    ('float32', 'b179c952')
    """
    source = source_of(name, random_weights=random_weights)
    spec = source.spec
    return {
        "model": source.name,
        "revision": _revision(source, seed, random_weights),
        "dtype": dtype or (spec.dtype if spec else "float32"),
        "quantization": spec.quantization if spec and source.kind != "random" else "none",
    }


def random_revision(spec: ModelSpec, seed: int) -> str:
    """What decides random weights: the seed, the configuration and the tokenizer that reads the texts."""
    made_from = {"config": spec.config, "tokenizer": bundled_revision(model_table()[BUNDLED])}
    return f"random-seed{seed}-{store.digest(made_from)[:16]}"


def _without_entry(name: str) -> NoReturn:
    if means_folder(name) or "/" in name:
        raise UserError(
            f"random weights are made for entries of params/models alone, {shown(name)} is none; write one for it"
        )
    unknown_model(name)


def unknown_model(name: str) -> NoReturn:
    """Raises `UserError` with the nearest names of the table."""
    known = [*model_table(), *(alias for spec in model_table().values() for alias in spec.aliases), *models_here()]
    raise UserError(
        f"unknown model {shown(name)} (neither a table entry, a hub id nor a local folder): {nearest(name, known)}"
    )


def rotated_revision(source: ModelSource, base: str) -> str:
    """What decides a rotated copy: what decides the model that it is made of, the width and the seed."""
    assert source.spec is not None and source.spec.rotation is not None
    return f"{base}-rotated{source.spec.d_model}-seed{source.spec.rotation.seed}"


def _revision(source: ModelSource, seed: int, random_weights: bool) -> str:
    if source.spec is not None and source.spec.rotation is not None:
        base = source_of(source.spec.rotation.of, random_weights=random_weights)
        return rotated_revision(source, _revision(base, seed, random_weights))
    if source.kind == "folder":
        return content_hash(Path(source.place))
    if source.kind == "gguf":
        return gguf_revision(Path(source.place))
    if source.kind == "hub":
        return hub.commit(source.place, source.repository_revision, otherwise=OTHERWISE)
    assert source.spec is not None
    return random_revision(source.spec, seed) if source.kind == "random" else bundled_revision(source.spec)
