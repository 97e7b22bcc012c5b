"""One reader for every YAML file of the package, which takes plain YAML alone and answers anything else in one line.

A plain value is nothing, true or false, a decimal number, or else text: `no`, `3:5`, `010`, `1_000` and a date stay
text, and so does every key. Anchors, aliases, tags, duplicate keys, several documents, deep nesting and long files are
refused before anything is built from them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from emolib.base import paths
from emolib.base.characters import is_whole
from emolib.base.errors import UserError, shown

LONGEST_FILE = 100_000  # bytes; the longest file of the package has 4,000
DEEPEST = 8
MOST_VALUES = 10_000
LONGEST_NUMBER = 40  # signs

WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
NOTHING = ("", "~", "null", "Null", "NULL")
TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class Written(str):
    """A value as it stands in a file, without quotation marks: what it means is for its reader's type to say."""

    __slots__ = ()


class _Refused(Exception):
    def __init__(self, reason: str, event: yaml.Event) -> None:
        super().__init__(reason)
        self.line = event.start_mark.line + 1 if event.start_mark else 1


def read_mapping(path: Path, *, as_written: bool = False) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Args:
        as_written: leave values without quotation marks as `Written` text, for a reader that knows their types.

    Raises:
        UserError: names the file and, where there is one, the line: no such file, too long, no UTF-8, no YAML or more
            than plain YAML.

    >>> read_mapping(paths.params_folder("profiles") / "quick.yaml")["n_train"]
    40
    """
    where = shown(paths.display(path))[1:-1]
    text = _text(path, where)
    try:
        value = _document(text, as_written)
    except _Refused as error:
        raise UserError(f"expected plain YAML in {where}, line {error.line}: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"expected YAML in {where}{at}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:  # signs that YAML does not allow
        place = getattr(error, "position", 0)
        line = text.count("\n", 0, place) + 1 if isinstance(place, int) else 1
        raise UserError(f"expected YAML in {where}, line {line}: a sign that YAML does not allow; remove it") from None
    if not isinstance(value, dict):
        raise UserError(f"expected a mapping (`name: value` lines) in {where}, got {_kind(value)}")
    return value


def plain_value(text: str) -> bool | int | float | str | None:
    """What a value without quotation marks means where no type says more.

    Raises:
        ValueError: a number that is too long or too large.

    >>> [plain_value(text) for text in ("12", "1e-1", "true", "no", "3:5", "010")]
    [12, 0.1, True, 'no', '3:5', '010']
    """
    if text in NOTHING:
        return None
    if text in TRUTH:
        return TRUTH[text]
    if not NUMBER.fullmatch(text):
        return str(text)
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"expected a number of at most {LONGEST_NUMBER} signs, got {shown(text)}")
    return int(text) if WHOLE.fullmatch(text) else held_number(text)


def held_number(text: str) -> float:
    """The number of decimal digits that a text writes.

    Raises:
        ValueError: it is too large to be held, or so small that it would turn into nothing.

    >>> held_number("2.5e-1")
    0.25
    """
    number = float(text)
    lost = number == 0 and re.search("[1-9]", re.split("[eE]", text)[0]) is not None
    if lost or abs(number) == float("inf"):
        raise ValueError(f"expected a number that a computer can hold, got {shown(text)}")
    return number


def mapping_text(held: Mapping[str, Any]) -> str:
    """A mapping as the text of a YAML file, its keys in their order; `read_mapping` reads it back.

    >>> mapping_text({"layer": 20, "label": "no"})
    "layer: 20\\nlabel: 'no'\\n"
    """
    return yaml.safe_dump(dict(held), sort_keys=False, allow_unicode=True, width=120)


def _text(path: Path, where: str) -> str:
    if not os.path.isfile(path):
        found = "something else" if os.path.lexists(path) else "no such file"
        raise UserError(f"expected a YAML file at {where}, found {found}")
    try:
        with open(path, "rb") as stream:
            content = stream.read(LONGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"expected a YAML file at {where} that can be read: {error.strerror}") from error
    if len(content) > LONGEST_FILE:
        raise UserError(f"expected at most {LONGEST_FILE:,} bytes of YAML in {where}, found more; shorten it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"expected UTF-8 in {where}, line {line}: got another encoding; save it as UTF-8") from None


def _document(text: str, as_written: bool) -> Any:
    """The only document's value; None where there is none."""
    events = _counted(yaml.parse(text, Loader=yaml.SafeLoader))
    documents, value = 0, None
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Refused("expected one document, found a second one (`---`)", event)
        elif isinstance(event, yaml.NodeEvent):
            value = _node(event, events, as_written, 1)
    return value


def _node(event: Any, events: Iterator[yaml.Event], as_written: bool, depth: int) -> Any:
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        name = shown(event.anchor)[1:-1]
        raise _Refused(f"expected no anchors (&) or aliases (*), got {name}; write the value out", event)
    if getattr(event, "tag", None) is not None:
        raise _Refused(f"expected no tags (!), got {shown(event.tag)}; leave it out", event)
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event, as_written)
    if depth > DEEPEST:
        raise _Refused(f"expected at most {DEEPEST} levels, found more", event)
    if isinstance(event, yaml.SequenceStartEvent):
        return [_node(item, events, as_written, depth + 1) for item in _until(events, yaml.SequenceEndEvent)]
    mapping: dict[str, Any] = {}
    for key in _until(events, yaml.MappingEndEvent):
        name = _node(key, events, True, depth + 1)
        if not isinstance(name, str) or not name:
            raise _Refused("expected a name before each colon, got something else", key)
        if name in mapping:
            raise _Refused(f"expected every name once, got {shown(str(name))} twice; remove one", key)
        mapping[str(name)] = _node(next(events), events, as_written, depth + 1)
    return mapping


def _scalar(event: yaml.ScalarEvent, as_written: bool) -> Any:
    if not is_whole(event.value):
        raise _Refused("expected whole characters, got half of one (\\ud800 to \\udfff)", event)
    if event.style is not None:
        return event.value
    if as_written:
        return Written(event.value)
    try:
        return plain_value(event.value)
    except ValueError as error:
        raise _Refused(str(error), event) from None


def _counted(events: Iterable[yaml.Event]) -> Iterator[yaml.Event]:
    for number, event in enumerate(events):
        if number > MOST_VALUES:
            raise _Refused(f"expected at most {MOST_VALUES:,} values, found more", event)
        yield event


def _until(events: Iterator[yaml.Event], end: type[yaml.Event]) -> Iterator[Any]:
    for event in events:
        if isinstance(event, end):
            return
        yield event


def _kind(value: Any) -> str:
    return "nothing" if value is None or value == "" else "a list" if isinstance(value, list) else "one value"
