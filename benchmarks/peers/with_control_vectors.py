"""Peer: llama.cpp itself steered by control vector files, through the C functions that the package xllamacpp exports.

The package's own classes know no control vectors, so its library is called directly: llama.cpp's loader reads each file
(`common_control_vector_load`, as its programs do), and `llama_set_adapter_cvec` sets what it read. Structures that are
passed by value are given as blocks of bytes that are large enough; none of their fields is touched. The loader's is
laid out as in the pinned build (`xllamacpp.txt`).

Runs in an environment of its own, without torch.

REQUEST.json
    gguf        path of the model
    threads     of the products
    prompt_ids  token ids per prompt
    cells       one per cell: null (unsteered), or a path of a control vector's file
    strength    what the files' numbers are multiplied by
    logits      path of the .npy to write: the last token's, float32 `[cell, prompt, vocabulary]`; NaN of a refused file

RESULT.json
    peer, versions, n_layers, cells: one {read, set} per cell, whether the loader and the context took it
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

LOADER = "_Z26common_control_vector_loadRKSt6vectorI31common_control_vector_load_infoSaIS0_EE"
SILENT = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda level, text, data: None)


class Block(ctypes.Structure):
    """A structure of llama.cpp's of which only its size is of interest, and that only as a limit."""

    _fields_ = (("bytes", ctypes.c_byte * 512),)


class Loaded(ctypes.Structure):
    """What the loader returns: a width (-1 where it refuses the file) and a C++ vector of the rows of layer 1 on."""

    _fields_ = (("width", ctypes.c_int32), ("first", ctypes.c_void_p), ("end", ctypes.c_void_p), ("_", ctypes.c_void_p))


def library() -> ctypes.CDLL:
    """The package's library, its functions typed; its log is silent."""
    found = find_spec("xllamacpp")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("expected the package xllamacpp")
    (file,) = Path(found.submodule_search_locations[0]).glob("xllamacpp*.so")
    llama = ctypes.CDLL(str(file))
    llama.llama_log_set(SILENT, None)
    pointer, number, size = ctypes.c_void_p, ctypes.c_int32, ctypes.c_size_t
    for name, result, *given in (
        ("llama_model_default_params", Block),
        ("llama_context_default_params", Block),
        ("llama_model_load_from_file", pointer, ctypes.c_char_p, Block),
        ("llama_init_from_model", pointer, pointer, Block),
        ("llama_model_get_vocab", pointer, pointer),
        ("llama_vocab_n_tokens", number, pointer),
        ("llama_model_n_layer", number, pointer),
        ("llama_model_n_embd", number, pointer),
        ("llama_set_n_threads", None, pointer, number, number),
        ("llama_get_memory", pointer, pointer),
        ("llama_memory_clear", None, pointer, ctypes.c_bool),
        ("llama_batch_get_one", Block, ctypes.POINTER(number), number),
        ("llama_decode", number, pointer, Block),
        ("llama_get_logits_ith", ctypes.POINTER(ctypes.c_float), pointer, number),
        ("llama_set_adapter_cvec", number, pointer, pointer, size, number, number, number),
        (LOADER, None, ctypes.POINTER(Loaded), pointer),
    ):
        function = getattr(llama, name)
        function.restype, function.argtypes = result, given
    return llama


class Model:
    """One model in one context."""

    def __init__(self, gguf: str, threads: int) -> None:
        self.llama = library()
        self.llama.llama_backend_init()
        self.model = self.llama.llama_model_load_from_file(gguf.encode(), self.llama.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"expected a model in {gguf}, llama.cpp refuses it")
        self.n_layers = self.llama.llama_model_n_layer(self.model)
        self.width = self.llama.llama_model_n_embd(self.model)
        self.n_tokens = self.llama.llama_vocab_n_tokens(self.llama.llama_model_get_vocab(self.model))
        self.context = self.llama.llama_init_from_model(self.model, self.llama.llama_context_default_params())
        self.llama.llama_set_n_threads(self.context, threads, threads)

    def steered_by(self, file: str | None, strength: float) -> dict[str, bool]:
        """Sets a file's vectors in place of those before; None sets none."""
        zeros = np.zeros((self.n_layers, self.width), np.float32)
        self._set(zeros.ctypes.data, zeros.size, self.width)  # all rows: those of a longer file before would stay
        if file is None:
            return {"read": True, "set": True}
        name = ctypes.create_string_buffer(os.fsencode(file))
        entry = ctypes.create_string_buffer(struct.pack("<f4xQ", strength, ctypes.addressof(name)), 16)
        start = ctypes.addressof(entry)
        entries = (ctypes.c_void_p * 3)(start, start + 16, start + 16)
        loaded = Loaded()
        getattr(self.llama, LOADER)(ctypes.byref(loaded), ctypes.addressof(entries))
        if loaded.width == -1:
            return {"read": False, "set": False}
        return {"read": True, "set": self._set(loaded.first, (loaded.end - loaded.first) // 4, loaded.width)}

    def _set(self, rows: int, count: int, width: int) -> bool:
        done = self.llama.llama_set_adapter_cvec(self.context, rows, count, width, 1, self.n_layers)
        return done == 0

    def logits(self, ids: list[int]) -> np.ndarray:
        """After the last token, float32 `[vocabulary]`."""
        self.llama.llama_memory_clear(self.llama.llama_get_memory(self.context), True)
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        if self.llama.llama_decode(self.context, self.llama.llama_batch_get_one(tokens, len(ids))) != 0:
            raise SystemExit(f"expected {len(ids)} tokens to be read, llama.cpp refuses them")
        found = self.llama.llama_get_logits_ith(self.context, -1)
        return np.ctypeslib.as_array(found, (self.n_tokens,)).copy()


def measure(request: dict[str, Any], model_of: Callable[[str, int], Model] = Model) -> dict[str, Any]:
    model = model_of(request["gguf"], request["threads"])
    rows, cells = [], []
    for file in request["cells"]:
        cells.append(model.steered_by(file, request["strength"]))
        taken = cells[-1]["set"]
        empty = np.full(model.n_tokens, np.nan, np.float32)
        rows.append([model.logits(ids) if taken else empty for ids in request["prompt_ids"]])
    np.save(request["logits"], np.array(rows))
    return {"n_layers": model.n_layers, "cells": cells}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(f"expected REQUEST.json and RESULT.json, got {len(sys.argv) - 1} arguments")
    versions = {"python": platform.python_version(), "xllamacpp": version("xllamacpp")}
    outcome = measure(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    result = {"peer": "llama.cpp", "versions": versions, **outcome}
    Path(sys.argv[2]).write_text(json.dumps(result, indent=1), encoding="utf-8")
