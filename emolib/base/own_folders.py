"""Temporary folders that are removed even after a kill: by the next process that makes one of the same kind.

A folder is held by its process as long as that lives, however it dies. Whoever makes the next one in the same place
with the same beginning first removes those that nobody holds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from emolib.base.interrupts import before_leaving
from emolib.base.writing import held, make_folder, writing

ATTEMPTS = 100


@contextlib.contextmanager
def own_folder(parent: Path, beginning: str) -> Iterator[Path]:
    """A new folder in `parent` for the time of the block; those that killed processes left are removed first.

    Args:
        parent: made if it is not there.
        beginning: of its name, shared by all folders of one kind.

    Raises:
        UserError: the system refuses to make it.

    Example:
        >>> with own_folder(Path(tempfile.gettempdir()), "emolib-example-") as folder:
        ...     folder.is_dir()
        True
        >>> folder.exists()
        False
    """
    make_folder(parent)
    sweep_folders(parent, beginning)
    folder, descriptor = _made(parent, beginning)
    try:
        with before_leaving(lambda: shutil.rmtree(folder, ignore_errors=True)):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep_folders(parent: Path, beginning: str) -> None:
    """Removes the folders of this kind that no living process holds, and that are the user's."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(parent)):
            if entry.name.startswith(beginning) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    _remove_if_left(Path(entry.path))


def _made(parent: Path, beginning: str) -> tuple[Path, int]:
    """A folder, and the open descriptor that holds it; a sweep may take it before it is held, then there is another."""
    for _ in range(ATTEMPTS):
        with writing(parent / f"{beginning}folder"):
            folder = Path(tempfile.mkdtemp(prefix=beginning, dir=parent))
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            if held(descriptor) and folder.is_dir():
                return folder, descriptor
            os.close(descriptor)
    raise RuntimeError(f"no folder {beginning}… stayed in {parent}")


def _remove_if_left(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    try:
        if os.fstat(descriptor).st_uid == os.getuid() and held(descriptor):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
