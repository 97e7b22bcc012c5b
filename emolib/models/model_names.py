"""What a user wrote for a model: a folder on disk or a name to look up; and where a path went wrong.

A name with one slash may be a hub id; everything else that looks like a path is answered as a path, so that nobody who
mistyped a folder is told to connect to the hub.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from rapidfuzz import process

from emolib.base.errors import UserError, meant_of, shown, slip_of
from emolib.base.paths import is_gguf
from emolib.models.gguf_kinds import MAGIC

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
CONVERT = "AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)"
MOST_LISTED = 5
MOST_SEEN = 2000  # entries of a folder that are looked at
SUFFIXES = {
    ".gguf": "is a GGUF file: give its path, which ends in .gguf",
    ".ggml": "is a GGML file, which is not read: take the model's safetensors",
    ".safetensors": "is a file of weights: give the folder that holds it, its config.json and its tokenizer",
    ".json": "is a file of a model: give the folder that holds it",
    ".onnx": "is an ONNX file, which is not read: take the model's safetensors",
    ".zip": "is an archive: unpack it and give the folder",
    ".tar": "is an archive: unpack it and give the folder",
    ".tgz": "is an archive: unpack it and give the folder",
    ".gz": "is an archive: unpack it and give the folder",
    **dict.fromkeys(
        (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".npz"),
        f"is a file of weights other than safetensors: convert its model once by transformers' {CONVERT}, and give the "
        "new folder",
    ),
}
WEIGHTS = {".safetensors", ".bin", ".gguf", ".pt", ".pth"}
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[\w.-]+", re.ASCII)
_URL = re.compile(r"(?:https?://(?:www\.)?[\w.-]+/|hf://)(?:models/)?([\w.-]+/[\w.-]+?)(?:[/?#].*)?", re.ASCII)


def local_folder(name: object) -> Path | None:
    """The model folder that `name` stands for; None for what may be a table's name or a hub id.

    `~` is the home folder; a slash at the end changes nothing.

    Raises:
        UserError: no text, or a path that holds no model, with what was found instead.

    >>> local_folder("gpt2"), local_folder("openai-community/gpt2")
    (None, None)
    >>> local_folder("./runs/model.gguf")
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected a model folder, got './runs/model.gguf'; there is no such file, ...
    """
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"expected a model's name, hub id or folder, got {shown(name)}; `emolib models` lists names")
    if url := _URL.fullmatch(name):
        raise UserError(f"expected a hub id, got the address {shown(name)}; give {shown(url[1])}")
    path = _expanded(name)
    if os.path.isdir(path):
        return _with_configuration(path, name)
    if os.path.lexists(path) or (_looks_like_a_path(name) and path.suffix.lower() in SUFFIXES):
        raise UserError(f"expected a model folder, got {shown(name)}; {_other_than_a_folder(path)}")
    if (meant := _gguf_meant(name, path)) is not None:
        raise UserError(f"expected a model folder or GGUF file at {shown(name)}, found none; {meant_of(meant)}")
    if _looks_like_a_path(name) or (os.sep in name and not is_hub_id(name)):
        raise UserError(f"expected a model folder at {shown(name)}, found none; {_way_there(path, name)}")
    return None


def local_gguf(name: object) -> Path | None:
    """The GGUF file that `name` stands for; None for everything else, a folder of such a name included.

    Raises:
        UserError: the name ends in .gguf, and there is nothing of that name.

    >>> local_gguf("gpt2") is None
    True
    >>> local_gguf("./runs/model.gguf")
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected a GGUF file at './runs/model.gguf', found no such file; ...
    """
    if not isinstance(name, str) or not is_gguf(name):
        return None
    path = _expanded(name)
    if os.path.isdir(path):
        return None
    if os.path.lexists(path):
        return path
    if re.match(r"[A-Za-z]+:", name) or "\\" in name:  # an address, or another system's way of writing
        return None
    beside = [entry.name for entry in _gguf_files(path.parent)]
    like = slip_of(path.name, beside)
    if like is not None:
        way = meant_of(os.path.join(os.path.dirname(name), like))
    else:
        way = f"beside it lies {_listed([Path(other) for other in beside])}" if beside else "check the path"
    raise UserError(f"expected a GGUF file at {shown(name)}, found no such file; {way}")


def _gguf_meant(name: str, path: Path) -> str | None:
    """The GGUF file beside that was meant: its ending was left out of a path, or is a slip."""
    beside = [entry.name for entry in _gguf_files(path.parent)]
    like = (
        next((other for other in beside if Path(other).stem == path.name), None) if _looks_like_a_path(name) else None
    )
    if like is None and path.suffix.lower().startswith(".g"):
        like = slip_of(path.name, beside)
    return None if like is None else os.path.join(os.path.dirname(name), like)


def _gguf_files(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if is_gguf(entry.name) and not entry.is_dir()]


def is_hub_id(name: str) -> bool:
    """Whether the hub could have a repository of that name, its owner before the slash."""
    return bool(_HUB_ID.fullmatch(name)) and len(name) <= 96 and ".." not in name and "--" not in name


def local_alternative(name: str) -> str | None:
    """What to look at on disk when `name` has a hub id's form and its first part is a folder here; else None."""
    parent = Path(name).parent
    if not is_hub_id(name) or not os.path.isdir(parent):
        return None
    beside = [*_model_folders(parent), *_gguf_files(parent)]
    return f"{shown(str(parent))} here holds {_listed(_nearest_first(name, beside))}" if beside else None


