"""Negative log-likelihoods of given tokens from final hidden states, without holding logits over the vocabulary.

On a CPU the logits are made piece by piece of the vocabulary, so that each is still in the processor's cache when its
exponentials are added up; of a piece nothing stays but their sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emolib.models.blueprint import Projection
from emolib.models.products import linear

ROWS_AT_ONCE = 256
COLUMNS_AT_ONCE = {"cpu": 2048}  # of the vocabulary; all of them elsewhere


def token_losses(head: Projection, hidden: Tensor, row_of: Tensor, tokens: Tensor) -> Tensor:
    """NLL of every token `[token]` in float32, in nats.

    Args:
        hidden: `[row, d_model]`, normalised.
        row_of, tokens: `[token]`, the row that a token follows and its id; rows rise.
    """
    parts = []
    bounds = range(0, len(hidden), ROWS_AT_ONCE)
    cuts = torch.searchsorted(row_of, torch.tensor([*bounds, len(hidden)], device=row_of.device)).tolist()
    for start, begin, end in zip(bounds, cuts[:-1], cuts[1:], strict=True):
        some = hidden[start : start + ROWS_AT_ONCE]
        rows, wanted = row_of[begin:end] - start, tokens[begin:end]
        scores = torch.linalg.vecdot(some[rows].float(), head.weight[wanted].float())
        if head.bias is not None:
            scores += head.bias[wanted].float()
        parts.append(_log_partitions(head, some)[rows] - scores)
    return torch.cat(parts)


def _log_partitions(head: Projection, hidden: Tensor) -> Tensor:
    """log Σ exp of every row's logits, `[row]` in float32."""
    size = COLUMNS_AT_ONCE.get(hidden.device.type, len(head.weight))
    top = torch.full((len(hidden), 1), -torch.inf, device=hidden.device)
    total = torch.zeros_like(top)
    for start in range(0, len(head.weight), size):
        part = slice(start, start + size)
        logits = linear(hidden, head.weight[part], None if head.bias is None else head.bias[part]).float()
        higher = torch.maximum(top, logits.amax(-1, keepdim=True))
        total = total * (top - higher).exp_() + logits.sub_(higher).exp_().sum(-1, keepdim=True)
        top = higher
    return (total.log_() + top)[:, 0]


def log_partition(logits: Tensor) -> Tensor:
    """log Σ exp over the last dimension, in float32; float32 logits are overwritten."""
    wide = logits.float()
    top = wide.amax(-1, keepdim=True)
    return wide.sub_(top).exp_().sum(-1).log_().add_(top[..., 0])
