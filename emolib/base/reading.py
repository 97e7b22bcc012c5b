"""What a value means is said by the type of the parameter that it is for: one rule for `-p`, YAML files and notebooks.

A text is read as its type says: text stays text; numbers are decimal; true, yes, on and their opposites are a boolean's
alone; a list has commas, brackets or a single value; `null` is "as the profile says", of any type but text. A value of
Python must be of the type itself: True is no number, and 2.0 is no whole number.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from emolib.base.characters import NOT_WHOLE, is_whole
from emolib.base.errors import shown
from emolib.base.yaml_files import LONGEST_NUMBER, NUMBER, WHOLE, Written, held_number, plain_value

YES_OR_NO = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
NOTHING = ("null", "none", "~")
MOST_VALUES = 1_000
LONGEST_TEXT = 10_000  # signs
LARGEST = 1.7e308
DECIMAL_COMMA = re.compile(r"\s*-?(\d+),(\d+)\s*")  # as much of the world writes one number
DECIMAL_COMMAS = re.compile(r"\s*0,(\d+)(\s*,\s*0,\d+)*\s*")  # no list of several values begins or repeats so


@dataclass(frozen=True)
class Form:
    """In a type's annotation: its values have a form of their own.

    Attributes:
        read: what a caller gave → the value.
        given: the value as JSON has it → what `read` takes.
    """

    read: Callable[[Any], Any]
    given: Callable[[Any], Any] = lambda value: value


def read_as(kind: Any, value: Any) -> Any:
    """A value as a type of pydantic's models has it: `int`, `tuple[float, ...]`, `Literal["auto"] | int`, ….

    What is of the type already stays as it is. Limits (at least 1, …) are for pydantic to check afterwards.

    Raises:
        ValueError: the value is none of the type's.

    >>> read_as(str, "no"), read_as(bool, "no"), read_as(float, "1e-1"), read_as(tuple[int, ...], "8,12")
    ('no', False, 0.1, (8, 12))
    """
    members, forms = _members(kind)
    value = value.tolist() if hasattr(value, "tolist") else value  # numbers and arrays of numpy
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise ValueError(f"expected at most {LONGEST_TEXT:,} signs")
    if isinstance(value, str) and not is_whole(value):
        raise ValueError(NOT_WHOLE)
    if value is None and type(None) in members:
        return None
    if isinstance(value, str) and str not in members:
        value = _unquoted(value)
        if type(None) in members and value.lower() in NOTHING:
            return None
    if forms:
        return forms[0].read(value)
    return _as_one_of(members, value)


def field_type(model: type[BaseModel], name: str) -> Any:
    """The whole annotation of a model's field, what pydantic has taken apart put together again."""
    found = model.model_fields[name]
    kind: Any = found.annotation
    for meta in found.metadata:
        kind = Annotated[kind, meta]
    return kind


def is_nothing(kind: Any, value: Any) -> bool:
    """Whether a value means "as the profile says": None, or `null` where that is no text of its own.

    >>> is_nothing(int, "null"), is_nothing(str, "null"), is_nothing(str, None)
    (True, False, True)
    """
    if value is None:
        return True
    return isinstance(value, str) and str not in _members(kind)[0] and _unquoted(value).lower() in NOTHING


def as_given(kind: Any, value: Any) -> Any:
    """What a caller gives for a value that JSON holds."""
    for form in _members(kind)[1]:
        value = form.given(value)
    return value


def as_text(value: Any) -> str:
    """The text that `read_as` reads as this value, as a command line gives it.

    >>> as_text("no"), as_text((0.2, 0.3)), as_text(True), as_text(["mean"])
    ('no', '0.2,0.3', 'true', '[mean]')
    """
    if isinstance(value, tuple | list):
        return ",".join(map(as_text, value)) if len(value) > 1 else f"[{','.join(map(as_text, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _members(kind: Any) -> tuple[list[Any], list[Form]]:
    """The plain types that a type is one of, and the forms in its annotation."""
    if get_origin(kind) is Annotated:
        inner, *metadata = get_args(kind)
        members, forms = _members(inner)
        return members, [*forms, *(meta for meta in metadata if isinstance(meta, Form))]
    if get_origin(kind) in (Union, types.UnionType):
        parts = [_members(part) for part in get_args(kind)]
        return [m for members, _ in parts for m in members], [f for _, forms in parts for f in forms]
    return [kind], []


