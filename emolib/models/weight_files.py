"""The safetensors files of a model folder: which they are, that they are whole, and what they say they hold.

Only headers are read here, so that a model of any size is looked through before anything of it is in memory.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from emolib.base.errors import UserError, shown
from emolib.base.paths import is_gguf
from emolib.models.model_names import ADAPTER, CONVERT
from emolib.models.settings_files import read_settings, refuse_pointer, refuse_unreadable

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
AGAIN = "fetch or save it again"
LARGEST_HEADER = 100_000_000  # what safetensors itself reads
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
FOREIGN = {b"PK\x03\x04": "a PyTorch file", b"\x80\x02": "a pickle", b"GGUF": "a GGUF file", b"\x89HDF": "an HDF5 file"}
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".npz", ".onnx")


@dataclass(frozen=True)
class Stored:
    """What lies in a model's files.

    Attributes:
        dtypes: of every tensor, as safetensors spells it.
        shapes: of every tensor.
        places: the file that holds it.
    """

    dtypes: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    places: dict[str, Path]

    def read(self, name: str) -> Tensor:
        """One tensor, from its file."""
        with safe_open(self.places[name], framework="pt") as file:
            return file.get_tensor(name)


def stored_tensors(folder: Path, called: str, settings: Mapping[str, Any]) -> Stored:
    """Reads the headers of the files that transformers would load.

    Args:
        called: the model as its user called it.
        settings: what `config.json` says; it may name the file of weights.

    Raises:
        UserError: no safetensors weights, more than one set, missing parts, or a damaged or foreign file.
    """
    stored = Stored({}, {}, {})
    for path in _files(folder, called, settings):
        for name, entry in _header(path, called).items():
            stored.dtypes[name], stored.shapes[name] = entry["dtype"], tuple(entry["shape"])
            stored.places[name] = path
    if not stored.shapes:
        raise UserError(f"expected weights in {shown(called)}, its files hold no tensor; {AGAIN}")
    for name, kind in stored.dtypes.items():
        if name.endswith(".weight") and kind not in FLOATS:
            raise UserError(
                f"expected floating-point weights in {shown(called)}, {shown(name)} is stored as {kind}: quantised "
                "weights are not read; take or save the model in float32 or bfloat16"
            )
    return stored


def _files(folder: Path, called: str, settings: Mapping[str, Any]) -> list[Path]:
    named = settings.get("transformers_weights")
    if named is not None:
        return _named_in_configuration(folder, called, named)
    single, index = folder / SINGLE, folder / INDEX
    is_single, is_split = (path.is_symlink() or path.exists() for path in (single, index))
    if not is_single and not is_split:
        raise UserError(f"expected safetensors weights in {shown(called)}, {_instead_of_weights(folder)}")
    if not is_split:
        return [single]
    shards = _shards(index, called, needed=not is_single)
    if is_single and any(path != single for path in shards):
        raise UserError(
            f"expected one set of weights in {shown(called)}, found {SINGLE} beside the parts that {INDEX} names; "
            "move away the set that is not the model"
        )
    return [single] if is_single else shards


def _named_in_configuration(folder: Path, called: str, named: Any) -> list[Path]:
    right = isinstance(named, str) and Path(named).name == named and named.endswith((".safetensors", ".index.json"))
    if not right:
        raise UserError(
            f"expected a safetensors file of the folder as transformers_weights in config.json of {shown(called)}, "
            f"got {shown(named)}; remove it or name the file"
        )
    path = folder / named
    return _shards(path, called, needed=True) if named.endswith(".json") else [path]


def _instead_of_weights(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    parts = [name for name in names if re.fullmatch(r".*-\d{5}-of-\d{5}\.safetensors", name)]
    if parts:
        return f"found parts such as {shown(parts[0])} without {INDEX}; copy that file, too, or save the model again"
    tensors = [name for name in names if name.endswith(".safetensors")]
    if tensors:
        adapter = f" (if it is an adapter, {ADAPTER} is missing, and it must be merged into its base model first)"
        return f"found {shown(tensors[0])}; name the model's file {SINGLE}{adapter if 'adapter' in tensors[0] else ''}"
    if unfinished := [name for name in names if name.endswith((".incomplete", ".part", ".crdownload", ".tmp"))]:
        return f"found the unfinished download {shown(unfinished[0])}; fetch it again"
    if whole := [name for name in names if is_gguf(name)]:
        return f"found {shown(whole[0])}; give that file itself as the model"
    others = [name for name in names if name.endswith(OTHER_WEIGHTS)]
    if others:
        return f"found {shown(others[0])}; convert the model once by transformers' {CONVERT} and give the new folder"
    return f"found none; copy {SINGLE} into it, or convert the model first"


def _shards(index: Path, called: str, *, needed: bool) -> list[Path]:
    """The files that an index names, with every tensor that it promises; none where they are not `needed` nor there."""
    where = f"{index.name} of {shown(called)}"
    places = read_settings(index, called).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise UserError(f"expected weight_map in {where} to name a file for every tensor; fetch the index again")
    names = sorted(set(places.values()))
    strange = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    if strange:
        raise UserError(f"expected safetensors files of the same folder in {where}, got {shown(strange[0])}; mend it")
    missing = [name for name in names if not (index.parent / name).exists()]
    if len(missing) == len(names) and not needed:
        return []
    if missing:
        raise UserError(
            f"{where} names {len(names)} files, {len(missing)} of them {'is' if len(missing) == 1 else 'are'} missing "
            f"({', '.join(shown(name, 60) for name in missing[:3])}{' …' if len(missing) > 3 else ''}); fetch what is "
            "missing"
        )
    held = {name: _header(index.parent / name, called).keys() for name in names}
    lacking = [tensor for tensor, name in places.items() if tensor not in held[name]]
    if lacking:
        raise UserError(
            f"{where} says that {shown(places[lacking[0]])} holds {shown(lacking[0])} (one of {len(lacking)} such), it "
            "does not; index and files are of two models: fetch them again"
        )
    return [index.parent / name for name in names]


def _header(path: Path, called: str) -> dict[str, Any]:
    """The tensors of one file: name to dtype, shape and place."""
    where = f"{path.name} of {shown(called)}"
    refuse_unreadable(path, where)
    try:
        size = path.stat().st_size
        with open(path, "rb") as stream:
            start = stream.read(256)
            _refuse_foreign(start, where)
            length = int.from_bytes(start[:8], "little")
            if size < 8 or length > size - 8 or length > LARGEST_HEADER:
                raise UserError(
                    f"expected safetensors in {where}, its {size:,} bytes are too few for the header of {length:,} "
                    f"that they announce: cut off, or no safetensors file; {AGAIN}"
                )
            stream.seek(8)
            text = stream.read(length)
    except OSError as error:
        raise UserError(f"cannot read {where} ({error.strerror}); allow reading it") from error
    tensors = _entries(text, where)
    expected = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    if size != expected:
        raise UserError(
            f"expected {expected:,} bytes in {where} by its header, found {size:,}: "
            f"{'it is cut off' if size < expected else 'something was added'}; {AGAIN}"
        )
    try:
        with safe_open(path, framework="pt"):
            return tensors
    except (SafetensorError, OSError) as error:
        raise UserError(f"{where} is damaged ({error}); {AGAIN}") from error


def _refuse_foreign(start: bytes, where: str) -> None:
    refuse_pointer(start, where)
    if not start:
        raise UserError(f"expected safetensors in {where}, the file is empty; {AGAIN}")
    kind = next((kind for magic, kind in FOREIGN.items() if start.startswith(magic)), None)
    if kind:
        raise UserError(f"expected safetensors in {where}, found {kind}; convert the model by transformers' {CONVERT}")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UserError(f"expected safetensors in {where}, found a web page: the download failed; fetch it again")
    text = start.decode("latin-1")
    if start.isascii() and " ".join(text.split()).isprintable():
        raise UserError(f"expected safetensors in {where}, found text ({shown(text.strip(), 40)}); {AGAIN}")


def _entries(text: bytes, where: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        for entry in header.values():
            begin, end = entry["data_offsets"]
            if not (0 <= begin <= end and math.prod(entry["shape"]) >= 0 and isinstance(entry["dtype"], str)):
                raise ValueError("impossible sizes")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"expected a safetensors header in {where}, found a damaged one; {AGAIN}") from error
    return header
