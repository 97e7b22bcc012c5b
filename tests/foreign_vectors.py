"""Control vectors as other programs may write them: what is read, and what llama.cpp and emolib refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFValueType, GGUFWriter

D_MODEL = 32


def written(folder: Path, tensors: dict[str, np.ndarray], kind: str = "controlvector", **settings: Any) -> Path:
    """A file as repeng and saklas write it."""
    writer = GGUFWriter(folder / "x.gguf", kind)
    for key, value in {"controlvector__model_hint": "llama", **settings}.items():
        if isinstance(value, str):
            writer.add_string(key.replace("__", "."), value)
        elif value is not None:
            writer.add_key_value(key.replace("__", "."), *value)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "x.gguf"


def row(seed: int = 0, length: int = D_MODEL) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(length).astype(np.float32)


# by case: tensors, settings of the header, words of the line with which emolib refuses the file
FOREIGN: dict[str, tuple[dict[str, np.ndarray], dict[str, Any], list[str]]] = {
    "another name": ({"direction.2": row(), "mean.3": row()}, {}, ["'mean.3'"]),
    "a number below zero": ({"direction.-2": row()}, {}, ["'direction.-2'"]),
    "a number of thousands": ({"direction.99999": row()}, {}, ["layer 100000"]),
    "a number beyond words": ({"direction.9999999999": row()}, {}, ["direction.9999999999"]),
    "half precision": ({"direction.2": row().astype(np.float16)}, {}, ["float32"]),
    "double precision": ({"direction.2": row().astype(np.float64)}, {}, ["float32"]),
    "a matrix": ({"direction.2": np.stack([row(), row()])}, {}, ["one dimension", "[2, 32]"]),
    "unequal lengths": ({"direction.2": row(), "direction.3": row(length=16)}, {}, ["one length", "16 and 32"]),
    "not finite": ({"direction.2": row() * np.float32(np.inf)}, {}, ["finite"]),
    "zeros": ({"direction.2": 0 * row()}, {}, ["zero"]),
    "no tensor": ({}, {}, ["no tensor"]),
    "a model": ({"direction.2": row()}, {"kind": "llama"}, ["control vector", "'llama'"]),
    "a depth below its vectors": ({"direction.5": row()}, {"emolib__n_layers": (4, 4)}, ["emolib.n_layers"]),
    "a depth of billions": ({"direction.5": row()}, {"emolib__n_layers": (2**32 - 1, 4)}, ["emolib.n_layers"]),
    "a label that is a number": (
        {"direction.2": row()},
        {"emolib__n_layers": (4, 4), "emolib__label": (3, 4)},
        ["emolib.label"],
    ),
    "norms of another number": (
        {"direction.2": row()},
        {"emolib__n_layers": (4, 4), "emolib__neutral_norms": ([1.0, 2.0], 9, 12)},
        ["emolib.neutral_norms"],
    ),
    "norms that are not finite": (
        {"direction.2": row()},
        {"emolib__n_layers": (4, 4), "emolib__neutral_norms": ([1.0, 2.0, float("nan"), 1.0, 1.0], 9, 12)},
        ["emolib.neutral_norms"],
    ),
}


def as_settings(given: dict[str, Any]) -> dict[str, Any]:
    def typed(value: Any) -> Any:
        if not isinstance(value, tuple):
            return value
        return (value[0], *(GGUFValueType(kind) for kind in value[1:]))

    return {key: typed(value) for key, value in given.items()}
