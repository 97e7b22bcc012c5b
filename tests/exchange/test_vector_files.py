"""Vectors that other programs or hands have saved: numbers of layers mean what the file or its reader says."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refusals import refused_call
from safetensors.numpy import save_file

import emolib
from emolib.exchange.vector_files import read_vector_file

D_MODEL = 16
GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.standard_normal((4, D_MODEL)).astype(np.float32)


def of_saklas(folder: Path, **changes: Any) -> Path:
    """A profile as saklas 5.3 saves it: the tensors, and a description that it insists on."""
    path = folder / "profile.safetensors"
    save_file({f"layer_{number}": row for number, row in zip((2, 3, 5, 7), ROWS, strict=True)}, path)
    described = {
        "format_version": 6,
        "saklas_version": "5.3.0",
        "method": "profile",
        "tensor_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "provenance": {},
    }
    path.with_suffix(".json").write_text(json.dumps(described | changes))
    return path


def test_a_profile_of_saklas_counts_the_blocks_behind_which_it_is_added(tmp_path: Path) -> None:
    held = read_vector_file(of_saklas(tmp_path))
    assert held.layers == (3, 4, 6, 8) and held.kind == "saklas profile"
    np.testing.assert_array_equal(held.rows[6], ROWS[2])
    refused_call(
        lambda: read_vector_file(of_saklas(tmp_path), numbering="input"), ["numbering='input'", "leave them out"]
    )
    refused_call(
        lambda: read_vector_file(of_saklas(tmp_path, tensor_sha256="0" * 64)), ["profile.json", "hash differs"]
    )


def test_without_the_description_it_is_arrays_whose_reader_says_what_they_mean(tmp_path: Path) -> None:
    path = of_saklas(tmp_path)
    path.with_suffix(".json").unlink()
    refused_call(lambda: read_vector_file(path), ["numbering='input'", "'output'"])
    assert read_vector_file(path, numbering="input").layers == (2, 3, 5, 7)
    assert read_vector_file(path, numbering="output").layers == (3, 4, 6, 8)


def test_arrays_saved_by_hand_mean_what_is_said(tmp_path: Path) -> None:
    saved = {"matrix.npy": ROWS, "bare.npy": ROWS[2]}
    for name, values in saved.items():
        np.save(tmp_path / name, values)
    save_file({"vectors": ROWS}, tmp_path / "matrix.safetensors")
    for name in ("matrix.npy", "matrix.safetensors"):
        assert read_vector_file(tmp_path / name, numbering="input").layers == (0, 1, 2, 3)
        held = read_vector_file(tmp_path / name, numbering="output")
        np.testing.assert_array_equal(held.values(4), np.concatenate([0 * ROWS[:1], ROWS]))
    for numbering, layer in {"input": 7, "output": 8}.items():
        assert read_vector_file(tmp_path / "bare.npy", numbering=numbering, layer=7).layers == (layer,)


def test_layer_activations_of_steering_vectors_are_read_from_torchs_file_and_nothing_is_run(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "vector.pt"
    torch.save({4: torch.from_numpy(ROWS[0]), 9: torch.from_numpy(ROWS[1]).half()}, path)
    held = read_vector_file(path, numbering="output")
    assert held.layers == (5, 10)
    np.testing.assert_array_equal(held.rows[5], ROWS[0])
    np.testing.assert_array_equal(held.rows[10], ROWS[1].astype(np.float16).astype(np.float32))
    path.write_bytes(pickle.dumps({4: print}))
    refused_call(lambda: read_vector_file(path, numbering="output"), ["vector.pt", "builtins.print"])
    torch.save({"model": torch.ones(3)}, path)
    refused_call(lambda: read_vector_file(path, numbering="output"), ["layer_activations"])


def saved(name: str, values: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, values)


def tensors(name: str, **values: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: save_file(values, folder / name)


def content(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data)  # type: ignore[func-returns-value]


def half(name: str) -> Callable[[Path], None]:
    """The first half of a matrix's file."""

    def make(folder: Path) -> None:
        np.save(folder / "whole.npy", ROWS)
        data = (folder / "whole.npy").read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return make


def huge(name: str) -> Callable[[Path], None]:
    """A file that claims a terabyte."""

    def make(folder: Path) -> None:
        with open(folder / name, "wb") as stream:
            header = {"descr": "<f4", "fortran_order": False, "shape": (2**20, 2**18)}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.write(ROWS.tobytes())

    return make


