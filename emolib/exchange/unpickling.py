"""Reads pickles of numpy arrays, torch tensors and plain containers; a pickle is a program, and this runs none of it.

Three guards stand behind each other. The opcodes are walked first (`pickle_walk`), before anything is built. Names are
looked up in a table of (module, name) pairs, so that no prefix, dotted name or module attribute gets through. And what
a name stands for is never the real function but one of this module's, which checks its arguments; the objects it
returns offer a pickle nothing to call or to set.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from emolib.base.characters import printable
from emolib.base.errors import UserError, shown
from emolib.base.files import require_file
from emolib.exchange.pickle_walk import refused, walk

TORCH_MAGIC = b"\x80\x02\x8a\n" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."  # torch.save before 1.6
TORCH_PICKLES = 5  # of such a file: magic, protocol, platform, the object, the keys of the storages
STORAGES = ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
TORCH_NAMES = frozenset(
    {"collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"}
    | {f"torch.{kind}Storage" for kind in STORAGES}
)


def load(path: Path) -> Any:
    """The object in a pickle (protocol 2 to 5) or a file of torch.save.

    Arrays come as `Array` or torch tensors; `as_array` gives numpy's.

    Raises:
        UserError: names the first thing asked for that is not allowed, or says why the file cannot be read.
    """
    require_file(path, name=f"a pickle or a file of torch.save at {shown(str(path))}")
    try:
        size = path.stat().st_size
        with open(path, "rb") as stream:
            start = stream.read(len(TORCH_MAGIC))
            stream.seek(0)
            if start.startswith(b"PK\x03\x04"):
                return _load_zip(stream, path.name, size)
            if start == TORCH_MAGIC:
                return _load_torch(stream, path.name, size)
            if not start.startswith(pickle.PROTO):
                raise UserError(
                    f"{path.name}: expected a pickle (protocol 2 to 5) or a file of torch.save, got neither"
                )
            end = walk(stream, path.name, size)
            if end != size:
                raise UserError(f"{path.name}: {size - end} bytes follow the end of the pickle; export the file again")
            stream.seek(0)
            return AllowedUnpickler(stream, path.name, size).load()
    except UserError:
        raise
    except Exception as error:  # a hostile file can make the machinery fail in any way
        reason = printable(str(error) or "it breaks off", 160)
        raise UserError(f"{path.name}: not a readable pickle ({reason}); nothing was imported") from error


class _Sealed:
    """Without a `__setstate__` of its own, the opcode BUILD would set any attribute."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"sets attributes of a {type(self).__name__.strip('_').lower()}")


class _Call(_Sealed):
    """What `find_class` hands to a pickle: it can be called, and nothing else."""

    __slots__ = ("function", "name")

    def __init__(self, name: str, function: Callable) -> None:
        self.name, self.function = name, function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class Array(_Sealed):
    """An array of the file; `values` is None until its state came."""

    __slots__ = ("values",)

    def __init__(self, values: np.ndarray | None = None) -> None:
        self.values = values

    def __setstate__(self, state: Any) -> None:
        if self.values is not None:
            raise pickle.UnpicklingError("sets an array twice")
        _, shape, dtype, fortran, raw = state
        self.values = _from_bytes(raw, dtype, shape, "F" if fortran else "C")


class _Dtype(_Sealed):
    __slots__ = ("value",)

    def __init__(self, value: np.dtype) -> None:
        self.value = value

    def __setstate__(self, state: Any) -> None:
        _, order, *structure = state[:5]
        if any(part is not None for part in structure) or len(state) != 8:
            raise pickle.UnpicklingError("a structured dtype")
        self.value = self.value.newbyteorder(order)


class _Storage(_Sealed):
    __slots__ = ("values",)

    def __init__(self, values: np.ndarray) -> None:
        self.values = values


