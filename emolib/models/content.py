"""What a model folder holds, as one hash over every file that decides what the model computes and reads.

Weights, configuration, tokenizer and chat format count, under the names that they have inside the folder; where the
folder lies and what it is called does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from emolib.base import paths, store
from emolib.base.errors import UserError, shown

DECIDING = (
    "*.safetensors",
    "*.json",  # configurations, indices of shards, tokenizers and their settings
    "*.jinja",
    "additional_chat_templates/*.jinja",
    *("*.model", "*.spm", "*.tiktoken", "*.codes", "*vocab*.txt", "*merges*.txt", "*dict*.txt"),
)
# what a training run or this package writes beside a model; nothing reads it when the model is loaded
NOT_DECIDING = frozenset(
    [
        *("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json", "predict_results.json"),
        "emolib.json",
    ]
)
SETTLED_NS = 2_000_000_000  # a file hashed sooner after its last change may change again without any sign of it


def deciding_files(folder: Path) -> dict[str, Path]:
    """Name inside the folder → file, in the order of the names; hidden files and folders are left out."""
    found = {path.relative_to(folder).as_posix(): path for pattern in DECIDING for path in folder.glob(pattern)}
    found |= {name: folder / name for name in _shards(folder / "model.safetensors.index.json")}
    return {
        name: found[name]
        for name in sorted(found)
        if name not in NOT_DECIDING and not name.startswith(".") and found[name].is_file()
    }


def content_hash(folder: Path) -> str:
    """Hex digest of the names and bytes of all files that decide the model.

    What a file's bytes hash to is kept in the cache folder, by its device, inode, size and times, so that weights are
    read once; without a cache folder that can be written they are read every time.

    Raises:
        UserError: the folder is no model folder (any more), or a file in it cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
    ...     for folder in (one, other):
    ...         _ = Path(folder, "config.json").write_text("{}")
    ...     same = content_hash(Path(one)) == content_hash(Path(other))
    ...     _ = Path(other, "chat_template.jinja").write_text("{{ messages }}")
    ...     same, content_hash(Path(one)) == content_hash(Path(other))
    (True, False)
    """
    if not (folder / "config.json").is_file():
        raise UserError(
            f"expected a model folder at {shown(str(folder))}, there is none (or no config.json in it); "
            "was it moved or deleted?"
        )
    return store.digest(_hashes(folder, deciding_files(folder)))


def file_hash(path: Path) -> str:
    """The sha256 of one file, remembered as `content_hash` remembers.

    Raises:
        UserError: the file cannot be read.
    """
    if not path.is_file():
        raise UserError(f"expected a model file at {shown(str(path))}, there is none; was it moved or deleted?")
    return _hashes(path, {path.name: path})[ascii(path.name)]


def _hashes(place: Path, files: Mapping[str, Path]) -> dict[str, str]:
    """What each file hashes to.

    Args:
        place: the folder or file that they are of, by which they are remembered.
        files: by their names.
    """
    memory = paths.content_hashes(place)
    known = _remembered(memory)
    hashes, entries = {}, {}
    for given, path in files.items():
        name = ascii(given)  # a name need not be text
        try:
            before, asked = _stamp(path), time.time_ns()
            entry = known.get(name)
            if entry is None or entry["stamp"] != before:
                entry = {"stamp": before, "sha256": store.sha256_of(path)}
            if _stamp(path) == before and asked - path.stat().st_ctime_ns > SETTLED_NS:
                entries[name] = entry
        except OSError as error:
            raise UserError(
                f"expected a file that can be read, {shown(str(path))} cannot ({error.strerror}); check its permissions"
            ) from error
        hashes[name] = entry["sha256"]
    if entries != known:
        _remember(memory, entries)
    return hashes


def _shards(index: Path) -> list[str]:
    """The weight files that the index names; none where it cannot be read, which loading the model will tell."""
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({name for name in named if isinstance(name, str) and ".." not in Path(name).parts})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _stamp(path: Path) -> list[int]:
    """What changes whenever the file does."""
    about = os.stat(path)
    return [about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _remembered(memory: Path) -> dict[str, dict]:
    """The entries as they were written; nothing of a file that was altered since."""
    try:
        kept = json.loads(memory.read_text(encoding="utf-8"))
        return kept["files"] if kept["check"] == store.digest(kept["files"]) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _remember(memory: Path, entries: dict[str, dict]) -> None:
    text = json.dumps({"files": entries, "check": store.digest(entries)}, sort_keys=True)
    with contextlib.suppress(OSError, UserError):  # it is only slower without
        store.write_atomically(memory, text.encode())
