"""One pass of a model over a table of texts, those of like length together, handing out what is kept of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.data.activations import (
    row_offsets,
    texts_table,
)
from emolib.data.bulk_norms import bulk_norm
from emolib.engine.memory import keep_freed_memory
from emolib.engine.observation import observe
from emolib.engine.parity import check_batching
from emolib.engine.positions import POSITIONS, reduced
from emolib.engine.triggers import NONE, trigger_tokens
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left

BATCH_TOKENS = 4096  # bounds memory where a few texts are very long
Part = tuple[str, str, int]  # position, site, layer
Put = Callable[[str, Part, int, np.ndarray], None]


@dataclass(frozen=True)
class Texts:
    """The texts, their tokens, and where each has its trigger (-1 for none)."""

    table: pd.DataFrame
    tokens: list[np.ndarray]
    lengths: np.ndarray
    triggers: np.ndarray | None

    @classmethod
    def of(cls, lm: LanguageModel, data: pd.DataFrame | Sequence[str], positions: Collection[str]) -> Texts:
        for position in positions:
            arguments.one_of("position", position, POSITIONS)
        table = texts_table(data)
        if "text" not in table or table.empty:
            raise UserError(
                f"expected at least one text in a column 'text', got {len(table)} rows of {', '.join(map(str, table))}"
            )
        tokens = [np.array(row, dtype=np.int32) for row in encode(lm, table["text"])]
        lengths = np.array([len(row) for row in tokens])
        table = table.assign(n_tokens=lengths)
        triggers = None
        if "trigger" in positions:
            arguments.texts(table["emotion"], "the column 'emotion'")
            triggers = trigger_tokens(lm.tokenizer, table)
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


def read_texts(
    lm: LanguageModel,
    texts: Texts,
    parts: Sequence[Part],
    put: Put,
    batch_size: int,
    on_batch: Callable[[int], None] | None,
    norms_of: Sequence[Part] | None = None,
) -> None:
    """One pass over the texts, those of like length together; `put(tensor, part, first row, rows)` gets what is kept.

    Args:
        norms_of: parts that get the token norms and bulk norms too; None gives each layer's once.

    Raises:
        UserError: something that is kept is not finite: names the site, the layer and the text.
    """
    batch_size = arguments.whole_number("batch_size", batch_size, least=1)
    arguments.function("on_batch", on_batch)
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
        ids, mask = pad_left([texts.tokens[i] for i in batch], lm.pad_id)
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
                blocks = list(reduced(site, part[0], value, mask, lengths, triggers))
                require_finite(lm, zip(batch, blocks, strict=True), f"{site} at layer {layer}")
                for text, rows in zip(batch, blocks, strict=True):
                    if len(rows):
                        put("values", part, starts[part[:2]][text], rows)
            if site == "resid_pre":
                norms = {"token_norms": value.norm(dim=-1).cpu().numpy(), "bulk_norms": bulk_norm(value.cpu().numpy())}
                for part in wanted if norms_of is not None else wanted[:1]:
                    for row, text in enumerate(batch):
                        for name, per_token in norms.items():
                            put(name, part, token_starts[text], per_token[row, -lengths[row] :])

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


def site_width(lm: LanguageModel, site: str) -> tuple[int, ...]:
    """Shape of one row of a site's values."""
    if site == "pattern":
        return (lm.n_heads,)
    return (lm.n_heads, lm.d_head) if site == "z" else (lm.d_model,)
