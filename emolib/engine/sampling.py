"""How a text is continued: how many tokens, and how the next one is chosen: greedy, or nucleus sampling with each
row's own random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from emolib.base import arguments, store
from emolib.base.signatures import told

MOST_NEW = 10**6  # new tokens; no model has so many positions
FIRST_WIDTH = 64  # most nuclei of a trained model are smaller
WIDTH_FACTOR = 8
BLOCK = 256  # logits of which the highest is found, and probabilities that are added up in float32, at once


@told
@dataclass(frozen=True)
class Decoding:
    """How a text is continued.

    Attributes:
        max_new_tokens: per row; fewer come where a row's text ends.
        temperature: 0 is greedy; otherwise tokens are drawn with the row's own seed.
        top_p: smallest set of tokens whose probability reaches this share (sampling only).

    Raises:
        UserError: a number out of range.
    """

    max_new_tokens: int = 30
    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        checked = {
            "max_new_tokens": arguments.whole_number("max_new_tokens", self.max_new_tokens, least=1, most=MOST_NEW),
            "temperature": _temperature(self.temperature),
            "top_p": _top_p(self.top_p),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0

    def sampler(self) -> Sampler:
        """What picks the next token."""
        return Sampler(self.temperature, self.top_p)

    def fingerprint(self) -> str:
        """A hash of everything here."""
        return store.digest([int(self.max_new_tokens), float(self.temperature), float(self.top_p)])


class DecodingFields(TypedDict, total=False):
    """`Decoding` as keywords."""

    max_new_tokens: int
    temperature: float
    top_p: float


def _temperature(value: float) -> float:
    return arguments.number("temperature", value, least=0, note=" (0 is greedy)")


def _top_p(value: float) -> float:
    return arguments.number("top_p", value, above=0, most=1)


@dataclass(frozen=True)
class Sampler:
    """Greedy choice, or nucleus sampling whose randomness comes from each row's own seed.

    Raises:
        UserError: a temperature that is negative or not finite, a top_p outside (0, 1].
    """

    temperature: float
    top_p: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", _temperature(self.temperature))
        object.__setattr__(self, "top_p", _top_p(self.top_p))

    def draws(self, seeds: Sequence[int | None], n_steps: int) -> Tensor:
        """Uniform numbers `[row, step]`, float64; a row's numbers follow from its seed alone."""
        if self.temperature == 0:
            return torch.zeros(len(seeds), n_steps)
        return torch.tensor(np.stack([np.random.default_rng(seed).random(n_steps) for seed in seeds]))

    def pick(self, logits: Tensor, draw: Tensor) -> Tensor:
        """The next token per row from `[row, vocabulary]` logits.

        Tokens are ordered by falling logit, equal ones by id, and the token is the first at which the cumulated
        probability reaches `draw` times the nucleus' probability. Only the best few are ordered; a row that needs
        more is tried again with more, in the end with the whole vocabulary, so that the result is that of a full sort.
        """
        if self.temperature == 0:
            return highest(logits)
        logits = logits.float()
        # probabilities are cumulated in float64, which MPS does not have
        scores = logits.cpu() if logits.device.type == "mps" else logits
        weight = (scores - scores.amax(-1, keepdim=True)).div_(self.temperature).exp_()
        total, draw = _row_sums(weight), draw.to(scores.device)
        chosen = torch.empty(len(scores), dtype=torch.long, device=scores.device)
        left, width = torch.arange(len(scores), device=scores.device), FIRST_WIDTH
        while len(left):
            width = min(width, scores.shape[1])
            everyone = len(left) == len(scores)  # then nothing is copied
            best, tokens = _best(scores if everyone else scores[left], width)
            share = (weight if everyone else weight[left]).gather(1, tokens).double() / total[left, None]
            # which of several equal logits came last into the best is arbitrary: those do not count
            counted = best > best[:, -1:] if width < scores.shape[1] else torch.ones_like(best, dtype=torch.bool)
            place, settled = self._place(share, draw[left], counted)
            chosen[left[settled]] = tokens.gather(1, place[:, None])[settled, 0]
            left, width = left[~settled], width * WIDTH_FACTOR
        return chosen.to(logits.device)

    def _place(self, share: Tensor, draw: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """The place drawn among falling probabilities `[row, place]`, and whether what follows could not change it."""
        reached = share.cumsum(-1)
        if self.top_p == 1:
            # all probabilities add up to 1 but for rounding: a draw above their sum is scaled back
            mass = reached[:, -1].where(draw > reached[:, -1], 1.0)
            settled = counted.all(-1) | ((reached * counted).amax(-1) >= draw)
            return (reached < (draw * mass)[:, None]).sum(-1).clamp_max(share.shape[1] - 1), settled
        last = ((reached - share) < self.top_p).sum(-1) - 1
        mass = reached.gather(1, last[:, None])[:, 0]
        settled = counted.all(-1) | ((reached * counted).amax(-1) >= self.top_p)
        return (reached < (draw * mass)[:, None]).sum(-1).clamp_max(last), settled


def highest(logits: Tensor) -> Tensor:
    """The token with the highest of `[row, vocabulary]` logits, of equal ones the first; a NaN counts as the highest.

    A maximum without its place is many times as fast as one with it: the place is looked for in one block alone.
    """
    n_rows, n_tokens = logits.shape
    n_blocks = n_tokens // BLOCK
    if n_blocks < 2 or logits.device.type != "cpu":
        return logits.max(-1).indices
    whole = n_blocks * BLOCK
    tops = logits[:, :whole].view(n_rows, n_blocks, BLOCK).amax(-1)
    if whole < n_tokens:
        tops = torch.cat([tops, logits[:, whole:].amax(-1, keepdim=True)], dim=1)
    begin = tops.max(-1).indices * BLOCK  # of equal ones the first, as argmax, and much faster in bfloat16
    within = (begin[:, None] + torch.arange(BLOCK)).clamp_max_(n_tokens - 1)
    return begin + logits.gather(1, within).max(-1).indices


def _row_sums(values: Tensor) -> Tensor:
    """The sum of every row, float64: float32 within blocks, whose few numbers cost no digit that a draw could feel."""
    whole = values.shape[1] - values.shape[1] % BLOCK
    blocks = values[:, :whole].unflatten(1, (-1, BLOCK)).sum(-1)
    return blocks.sum(-1, dtype=torch.float64) + values[:, whole:].sum(-1, dtype=torch.float64)


def _best(values: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The `width` highest values per row and their ids, both `[row, width]`; equal values in the order of their ids."""
    if width == values.shape[1]:
        return values.sort(dim=-1, descending=True, stable=True)
    tokens = values.topk(width, sorted=False).indices.sort(-1).values
    best, order = values.gather(1, tokens).sort(dim=-1, descending=True, stable=True)
    return best, tokens.gather(1, order)
