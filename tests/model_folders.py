"""Folders with a tiny model, as a user saves one, and what an edit does to them."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tiny import byte_tokenizer, plain_network


@functools.cache
def _saved(architecture: str, **changed: Any) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="emolib-tiny-"))
    plain_network(architecture, **changed).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def save_model(folder: Path, architecture: str = "gpt2", **changed: Any) -> Path:
    """Writes a tiny model with its tokenizer into the folder, which is made; the same bytes at every call.

    Args:
        changed: settings of its configuration in place of those of `tests/tiny.py`.
    """
    shutil.copytree(_saved(architecture, **changed), folder)
    return folder


def flip(path: Path, *, keep_times: bool = True) -> None:
    """Changes the file's last byte in place; its size stays, and its modification time if asked."""
    before = path.stat()
    with open(path, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def set_key(path: Path, key: str, value: object) -> None:
    """Writes one key of a JSON file anew."""
    given = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**given, key: value}), encoding="utf-8")
