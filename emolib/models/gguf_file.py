"""What a GGUF file says of itself: its settings, its tokens, and where each of its tensors lies.

It is read here without the library that converts it, so that a conversion can be held against the file. Only the header
is looked at before anything is converted: a file of another kind, a part of one and one that is cut off are told then.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from emolib.base.errors import UserError, shown
from emolib.base.files import not_readable
from emolib.models.gguf_kinds import MAGIC, refuse_foreign, refuse_part
from emolib.models.settings_files import refuse_unreadable

SUFFIX = ".gguf"
VERSIONS = (2, 3)
AGAIN = "fetch it again"
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, ARRAY = 8, 9
ALIGNMENT = "general.alignment"
LARGEST_NUMBER_OF = {"settings": 2**16, "tensors": 2**20, "dimensions": 4}
ROWS_AT_ONCE = 2**22  # numbers of a tensor that are worked out at a time
Refuse = Callable[[Mapping[str, Any], str], None]  # settings, the file's name in a message


@dataclass(frozen=True)
class Placed:
    """Where a tensor lies in its file.

    Attributes:
        shape: rows before columns, as torch has it.
        kind: how its numbers are stored, by ggml's count.
        start: bytes from the beginning of the file.
        size: bytes.
    """

    shape: tuple[int, ...]
    kind: int
    start: int
    size: int


@dataclass(frozen=True)
class GgufFile:
    """A file whose header was read.

    Attributes:
        called: as its user called it.
        settings: every key of its header with its value.
        tensors: by their names in the file.
    """

    path: Path
    called: str
    settings: dict[str, Any] = field(repr=False)
    tensors: dict[str, Placed] = field(repr=False)

    @property
    def architecture(self) -> str:
        return str(self.settings.get("general.architecture", ""))

    def get(self, name: str, default: Any = None) -> Any:
        """A setting of the architecture, by what follows the architecture's name."""
        return self.settings.get(f"{self.architecture}.{name}", default)

    @property
    def own_names(self) -> list[str]:
        """What follows the architecture's name in every setting of it."""
        beginning = f"{self.architecture}."
        return [key.removeprefix(beginning) for key in self.settings if key.startswith(beginning)]

    def rows(self, name: str) -> Iterator[tuple[slice, np.ndarray]]:
        """A tensor in float32, some rows at a time: `[rows, columns]`, a vector as one row."""
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import dequantize

        placed = self.tensors[name]
        n_columns = placed.shape[-1] if placed.shape else 1
        n_rows = math.prod(placed.shape) // max(n_columns, 1)
        stored = np.memmap(self.path, np.uint8, "r", placed.start, (n_rows, placed.size // max(n_rows, 1)))
        step = max(ROWS_AT_ONCE // max(n_columns, 1), 1)
        for first in range(0, n_rows, step):
            part = slice(first, min(first + step, n_rows))
            yield part, dequantize(np.ascontiguousarray(stored[part]), GGMLQuantizationType(placed.kind))

    def values(self, name: str) -> np.ndarray:
        """A whole tensor in float32, in its shape."""
        return np.concatenate([part for _, part in self.rows(name)]).reshape(self.tensors[name].shape)


def read_gguf(path: Path, called: str, *, refuse: Refuse = refuse_part) -> GgufFile:
    """Reads the header of a GGUF file; one that has not changed since is not read again.

    Args:
        called: the file as its user called it.
        refuse: raises `UserError` by the settings where the file is not what is wanted; the default wants a model.

    Raises:
        UserError: no file, one of another kind, one that is not wanted, a file that is cut off or damaged.
    """
    where = shown(called)
    refuse_unreadable(path, where)
    try:
        about = os.stat(path)
    except OSError as error:
        raise not_readable(path, error, name=where) from error
    return _read(path.absolute(), called, (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns), refuse)


@lru_cache(maxsize=2)
def _read(path: Path, called: str, state: tuple[int, ...], refuse: Refuse) -> GgufFile:
    where = shown(called)
    try:
        with open(path, "rb") as stream:
            refuse_foreign(stream.read(256), where)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parsed(path, called, data, refuse)
    except OSError as error:
        raise not_readable(path, error, name=where) from error
    except _CutOff as error:
        raise UserError(
            f"expected a whole GGUF file, {where} ends after {state[2]:,} bytes, within its header: it is cut off; "
            f"{AGAIN}"
        ) from error
    except (_Damaged, UnicodeDecodeError) as error:
        reason = str(error) if isinstance(error, _Damaged) else "a text that is no UTF-8"
        raise UserError(f"expected a GGUF file, the header of {where} is damaged ({reason}); {AGAIN}") from error


class _CutOff(Exception):
    """The header goes on where the file ends."""


class _Damaged(Exception):
    """The header says what no GGUF file says."""


class _Cursor:
    """Reads one value after the other, never past the end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.place = data, 0

    def numbers(self, form: str, count: int = 1) -> tuple[Any, ...]:
        size = count * struct.calcsize(f"<{form}")
        if size > len(self.data) - self.place:
            raise _CutOff
        found = struct.unpack_from(f"<{count}{form}", self.data, self.place)
        self.place += size
        return found

    def number(self, form: str) -> Any:
        return self.numbers(form)[0]

    def text(self) -> str:
        length = self.number("Q")
        if length > len(self.data) - self.place:
            raise _CutOff
        self.place += length
        return self.data[self.place - length : self.place].decode("utf-8")

    def count(self, what: str) -> int:
        found = self.number("I" if what == "dimensions" else "Q")
        if found > LARGEST_NUMBER_OF[what]:
            raise _Damaged(f"{found:,} {what}")
        return found

    def value(self, kind: int) -> Any:
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            raise _Damaged(f"a value of kind {kind}")
        inner, count = self.number("I"), self.number("Q")
        if inner in NUMBERS:
            return list(self.numbers(NUMBERS[inner], count))
        if inner != TEXT:
            raise _Damaged(f"a list of kind {inner}")
        return [self.text() for _ in range(self._possible(count, 8))]

    def _possible(self, count: int, least: int) -> int:
        """The count of what takes at least so many bytes each."""
        if count > (len(self.data) - self.place) // least:
            raise _CutOff
        return count


def _parsed(path: Path, called: str, data: mmap.mmap, refuse: Refuse) -> GgufFile:
    cursor, where = _Cursor(data), shown(called)
    cursor.place = len(MAGIC)
    version = cursor.number("I")
    if version not in VERSIONS:
        said = "stores numbers the other way round" if version and version % 2**16 == 0 else f"is of version {version}"
        raise UserError(
            f"expected a GGUF file of version {VERSIONS[0]} or {VERSIONS[1]}, {where} {said}; take one that a newer "
            "llama.cpp made"
        )
    n_tensors = cursor.count("tensors")
    settings: dict[str, Any] = {}
    for _ in range(cursor.count("settings")):
        key = cursor.text()
        if key in settings:
            raise _Damaged(f"the key {shown(key)} twice")
        settings[key] = cursor.value(cursor.number("I"))
    found: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for _ in range(n_tensors):
        name = cursor.text()
        if name in found:
            raise _Damaged(f"the tensor {shown(name)} twice")
        shape = tuple(reversed(cursor.numbers("Q", cursor.count("dimensions"))))
        found[name] = (shape, cursor.number("I"), cursor.number("Q"))
    alignment = settings.get(ALIGNMENT, 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**20 or alignment & (alignment - 1):
        raise _Damaged(f"{ALIGNMENT} = {shown(alignment)}")
    start = -(-cursor.place // alignment) * alignment
    tensors = {
        name: Placed(shape, kind, start + place, _size(name, shape, kind, where))
        for name, (shape, kind, place) in found.items()
    }
    refuse(settings, where)
    if not tensors:
        raise UserError(f"expected tensors in {where}, it holds no tensor (a vocabulary alone?); give the whole file")
    _refuse_other_size(tensors, len(data), alignment, where)
    return GgufFile(path, called, settings, tensors)


def _size(name: str, shape: tuple[int, ...], kind: int, where: str) -> int:
    """How many bytes a tensor takes.

    Raises:
        UserError: its numbers are stored in a way that cannot be read.
    """
    if not readable(kind):
        raise UserError(
            f"expected weights in a form that the package gguf reads, {shown(name)} in {where} is stored as "
            f"{_kind_name(kind)}; take a model in another form, such as Q8_0 or Q4_K_M, and vectors in float32"
        )
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    if not shape or math.prod(shape) == 0 or shape[-1] % block:
        raise _Damaged(f"{shown(name)} of the shape {list(shape)} in blocks of {block}")
    return math.prod(shape) // block * size


@lru_cache(maxsize=64)
def readable(kind: int) -> bool:
    """Whether numbers that are stored so can be worked out.

    >>> readable(0), readable(8), readable(27), readable(999)
    (True, True, False, False)
    """
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    try:
        known = GGMLQuantizationType(kind)
        dequantize(np.zeros((1, GGML_QUANT_SIZES[known][1]), np.uint8), known)
    except (ValueError, KeyError, NotImplementedError):
        return False
    return True


def _kind_name(kind: int) -> str:
    from gguf.constants import GGMLQuantizationType

    try:
        return GGMLQuantizationType(kind).name
    except ValueError:
        return f"kind {kind}"


def _refuse_other_size(tensors: dict[str, Placed], size: int, alignment: int, where: str) -> None:
    """Raises `UserError` for a file that ends before its last tensor does, or goes on behind it.

    The last tensor may be filled up to the alignment. Whatever follows would be nothing of the model, yet another hash.
    """
    needed = max(placed.start + placed.size for placed in tensors.values())
    if needed > size:
        raise UserError(f"expected {needed:,} bytes in {where} by its header, found {size:,}: it is cut off; {AGAIN}")
    filled = -(-needed // alignment) * alignment
    if size > filled:
        raise UserError(
            f"expected at most {filled:,} bytes in {where} by its header, found {size:,}: something was added behind "
            f"its end; {AGAIN}"
        )
