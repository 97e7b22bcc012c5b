"""Texts as token ids in packs of one size, so that a network gives a text the same numbers whatever is beside it.

Texts lie one behind the other: a pack is filled with texts of like length, and nothing is padded but its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PACK_TOKENS = 512


@dataclass(frozen=True)
class Pack:
    """Texts side by side.

    Attributes:
        places: of its texts among all texts, in the order in which they lie here.
        groups: how many texts of which length lie behind each other: (texts, tokens of each).
        ids: `[PACK_TOKENS]`; 0 behind the last text.
        positions: `[PACK_TOKENS]`, of each token within its text.
    """

    places: list[int]
    groups: list[tuple[int, int]]
    ids: Tensor
    positions: Tensor

    @property
    def filled(self) -> int:
        """How many of its tokens are texts'."""
        return sum(count * length for count, length in self.groups)


def packs(tokenizer: Any, texts: Sequence[str], *, most: int) -> Iterator[Pack]:
    """All texts in packs, long ones first; each pack takes what still fits, the longest first.

    Args:
        most: tokens of a text, special ones included, at most `PACK_TOKENS`; longer texts are cut.
    """
    if not texts:
        return
    # a lone surrogate has no UTF-8 form, and the tokenizer would refuse the text
    clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    given = tokenizer(clean, truncation=True, max_length=most)["input_ids"]
    waiting: dict[int, list[int]] = {}
    for place in range(len(given) - 1, -1, -1):  # the last of a list is taken first
        waiting.setdefault(len(given[place]), []).append(place)
    while waiting:
        left, places, groups = PACK_TOKENS, [], []
        for length in sorted(waiting, reverse=True):
            count = min(left // length, len(waiting[length]))
            if not count:
                continue
            places += [waiting[length].pop() for _ in range(count)]
            groups.append((count, length))
            left -= count * length
            if not waiting[length]:
                del waiting[length]
        ids, positions = torch.zeros(PACK_TOKENS, dtype=torch.long), torch.zeros(PACK_TOKENS, dtype=torch.long)
        filled = PACK_TOKENS - left
        ids[:filled] = torch.tensor([token for place in places for token in given[place]])
        positions[:filled] = torch.cat([torch.arange(length).repeat(count) for count, length in groups])
        yield Pack(places, groups, ids, positions)
