"""GGUF headers for the library that converts: its own reader, told to read each file once and to look up values fast.

transformers reads a file once for the configuration, once for the tokenizer and once for the weights, each time value
by value out of a memory map: with a vocabulary of some hundred thousand tokens that is most of a conversion's time.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np


@contextlib.contextmanager
def read_once() -> Iterator[None]:
    """Within the block the package `gguf` gives one reader for each file and one list of names for each architecture.

    What is found in a file is what the package's own reader finds. Nothing may be written to it in the meantime.
    """
    import gguf

    own: dict[str, Any] = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    reader_of = functools.cache(_quick(own["GGUFReader"]))

    def reader(path: str | os.PathLike[str]) -> Any:
        return reader_of(os.path.abspath(path))

    try:
        gguf.__dict__.update(GGUFReader=reader, get_tensor_name_map=functools.cache(own["get_tensor_name_map"]))
        yield
    finally:
        gguf.__dict__.update(own)


def _quick(reader: Any) -> Any:
    """The reader with another way of taking a value out of the file, without a memory map's cost for every one."""

    class Quick(reader):
        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: str | None = None) -> np.ndarray:
            kind = np.dtype(dtype).newbyteorder(self.byte_order if override_order is None else override_order)
            return np.frombuffer(self.data, kind, int(count), int(offset))

    return Quick
