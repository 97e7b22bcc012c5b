"""Texts as token ids in blocks of one shape, so that a network gives a text the same numbers whatever is beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

BLOCK_ROWS = 16
BLOCK_WIDTH = 8  # widths are multiples of it


def token_blocks(tokenizer: Any, texts: Sequence[str], *, most: int) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Texts of one rounded width, `BLOCK_ROWS` at a time, short ones first.

    Args:
        most: tokens of a text, special ones included; longer texts are cut.

    Yields:
        The texts' places, ids and mask `[BLOCK_ROWS, width]`, padded on the right; rows that only fill the block have
        one token.
    """
    if not texts:
        return
    # a lone surrogate has no UTF-8 form, and the tokenizer would refuse the text
    clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    given = tokenizer(clean, truncation=True, max_length=most)["input_ids"]
    by_width: dict[int, list[int]] = defaultdict(list)
    for place, tokens in enumerate(given):
        by_width[min(-(-len(tokens) // BLOCK_WIDTH) * BLOCK_WIDTH, most)].append(place)
    for width, places in sorted(by_width.items()):
        for start in range(0, len(places), BLOCK_ROWS):
            part = places[start : start + BLOCK_ROWS]
            ids = torch.full((BLOCK_ROWS, width), tokenizer.pad_token_id or 0)
            mask = torch.zeros_like(ids)
            mask[:, 0] = 1
            for row, place in enumerate(part):
                ids[row, : len(given[place])] = torch.tensor(given[place])
                mask[row, : len(given[place])] = 1
            yield part, ids, mask
