"""Activations of a model on a table of texts, kept in memory or written to disk as they come."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from emolib.base import store
from emolib.base.errors import UserError
from emolib.data.activations import (
    TEXTS,
    Activations,
    StoredActivations,
    layer_file,
    row_offsets,
    texts_table,
)
from emolib.engine.memory import keep_freed_memory
from emolib.engine.observation import observe, places_of
from emolib.engine.parity import check_batching
from emolib.engine.triggers import NONE, trigger_tokens
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left

SITES = ("resid_pre", "mlp_out")
POSITIONS = ("last", "mean", "trigger", "all")
STORAGE = ("float32", "float16")
BATCH_TOKENS = 4096  # bounds memory where a few texts are very long

Part = tuple[str, str, int]  # position, site, layer


def extract_activations(
    lm: LanguageModel,
    data: pd.DataFrame | Sequence[str],
    *,
    sites: Sequence[str] = SITES,
    positions: str = "last",
    layers: Collection[int] | None = None,
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> Activations:
    """Runs the model over every text once and keeps what one position of each text, or every token, holds.

    Args:
        data: a data set (column `text`, and whatever else is to be kept beside it) or bare strings.
        sites: of `resid_pre` (always kept), `resid_post`, `attn_out`, `mlp_out`, `z` and `pattern`.
        positions: `last` (the final token), `mean` (over tokens, the first left out), `trigger` (where the word of the
            text's emotion stands; texts without one are left out) or `all`. Of `pattern`: the attention of that token
            (`mean`: the mean over attending tokens) to every token. See `Activations` for the shapes.
        layers: those kept; None keeps all. Layers after the last one are not computed.

    Raises:
        UserError: unknown site, position or layer, no texts, an empty text.
    """
    names = (positions,)
    return extract_positions(
        lm, data, sites=sites, positions=names, layers=layers, batch_size=batch_size, on_batch=on_batch
    )[positions]


def extract_positions(
    lm: LanguageModel,
    data: pd.DataFrame | Sequence[str],
    *,
    sites: Sequence[str] = SITES,
    positions: Sequence[str] = ("last", "mean"),
    layers: Collection[int] | None = None,
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Activations]:
    """`extract_activations` for several positions in one pass over the texts."""
    sites = tuple(dict.fromkeys(("resid_pre", *sites)))
    places = places_of(lm, sites, layers)
    texts = _Texts.of(lm, data, positions)
    parts = [(position, *place) for position in positions for place in places]
    numbers = sorted({layer for site, layer in places if site == "resid_pre"})
    depth = {site: sum(1 for named, _ in places if named == site) for site in sites}
    kept = {
        (p, site): np.zeros((depth[site], texts.offsets((p, site, 0))[-1], *_width(lm, site)), np.float32)
        for p in positions
        for site in sites
    }
    norms = np.zeros((len(numbers), texts.token_offsets[-1]), np.float32)

    def put(name: str, part: Part, row: int, values: np.ndarray) -> None:
        if name == "values":
            kept[part[:2]][numbers.index(part[2]), row : row + len(values)] = values
        else:
            norms[numbers.index(part[2]), row : row + len(values)] = values

    _read(lm, texts, parts, put, batch_size, on_batch)
    found = {}
    for position in positions:
        present = texts.present if position == "trigger" else np.ones(len(texts.lengths), dtype=bool)
        found[position] = Activations(
            {site: kept[position, site] for site in sites},
            texts.table[present].reset_index(drop=True),
            norms[:, np.repeat(present, texts.lengths)],
            np.concatenate([[0], np.cumsum(texts.lengths[present])]),
            position=position,
            model=lm.spec.name,
            revision=lm.revision,
            layers=None if len(numbers) == lm.n_layers + 1 else tuple(numbers),
        )
    return found


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
    if storage not in STORAGE:
        raise UserError(f"unknown storage {storage!r}: expected one of {', '.join(STORAGE)}")
    for site in {site for _, site, _ in parts}:
        places_of(lm, [site], [layer for _, named, layer in parts if named == site])
    texts = _Texts.of(lm, data, [position for position, _, _ in parts])
    files = {part: layer_file(folder, *part) for part in parts}
    shapes = {path: _shapes(lm, texts, part, storage) for part, path in files.items()}
    about = {
        path: {"model": lm.spec.name, "revision": lm.revision, "n_layers": str(lm.n_layers)} for path in files.values()
    }
    identities = {path: matched(part) if matched else {} for part, path in files.items()}
    with store.tensor_files(shapes, identities, metadata=about, recorded=recorded) as open_files:
        for part, path in files.items():
            open_files[path].put("offsets", 0, texts.offsets(part))

        def put(name: str, part: Part, row: int, values: np.ndarray) -> None:
            open_files[files[part]].put(name, row, values)

        _read(lm, texts, list(parts), put, batch_size, on_batch, norms_of=list(parts))
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
    folder, places = Path(folder), places_of(lm, tuple(dict.fromkeys(("resid_pre", *sites))), layers)
    parts = [(position, *place) for position in positions for place in places]
    store_activations(lm, data, folder, parts, storage=storage, batch_size=batch_size, on_batch=on_batch)
    store.write(folder / TEXTS, store.table_bytes(texts_with_tokens(lm, data)), {})
    return {position: StoredActivations(folder, position) for position in positions}


def texts_with_tokens(lm: LanguageModel, data: pd.DataFrame | Sequence[str]) -> pd.DataFrame:
    """The table of texts with n_tokens, tokens (ids), token_strings and the trigger's place (-1 where there is none;
    the column is left out where the tokenizer does not tell places)."""
    texts = texts_table(data)
    rows = encode(lm, texts["text"].tolist())
    spelled: dict[int, str] = {}
    for token in itertools.chain.from_iterable(rows):
        if token not in spelled:
            spelled[token] = lm.tokenizer.decode([token])
    strings = [[spelled[token] for token in row] for row in rows]
    lists: dict[str, Any] = {"tokens": rows, "token_strings": strings}
    texts = texts.assign(n_tokens=[len(row) for row in rows], **lists)
    return texts.assign(trigger=trigger_tokens(lm, texts)) if lm.tokenizer.is_fast else texts


def _width(lm: LanguageModel, site: str) -> tuple[int, ...]:
    """Shape of one row of a site's values."""
    if site == "pattern":
        return (lm.n_heads,)
    return (lm.n_heads, lm.d_head) if site == "z" else (lm.d_model,)


