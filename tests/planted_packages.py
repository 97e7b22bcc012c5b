"""A table with a model whose file lies in parts in packages that were planted, none of which can be imported."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from emolib.base import config, paths

NAME = "in_parts"
TERMS = "https://terms.invalid/weights"
SIZES = {"n_layers": 2, "d_model": 48, "n_heads": 4, "n_kv_heads": 2, "d_vocab": 257}


def table(root: Path, monkeypatch: Any, bundled: dict[str, Any], **fields: object) -> None:
    """Makes a repository whose table has that model beside the bundled one; clear the table's cache afterwards."""
    shutil.copytree(paths.repository_root() / "params", root / "params")
    entry = {"name": NAME, "hub_id": "owner/in-parts", **SIZES, **fields, "bundled": bundled}
    (root / "params" / "models" / f"{NAME}.yaml").write_text(yaml.safe_dump(entry), encoding="utf-8")
    monkeypatch.setenv("EMOLIB_ROOT", str(root))
    config.model_table.cache_clear()


def cut(data: bytes, n_parts: int) -> list[bytes]:
    size = -(-len(data) // n_parts)
    return [data[first : first + size] for first in range(0, len(data), size)]


def described(data: bytes, n_parts: int, **changes: object) -> dict[str, Any]:
    """What the table says of a file that is in so many packages."""
    numbers = range(1, n_parts + 1)
    return {
        "gguf_file": "whole.gguf",
        "sha256": hashlib.sha256(data).hexdigest(),
        "parts": [f"planted_part{number}/data/whole.gguf.part{number}" for number in numbers],
        "distributions": {f"planted-part{number}==1.0.0": 1_500_000 * number for number in numbers},
        "terms": TERMS,
        "on_request": True,
        **changes,
    }


def plant(site: Path, parts: Sequence[bytes]) -> list[Path]:
    """Puts one package for each part into a folder of the import path."""
    places = []
    for number, data in enumerate(parts, start=1):
        place = site / f"planted_part{number}" / "data" / f"whole.gguf.part{number}"
        place.parent.mkdir(parents=True)
        place.write_bytes(data)
        (place.parents[1] / "__init__.py").write_text("raise RuntimeError('foreign code was run')\n")
        places.append(place)
    importlib.invalidate_caches()
    return places