def _sizes(*values: Any) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _from_bytes(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
        raise pickle.UnpicklingError("an array without plain bytes")
    if not isinstance(shape, tuple) or not _sizes(*shape):
        raise pickle.UnpicklingError("an array whose shape is no tuple of sizes")
    if math.prod(shape) * dtype.value.itemsize != len(raw):
        raise pickle.UnpicklingError(f"an array of shape {shape} and type {dtype.value} in {len(raw)} bytes")
    flat = np.frombuffer(raw, dtype.value)
    if flat.dtype.kind == "U":
        flat.tolist()  # raises where a number is no character
    return flat.reshape(shape, order=order)


def _ndarray(reader: AllowedUnpickler, *_: Any) -> Array:
    raise refused(reader.source, "numpy.ndarray(…), a bare array of any size")


def _reconstruct(reader: AllowedUnpickler, kind: Any, *_: Any) -> Array:
    if not isinstance(kind, _Call) or kind.name != "numpy.ndarray":
        raise pickle.UnpicklingError("an array that is no numpy.ndarray")
    return Array()


def _dtype(reader: AllowedUnpickler, text: Any, *_: Any) -> _Dtype:
    if not isinstance(text, str) or not re.fullmatch(r"[<>|=]?(f[248]|[iu][1248]|b1|U\d{1,6})", text):
        asked = repr(text) if isinstance(text, str) else type(text).__name__
        raise refused(reader.source, f"numpy.dtype({asked})")
    return _Dtype(np.dtype(text))


def _scalar(reader: AllowedUnpickler, dtype: Any, raw: Any) -> Any:
    return _from_bytes(raw, dtype, (), "C").item()


def _frombuffer(reader: AllowedUnpickler, raw: Any, dtype: Any, shape: Any, order: Any) -> Array:
    return Array(_from_bytes(raw, dtype, shape, order))


def _encode(reader: AllowedUnpickler, text: str, encoding: str) -> bytes:
    """Protocol 2 has no bytes: they are written as text."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("_codecs.encode of something else than latin1 text")
    reader.spend(len(text))
    return text.encode("latin1")


def _empty_dict(reader: AllowedUnpickler, *items: Any) -> dict:
    if items:
        raise pickle.UnpicklingError("an OrderedDict made of something")
    return {}


def _storage(reader: AllowedUnpickler, data: bytes) -> _Storage:
    """torch.storage._load_from_bytes, which itself would unpickle the bytes without any guard."""
    reader.spend(len(data))
    found = _load_torch(io.BytesIO(data), reader.source, len(data))
    torch = sys.modules["torch"]
    if not isinstance(found, torch.storage.TypedStorage):
        raise pickle.UnpicklingError(f"a {type(found).__name__} where a tensor's storage is expected")
    return _Storage(_as_numpy(torch.empty(0, dtype=found.dtype).set_(found)))


def _tensor(reader: AllowedUnpickler, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Array:
    if not isinstance(storage, _Storage) or not _sizes(offset, *size, *stride) or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor without storage, size and stride")
    flat = storage.values
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > len(flat) - offset or (math.prod(size) and last >= len(flat)):
        raise pickle.UnpicklingError(f"a tensor of size {size} in a storage of {len(flat)} numbers")
    steps = [step * flat.itemsize for step in stride]
    return Array(np.lib.stride_tricks.as_strided(flat[offset:], size, steps, writeable=False))


def _parameter(reader: AllowedUnpickler, data: Any, *_: Any) -> Array:
    if not isinstance(data, Array):
        raise pickle.UnpicklingError("a parameter without a tensor")
    return data


ALLOWED: dict[tuple[str, str], Callable] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _empty_dict,  # a tensor's backward hooks
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
    ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    ALLOWED[f"{_core}.multiarray", "scalar"] = _scalar
    ALLOWED[f"{_core}.numeric", "_frombuffer"] = _frombuffer


class AllowedUnpickler(pickle.Unpickler):
    """An unpickler that knows the names in `ALLOWED` and no others."""

    def __init__(self, stream: IO[bytes], source: str, size: int) -> None:
        super().__init__(stream)
        self.source = source
        self._left = 2 * size  # protocol 2 decodes a tensor's bytes twice: as text, then as a storage

    def find_class(self, module: str, name: str) -> _Call:
        function = ALLOWED.get((module, name))
        if function is None:
            raise refused(self.source, f"{module}.{name}")
        return _Call(f"{module}.{name}", partial(function, self))

    def persistent_load(self, pid: Any) -> Any:
        shown = repr(pid) if isinstance(pid, str) else f"of type {type(pid).__name__}"  # a nested one has no end
        raise refused(self.source, f"the persistent id {shown}")

    def spend(self, count: int) -> None:
        """Counts bytes that are copied: more than the file has means that it repeats itself to fill the memory."""
        self._left -= count
        if self._left < 0:
            raise pickle.UnpicklingError("the same bytes are decoded again and again")


def _load_torch(stream: IO[bytes], source: str, size: int) -> Any:
    """What torch.save wrote before it wrote zip files."""
    if stream.read(len(TORCH_MAGIC)) != TORCH_MAGIC:
        stream.seek(0)
        walk(stream, source, size, allowed=TORCH_NAMES)  # names what hides in place of a storage
        raise pickle.UnpicklingError("a storage that torch.save did not write")
    stream.seek(0)
    for _ in range(TORCH_PICKLES):
        walk(stream, source, size, allowed=TORCH_NAMES)
    stream.seek(0)
    return _weights_only(stream)


def _load_zip(stream: IO[bytes], source: str, size: int) -> Any:
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or sum(entry.file_size for entry in entries) > size:
            raise UserError(f"{source}: its entries are packed or overlap, torch.save writes neither; save it again")
        programs = [entry for entry in entries if entry.filename.rsplit("/", 1)[-1] == "data.pkl"]
        if len(programs) != 1:
            raise UserError(f"{source}: expected a zip file of torch.save with one data.pkl, found {len(programs)}")
        program = archive.read(programs[0])
    walk(io.BytesIO(program), source, len(program), allowed=TORCH_NAMES)
    stream.seek(0)
    return _weights_only(stream)


def _weights_only(stream: IO[bytes]) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # storages with a type are deprecated, and are what old files hold
        try:
            return torch.load(stream, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # its text advises to switch the guard off
            named = re.search(r"GLOBAL (\S+)", str(error))
            asked = named[1].rstrip(".") if named else "something else"
            raise pickle.UnpicklingError(f"torch allows weights only, not {asked}") from error


def _as_numpy(tensor: Any) -> np.ndarray:
    torch = sys.modules["torch"]
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def as_array(value: Any, source: str, largest: int) -> np.ndarray | None:
    """An array, an `Array` or a dense torch tensor as numpy's (bfloat16 as float32); None for anything else.

    Raises:
        UserError: more than `largest` bytes (a view can claim what its storage does not hold).
    """
    if isinstance(value, Array | np.ndarray):
        return value.values if isinstance(value, Array) else value
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
        return None
    if value.numel() * value.element_size() > largest:
        raise UserError(f"{source}: a tensor of size {tuple(value.shape)} is larger than the file; save it again")
    return _as_numpy(value)