def _shapes(lm: LanguageModel, texts: _Texts, part: Part, storage: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    shapes = {
        "values": (storage, (int(texts.offsets(part)[-1]), *_width(lm, part[1]))),
        "offsets": ("int64", (len(texts.lengths) + 1,)),
    }
    if part[1] == "resid_pre":
        shapes["token_norms"] = ("float32", (int(texts.token_offsets[-1]),))
    return shapes


@dataclass(frozen=True)
class _Texts:
    """The texts, their tokens, and where each has its trigger (-1 for none)."""

    table: pd.DataFrame
    tokens: list[np.ndarray]
    lengths: np.ndarray
    triggers: np.ndarray | None

    @classmethod
    def of(cls, lm: LanguageModel, data: pd.DataFrame | Sequence[str], positions: Collection[str]) -> _Texts:
        for position in positions:
            if position not in POSITIONS:
                raise UserError(f"unknown position {position!r}: expected one of {', '.join(POSITIONS)}")
        table = texts_table(data)
        if "text" not in table or table.empty:
            raise UserError(
                f"expected at least one text in a column 'text', got {len(table)} rows of {', '.join(map(str, table))}"
            )
        tokens = [np.array(row, dtype=np.int32) for row in encode(lm, table["text"].tolist())]
        lengths = np.array([len(row) for row in tokens])
        table = table.assign(n_tokens=lengths)
        triggers = None
        if "trigger" in positions:
            triggers = trigger_tokens(lm, table)
            table = table.assign(trigger=triggers)
            if (triggers == NONE).all():
                raise UserError(
                    "expected texts with a word of their emotion's list in params/keywords/, found none; "
                    "leave out the position 'trigger'"
                )
        return cls(table, tokens, lengths, triggers)

    @property
    def present(self) -> np.ndarray:
        assert self.triggers is not None, "triggers are found where the position is asked for"
        return self.triggers != NONE

    @property
    def token_offsets(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def offsets(self, part: Part) -> np.ndarray:
        position, site, _ = part
        present = self.present.astype(int) if position == "trigger" else None
        return row_offsets(site, position, self.lengths, present)


Put = Callable[[str, Part, int, np.ndarray], None]


def _read(
    lm: LanguageModel,
    texts: _Texts,
    parts: Sequence[Part],
    put: Put,
    batch_size: int,
    on_batch: Callable[[int], None] | None,
    norms_of: Sequence[Part] | None = None,
) -> None:
    """One pass over the texts, those of like length together; `put(tensor, part, first row, rows)` gets what is kept.

    Args:
        norms_of: parts that get the token norms too; None gives each layer's once.
    """
    check_batching(lm)
    if lm.device.type == "cpu":
        keep_freed_memory()
    by_place: dict[tuple[str, int], list[Part]] = {}
    for part in parts:
        by_place.setdefault(part[1:], []).append(part)
    starts = {part[:2]: texts.offsets(part) for part in parts}
    token_starts = texts.token_offsets
    done = 0
    order = np.argsort(-texts.lengths, kind="stable")  # the longest first: what they free serves the others
    for batch in _batches(order, texts.lengths, batch_size):
        ids, mask = pad_left([texts.tokens[i] for i in batch], lm.tokenizer.pad_token_id)
        lengths = texts.lengths[batch]
        triggers = None if texts.triggers is None else texts.triggers[batch]
        mask = mask.to(lm.device)

        def take(
            site: str,
            layer: int,
            value: Tensor,
            batch: np.ndarray = batch,
            lengths: np.ndarray = lengths,
            triggers: np.ndarray | None = triggers,
            mask: Tensor = mask,
        ) -> None:
            wanted = by_place[site, layer]
            value = value.float()
            for part in wanted:
                blocks = _reduced(site, part[0], value, mask, lengths, triggers)
                for text, rows in zip(batch, blocks, strict=True):
                    if len(rows):
                        put("values", part, starts[part[:2]][text], rows)
            if site == "resid_pre":
                per_token = value.norm(dim=-1).cpu().numpy()
                for part in wanted if norms_of is not None else wanted[:1]:
                    for row, text in enumerate(batch):
                        put("token_norms", part, token_starts[text], per_token[row, -lengths[row] :])

        observe(lm, ids, mask, list(by_place), take)
        done += len(batch)
        if on_batch:
            on_batch(done)


def _batches(order: np.ndarray, lengths: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """At most `batch_size` texts and `BATCH_TOKENS` tokens with padding; the longest text comes first."""
    start = 0
    while start < len(order):
        rows = max(1, min(batch_size, BATCH_TOKENS // int(lengths[order[start]])))
        yield order[start : start + rows]
        start += rows


def _reduced(
    site: str, position: str, value: Tensor, mask: Tensor, lengths: np.ndarray, triggers: np.ndarray | None
) -> Iterator[np.ndarray]:
    """Every text's rows of a batch padded on the left: `[row, pos, …]`, or a pattern `[row, head, query, key]`."""
    if site == "pattern":
        yield from _reduced_pattern(position, value, mask, lengths, triggers)
        return
    if position == "all":
        whole = value.cpu().numpy()
        yield from (whole[row, -length:] for row, length in enumerate(lengths))
        return
    if position == "trigger":
        assert triggers is not None
        columns = value.shape[1] - lengths + np.maximum(triggers, 0)
        chosen = value[torch.arange(len(value)), torch.as_tensor(columns)].cpu().numpy()
        yield from (chosen[row][None] if triggers[row] != NONE else chosen[:0] for row in range(len(chosen)))
        return
    chosen = (value[:, -1] if position == "last" else _mean(value, mask)).cpu().numpy()
    yield from (row[None] for row in chosen)


def _mean(value: Tensor, mask: Tensor) -> Tensor:
    """`[row, pos, …]` padded on the left → `[row, …]`: the mean without the first token, which a lone token keeps."""
    kept = mask.clone()
    lengths = mask.sum(1)
    rows = torch.arange(len(mask), device=mask.device)
    kept[rows, mask.shape[1] - lengths] = (lengths == 1).long()
    weights = kept.to(value.dtype).view(*kept.shape, *[1] * (value.dim() - 2))
    return (value * weights).sum(1) / weights.sum(1)


def _reduced_pattern(
    position: str, value: Tensor, mask: Tensor, lengths: np.ndarray, triggers: np.ndarray | None
) -> Iterator[np.ndarray]:
    """Rows `[attended token, head]` of the attending token; of `all` those of every attending token in turn."""
    for row, length in enumerate(lengths):
        inner = value[row, :, -length:, -length:]  # [head, query, key]
        if position == "all":
            yield inner.permute(1, 2, 0).reshape(length * length, -1).cpu().numpy()
        elif position == "trigger":
            assert triggers is not None
            query = slice(triggers[row], triggers[row] + 1)
            none = np.zeros((0, value.shape[1]), np.float32)
            yield none if triggers[row] == NONE else inner[:, query].mean(1).T.cpu().numpy()
        else:
            query = slice(-1, None) if position == "last" else slice(min(1, length - 1), None)
            yield inner[:, query].mean(1).T.cpu().numpy()
