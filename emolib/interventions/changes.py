"""The formulas by which acts change a residual stream or a head's output, each for all rows that have such an act.

`Edits` says which rows, columns and layers; here stands what happens there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from emolib.models.attention import Columns

HeadParts = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Rows:
    """Row numbers of a batch.

    Attributes:
        index: the same on the device, `[n]`.
        span: the same as a slice where the rows are consecutive (no copy), else None.
    """

    numbers: tuple[int, ...]
    index: Tensor
    span: slice | None

    @classmethod
    def of(cls, numbers: Sequence[int], device: torch.device) -> Self:
        first, last = numbers[0], numbers[-1]
        consecutive = list(numbers) == list(range(first, last + 1))
        span = slice(first, last + 1) if consecutive else None
        return cls(tuple(numbers), torch.tensor(list(numbers), device=device), span)


@dataclass(frozen=True)
class Change:
    """Acts of one family at one place, at most one per row (and head), applied together.

    Attributes:
        factors: `[n, column]`.
        active: per column, whether any row is changed; kept off the device so that asking costs no transfer.
    """

    rows: Rows
    factors: Tensor
    active: np.ndarray

    def idle(self, columns: Columns) -> bool:
        return isinstance(columns, slice) and not self.active[columns].any()

    def select(self, renumbered: Mapping[int, int]) -> Self | None:
        """The same when only the rows in `renumbered` (old → new) go on."""
        places = [i for i, row in enumerate(self.rows.numbers) if row in renumbered]
        if not places:
            return None
        index = torch.tensor(places, device=self.factors.device)
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        going_on: dict[str, Any] = {name: value[index] for name, value in held.items() if isinstance(value, Tensor)}
        going_on["rows"] = Rows.of([renumbered[self.rows.numbers[i]] for i in places], index.device)
        return replace(self, **going_on)


class StreamChange(Change):
    """A change of the residual stream, or of what is added to it."""

    def change(self, part: Tensor, factors: Tensor) -> Tensor:
        """What is added to `part` `[n, pos, d_model]`; `factors` `[n, pos, 1]`."""
        raise NotImplementedError


class HeadChange(Change):
    """A change of single heads' outputs; fields `heads` `[n]`."""

    heads: Tensor

    def change(self, part: Tensor, factors: Tensor, columns: Columns, parts: HeadParts) -> Tensor:
        """What is added to `part` `[n, pos, d_head]`; `factors` `[n, pos, 1]`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Add(StreamChange):
    """h ← h + f Δ."""

    delta: Tensor  # [n, d_model]

    def change(self, part: Tensor, factors: Tensor) -> Tensor:
        return factors * self.delta[:, None]


@dataclass(frozen=True)
class Move(StreamChange):
    """h ← h + f α U (μ − Uᵀ h)."""

    basis: Tensor  # [n, d_model, k]
    target: Tensor  # [n, 1, k]
    alpha: Tensor  # [n, 1, 1]

    def change(self, part: Tensor, factors: Tensor) -> Tensor:
        missing = self.target - part.float() @ self.basis
        return (factors.float() * self.alpha * (missing @ self.basis.transpose(1, 2))).to(part.dtype)


@dataclass(frozen=True)
class Bound(StreamChange):
    """h ← h + f (min(max(h·d̂, low), high) − h·d̂) d̂; exactly 0 is added where h·d̂ lies within the bounds."""

    unit: Tensor  # [n, d_model]
    low: Tensor  # [n, 1]
    high: Tensor  # [n, 1]

    def change(self, part: Tensor, factors: Tensor) -> Tensor:
        stands = (part.float() @ self.unit[:, :, None])[:, :, 0]  # [n, pos]
        missing = stands.clamp(self.low, self.high) - stands
        return (factors.float() * missing[:, :, None] * self.unit[:, None]).to(part.dtype)


@dataclass(frozen=True)
class AddOutput(HeadChange):
    """A head's output z ← z + f Δ."""

    heads: Tensor  # [n]
    delta: Tensor  # [n, d_head]

    def change(self, part: Tensor, factors: Tensor, columns: Columns, parts: HeadParts) -> Tensor:
        return factors * self.delta[:, None]


@dataclass(frozen=True)
class SetOutput(HeadChange):
    """A head's output z ← z + f (target − z); the target per prompt column, and one for generated tokens."""

    heads: Tensor  # [n]
    targets: Tensor  # [n, column, d_head]

    def change(self, part: Tensor, factors: Tensor, columns: Columns, parts: HeadParts) -> Tensor:
        return factors * (self.targets[:, columns] - part)


@dataclass(frozen=True)
class SwapValues(HeadChange):
    """A head's output z ← z + f Σ_j pattern[·, j] (source value_j − value_j), over the columns read from the source.

    The values are those of the head's KV head, which itself stays as it is for the other heads that read it.
    """

    heads: Tensor  # [n]
    sources: Tensor  # [n, prompt column, d_head]
    reads: Tensor  # [n, prompt column, 1]

    def change(self, part: Tensor, factors: Tensor, columns: Columns, parts: HeadParts) -> Tensor:
        pattern, values = parts(self.rows.index, self.heads)
        width = self.sources.shape[1]
        difference = (self.sources - values[:, :width]) * self.reads
        return factors * (pattern[:, :, :width].to(part.dtype) @ difference)
