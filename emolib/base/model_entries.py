"""What the entries of the model table owe each other: every name leads to one model, and every model to places of its
own."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from emolib.base import paths
from emolib.base.errors import UserError, shown

if TYPE_CHECKING:
    from emolib.base.config import ModelSpec

LONGEST_NAME = 64
# no path, nothing a shell or a file system minds; two dashes stand for the / of a hub id in the names of places
NAME = re.compile(r"(?!.*(--|\.\.))\w([\w.-]*\w)?")
HUB_ID = re.compile(r"(?!.*(--|\.\.))(\w[\w.-]{0,95}/)?\w[\w.-]{0,95}", re.ASCII)
TAKEN = frozenset([paths.VARIANTS])  # folders beside those of the models


def checked_table(entries: Mapping[Path, ModelSpec]) -> dict[str, ModelSpec]:
    """The entries by name.

    Args:
        entries: each under the file that it was read from.

    Raises:
        UserError: a name that cannot be one of a place, two entries that one name may mean (whatever its case), heads
            that the model's width or its key and value heads do not divide.
    """
    claimed: dict[str, Path] = {}
    of_its_own = {spec.name for spec in entries.values() if spec.rotation is None}
    for path, spec in entries.items():
        _check_entry(path, spec)
        if spec.rotation is not None and spec.rotation.of not in of_its_own:
            raise UserError(
                f"rotation.of in {paths.display(path)}: expected the name of an entry with weights of its own, got "
                f"{shown(spec.rotation.of)}; name one"
            )
        for name in {_folded(name) for name in (spec.name, *spec.aliases)}:
            if name in claimed:
                raise UserError(
                    f"expected model names that differ in more than their case, {_files(claimed[name], path)} both "
                    f"claim {shown(name)}; rename one (name or aliases)"
                )
            claimed[name] = path
    for path, spec in entries.items():
        other = claimed.get(_folded(spec.hub_id), path)
        if other != path:
            raise UserError(
                f"expected a hub_id that names one model, {paths.display(other)} calls its own {shown(spec.hub_id)} as "
                f"does {paths.display(path)} one of the hub; rename it"
            )
    return {spec.name: spec for spec in entries.values()}


def _check_entry(path: Path, spec: ModelSpec) -> None:
    where = paths.display(path)
    for kind, name in (("name", spec.name), *(("alias", alias) for alias in spec.aliases)):
        if not NAME.fullmatch(name) or len(name) > LONGEST_NAME or _folded(name) in TAKEN:
            raise UserError(
                f"{kind} {shown(name)} in {where}: expected at most {LONGEST_NAME} letters, digits and single _ . - "
                f"between them (and not {', '.join(TAKEN)})"
            )
    if not HUB_ID.fullmatch(spec.hub_id):
        raise UserError(f"hub_id in {where}: expected owner/name as on the hub, got {shown(spec.hub_id)}; correct it")
    if spec.n_kv_heads < 1 or spec.n_heads % spec.n_kv_heads:
        raise UserError(f"n_heads in {where}: expected a multiple of n_kv_heads={spec.n_kv_heads}, got {spec.n_heads}")
    if "head_dim" not in spec.config and (spec.n_heads < 1 or spec.d_model % spec.n_heads):
        raise UserError(
            f"d_model in {where}: expected a multiple of n_heads={spec.n_heads} (or head_dim in config), "
            f"got {spec.d_model}"
        )


def _folded(name: str) -> str:
    """The name as file systems compare it that know no case or normalise letters."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _files(one: Path, other: Path) -> str:
    return f"{paths.display(one)} and {paths.display(other)}"
