"""Reads files and checks where files are to be written: whatever is met instead becomes one line.

Nothing else in the package decides what a file that is missing, a folder, a pipe, locked or no JSON means for its
user: readers of other kinds of files begin with `read_bytes` or `require_file`, writers with `file_to_write` or
`folder_to_make`. What the system answers is put into words in `system_reason` alone.
"""

from __future__ import annotations

import errno
import gzip
import json
import math
import os
import stat
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from emolib.base import paths
from emolib.base.errors import UserError, shown

KINDS: dict[type, str] = {dict: "an object", list: "a list"}  # what a JSON file may have to hold
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, on every usual file system
TEMPORARY = "." * 16
_NO_SUCH_NAME = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL}


class _Unfit(ValueError):
    """JSON that Python takes and we don't."""


def system_reason(error: OSError | ValueError) -> str:
    """Why the system refused, in words: for the middle of a line.

    >>> system_reason(FileNotFoundError(2, "No such file or directory"))
    'No such file or directory'
    """
    if isinstance(error, OSError):
        return error.strerror or " ".join(str(error).split()) or "the system gives no reason"
    return "the name holds a NUL character" if "null" in str(error) else "it is no file's name"


def kind_of(path: Path) -> str:
    """`file`, `folder`, `missing` (also where there can be no such name) or `special` (pipes and devices).

    Raises:
        UserError: the system does not let it be looked at, or its links lead in a circle.

    >>> kind_of(Path("no/such/file")), kind_of(Path("/dev/null")), kind_of(Path("."))
    ('missing', 'special', 'folder')
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError:  # a NUL character
        return "missing"
    except OSError as error:
        if error.errno in _NO_SUCH_NAME:
            return "missing"
        raise UserError(f"expected to look at {_named(path)}, the system refuses ({system_reason(error)})") from error
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "special"


def require_file(path: Path, *, name: str = "", advice: str = "") -> None:
    """Raises `UserError` unless there is a regular file.

    Args:
        name: what the line calls it; its path if not given.
        advice: how the line ends.
    """
    found = kind_of(path)
    if found != "file":
        came = {"missing": "found no such file", "folder": "it is a folder", "special": "it is a pipe or a device"}
        raise UserError(f"expected {name or _named(path)}, {came[found]}{_ended(advice or 'name a file')}")


def read_bytes(path: Path, *, name: str = "", advice: str = "") -> bytes:
    """What a regular file holds.

    Raises:
        UserError: see `require_file`; or the system does not let it be read.
    """
    require_file(path, name=name, advice=advice)
    try:
        return path.read_bytes()
    except OSError as error:
        raise not_readable(path, error, name=name) from error


def not_readable(path: Path, error: OSError, *, name: str = "") -> UserError:
    """The error about a file that is there and that the system does not let be read."""
    called = name or _named(path)
    return UserError(f"expected {called}, it cannot be read ({system_reason(error)}); see its rights or its disk")


def read_text(path: Path, *, name: str = "", advice: str = "") -> str:
    """A file's UTF-8 text, as it stands there (a byte order mark is left out).

    Raises:
        UserError: see `read_bytes`; also another encoding.
    """
    data = read_bytes(path, name=name, advice=advice)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"expected UTF-8 text in {name or _named(path)}, line {line}, got byte 0x{data[error.start]:02x}; "
            f"save it as UTF-8{f', or {advice}' if advice else ''}"
        ) from error


def read_json(path: Path, *, kind: type | None = None, name: str = "", advice: str = "") -> Any:
    """What a JSON file holds, compressed (`.gz`) or not; see `parse_json`."""
    read = _unpacked if path.suffix == ".gz" else read_text
    text = read(path, name=name, advice=advice)
    return parse_json(text, name or _named(path), kind=kind, advice=advice)


def _unpacked(path: Path, *, name: str, advice: str) -> str:
    try:
        return gzip.decompress(read_bytes(path, name=name, advice=advice)).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(
            f"expected text packed by gzip in {name or _named(path)}, it is damaged ({type(error).__name__})"
            f"{_ended(advice)}"
        ) from error


def parse_json(text: str, name: str, *, kind: type | None = None, advice: str = "", finite: bool = True) -> Any:
    """The value of a JSON text.

    Args:
        name: what a line calls the text.
        kind: `dict` or `list` where only that will do.
        advice: how a line ends.
        finite: whether NaN and infinity, which Python writes, are refused.

    Raises:
        UserError: no JSON, nested too deeply, a key twice, a number that is no finite one or has too many digits,
            half a character, or a value of another kind.

    >>> parse_json('{"layers": [1, 2]}', "here")
    {'layers': [1, 2]}
    >>> parse_json('{"n": NaN}', "the record", advice="delete it")
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected JSON in the record, got the number NaN; delete it
    """
    try:
        numbers: dict[str, Any] = {"parse_constant": _no_number, "parse_float": _finite} if finite else {}
        value = json.loads(text, object_pairs_hook=_object, **numbers)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except _Unfit as error:
        reason = str(error)
    except RecursionError:
        reason = "values nested too deeply"
    except json.JSONDecodeError as error:
        reason = f"{error.msg[:1].lower()}{error.msg[1:]} (line {error.lineno})" if text.strip() else "an empty text"
    except UnicodeEncodeError:
        reason = "half of a surrogate pair"
    except ValueError:
        reason = "a number of too many digits"
    else:
        if kind is None or isinstance(value, kind):
            return value
        reason = shown(value)
    raise UserError(f"expected {KINDS[kind] + ' as ' if kind else ''}JSON in {name}, got {reason}{_ended(advice)}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _Unfit(f"the key {shown(twice)} twice")
    return found


def _no_number(text: str) -> float:
    raise _Unfit(f"the number {text}")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(shown(text))


def _named(path: Path) -> str:
    return shown(paths.display(path) if path.is_absolute() else str(path))


def _ended(advice: str) -> str:
    return f"; {advice}" if advice else ""


def file_to_write(output: str | Path, *, apart_from: Path | None = None) -> Path:
    """Where a file that the user names is to be written, links followed; an old file may be there.

    Nothing is left behind; folders that are missing are not made yet.

    Args:
        apart_from: the file or folder that is read, which must not be overwritten.

    Raises:
        UserError: a folder, a pipe, a device, an impossible name, a place where nothing can be written.

    >>> file_to_write("results/new.jsonl").name
    'new.jsonl'
    >>> file_to_write(".")
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected a name for the file to write, got '.'; name one
    """
    path = _checked_name(output, "file")
    found = kind_of(path)
    if found == "folder" or str(output).endswith(("/", os.sep)):
        raise UserError(f"expected a file to write, {shown(str(output))} is a folder; name a file in it")
    if found == "special":
        raise UserError(f"expected a file to write, {shown(str(output))} is a pipe or a device; name a file")
    if found == "missing" and os.path.islink(path):
        raise UserError(f"expected a file to write, {shown(str(output))} is a link to nothing; remove it first")
    _require_place(path, output)
    path = path.resolve()
    if apart_from is not None and path.is_relative_to(apart_from.resolve()):
        raise UserError(
            f"expected an output apart from what is read, {shown(str(output))} would overwrite it; name another file"
        )
    return path


def folder_to_make(output: str | Path) -> Path:
    """Where a folder that the user names is to be made; nothing may be there yet. See `file_to_write`."""
    path = _checked_name(output, "folder")
    if os.path.islink(path) or kind_of(path) != "missing":
        raise UserError(
            f"expected a folder that does not exist yet, {shown(str(output))} does; remove it or name another"
        )
    _require_place(path, output)
    return path


def folder_to_fill(output: str | Path) -> Path:
    """Where files are to be written beside others; the folder may be there. See `file_to_write`."""
    if not str(output):
        raise UserError("expected a folder's name, got ''; name one")
    path = Path(output)
    if os.path.islink(path) and kind_of(path) == "missing":
        raise UserError(f"expected a folder, {shown(str(output))} is a link to nothing; remove it first")
    _require_place(path / "file", output)
    return path


def _checked_name(output: str | Path, what: str) -> Path:
    path = Path(output)
    if path.name in ("", "..") or "\0" in str(output):
        raise UserError(f"expected a name for the {what} to write, got {shown(str(output))}; name one")
    return path


def _require_place(path: Path, output: str | Path) -> None:
    """Raises `UserError` unless the nearest folder that exists above `path` takes a file, and `path` its name."""
    above = path.absolute().parent
    try:
        # a temporary file's name is longer than the file's own
        longest = max(len(os.fsencode(part)) for part in (*path.parts, path.name + TEMPORARY))
        if longest > LONGEST_NAME or len(os.fsencode(path.absolute())) > LONGEST_PATH - len(TEMPORARY):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        while kind_of(above) == "missing" and not os.path.islink(above) and above != above.parent:
            above = above.parent
        if kind_of(above) != "folder":
            raise NotADirectoryError(errno.ENOTDIR, f"{shown(above.name)} is no folder")
        with tempfile.NamedTemporaryFile(dir=above, prefix=".emolib-"):
            pass
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(
            f"expected a place where files can be written, {shown(str(output))} is none ({system_reason(error)}); "
            f"name another"
        ) from error
