"""Tensor artifacts: safetensors files of one byte sequence, filled in any order, and read tensor by tensor."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save as save_tensors

from emolib.base import store
from emolib.base.errors import UserError, one_line, shown
from emolib.base.writing import held, make_folder, staged, write_all, writing


def tensor_bytes(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    # safetensors writes a view's memory as it lies, whatever the view's strides say
    whole = {name: np.asarray(values, order="C") for name, values in tensors.items()}
    return _in_order(save_tensors(whole, metadata=dict(metadata or {})))


def _in_order(data: bytes) -> bytes:
    """A safetensors file with its metadata in alphabetical order: the library's own order changes from run to run."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if "__metadata__" not in header:
        return data
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


class TensorFile:
    """A safetensors file of known shapes that is filled in any order, so that it never has to fit into memory."""

    def __init__(
        self, path: Path, shapes: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str]
    ) -> None:
        self.path = path
        self._types = {name: np.dtype(dtype).newbyteorder("<") for name, (dtype, _) in shapes.items()}
        self._widths = {name: math.prod(shape[1:]) * self._types[name].itemsize for name, (_, shape) in shapes.items()}
        header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
        place = 0
        # the widest numbers first, so that every tensor is aligned
        for name in sorted(shapes, key=lambda name: -self._types[name].itemsize):
            stop = place + self._widths[name] * shapes[name][1][0]
            kind = {"f": "F", "i": "I"}[self._types[name].kind] + str(8 * self._types[name].itemsize)
            header[name] = {"dtype": kind, "shape": list(shapes[name][1]), "data_offsets": [place, stop]}
            place = stop
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._starts = {
            name: 8 + len(text) + entry["data_offsets"][0] for name, entry in header.items() if name in shapes
        }
        # a fixed name: what a killed run left is overwritten by the next one
        self._temporary = path.with_name(f".{path.name}.partial")
        self._file: int | None = None
        self._made = False
        try:
            self._begin(len(text).to_bytes(8, "little") + text, 8 + len(text) + place)
        except BaseException:
            self.discard()
            raise

    def _begin(self, header: bytes, size: int) -> None:
        with writing(self.path):
            self._file = os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            self._made = True
            held(self._file)
            os.ftruncate(self._file, size)
        self._put(header, 0)

    def put(self, name: str, row: int, values: np.ndarray) -> None:
        """Writes rows of the tensor `name`, from `row` on.

        Raises:
            UserError: a value is too large for the tensor's type.
        """
        kind = self._types[name]
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(values, dtype=kind)
        if kind.itemsize < values.dtype.itemsize and kind.kind == "f" and not np.isfinite(stored).all():
            largest = float(np.abs(values).max())
            raise UserError(
                f"expected values within the reach of {kind.name} (65504), found {largest:.4g}; store them in float32"
            )
        self._put(stored.tobytes(), self._starts[name] + row * self._widths[name])

    def _put(self, data: bytes, place: int) -> None:
        with writing(self.path):
            write_all(self._descriptor(), data, place)

    @contextlib.contextmanager
    def finished(self, matched: Mapping[str, Any], recorded: Mapping[str, Any] | None = None) -> Iterator[Path]:
        """Syncs the file to disk and writes its manifest beside it; `appear` puts both in place."""
        with writing(self.path):
            os.fsync(self._descriptor())
            sha256 = store.sha256_of(self._temporary)
        self._close()  # a model's many files would need too many descriptors at once
        with staged(store.manifest_path(self.path), store.manifest_bytes(sha256, matched, recorded)) as described:
            yield described

    def appear(self, described: Path) -> None:
        """Puts the finished file and its manifest in place."""
        store.put_both(self._temporary, self.path, described)
        self._made = False

    def discard(self) -> None:
        """Leaves nothing behind."""
        self._close()
        with contextlib.suppress(OSError):
            if self._made:
                self._temporary.unlink()

    def _descriptor(self) -> int:
        if self._file is None:
            raise ValueError(f"{self.path.name} is finished: nothing more can be written")
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what was synced needs no news of closing
                os.close(self._file)
            self._file = None


@contextlib.contextmanager
def tensor_files(
    shapes: Mapping[Path, Mapping[str, tuple[str, Sequence[int]]]],
    matched: Mapping[Path, Mapping[str, Any]],
    *,
    metadata: Mapping[Path, Mapping[str, str]] | None = None,
    recorded: Callable[[], Mapping[str, Any]] | None = None,
) -> Iterator[dict[Path, TensorFile]]:
    """Files to fill in parts; all of them appear when the block ends, none if it raises.

    Args:
        shapes: path → tensor's name → numpy dtype and shape.
        matched: path → what the manifest matches.
        metadata: path → text kept in the file's own header.
        recorded: called at the end; what every manifest records besides.
    """
    files: dict[Path, TensorFile] = {}
    try:
        for path, tensors in shapes.items():
            make_folder(path.parent)
            files[path] = TensorFile(path, tensors, (metadata or {}).get(path, {}))
        yield files
        with contextlib.ExitStack() as manifests:
            described = {
                path: manifests.enter_context(file.finished(matched[path], recorded() if recorded else None))
                for path, file in files.items()
            }
            for path, file in files.items():
                file.appear(described[path])
    finally:
        for file in files.values():
            file.discard()


class TensorView:
    """An open safetensors file; what it lacks is a `UserError` that names the file."""

    def __init__(self, path: Path, view: Any) -> None:
        self._path, self._view = path, view

    def keys(self) -> list[str]:
        """The tensors' names."""
        return list(self._view.keys())

    def get_tensor(self, name: str, axes: int | None = None) -> np.ndarray:
        """A tensor alone, of a number of `axes` if given."""
        try:
            values = self._view.get_tensor(name)
        except Exception as error:  # see `store.read_table`
            raise store.unusable(self._path, f"the tensor {shown(name)}", one_line(error)) from error
        if axes is not None and values.ndim != axes:
            raise store.unusable(self._path, f"the tensor {shown(name)} of {axes} axes", f"shape {list(values.shape)}")
        return values

    def get_slice(self, name: str) -> Any:
        """A tensor of which only what is asked for is read."""
        try:
            return self._view.get_slice(name)
        except Exception as error:  # see `store.read_table`
            raise store.unusable(self._path, f"the tensor {shown(name)}", one_line(error)) from error

    def said(self, name: str) -> str:
        """What the file's header says beside the tensors, such as `model`."""
        about = self._view.metadata() or {}
        if name not in about:
            raise store.unusable(self._path, f"{shown(name)} in the header", "it has " + (", ".join(about) or "none"))
        return about[name]


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[TensorView]:
    """A lazy view of a safetensors file: `view.get_tensor(key)` reads that tensor alone.

    Raises:
        UserError: it is not there, has changed, or is no such file.
    """
    store.check(path)
    try:
        opened = safe_open(path, framework="numpy")
    except Exception as error:  # see `store.read_table`
        raise store.unusable(path, "tensors", one_line(error)) from error
    with opened as view:
        yield TensorView(path, view)
