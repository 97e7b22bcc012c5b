"""The first study's activations: pickles are imported to the layout of phase 2 and can be written again.

An imported folder holds `texts.parquet` (one row per text: id, emotion, n_tokens and, where the file had them, tokens,
token_strings and the text they spell), `index.json` (metadata and what else the pickle said), and the tensors as
`emolib.data.activations.StoredActivations` reads them.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emolib.base import files, store, tensor_files
from emolib.base.errors import UserError, shown
from emolib.base.own_folders import own_folder
from emolib.base.writing import writing
from emolib.data.activations import TEXTS, layer_file, row_offsets
from emolib.data.bulk_norms import bulk_norm
from emolib.exchange.old_activations import SITES, Layout, OldActivations, read_old_pickle

POSITIONS = ("all", "last", "mean")
LAYOUT = "old pickle 1"


def import_pickle(source: str | Path, output: str | Path, *, position: str = "all") -> OldActivations:
    """Writes an old file as a folder (see the module), whole or not at all; returns what was read.

    Args:
        position: `all` tokens (float32, float16 where the file has it), the `last`, or the `mean` (the first token
            left out unless it is the only one), both float32.

    Raises:
        UserError: as `read_old_pickle`; an unknown position; `output` exists or cannot be written.
    """
    if position not in POSITIONS:
        raise UserError(f"unknown position {shown(position)}: expected one of {', '.join(POSITIONS)}")
    folder = files.folder_to_make(output)
    old = read_old_pickle(source)
    matched = {"step": LAYOUT, "source_sha256": store.sha256_of(Path(source)), "position": position}
    index = {
        "layout": LAYOUT,
        "position": position,
        "sites": {site: len(layers) for site, layers in old.sites.items()},
        "metadata": old.metadata,
        "left_out": list(old.left_out),
        "not_finite": old.not_finite,
    }
    texts = _texts(old)
    with _whole_folder(folder) as place:
        store.write(place / TEXTS, store.table_bytes(texts), matched)
        store.write(place / "index.json", store.json_bytes(index), matched)
        about = {"model": str(old.metadata.get("model_name") or "model"), "revision": "first study"}
        about["n_layers"] = str(old.n_layers)
        for site, layer, tensors in _tensors(old, position):
            store.write(layer_file(place, position, site, layer), tensor_files.tensor_bytes(tensors, about), matched)
    return old


def _texts(old: OldActivations) -> pd.DataFrame:
    rows = range(len(old.labels))
    table = pd.DataFrame({"id": [f"text-{i}" for i in rows], "emotion": old.labels, "n_tokens": old.lengths})
    if old.token_strings is not None:
        table["text"] = ["".join(row) for row in old.token_strings]
    for name, values in (("tokens", old.tokens), ("token_strings", old.token_strings)):
        if values is not None:
            table[name] = values
    return table


def _tensors(old: OldActivations, position: str) -> Iterator[tuple[str, int, dict[str, np.ndarray]]]:
    """Site, layer and contents of every tensor file."""
    lengths = np.array(old.lengths)
    if position != "all" and old.residual_stream is None:
        raise UserError(
            f"position {shown(position)} needs residual_stream, which was not saved; import with position 'all'"
        )
    for site, layers in old.sites.items():
        for number, layer in enumerate(layers):
            tokens = np.concatenate(layer)
            values = tokens if position == "all" else np.stack([_reduce(sample, position) for sample in layer])
            tensors = {"values": values, "offsets": row_offsets(site, position, lengths)}
            if site == "resid_pre":
                whole = tokens.astype(np.float32)
                tensors |= {"token_norms": np.linalg.norm(whole, axis=1), "bulk_norms": bulk_norm(whole)}
            yield site, number, tensors


def _reduce(sample: np.ndarray, position: str) -> np.ndarray:
    """`[pos, d_model]` → `[d_model]`."""
    if position == "last":
        return sample[-1].astype(np.float32)
    return sample[min(1, len(sample) - 1) :].mean(axis=0, dtype=np.float64).astype(np.float32)


@contextlib.contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, which takes its name once everything is in it."""
    with writing(folder), own_folder(folder.parent, ".emolib-import-") as place:
        yield place
        place.chmod(0o755)
        os.rename(place, folder)


def export_pickle(folder: str | Path, target: str | Path) -> OldActivations:
    """Writes a folder that was imported with position `all` as an old pickle (numpy arrays, protocol 4).

    Raises:
        UserError: no such folder, another position, or files that changed since.
    """
    place = Path(folder)
    if files.kind_of(place / "index.json") != "file":
        raise UserError(f"expected a folder that `emolib import-pickle` wrote, {shown(str(folder))} is none")
    file = files.file_to_write(target, apart_from=place)
    index = store.read_json(place / "index.json", kind=dict)
    if index.get("layout") != LAYOUT or index.get("position") != "all":
        raise UserError(
            f"expected a folder imported with position 'all', got {shown(index.get('position'))}; import it anew"
        )
    sites = index.get("sites")
    if not isinstance(sites, dict) or not all(name in SITES.values() and _is_count(n) for name, n in sites.items()):
        raise UserError(f"expected layers by site in {place.name}/index.json, got {shown(sites)}; import it anew")
    texts = store.read_table(place / TEXTS, needs=("emotion",), rows=True)
    named = {site: key for key, site in SITES.items()}
    value: dict[str, Any] = dict.fromkeys((*SITES, "tokens", "token_strings"))
    for site, n_layers in sites.items():
        value[named[site]] = [_samples(layer_file(place, "all", site, layer)) for layer in range(n_layers)]
    for name in ("tokens", "token_strings"):
        if name in texts:
            value[name] = [list(row.tolist() if isinstance(row, np.ndarray) else [row]) for row in texts[name]]
    value |= {"labels": texts["emotion"].tolist(), "metadata": index.get("metadata", {})}
    old = Layout(place.name).read(value)
    store.write_atomically(file, pickle.dumps(value, protocol=4))
    return old


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _samples(path: Path) -> list[np.ndarray]:
    with tensor_files.open_tensors(path) as view:
        values, offsets = view.get_tensor("values", 2), view.get_tensor("offsets", 1)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
        raise store.unusable(path, "offsets of all rows", f"{shown(offsets.tolist())} for {len(values)} rows")
    return np.split(values, offsets[1:-1])
