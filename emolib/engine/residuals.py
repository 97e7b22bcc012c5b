"""What generation leaves behind of the unpatched model: every row's residual at its first patched layer.

Below that layer no act has been, so that the hidden states, keys and values there are the unpatched model's for the
row's own tokens. Whoever reads the row's text under the unpatched model goes on from there (`emolib.engine.histories`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emolib.models.blueprint import Blueprint
from emolib.models.workspace import Workspace


@dataclass(frozen=True)
class Known:
    """The unpatched model's residuals after a text's first tokens.

    Attributes:
        layer: whose input they are; the number of layers for the final residual.
        tokens: ids of the text, of which the first `len(values)` at most have a residual.
        values: `[token, d_model]`.
    """

    layer: int
    tokens: Sequence[int]
    values: Tensor

    def covers(self, text: Sequence[int]) -> int:
        """Of how many first tokens of another text with the same prompt the residuals are these."""
        count = 0
        for own, other in zip(self.tokens[: len(self.values)], text, strict=False):
            if own != other:
                break
            count += 1
        return count


class Residuals:
    """Collects them step by step; a batch's rows stand in the order of their first patched layers.

    Args:
        entry: per row the first layer at which it differs from the unpatched text (see `Edits`).
        n_fed: tokens of each row that are fed at most.
        memory: what was collected of an earlier batch lies in the same place, and is overwritten.
    """

    def __init__(self, net: Blueprint, entry: np.ndarray, n_fed: int, memory: Workspace) -> None:
        self._layers = np.minimum(entry, len(net.layers))
        shape = (len(entry), n_fed, net.embedding.shape[1])
        self._values = memory.take("residuals", shape, net.embedding)
        self._going_on = np.arange(len(entry))
        self.select(range(len(entry)))

    def select(self, kept: Sequence[int]) -> None:
        """Goes on with these of the present rows, in this (rising) order."""
        self._going_on = self._going_on[list(kept)]
        present = self._layers[self._going_on]
        self._parts: dict[int, tuple[slice, Tensor]] = {}
        for layer in np.unique(present[present > 0]):  # the input of layer 0 follows from the token alone
            part = slice(*np.searchsorted(present, [layer, layer + 1]).tolist())
            self._parts[int(layer)] = part, torch.from_numpy(self._going_on[part]).to(self._values.device)

    def take(self, layer: int, hidden: Tensor, start: int) -> None:
        """A layer's input `[row, pos, d_model]` before any act on it, from the row's fed token number `start` on."""
        if layer in self._parts:
            part, rows = self._parts[layer]
            self._values[rows, start : start + hidden.shape[1]] = hidden[part]

    def of(self, row: int, tokens: Sequence[int]) -> Known | None:
        """Of one of the batch's rows, whose text has these tokens; None where nothing is known of it."""
        layer = int(self._layers[row])
        return Known(layer, tokens, self._values[row, : len(tokens)]) if layer else None
