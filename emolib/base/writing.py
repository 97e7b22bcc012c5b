"""How files are written: whole or not at all, and a disk that refuses is told in one line with the file's name.

Everything that the package writes goes through here: `writing` turns whatever the system refuses (no space, no
permission, a read-only or broken disk) into a `UserError`; `staged` puts data beside its place until it is complete.
A writer that is killed leaves a hidden file with the ending `.partial`, which `sweep` removes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from emolib.base import paths
from emolib.base.errors import UserError, shown

PARTIAL = ".partial"
OWN = "emolib-"  # how folders in the system's temporary folder begin
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
TROUBLES = FULL | {errno.EROFS, errno.EIO}  # of a disk, whatever was asked of it
SHUT = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR})


@contextlib.contextmanager
def writing(path: Path, *, only_disk: bool = False) -> Iterator[None]:
    """Turns an `OSError` of the block into one line that names the file and says what to do.

    Args:
        only_disk: of a block that does more than writing: a full, read-only or broken disk alone is told.

    Raises:
        UserError: the system refuses to write there.

    Example:
        >>> with writing(Path("results/table.parquet")):
        ...     raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        Traceback (most recent call last):
        emolib.base.errors.UserError: expected room for 'results/table.parquet', got: No space left on device; ...
    """
    try:
        yield
    except OSError as error:
        if only_disk and error.errno not in TROUBLES:
            raise
        raise not_writable(path, error) from error
    except SafetensorError as error:
        trouble = disk_trouble(str(error))
        if trouble is None:
            raise
        raise not_writable(path, trouble) from error


def disk_trouble(said: str) -> OSError | None:
    """The disk's trouble that a library or another process tells of in its words; None where it is none.

    >>> disk_trouble("I/O error: No space left on device (os error 28)")
    OSError(28, 'No space left on device')
    >>> disk_trouble("[Errno 2] No such file or directory") is None
    True
    """
    for number in re.findall(r"(?:os error |Errno )(\d{1,3})\b", said):
        if int(number) in TROUBLES:
            return OSError(int(number), os.strerror(int(number)))
    return None


def not_writable(path: Path, error: OSError) -> UserError:
    """What to say where the system refuses to write a file or make a folder."""
    name, reason = shown(paths.display(path)), error.strerror or str(error)
    elsewhere = _elsewhere(path)
    if error.errno in FULL:
        return UserError(f"expected room for {name}, got: {reason}; free some space or {elsewhere}, then run it again")
    if error.errno in SHUT:
        return UserError(f"expected a folder that can be written, {name} cannot ({reason}); free it or {elsewhere}")
    return UserError(f"expected to write {name}, got: {reason}; check that disk or {elsewhere}, then run it again")


def _elsewhere(path: Path) -> str:
    """How to have the file written to another place."""
    places = {
        "EMOLIB_RESULTS": paths.results_root,
        "EMOLIB_EXECUTED": paths.executed_root,
        "EMOLIB_CACHE": paths.cache_root,
    }
    for variable, root in places.items():
        with contextlib.suppress(UserError, OSError):
            if path.absolute().is_relative_to(root().absolute()):
                return f"point {variable} elsewhere"
    if path.absolute().is_relative_to(tempfile.gettempdir()) and any(part.startswith(OWN) for part in path.parts):
        return "point TMPDIR elsewhere"
    return "name another place"


def make_folder(folder: Path) -> None:
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def staged(path: Path, data: bytes) -> Iterator[Path]:
    """The data beside `path`, synced to disk under a hidden name; `put` gives it its own. What is left is removed."""
    make_folder(path.parent)
    with writing(path):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=PARTIAL, dir=path.parent)
    try:
        with writing(path):
            held(descriptor)
            write_all(descriptor, data)
            os.fsync(descriptor)
            os.chmod(name, 0o644)
        yield Path(name)
    finally:
        with contextlib.suppress(OSError):  # renamed, as a rule; what was synced needs no news of closing
            os.unlink(name)
        with contextlib.suppress(OSError):
            os.close(descriptor)


def put(temporary: Path, path: Path) -> None:
    """Gives a complete file its name, in place of what had it."""
    with writing(path):
        os.replace(temporary, path)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes to a temporary file in the same folder, syncs it to disk, then renames it into place.

    Raises:
        UserError: the system refuses; what was there stays.
    """
    with staged(path, data) as temporary:
        put(temporary, path)


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Adds one JSON line to a log; lines of several processes do not mix.

    Raises:
        UserError: the system refuses; the log stays as it was.
    """
    make_folder(path.parent)
    line = (json.dumps(values, ensure_ascii=False) + "\n").encode()
    with writing(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            written = os.write(descriptor, line)
            if written < len(line):  # a disk that became full: take back the part
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)


def write_all(descriptor: int, data: bytes, place: int | None = None) -> None:
    """Writes every byte, at `place` or where the file stands: the system may take a part at a time."""
    left = memoryview(data)
    while left:
        written = os.write(descriptor, left) if place is None else os.pwrite(descriptor, left, place)
        left, place = left[written:], None if place is None else place + written


def held(descriptor: int) -> bool:
    """Marks an open file or folder as in use until it is closed or its process ends; False where another uses it."""
    try:
        import fcntl  # not everywhere

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # a file system without locks: nothing says that another uses it
        return True
    return True


def sweep(folder: Path) -> None:
    """Removes what writers left below a folder when they were killed; what is being written stays."""
    for where, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(PARTIAL):
                with contextlib.suppress(OSError):
                    _remove_if_left(os.path.join(where, name))


def _remove_if_left(name: str) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if held(descriptor):
            os.unlink(name)
    finally:
        os.close(descriptor)
