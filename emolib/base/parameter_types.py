"""The types of the phases' parameters: what a value may be, and within which limits.

Every number has both limits, so that nothing is expanded or allocated before it was checked; every list is of values
that differ. What names a file or a folder says so by its type: `DataFile`, `AnchorFile` and `CorpusFolder`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field

from emolib.base.errors import shown
from emolib.base.given_paths import Place
from emolib.base.labels import cleaned
from emolib.base.reading import Form, read_as

T = TypeVar("T")

MOST_LAYERS = 9_999
MOST_NEW_TOKENS = 100_000
LARGEST_SEED = 2**32 - 1  # what numpy and torch both take
_PART = re.compile(r"\s*(0|[1-9][0-9]{0,39})(?:\s*-\s*(0|[1-9][0-9]{0,39}))?\s*")
_LAYERS = "expected layers such as 0-17, 3,5,8 or all"


def parse_layers(value: Any) -> Any:
    """`"0-3,8"` or `5` or a list becomes a sorted tuple of layers; `"all"` the empty tuple; None stays None.

    Raises:
        ValueError: anything else, a range that falls, or no layer at all.

    >>> parse_layers("0-3,8"), parse_layers([3, 1]), parse_layers("all")
    ((0, 1, 2, 3, 8), (1, 3), ())
    """
    if value is None or value == ():
        return value
    if isinstance(value, str):
        text = value.strip()
        found = set() if text == "all" else _expanded(text.removeprefix("[").removesuffix("]"))
    elif isinstance(value, tuple) and len(value) <= MOST_LAYERS + 1 and all(type(layer) is int for layer in value):
        found = set(value)
    else:
        try:
            found = set(read_as(tuple[int, ...], value))
        except ValueError:
            raise ValueError(_LAYERS) from None
        if not found:
            raise ValueError(f"{_LAYERS}, got none")
    if found and not 0 <= min(found) <= max(found) <= MOST_LAYERS:
        raise ValueError(f"expected layers from 0 to {MOST_LAYERS}")
    return tuple(sorted(found))


def _expanded(text: str) -> set[int]:
    layers: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if not match:
            raise ValueError(_LAYERS)
        first, last = int(match[1]), int(match[2] or match[1])
        if max(first, last) > MOST_LAYERS:
            raise ValueError(f"expected layers from 0 to {MOST_LAYERS}")
        if first > last:
            raise ValueError(f"{_LAYERS}; of {part.strip()} the smaller one comes first ({last}-{first})")
        layers.update(range(first, last + 1))
    return layers


def _different(values: tuple[T, ...]) -> tuple[T, ...]:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"expected every value once, {shown(value)} comes twice")
    return values


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(values))


def _added(values: tuple[float, ...]) -> tuple[float, ...]:
    for value in values:
        if value < 0:
            raise ValueError(
                f"expected alphas of at least 0, got {value:g}; the opposite of the chosen one is measured beside it"
            )
    if not any(values):
        raise ValueError("expected an alpha above 0 to choose from: 0 is the unpatched text, which is measured anyway")
    return values


def _steering(schedule: T) -> T:
    if isinstance(schedule, tuple) and not any(schedule):
        raise ValueError("expected a factor other than 0: with these nothing is added at any step")
    return schedule


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("expected a text, got nothing; leave it out for the profile's value")
    return text


def _label(value: str) -> str:
    """As data sets are read: without what cannot be seen at its ends."""
    if not cleaned(value):
        raise ValueError(f"expected the name of a label, got {shown(value)}; give one that the texts have")
    return cleaned(value)


def _heads(value: str) -> str:
    """Heads as they are named; whether a model has them is told when it is known."""
    text = value.replace(" ", "")
    pairs = all(HEAD.fullmatch(part) for part in text.split(","))
    if not pairs and not TOP.fullmatch(text):
        raise ValueError("expected heads such as 3:5,7:2 (layer:head), 0:0-11 (a range) or top:10")
    return text


HEAD = re.compile(r"[0-9]{1,4}:[0-9]{1,4}(-[0-9]{1,4})?")
TOP = re.compile(r"top:[1-9][0-9]{0,2}")

# Of two limits on one side pydantic keeps the last, so a parameter's lower one stands beside its default.
Text = Annotated[str, AfterValidator(_said), Field(max_length=1_000)]
Heads = Annotated[Text, AfterValidator(_heads)]
Label = Annotated[Text, AfterValidator(_label)]
Count = Annotated[int, Field(le=100_000)]
Rows = Annotated[int, Field(le=65_536)]  # of one batch
Seed = Annotated[int, Field(le=LARGEST_SEED)]
Tokens = Annotated[int, Field(le=MOST_NEW_TOKENS)]
Folds = Annotated[int, Field(le=1_000)]
Size = Annotated[float, Field(le=1_000)]  # an effect size, a temperature
Inside = Annotated[float, Field(gt=0, lt=1)]  # a level or a power
Several = Annotated[tuple[T, ...], AfterValidator(_different), Field(min_length=1)]
Ascending = Annotated[tuple[T, ...], AfterValidator(_different), AfterValidator(_ascending), Field(min_length=1)]

DataFile = Annotated[Text, Place("file", "a data set", "give a .csv, .tsv, .jsonl or .json file")]
AnchorFile = Annotated[Text | None, Place("file", "neutral texts", "give a .txt file, one text per line, or .jsonl")]
CorpusFolder = Annotated[Text, Place("folder", "a corpus", "give the folder of GoEmotions' TSV files")]

Layers = Annotated[
    tuple[Annotated[int, Field(ge=0, le=MOST_LAYERS)], ...] | None,
    Form(parse_layers, lambda layers: "all" if layers == [] else layers),
]
Alphas = Annotated[Ascending[Size], AfterValidator(_added)]
Factor = Annotated[float, Field(ge=-1_000, le=1_000)]
Schedule = (
    Literal["constant"]
    | Annotated[float, Field(gt=0, le=1)]
    | Annotated[tuple[Factor, ...], AfterValidator(_steering), Field(min_length=1, max_length=MOST_NEW_TOKENS)]
)
Position = Literal["last", "mean", "trigger", "all"]
VectorPosition = Literal["last", "mean"]  # at the trigger there are no neutral texts for the controls
Mode = Literal["effect", "power", "k"]
Site = Literal["resid_pre", "resid_post", "attn_out", "mlp_out", "z", "pattern"]
