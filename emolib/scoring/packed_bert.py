"""A BERT (Devlin et al. 2019) over packs of texts: the same sums as transformers' own model, with nothing padded.

Linear layers take a whole pack at once, attention the texts of one length at a time. Every product has the same number
of rows, so a text's states do not depend on the texts beside it, to the last bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from emolib.models.products import linear
from emolib.scoring.packing import Pack, packs


class PackedBert:
    """Runs the weights of a transformers BERT, which it reads once.

    Args:
        network: a `BertModel` with the exact GELU and absolute positions, in float32.
        most: tokens of a text; longer texts are cut.
    """

    def __init__(self, network: Any, tokenizer: Any, *, most: int) -> None:
        if network.config.hidden_act != "gelu":
            raise ValueError(f"expected a BERT with the exact GELU, got {network.config.hidden_act}")
        self._tokenizer, self._most = tokenizer, most
        self.n_heads = network.config.num_attention_heads
        self._embeddings = network.embeddings
        self.layers = [PackedLayer(layer) for layer in network.encoder.layer]

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @torch.inference_mode()
    def states(self, texts: Sequence[str], layers: Collection[int]) -> Iterator[tuple[list[int], dict[int, Tensor]]]:
        """Texts of one length at a time.

        Args:
            layers: whose states are wanted: 0 are the embeddings, `n_layers` the last.

        Yields:
            The texts' places, and states `[text, token, width]` by layer.
        """
        for pack in self.packs(texts):
            found = {layer: self._by_group(pack, x) for layer, x in self._through(pack) if layer in layers}
            begun = 0
            for number, (count, _) in enumerate(pack.groups):
                yield pack.places[begun : begun + count], {layer: groups[number] for layer, groups in found.items()}
                begun += count

    def _through(self, pack: Pack) -> Iterator[tuple[int, Tensor]]:
        """States `[PACK_TOKENS, width]` after the embeddings and after every layer."""
        x = self.embedded(pack)
        yield 0, x
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, pack, self.n_heads)
            yield number, x

    def packs(self, texts: Sequence[str]) -> Iterator[Pack]:
        """All texts, a pack at a time."""
        return packs(self._tokenizer, texts, most=self._most)

    def embedded(self, pack: Pack) -> Tensor:
        """`[PACK_TOKENS, width]` before the first layer."""
        made = self._embeddings
        device = made.word_embeddings.weight.device
        x = made.word_embeddings(pack.ids.to(device)) + made.token_type_embeddings.weight[0]
        embedded: Tensor = made.LayerNorm(x + made.position_embeddings(pack.positions.to(device)))
        return embedded

    @staticmethod
    def _by_group(pack: Pack, x: Tensor) -> list[Tensor]:
        """`[text, token, width]` per group."""
        sizes = [count * length for count, length in pack.groups]
        parts = x[: sum(sizes)].split(sizes)
        return [part.view(count, length, -1) for part, (count, length) in zip(parts, pack.groups, strict=True)]


class PackedLayer:
    """One layer's weights."""

    def __init__(self, layer: Any) -> None:
        own, self.out, self.inner = layer.attention.self, layer.attention.output.dense, layer.intermediate.dense
        self.outer, self.first_norm, self.last_norm = (
            layer.output.dense,
            layer.attention.output.LayerNorm,
            layer.output.LayerNorm,
        )
        three: list[nn.Linear] = [own.query, own.key, own.value]
        self.weight = torch.cat([part.weight.detach() for part in three])
        self.bias = torch.cat([part.bias.detach() for part in three])

    def __call__(self, x: Tensor, pack: Pack, n_heads: int) -> Tensor:
        x = self.attended(x, pack, n_heads)
        return self.last_norm(linear(self.hidden(x), self.outer.weight, self.outer.bias).add_(x))

    def attended(self, x: Tensor, pack: Pack, n_heads: int) -> Tensor:
        """`[PACK_TOKENS, width]` after attention and its norm."""
        mixed = linear(x, self.weight, self.bias)
        read, begun = torch.zeros_like(x), 0
        for count, length in pack.groups:
            rows = slice(begun, begun := begun + count * length)
            parts = mixed[rows].view(count, length, 3, n_heads, -1).permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
            read[rows] = attended.transpose(1, 2).reshape(count * length, -1)
        return self.first_norm(linear(read, self.out.weight, self.out.bias).add_(x))

    def hidden(self, x: Tensor) -> Tensor:
        """`[PACK_TOKENS, hidden unit]` of what attention gave."""
        return functional.gelu(linear(x, self.inner.weight, self.inner.bias))
