"""Files that installed registry packages carry, whole or in parts: found, joined, and known by their hash.

Nothing of such a package is imported or run: its files are read where they lie.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from emolib.base import paths
from emolib.base.config import Bundled, ModelSpec
from emolib.base.errors import UserError, shown
from emolib.base.files import not_readable, require_file
from emolib.base.own_folders import own_folder
from emolib.base.shell import command
from emolib.base.writing import writing

BLOCK = 2**20  # bytes read at a time


def carried(spec: ModelSpec) -> Bundled:
    """What packages carry of a model.

    Raises:
        UserError: they carry nothing of it.
    """
    if spec.bundled is None:
        raise UserError(f"expected a model that a package carries, {spec.name} is none")
    return spec.bundled


def parts_of(spec: ModelSpec) -> list[Path]:
    """Where the parts of the model's file lie, in its order.

    Raises:
        UserError: a package is not installed, or not whole; says how to install it.
    """
    source = carried(spec)
    absent, places = absent_packages(spec), [_place(part) for part in source.parts]
    if absent and source.on_request:
        raise UserError(f"{spec.name} is not installed (it is no requirement); run `emolib fetch {spec.name}`")
    if absent:
        raise UserError(f"the package that carries {spec.name} is not installed; run `{pip_command(source)}`")
    found = [place for place in places if place is not None]
    for part, place in zip(source.parts, found, strict=True):
        again = f"run `{pip_command(source, again=True)}`"
        require_file(place, name=f"{shown(place.name)} in package {part.partition('/')[0]}", advice=again)
    return found


def absent_packages(spec: ModelSpec) -> list[str]:
    """The packages with a part of the model's file that Python does not find."""
    return [part.partition("/")[0] for part in carried(spec).parts if _place(part) is None]


def is_installed(spec: ModelSpec) -> bool:
    """Whether every part of the model's file is there; what is in it is for `check` to say.

    >>> from emolib.base.config import model_table
    >>> is_installed(model_table()["smollm2_135m"])
    True
    """
    places = [_place(part) for part in carried(spec).parts]
    return all(place is not None and place.is_file() for place in places)


def check(spec: ModelSpec) -> None:
    """Raises `UserError` unless all parts are there and make the file whose hash is known."""
    digest = hashlib.sha256()
    for block in _blocks(parts_of(spec)):
        digest.update(block)
    _require(carried(spec), digest.hexdigest())


@contextlib.contextmanager
def whole_file(spec: ModelSpec) -> Iterator[Path]:
    """The model's GGUF file for the time of the block, its hash checked; parts are joined in the cache folder.

    Raises:
        UserError: see `parts_of`; also another hash, and a disk without room for the joined file.

    Example:
        >>> from emolib.base.config import model_table
        >>> with whole_file(model_table()["smollm2_135m"]) as path:
        ...     path.name
        'SmolLM2-135M-Instruct.Q4_1.gguf'
    """
    source, parts = carried(spec), parts_of(spec)
    if len(parts) == 1:
        check(spec)
        yield parts[0]
        return
    with own_folder(paths.cache_root(), ".joining-") as folder:
        path, digest = folder / source.gguf_file, hashlib.sha256()
        with writing(path), open(path, "wb") as stream:
            for block in _blocks(parts):
                digest.update(block)
                stream.write(block)
        _require(source, digest.hexdigest())
        yield path


def pip_command(source: Bundled, *, again: bool = False) -> str:
    """What installs the packages by hand.

    Args:
        again: although they are there.
    """
    forced = ["--force-reinstall"] if again else []
    return command(["pip", "install", "--no-deps", *forced, *source.distributions])


def _place(part: str) -> Path | None:
    """Where a part lies or should lie; None where its package is not installed."""
    package, _, file = part.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0], file)


def _blocks(parts: Sequence[Path]) -> Iterator[bytes]:
    for part in parts:
        try:
            with open(part, "rb") as stream:
                while block := stream.read(BLOCK):
                    yield block
        except OSError as error:
            raise not_readable(part, error) from error


def _require(source: Bundled, actual: str) -> None:
    if actual != source.sha256:
        raise UserError(
            f"{source.gguf_file} has sha256 {actual[:12]}…, expected {source.sha256[:12]}…; the file was altered, "
            f"run `{pip_command(source, again=True)}`"
        )
