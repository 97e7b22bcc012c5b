"""What every pass through a `Blueprint` does alike: embedding, queries, keys and values, the MLP, and what of
attention is the same in all blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from emolib.models.attention import Columns, Span, rotate_by
from emolib.models.blueprint import Blueprint, Layer
from emolib.models.language_model import LanguageModel

LOWEST = torch.finfo(torch.float32).min


class ForwardPass:
    """Parts of a pass over rows that are padded on the left.

    Args:
        total: columns of the rows, those still to be fed included.
        whole: whether a pass that feeds one column reads all columns of keys, hiding the coming ones.
    """

    def __init__(self, lm: LanguageModel, total: int, *, whole: bool = False) -> None:
        self.net: Blueprint = lm.native
        self.device, self.dtype = lm.device, lm.dtype
        self._total, self._whole = total, whole
        self._windows = {layer.window for layer in self.net.layers}
        every = torch.arange(total, device=self.device)
        self._tables = {name: table(every[None], self.net.embedding) for name, table in self.net.angles.items()}

    def _embed(self, tokens: Tensor, places: Tensor) -> Tensor:
        net = self.net
        hidden = net.embedding[tokens]
        if net.embedding_scale is not None:
            hidden = hidden * net.embedding_scale
        return hidden if net.positions is None else hidden + net.positions[places]

    def _heads(self, layer: Layer, x: Tensor, span: Span) -> tuple[Tensor, Tensor, Tensor]:
        """Queries `[row, pos, head, d_head]`, keys and values `[row, pos, KV head, d_head]`, rotated and normalised."""
        net = self.net
        fused = layer.qkv(x)
        if layer.interleaved:
            split = fused.unflatten(-1, (net.n_heads, 3, net.d_head))
            both, v = torch.cat([split[..., 0, :], split[..., 1, :]], dim=2), split[..., 2, :]
        else:
            split = fused.view(*fused.shape[:2], -1, net.d_head)
            both, v = split[:, :, : -net.n_kv_heads], split[:, :, -net.n_kv_heads :]
        if layer.qk_norm is not None:
            both = layer.qk_norm(both)
        if layer.rotary is not None:
            both = rotate_by(both, *span.angles[layer.rotary])
        return both[:, :, : net.n_heads], both[:, :, net.n_heads :], v

    @staticmethod
    def _neurons(layer: Layer, hidden: Tensor) -> Tensor:
        """Activations of the MLP's neurons `[row, pos, neuron]`; gate times up, where it is gated."""
        inner = layer.up(layer.mlp_norm(hidden))
        if not layer.gated:
            return layer.activation(inner)
        gate, up = inner.chunk(2, dim=-1)
        return layer.activation(gate).mul_(up)

    @classmethod
    def _mlp(cls, layer: Layer, hidden: Tensor) -> Tensor:
        return cls._through_down(layer, cls._neurons(layer, hidden))

    @staticmethod
    def _through_down(layer: Layer, neurons: Tensor) -> Tensor:
        """What the block adds for its neurons' activations."""
        added = layer.down(neurons)
        return added if layer.mlp_post_norm is None else layer.mlp_post_norm(added)

    def _span(self, columns: Columns, places: Tensor, pads: Tensor | None) -> Span:
        whole = isinstance(columns, Tensor) or (self._whole and columns.stop - columns.start == 1)
        stop = self._total if isinstance(columns, Tensor) or whole else columns.stop
        biases = {window: self._bias(pads, columns, stop, window) for window in self._windows}
        return Span(columns, stop, self._angles(places), biases)

    def _angles(self, places: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Cosines and sines at these positions `[row, pos]`, see `Blueprint`."""
        return {name: (cos[0, places], sin[0, places]) for name, (cos, sin) in self._tables.items()}

    def _pad_bias(self, mask: Tensor) -> Tensor | None:
        """0 on real and coming columns, very negative on padding: `[row, 1, 1, column]`; None without padding."""
        if bool(mask.all()):
            return None
        bias = torch.zeros(len(mask), 1, 1, self._total, device=self.device)
        bias[:, 0, 0, : mask.shape[1]] = (1 - mask.to(self.device)) * LOWEST
        return bias

    def _bias(self, pads: Tensor | None, columns: Columns, stop: int, window: int | None) -> Tensor | None:
        """What is added to attention scores: padding, what comes later, and what lies too far back."""
        if isinstance(columns, slice):
            within = window is None or columns.stop <= window
            if columns.stop - columns.start == 1 and stop == columns.stop and within:
                return pads if pads is None else pads[..., :stop]
            columns = torch.arange(columns.start, columns.stop, device=self.device)
        back = columns[:, None] - torch.arange(stop, device=self.device)
        unseen = back < 0
        if window is not None:
            unseen = unseen | (back >= window)
        bias = torch.zeros(unseen.shape, device=self.device).masked_fill_(unseen, LOWEST)[None, None]
        return bias if pads is None else (bias + pads[..., :stop]).clamp_min_(LOWEST)
