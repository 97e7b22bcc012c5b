"""Texts to padded token ids: padding on the left, and positions that count real tokens only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from emolib.base.errors import UserError, shown
from emolib.models.language_model import LanguageModel

CHUNK = 2048  # texts tokenised at once: what a tokenizer keeps beside the ids is several times as large


def encode(lm: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    """Token ids per text, with the special tokens that the model's tokenizer adds by default.

    A text that is written in a chat format may begin with the first of them; it is not added twice.
    """
    for i, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"expected non-empty texts, text {i} is {shown(text)}")
    rows: list[list[int]] = []
    for start in range(0, len(texts), CHUNK):
        rows += lm.tokenizer(list(texts[start : start + CHUNK]), add_special_tokens=True).input_ids
    first = lm.tokenizer.bos_token_id
    return [list(row[1:] if first is not None and row[:2] == [first, first] else row) for row in rows]


def pad_left(rows: Sequence[Sequence[int]], pad_id: int, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Token ids and mask, both `[row, width]`, padded on the left; `width` defaults to the longest row."""
    width = max(width or 0, max(len(row) for row in rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.as_tensor(row)
        mask[i, width - len(row) :] = 1
    return ids, mask


def position_ids(mask: Tensor) -> Tensor:
    """Positions that count real tokens only: `[row, pos]`, 0 on the padding."""
    return (mask.cumsum(1) - 1).clamp_min(0)
