"""Attention over columns that rows share and columns of their own, and what its blocks have in common in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Columns = slice | Tensor  # absolute; a tensor of one number inside a CUDA graph


@dataclass(frozen=True)
class Span:
    """What every block needs to know about the columns that one pass feeds.

    Attributes:
        columns: absolute; a slice, or a tensor of one number inside a graph.
        stop: so many columns of keys are read.
        angles: cosines and sines per table of the blueprint.
        biases: what is added to attention scores, `[row or 1, 1, pos, key]`, per window; None where nothing is.
    """

    columns: Columns
    stop: int
    angles: dict[str, tuple[Tensor, Tensor]]
    biases: dict[int | None, Tensor | None]

    def first(self, n_rows: int, width: int | None = None) -> Span:
        """The same for the first rows, and the first columns, alone."""
        part = (slice(0, n_rows), slice(0, width))
        angles = {name: (cos[part], sin[part]) for name, (cos, sin) in self.angles.items()}
        biases = {
            window: bias if bias is None else bias[: n_rows if len(bias) > 1 else 1, :, part[1], :width]
            for window, bias in self.biases.items()
        }
        return Span(self.columns, self.stop, angles, biases)


@dataclass(frozen=True)
class SharedKeys:
    """One block's keys and values of the columns that all rows of a prompt have in common: `[prompt, KV head, key,
    d_head]`, or None where there is no such column."""

    keys: Tensor | None
    values: Tensor | None

    @classmethod
    def empty(cls) -> SharedKeys:
        return cls(None, None)


@dataclass(frozen=True)
class Grouping:
    """Rows beside the other rows of their prompt.

    Attributes:
        members: row numbers `[prompt, place]`; prompts with fewer rows repeat one.
        place: of every row in the flattened `members`.
    """

    members: Tensor
    place: Tensor

    @classmethod
    def of(cls, trunk_of: Tensor, n_prompts: int) -> Grouping:
        prompt = trunk_of.cpu().numpy()
        order = np.argsort(prompt, kind="stable")
        counts = np.bincount(prompt, minlength=n_prompts)
        rank = np.empty(len(prompt), dtype=np.int64)
        rank[order] = np.arange(len(prompt)) - np.repeat(counts.cumsum() - counts, counts)
        members = np.zeros((len(counts), counts.max()), dtype=np.int64)
        members[prompt, rank] = np.arange(len(prompt))
        place = torch.from_numpy(prompt * counts.max() + rank)
        return cls(torch.from_numpy(members).to(trunk_of.device), place.to(trunk_of.device))

    def gather(self, x: Tensor) -> Tensor:
        """`[row, KV head, m, d]` → `[prompt, KV head, place · m, d]`."""
        grouped = x[self.members].transpose(1, 2)
        return grouped.reshape(*grouped.shape[:2], -1, grouped.shape[4])

    def split(self, x: Tensor, rows: int) -> Tensor:
        """The inverse, `[row, KV head, m, d]`."""
        n_prompts, n_kv, _, d = x.shape
        each = x.view(n_prompts, n_kv, self.members.shape[1], -1, d).transpose(1, 2)
        return each.reshape(-1, n_kv, each.shape[3], d)[self.place]


@dataclass(frozen=True)
class HeadParts:
    """Attention patterns and values of single heads, worked out where an edit asks for them."""

    q: Tensor
    keys: Tensor
    values: Tensor
    bias: Tensor | None
    scale: float
    shared: SharedKeys
    trunk_of: Tensor

    def __call__(self, rows: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        """For rows and heads `[n]`: pattern `[n, pos, key]` in float32, and values `[n, key, d_head]`."""
        kv = heads // (self.q.shape[2] // self.keys.shape[1])
        keys, values = self.keys[rows, kv], self.values[rows, kv]
        if self.shared.keys is not None and self.shared.values is not None:
            prompts = self.trunk_of[rows]
            keys = torch.cat([self.shared.keys[prompts, kv], keys], dim=1)
            values = torch.cat([self.shared.values[prompts, kv], values], dim=1)
        scores = self.q[rows, :, heads].float() @ keys.float().transpose(1, 2) * self.scale
        if self.bias is not None:
            scores = scores + (self.bias if len(self.bias) == 1 else self.bias[rows])[:, 0]
        return scores.softmax(-1), values


def rotate_by(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of the first dimensions (Su et al. 2021), halves swapped as in GPT-NeoX; in place."""
    rotated = cos.shape[-1]
    part = x if rotated == x.shape[-1] else x[..., :rotated]
    swapped = torch.cat([part[..., rotated // 2 :], part[..., : rotated // 2]], dim=-1)
    part.mul_(cos).addcmul_(swapped, sin)
    return x


def attention_pattern(q: Tensor, keys: Tensor, bias: Tensor | None, scale: float, *, upcast: bool = False) -> Tensor:
    """softmax(q kᵀ · scale + bias), `[row, head, pos, key]` in float32; arguments as of `attention`."""
    rows, width, n_heads, d_head = q.shape
    n_kv = keys.shape[1]
    q = (q * scale).view(rows, width, n_kv, n_heads // n_kv, d_head).permute(0, 2, 3, 1, 4)
    if upcast:
        q, keys = q.float(), keys.float()
    scores = torch.matmul(q, keys[:, :, None].transpose(3, 4)).float().flatten(1, 2)
    return (scores if bias is None else scores + bias).softmax(-1)


def attention(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None,
    scale: float,
    *,
    upcast: bool = False,
    shared: SharedKeys | None = None,
    grouping: Grouping | None = None,
) -> Tensor:
    """softmax(q kᵀ · scale + bias) v, `[row, pos, head, d_head]`.

    The query heads that share a KV head are more queries to it, and so are the rows that share a prompt: keys and
    values are read once and never expanded.

    Args:
        keys, values: `[row, KV head, key, d_head]`, after those of `shared`.
        bias: float32, `[row or 1, 1, pos, key]`.
        upcast: products of queries and keys in float32 whatever their dtype.
    """
    rows, width, n_heads, d_head = q.shape
    n_kv = keys.shape[1]
    q = (q * scale).view(rows, width, n_kv, n_heads // n_kv, d_head)
    q = (q[:, 0] if width == 1 else q.permute(0, 2, 3, 1, 4)).reshape(rows, n_kv, -1, d_head)
    if upcast:
        q, keys = q.float(), keys.float()
    if shared is None or shared.keys is None or shared.values is None:
        weights = _weights(torch.matmul(q, keys.transpose(2, 3)).float(), bias, width)
        z = torch.matmul(weights.to(values.dtype), values)
    else:
        assert grouping is not None, "rows that share columns are grouped by their prompts"
        z = _partly_shared(q, keys, values, bias, width, SharedKeys(shared.keys, shared.values), grouping, upcast)
    if width == 1:
        return z.view(rows, 1, n_heads, d_head)
    return z.view(rows, n_heads, width, d_head).transpose(1, 2).reshape(rows, width, n_heads, d_head)


def _partly_shared(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None,
    width: int,
    shared: SharedKeys,
    grouping: Grouping,
    upcast: bool,
) -> Tensor:
    """The same for scaled q `[row, KV head, m, d_head]`, with columns that all rows of a prompt read first."""
    assert shared.keys is not None and shared.values is not None
    n_shared = shared.keys.shape[2]
    scores = torch.empty(*q.shape[:3], n_shared + keys.shape[2], device=q.device)
    scores[..., n_shared:] = torch.matmul(q, keys.transpose(2, 3))
    read = shared.keys.float() if upcast else shared.keys
    scores[..., :n_shared] = grouping.split(grouping.gather(q) @ read.transpose(2, 3), len(q))
    weights = _weights(scores, bias, width).to(values.dtype)
    z = torch.matmul(weights[..., n_shared:], values)
    return z + grouping.split(grouping.gather(weights[..., :n_shared]) @ shared.values, len(q))


def _weights(scores: Tensor, bias: Tensor | None, width: int) -> Tensor:
    """softmax(scores + bias) of float32 scores `[row, KV head, m · width, key]`, which are overwritten."""
    if bias is not None:
        scores.view(*scores.shape[:2], -1, width, scores.shape[3]).add_(bias[:, :, None])
    return scores.softmax(-1)
