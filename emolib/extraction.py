"""Activations of a model on a table of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from emolib.activations import Activations, texts_table
from emolib.errors import UserError
from emolib.memory import keep_freed_memory
from emolib.models import LanguageModel
from emolib.observation import observe, places_of
from emolib.tokens import encode, pad_left
from emolib.transformer import check_blueprint

SITES = ("resid_pre", "mlp_out")
STREAM_SITES = ("resid_pre", "resid_post", "attn_out", "mlp_out")
POSITIONS = ("last", "mean")


def extract_activations(
    lm: LanguageModel,
    data: pd.DataFrame | Sequence[str],
    *,
    sites: Sequence[str] = SITES,
    positions: str = "last",
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> Activations:
    """Runs the model over every text once and keeps one vector per text, layer and site.

    Args:
        data: a data set (column `text`, and whatever else is to be kept beside it) or bare strings.
        sites: of `resid_pre` (always kept), `resid_post`, `attn_out` and `mlp_out`.
        positions: `last` (the final token) or `mean` (over tokens, the first left out).

    Returns:
        Activations with `values[site]` of shape `[layer, text, d_model]` in float32.

    Raises:
        UserError: unknown site or position, no texts, an empty text.
    """
    return extract_positions(lm, data, sites=sites, positions=(positions,), batch_size=batch_size, on_batch=on_batch)[
        positions
    ]


def extract_positions(
    lm: LanguageModel,
    data: pd.DataFrame | Sequence[str],
    *,
    sites: Sequence[str] = SITES,
    positions: Sequence[str] = POSITIONS,
    batch_size: int = 32,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Activations]:
    """`extract_activations` for several positions in one pass over the texts."""
    for name, given, known in (("site", sites, STREAM_SITES), ("position", positions, POSITIONS)):
        for value in given:
            if value not in known:
                raise UserError(f"unknown {name} {value!r}: expected one of {', '.join(known)}")
    sites = tuple(dict.fromkeys(("resid_pre", *sites)))
    texts = texts_table(data)
    if "text" not in texts or texts.empty:
        raise UserError(f"expected at least one text in a column 'text', got {len(texts)} rows of {', '.join(texts)}")
    rows = encode(lm, texts["text"].tolist())
    lengths = np.array([len(row) for row in rows])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    depth = {site: lm.n_layers + (site == "resid_pre") for site in sites}
    kept = _Kept(
        {p: {site: np.zeros((depth[site], len(rows), lm.d_model), np.float32) for site in sites} for p in positions},
        np.zeros((lm.n_layers + 1, offsets[-1]), np.float32),
        lengths,
        offsets,
    )
    order = np.argsort(lengths, kind="stable")  # texts of like length share a batch
    if lm.blueprint is not None:
        check_blueprint(lm)
    if lm.device.type == "cpu":
        keep_freed_memory()
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        ids, mask = pad_left([rows[i] for i in batch], lm.tokenizer.pad_token_id)
        observe(lm, ids, mask, places_of(lm, sites), kept.taker(batch, mask.to(lm.device)))
        if on_batch:
            on_batch(start + len(batch))
    texts = texts.assign(n_tokens=lengths)
    return {
        position: Activations(
            kept.values[position],
            texts,
            kept.norms,
            offsets,
            position=position,
            model=lm.spec.name,
            revision=lm.revision,
        )
        for position in positions
    }


@dataclass(frozen=True)
class _Kept:
    """What is collected: per position and site `[layer, text, d_model]`, and every token's norm `[layer, token]`."""

    values: dict[str, dict[str, np.ndarray]]
    norms: np.ndarray
    lengths: np.ndarray
    offsets: np.ndarray

    def taker(self, batch: np.ndarray, mask: Tensor) -> Callable[[str, int, Tensor], None]:
        """Takes what one batch of texts gives."""

        def take(site: str, layer: int, hidden: Tensor) -> None:
            hidden = hidden.float()
            for position, by_site in self.values.items():
                by_site[site][layer, batch] = _reduce(hidden, mask, position).cpu().numpy()
            if site == "resid_pre":
                per_token = hidden.norm(dim=-1).cpu().numpy()
                for row, text in enumerate(batch):
                    first, stop = self.offsets[text], self.offsets[text + 1]
                    self.norms[layer, first:stop] = per_token[row, -self.lengths[text] :]

        return take


def _reduce(hidden: Tensor, mask: Tensor, position: str) -> Tensor:
    """`[row, pos, d_model]` padded on the left → `[row, d_model]`."""
    if position == "last":
        return hidden[:, -1]
    kept = mask.clone()
    lengths = mask.sum(1)
    first = mask.shape[1] - lengths
    rows = torch.arange(len(mask), device=mask.device)
    kept[rows, first] = (lengths == 1).long()  # a text of one token keeps it
    weights = kept[:, :, None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)
