"""Activations of a model on a table of texts, written to disk as they come."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emolib.base import arguments, store, tensor_files
from emolib.data.activations import (
    TEXTS,
    StoredActivations,
    layer_file,
    texts_table,
)
from emolib.engine.extraction import SITES
from emolib.engine.observation import places_of
from emolib.engine.text_pass import Part, Texts, read_texts, site_width
from emolib.engine.triggers import trigger_tokens
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.tokens import encode

STORAGE = ("float32", "float16")


def store_activations(
    lm: LanguageModel,
    data: pd.DataFrame | Sequence[str],
    folder: Path,
    parts: Collection[Part],
    *,
    storage: str = "float32",
    batch_size: int = 32,
    matched: Callable[[Part], Mapping[str, Any]] | None = None,
    recorded: Callable[[], Mapping[str, Any]] | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> list[Path]:
    """Writes parts of the activations to disk in one pass, one file per position, site and layer.

    What is kept in memory does not grow with the number of texts, but for their tokens and the batch at hand. A part's
    file is the same, byte for byte, whichever other parts are written with it.

    Args:
        folder: see `StoredActivations`; `texts.parquet` is not written here (`texts_with_tokens`).
        parts: (position, site, layer) each.
        storage: `float32` or `float16`.
        matched, recorded: what a part's manifest holds.

    Returns:
        The files, in the order of the parts.

    Raises:
        UserError: as `extract_activations`; a value beyond float16's reach; a folder that cannot be written.
    """
    arguments.one_of("storage", storage, STORAGE)
    for site in {site for _, site, _ in parts}:
        places_of(lm, [site], [layer for _, named, layer in parts if named == site])
    texts = Texts.of(lm, data, [position for position, _, _ in parts])
    files = {part: layer_file(folder, *part) for part in parts}
    shapes = {path: _shapes(lm, texts, part, storage) for part, path in files.items()}
    about = {
        path: {"model": lm.spec.name, "revision": lm.revision, "n_layers": str(lm.n_layers)} for path in files.values()
    }
    identities = {path: matched(part) if matched else {} for part, path in files.items()}
    with tensor_files.tensor_files(shapes, identities, metadata=about, recorded=recorded) as open_files:
        for part, path in files.items():
            open_files[path].put("offsets", 0, texts.offsets(part))

        def put(name: str, part: Part, row: int, values: np.ndarray) -> None:
            open_files[files[part]].put(name, row, values)

        read_texts(lm, texts, list(parts), put, batch_size, on_batch, norms_of=list(parts))
    return list(files.values())


def extract_to_folder(
    lm: LanguageModel,
    data: pd.DataFrame | Sequence[str],
    folder: str | Path,
    *,
    sites: Sequence[str] = SITES,
    positions: Sequence[str] = ("all",),
    layers: Collection[int] | None = None,
    storage: str = "float32",
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, StoredActivations]:
    """`extract_positions` to disk; what is returned reads single layers when asked for.

    Files that are there already are written anew.
    """
    checked_model(lm)
    sites = tuple(dict.fromkeys(("resid_pre", *arguments.listed("sites", sites, "sites"))))
    folder, places = arguments.path("folder", folder), places_of(lm, sites, layers)
    positions = arguments.texts(positions, "positions")
    parts = [(position, *place) for position in positions for place in places]
    store_activations(lm, data, folder, parts, storage=storage, batch_size=batch_size, on_batch=on_batch)
    store.write(folder / TEXTS, store.table_bytes(texts_with_tokens(lm, data)), {})
    return {position: StoredActivations(folder, position) for position in positions}


def texts_with_tokens(lm: LanguageModel, data: pd.DataFrame | Sequence[str]) -> pd.DataFrame:
    """The table of texts with n_tokens, tokens (ids), token_strings and the trigger's place (-1 where there is none;
    the column is left out where the tokenizer does not tell places)."""
    texts = texts_table(data)
    rows = encode(lm, texts["text"])
    spelled: dict[int, str] = {}
    for token in itertools.chain.from_iterable(rows):
        if token not in spelled:
            spelled[token] = lm.tokenizer.decode([token])
    strings = [[spelled[token] for token in row] for row in rows]
    lists: dict[str, Any] = {"tokens": rows, "token_strings": strings}
    texts = texts.assign(n_tokens=[len(row) for row in rows], **lists)
    return texts.assign(trigger=trigger_tokens(lm.tokenizer, texts)) if lm.tokenizer.is_fast else texts


def _shapes(lm: LanguageModel, texts: Texts, part: Part, storage: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    shapes = {
        "values": (storage, (int(texts.offsets(part)[-1]), *site_width(lm, part[1]))),
        "offsets": ("int64", (len(texts.lengths) + 1,)),
    }
    if part[1] == "resid_pre":
        for name in ("token_norms", "bulk_norms"):
            shapes[name] = ("float32", (int(texts.token_offsets[-1]),))
    return shapes