REFUSED: dict[str, tuple[str, Callable[[Path], None], dict[str, Any], list[str]]] = {
    "no file": ("none.npy", lambda folder: None, {}, ["no such file"]),
    "a folder": ("a", lambda folder: (folder / "a").mkdir(), {}, ["is a folder"]),
    "nothing": ("a.npy", content("a.npy", b""), {}, ["none of them"]),
    "text": ("a.json", content("a.json", b'{"layer": 3}'), {}, ["none of them"]),
    "a pointer": ("a.npy", content("a.npy", b"version https://git-lfs.github.com/spec/v1"), {}, ["git-LFS"]),
    "half a matrix": ("a.npy", half("a.npy"), {"numbering": "input"}, ["cannot be read"]),
    "a claim beyond the file": ("a.npy", huge("a.npy"), {"numbering": "input"}, ["cannot be read"]),
    "objects": ("a.npy", saved("a.npy", np.array([{}, {}])), {"numbering": "input"}, ["cannot be read"]),
    "whole numbers": ("a.npy", saved("a.npy", np.ones((3, 4), int)), {"numbering": "input"}, ["int64"]),
    "three axes": ("a.npy", saved("a.npy", np.ones((2, 3, 4))), {"numbering": "input"}, ["give layer"]),
    "a number": ("a.npy", saved("a.npy", np.float32(3)), {"numbering": "input", "layer": 3}, ["shape []"]),
    "too many rows": ("a.npy", saved("a.npy", np.ones((2000, 4))), {"numbering": "input"}, ["2,000"]),
    "not finite": ("a.npy", saved("a.npy", np.full((2, 3), np.inf)), {"numbering": "input"}, ["finite"]),
    "too large for float32": ("a.npy", saved("a.npy", np.full((2, 3), 1e300)), {"numbering": "input"}, ["finite"]),
    "zeros": ("a.npy", saved("a.npy", np.zeros((2, 3))), {"numbering": "input"}, ["zero"]),
    "no numbering": ("a.npy", saved("a.npy", ROWS), {}, ["numbering='input'"]),
    "a bare vector without a layer": ("a.npy", saved("a.npy", ROWS[0]), {"numbering": "input"}, ["give layer"]),
    "a matrix with a layer": ("a.npy", saved("a.npy", ROWS), {"numbering": "input", "layer": 2}, ["leave layer out"]),
    "names without numbers": (
        "a.safetensors",
        tensors("a.safetensors", joy=ROWS[0], anger=ROWS[1]),
        {"numbering": "input"},
        ["end of every name"],
    ),
    "one number twice": (
        "a.safetensors",
        tensors("a.safetensors", joy_3=ROWS[0], anger_3=ROWS[1]),
        {"numbering": "input"},
        ["3 ends two names"],
    ),
    "unequal lengths": (
        "a.safetensors",
        tensors("a.safetensors", v1=ROWS[0], v2=ROWS[1, :5]),
        {"numbering": "input"},
        ["one length"],
    ),
    "a damaged header": (
        "a.safetensors",
        content("a.safetensors", (64).to_bytes(8, "little") + b"{" + b" " * 63),
        {"numbering": "input"},
        ["cannot be read"],
    ),
}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"numbering": "post"}, ["numbering", "'post'"]),
        ({"numbering": "input", "layer": -1}, ["layer", "-1"]),
        ({"numbering": "input", "layer": 5000}, ["layer", "5000"]),
    ],
)
def test_settings_that_no_file_has_are_refused(tmp_path: Path, settings: dict[str, Any], says: list[str]) -> None:
    np.save(tmp_path / "a.npy", ROWS[0])
    refused_call(lambda: read_vector_file(tmp_path / "a.npy", **settings), says)
    assert read_vector_file(tmp_path / "a.npy", numbering="input", layer=0).layers == (0,)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_or_does_not_say_its_layers_is_refused(tmp_path: Path, case: str) -> None:
    name, prepare, settings, says = REFUSED[case]
    prepare(tmp_path)
    refused_call(lambda: emolib.read_vectors(tmp_path / name, label="joy", **settings), [name, *says])
    np.save(tmp_path / "good.npy", ROWS)
    good = emolib.read_vectors(tmp_path / "good.npy", label="joy", numbering="input")
    np.testing.assert_array_equal(good.values, ROWS)
