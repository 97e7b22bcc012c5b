"""What is frozen of a model before any sealed text is read, and the parameters of a confirmation.

`params/frozen/<model>.yaml` holds the choice (layer, strength, unit), the rule, and hashes of the code, the data, the
model and the vectors that stand behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from emolib.base import paths, store
from emolib.base.config import Frozen, find_model, validated
from emolib.base.errors import UserError, nearest, shown
from emolib.base.given_paths import Place
from emolib.base.parameter_types import Count, Size, Text
from emolib.base.reading import field_type, is_nothing, read_as
from emolib.base.strength import Unit
from emolib.base.writing import write_atomically
from emolib.base.yaml_files import mapping_text, read_mapping

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
SealedFile = Annotated[Text, Place("file", "a sealed file", "give the .jsonl file of the sealed texts")]
FrozenFile = Annotated[Text | None, Place("file", "a frozen choice", "make one with `emolib freeze`")]
OF_THE_CHOICE = ("parameters", "choice", "vectors", "rule", "code", "data", "weights")


class Choice(Frozen):
    """What is done to the model.

    Attributes:
        kl_length: of the unit `kl` at the layer, in activation units; None in another unit.
    """

    layer: Annotated[int, Field(ge=0)]
    alpha: float
    unit: Unit
    kl_length: float | None
    window: Annotated[int, Field(ge=1)]
    schedule: str
    vector_position: str
    vector_style: str


class VectorHashes(Frozen):
    """The emotions' vectors at the layer: to the last byte, and so that those of another machine can be told to be the
    same but for rounding.

    Attributes:
        norms: by emotion, in activation units.
        sketches: by emotion, the unit direction through a seeded random map that keeps lengths on average.
    """

    sha256: Sha256
    norms: dict[str, float]
    sketches: dict[str, tuple[float, ...]]


class Rule(Frozen):
    """The rule of a claim.

    Attributes:
        sha256: of the files that hold it.
        numbers: the bars in it, for a reader.
        like_valent: per emotion the labels that a claim needs.
    """

    sha256: Sha256
    numbers: dict[str, float]
    like_valent: dict[str, tuple[str, ...]]


class Code(Frozen):
    """The code that decides.

    Attributes:
        git_commit: of the checkout; None outside of one.
        parts: per room, file or folder of parameters the hash of its content.
    """

    git_commit: str | None
    parts: dict[str, Sha256]


class FrozenStudy(Frozen):
    """One file of `params/frozen/`.

    Attributes:
        frozen_at: UTC, in seconds.
        profile: whose Phase 5 chose.
        parameters: every parameter of that phase that decides a value.
        instruments: hash of what was judged before any claim, on validation.
        data: the hash of the data set as it is read, and of the files beside it.
        weights: what the model is made of.
    """

    model: str
    frozen_at: str
    profile: str
    choice: Choice
    parameters: dict[str, Any]
    vectors: VectorHashes
    instruments: Sha256
    rule: Rule
    code: Code
    data: dict[str, Sha256]
    weights: dict[str, str]

    @property
    def digest(self) -> str:
        """Of all that decides a result; when it was frozen and from which commit does not."""
        held = self.model_dump(mode="json", include=set(OF_THE_CHOICE))
        held["code"] = held["code"]["parts"]
        return store.digest({**held, "model": self.model, "profile": self.profile})

    def told(self) -> str:
        """The choice in a few words."""
        chosen = self.choice
        return f"layer {chosen.layer}, alpha {chosen.alpha:g} ({chosen.unit}), frozen {self.frozen_at}"


class ConfirmationParameters(Frozen):
    """What a confirmation may be told; everything else is frozen.

    Attributes:
        profile, phase: what progress and reports call it.
    """

    profile: str = paths.CONFIRMATION
    phase: str = paths.CONFIRMATION
    model: str
    sealed: SealedFile = Field(description="the JSONL file of sealed texts, in the data set's layout")
    frozen: FrozenFile = Field(None, description="a frozen choice; not given: params/frozen/<model>.yaml")
    n_controls: Count = Field(199, ge=1, description="directions per family of controls")
    n_control_texts: Count = Field(12, ge=2, description="implicit texts that are read under control directions")
    n_text_controls: Count = Field(
        59, ge=1, description="directions per family for generated texts, a secondary measure"
    )
    n_samples: Count = Field(8, ge=2, description="sampled texts per prompt and setting, beside the greedy one")
    temperature: Size = Field(0.7, gt=0, description="of the sampled texts")
    rehearsal: Annotated[Count, Field(ge=2)] | None = Field(
        None, description="implicit scenarios that are enough in a mock file; whatever is found confirms nothing"
    )
    again: bool = Field(False, description="open a file once more with another choice; that confirms nothing")
    png: bool = Field(False, description="write every figure as PNG too; needs the extra `png` and a Chrome")


def confirmation_parameters(model: str, sealed: str, given: Mapping[str, Any] | None = None) -> ConfirmationParameters:
    """The parameters of a confirmation, checked.

    Args:
        model: a name of `params/models/`, or as `emolib.base.parameters.resolve` takes it.
        sealed: the sealed file.
        given: other values than the defaults; None means the default.

    Raises:
        UserError: an unknown parameter, a value out of range, a file that is not there.

    >>> confirmation_parameters("smollm2_135m", "data/emotion_dataset.jsonl", {"n_controls": "59"}).n_controls
    59
    """
    valid = [name for name in ConfirmationParameters.model_fields if name not in ("profile", "phase", "model")]
    for key in given or {}:
        if key not in valid:
            raise UserError(f"unknown parameter {shown(key)} of a confirmation: {nearest(key, valid)}")
    values: dict[str, Any] = {}
    for key, value in {"sealed": sealed, **(given or {})}.items():
        kind = field_type(ConfirmationParameters, key)
        if is_nothing(kind, value):
            continue
        try:
            read = read_as(kind, value)
        except ValueError as error:
            raise UserError(f"parameter {shown(key)}: {error} (got {shown(value)})") from None
        place = next((one for one in getattr(kind, "__metadata__", ()) if isinstance(one, Place)), None)
        values[key] = place.named(read) if place else read
    spec = find_model(model)
    values["model"] = spec.name if spec else paths.model_name(model)
    return validated(ConfirmationParameters, values, "parameter")


def write_frozen(study: FrozenStudy, path: Path) -> None:
    """Writes the file.

    Raises:
        UserError: the system refuses.
    """
    head = "# What a confirmation on sealed texts may use; written by `emolib freeze`, changed by nothing else.\n"
    body = mapping_text(study.model_dump(mode="json"))
    write_atomically(path, (head + body).encode())


def read_frozen(path: Path) -> FrozenStudy:
    """Reads the file.

    Raises:
        UserError: it is not there, or holds something else.
    """
    return validated(FrozenStudy, read_mapping(path), f"key in {paths.display(path)}")
