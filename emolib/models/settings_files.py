"""The JSON files of a model folder, read with every mistake told in one line: file, place, way out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emolib.base import files
from emolib.base.errors import UserError, shown

AGAIN = "fetch it again"
POINTER = b"version https://git-lfs.github.com/spec/"
OPTIONAL = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)


def read_settings(path: Path, called: str) -> dict[str, Any]:
    """A JSON object.

    Args:
        called: the model as its user called it.

    Raises:
        UserError: it cannot be read, is no JSON, or no object.
    """
    where = f"{path.name} of {shown(called)}"
    refuse_unreadable(path, where)
    data = files.read_bytes(path, name=where, advice=AGAIN)
    refuse_pointer(data, where)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"expected JSON in UTF-8 in {where}, found another encoding; save it as UTF-8") from error
    return files.parse_json(text, where, kind=dict, advice=AGAIN, finite=False)


def start_of(path: Path) -> bytes:
    """The first bytes of a file."""
    try:
        with open(path, "rb") as stream:
            return stream.read(256)
    except OSError as error:
        raise files.not_readable(path, error) from error


def refuse_pointer(start: bytes, where: str) -> None:
    """Raises `UserError` where git left a pointer in place of the file."""
    if start.startswith(POINTER):
        raise UserError(f"{where} is a git-LFS pointer, not the file itself; run `git lfs pull` in its folder")


def refuse_unreadable(path: Path, where: str) -> None:
    """Raises `UserError` for a broken link, a folder or anything else in place of a file."""
    if os.path.islink(path) and not os.path.exists(path):
        raise UserError(f"{where} is a link to a file that is not there; fetch the model again, or mend the link")
    files.require_file(path, name=where, advice=AGAIN)


def one_of(folder: Path, groups: Sequence[Sequence[str]]) -> bool:
    """Whether all files of one of the groups are there."""
    return any(all(any(folder.glob(pattern)) for pattern in group) for group in groups)
