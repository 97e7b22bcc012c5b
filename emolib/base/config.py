"""What `params/*.yaml` says: the models, the scorers, the profiles; every entry checked as it is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emolib.base import paths
from emolib.base.errors import UserError, nearest, shown
from emolib.base.model_entries import checked_table

M = TypeVar("M", bound=BaseModel)


class Frozen(BaseModel):
    """Checked when it is made, never changed, and refusing keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Bundled(Frozen):
    """Where a model's weights lie inside an installed registry package."""

    package: str
    distribution: str
    gguf_file: str
    sha256: str


class ModelSpec(Frozen):
    """One entry of `params/models/`: what to load and what the official configuration says about its size."""

    name: str
    hub_id: str
    aliases: tuple[str, ...] = ()
    revision: str = "main"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantization: Literal["none", "int8"] = "none"
    gated: bool = False
    chat: bool = False
    bundled: Bundled | None = None
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_vocab: int
    random_weights: bool = False
    config: dict[str, Any] = Field(default_factory=dict)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"expected YAML in {paths.display(path)}: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise UserError(f"expected a mapping in {paths.display(path)}, got {type(value).__name__}")
    return value


def _first_problem(error: ValidationError, kind: str, valid: list[str]) -> UserError:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return UserError(f"unknown {kind} {shown(where)}: {nearest(where, valid)}")
    message = problem["msg"].removeprefix("Value error, ")
    return UserError(f"{kind} {shown(where)}: {message} (got {shown(problem['input'])})")


def validated(model: type[M], values: Mapping[str, Any], kind: str) -> M:
    """The values as an object of that type.

    Raises:
        UserError: names the first value that is wrong or unknown as a `kind`.
    """
    try:
        return model(**values)
    except ValidationError as error:
        raise _first_problem(error, kind, list(model.model_fields)) from error


@lru_cache(maxsize=1)
def model_table() -> dict[str, ModelSpec]:
    """Every model of `params/models/`, by name.

    Raises:
        UserError: an entry that is no model's, or two that one name may mean.
    """
    entries = {}
    for path in sorted(paths.params_folder("models").glob("*.yaml")):
        entries[path] = validated(ModelSpec, _read_yaml(path), f"key in {paths.display(path)}")
    return checked_table(entries)


@lru_cache(maxsize=8)
def scorer_settings(name: str) -> dict[str, Any]:
    """What `params/scorers/<name>.yaml` says."""
    return _read_yaml(paths.params_folder("scorers") / f"{name}.yaml")


def find_model(name: str) -> ModelSpec | None:
    """The table's entry called `name`, by its name, an alias or its hub id; None if the table has none.

    Raises:
        UserError: a hub id that several entries have, for several revisions for example.
    """
    entries = model_table().values()
    named = [spec for spec in entries if name in (spec.name, *spec.aliases)]
    found = named or [spec for spec in entries if name == spec.hub_id]
    if len(found) > 1:
        raise UserError(f"{shown(name)} is the hub_id of several models; name one: {', '.join(s.name for s in found)}")
    return found[0] if found else None


def profile_names() -> list[str]:
    return sorted(path.stem for path in paths.params_folder("profiles").glob("*.yaml"))


def load_profile(name: str) -> dict[str, Any]:
    """The mapping in `params/profiles/<name>.yaml`: common parameters, and one mapping per phase."""
    if name not in profile_names():
        raise UserError(f"unknown profile {shown(name)}: {nearest(name, profile_names())}")
    return _read_yaml(paths.params_folder("profiles") / f"{name}.yaml")