def holds_model(name: str) -> bool:
    """Whether a folder of that name lies here with a model, a part of one, or models in its folders."""
    found = _entries(Path(name))
    parts = {path.name for path in found} & {CONFIG, ADAPTER} or {path.suffix for path in found} & WEIGHTS
    return bool(parts or _model_folders(Path(name)))


def models_here() -> list[str]:
    """The model folders and GGUF files in the working directory."""
    return [path.name for path in (*_model_folders(Path()), *_gguf_files(Path()))]


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise UserError(f"expected a model folder, got {shown(name)}: no such user's home; write it out") from error


def _looks_like_a_path(name: str) -> bool:
    starts = name.startswith((".", "/", "~", "file:")) or re.match(r"[A-Za-z]:", name)
    return bool(starts or "\\" in name or name.endswith("/") or Path(name).suffix.lower() in SUFFIXES)


def _other_than_a_folder(path: Path) -> str:
    if _holds_gguf(path):
        return f"it is a GGUF file under another name: rename it to {shown(_as_gguf(path.name))} and give that"
    if os.path.islink(path) and not os.path.exists(path):
        return "it is a link to something that is not there; mend the link"
    if not os.path.exists(path) and path.suffix.lower() == ".json":
        return "there is no such file, and a folder is wanted"
    what = SUFFIXES.get(path.suffix.lower(), "is no folder; give the folder that holds config.json and the weights")
    return f"it {what}" if os.path.exists(path) else f"there is no such file, and what ends in {path.suffix} {what}"


def _holds_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF files do; what is no file, or cannot be read, does not."""
    try:
        if not path.is_file():  # a pipe would wait
            return False
        with open(path, "rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False


def _as_gguf(name: str) -> str:
    """The name that a GGUF file should have, another kind's ending left out."""
    stem = (
        name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in SUFFIXES or is_gguf(Path(name).stem) else name
    )
    return stem if is_gguf(stem) else f"{stem}.gguf"


def _way_there(path: Path, name: str) -> str:
    if "\\" in name or re.match(r"[A-Za-z]:", name):
        return "write it with slashes (/), as this system does"
    if name.startswith("file:"):
        return "write the path without file:"
    there, missing = path, path
    with contextlib.suppress(OSError, ValueError):
        while not os.path.isdir(there) and there != there.parent:
            there, missing = there.parent, there
    where = "the working directory" if there == Path() else shown(str(there))
    folders = [entry for entry in _entries(there) if os.path.isdir(entry) and not entry.name.startswith(".")]
    close = _nearest_first(missing.name, folders)
    if not close:
        return f"{where} has no folder {shown(missing.name)} and no other; check the path"
    like = slip_of(missing.name, [folder.name for folder in close])
    guess = meant_of(like) if like is not None else f"it has {_listed(close)}; check the path"
    return f"{where} has no folder {shown(missing.name)}; {guess}"


def _with_configuration(folder: Path, name: str) -> Path:
    """The folder, if it is one of a whole model."""
    names = {path.name for path in _entries(folder)}
    if ADAPTER in names:
        raise UserError(
            f"expected a whole model in {shown(name)}, found an adapter ({ADAPTER}); merge it into its base model "
            "first (peft's merge_and_unload(), then save_pretrained) and give the new folder"
            + (f"; if it is merged already, remove {ADAPTER}" if CONFIG in names else "")
        )
    if os.path.lexists(folder / CONFIG):
        return folder
    raise UserError(f"expected {CONFIG} in {shown(name)}, found none; {_instead_of_configuration(folder, names)}")


def _instead_of_configuration(folder: Path, names: set[str]) -> str:
    inside = _model_folders(folder)
    snapshots = _model_folders(folder / "snapshots")
    if inside:
        return f"models lie in its folders: give one of {_listed(inside, folder)}"
    if snapshots:
        return f"it is a hub cache: give {_listed(snapshots, folder)}, or the hub id"
    if not names:
        return "the folder is empty; give the one that save_pretrained wrote"
    adapters = [path for path in _entries(folder) if (path / ADAPTER).is_file()]
    if adapters:
        return f"adapters lie in its folders ({_listed(adapters, folder)}): merge one into its base model first"
    if files := sorted(name for name in names if is_gguf(name)):
        return f"give the GGUF file in it: {shown(str(folder / files[0]))}"
    if "model_index.json" in names:
        return "it holds an image model's pipeline; give a causal language model"
    if {"params.json", "consolidated.safetensors"} & names or any(n.startswith("consolidated.") for n in names):
        return "its files are in the maker's own layout; take the repository's transformers files"
    if any(name.startswith(("global_step", "pytorch_model_fsdp")) for name in names):
        return "it holds a training run's split state; gather it into one model and save that by save_pretrained"
    if any(name.endswith((".safetensors", ".bin")) for name in names):
        return "copy the config.json that belongs to its weights (the base model's, if only weights were trained)"
    return "give the folder that save_pretrained wrote"


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in islice(entries, MOST_SEEN))
    except OSError:
        return []


def _model_folders(folder: Path) -> list[Path]:
    """The folders just below that hold a `config.json`, `checkpoint-9` before `checkpoint-10`."""
    found = [path for path in _entries(folder) if os.path.isfile(path / CONFIG)]
    return sorted(found, key=lambda path: [int(p) if p.isdigit() else p for p in re.split(r"([0-9]+)", path.name)])


def _nearest_first(name: str, folders: Iterable[Path]) -> list[Path]:
    by_name = {path.name: path for path in folders}
    return [by_name[found[0]] for found in process.extract(Path(name).name[:200], list(by_name), limit=MOST_SEEN)]


def _listed(folders: list[Path], below: Path | None = None) -> str:
    names = [shown(str(path.relative_to(below)) if below else path.name, 40) for path in folders]
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more