def _as_one_of(members: list[Any], value: Any) -> Any:
    alone = isinstance(value, str) and not re.search(r"[\[(,]", value)
    for kind in members:
        if get_origin(kind) is tuple and len(members) > 1 and alone:
            continue  # it would have been one of the others
        read = _READERS.get(get_origin(kind) or kind, _left)
        found = read(kind, value)
        if found is not _OTHER:
            return found
    expected = " or ".join(dict.fromkeys(_described(kind) for kind in members if kind is not type(None)))
    comma = DECIMAL_COMMA.fullmatch(value) if float in members and isinstance(value, str) else None
    raise ValueError(f"expected {expected}" + (f", with a point: {comma[1]}.{comma[2]}" if comma else ""))


_OTHER = object()  # the value is none of the type's


def _text(kind: Any, value: Any) -> Any:
    return str(value) if isinstance(value, str) else _OTHER


def _truth(kind: Any, value: Any) -> Any:
    if isinstance(value, str):
        return YES_OR_NO.get(value.strip().lower(), _OTHER)
    return value if isinstance(value, bool) else _OTHER


def _whole(kind: Any, value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        return int(text) if WHOLE.fullmatch(text) and len(text) <= LONGEST_NUMBER else _OTHER
    return value if isinstance(value, int) and not isinstance(value, bool) else _OTHER


def _number(kind: Any, value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        return held_number(text) if NUMBER.fullmatch(text) and len(text) <= LONGEST_NUMBER else _OTHER
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _OTHER
    return float(value) if abs(value) < LARGEST else _OTHER  # not-a-number is none either


def _choice(kind: Any, value: Any) -> Any:
    if isinstance(value, str):
        return value.strip() if value.strip() in get_args(kind) else _OTHER
    return _OTHER


def _nothing(kind: Any, value: Any) -> Any:
    return None if value is None else _OTHER


def _several(kind: Any, value: Any) -> Any:
    """A list of one type. Brackets and quotation marks around values may be left out."""
    comma = DECIMAL_COMMAS.fullmatch(value) if isinstance(value, str) else None
    if comma and float in _members(get_args(kind)[0])[0]:
        raise ValueError(f"expected decimals with a point: 0.{comma[1]} for one value, [{value.strip()}] for several")
    values = _split(value) if isinstance(value, str) else value
    if not isinstance(values, list | tuple | range):
        values = [values]
    if len(values) > MOST_VALUES:
        raise ValueError(f"expected at most {MOST_VALUES:,} values")
    return tuple(_item(get_args(kind)[0], one) for one in values)


def _item(kind: Any, value: Any) -> Any:
    try:
        return read_as(kind, value)
    except ValueError as error:
        raise ValueError(f"{error} in each place, not {shown(value)}") from None


def _mapping(kind: Any, value: Any) -> Any:
    """Names and values of a file; what its type leaves open is read as `plain_value` says."""
    if not isinstance(value, Mapping):
        return _OTHER
    item = (*get_args(kind), Any, Any)[1]
    return {name: read_as(item, one) for name, one in value.items()}


def _any(kind: Any, value: Any) -> Any:
    if isinstance(value, Written):
        return plain_value(value)
    if isinstance(value, list):
        return [_any(kind, one) for one in value]
    return {name: _any(kind, one) for name, one in value.items()} if isinstance(value, Mapping) else value


def _left(kind: Any, value: Any) -> Any:
    """A model of its own reads its values by itself."""
    return kind(**value) if isinstance(value, Mapping) and issubclass(kind, BaseModel) else value


_READERS: dict[Any, Callable[[Any, Any], Any]] = {
    str: _text,
    bool: _truth,
    int: _whole,
    float: _number,
    Literal: _choice,
    tuple: _several,
    dict: _mapping,
    type(None): _nothing,
    Any: _any,
}


def _split(text: str) -> list[str]:
    text = text.strip()
    inside = text[1:-1] if re.fullmatch(r"\[.*\]|\(.*\)", text, re.DOTALL) else text
    if not inside.strip():
        raise ValueError("expected at least one value, got none")
    parts = [_unquoted(part.strip()) for part in inside.split(",")]
    if not all(parts):
        raise ValueError("expected values separated by commas, got an empty one among them")
    return parts


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _described(kind: Any) -> str:
    if get_origin(kind) is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if get_origin(kind) is tuple:
        return f"several values, each {_described(_members(get_args(kind)[0])[0][0])}"
    names = {
        str: "text",
        bool: "true or false",
        int: "a whole number in decimal digits",
        float: "a finite decimal number",
    }
    return names.get(kind, "names with values")
