"""What is kept of a text: its last token, the mean of its tokens, its trigger, or all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from emolib.engine.triggers import NONE

POSITIONS = ("last", "mean", "trigger", "all")


def reduced(
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
