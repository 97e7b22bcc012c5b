"""One pass of a model over many texts at once in which every distinct history of tokens is computed once.

Prompts and the continuations of each form a tree: a node is a token with all that came before it. What a prompt's texts
have in common (the prompt, and the tokens up to where they part) is one path of it. Products see the nodes alone, one
beside the other without padding; attention sees texts, whose queries, keys and values are picked from the nodes.

A text of which generation has left residuals behind (`emolib.engine.residuals`) joins at their layer: below it none of
its nodes is computed, unless another text that goes on from the node needs it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from emolib.engine.forward import ForwardPass
from emolib.engine.residuals import Known
from emolib.engine.token_losses import token_losses
from emolib.models.attention import Grouping, SharedKeys, Span, attention
from emolib.models.language_model import LanguageModel

ROWS_OF_ATTENTION = 64  # whose queries, keys and values are picked at once
TOKENS_OF_MLP = 1024  # whose inner activations are held at once


@dataclass
class Histories:
    """The tree.

    Attributes:
        tokens, parents, places: of every node; the parent of a first token is -1, its place 0.
        prompts: per distinct prompt its nodes.
        texts: per text its prompt's number and its own nodes.
        known: nodes of a text, and the residuals that begin with theirs.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)
    texts: list[tuple[int, list[int]]] = field(default_factory=list)
    known: list[tuple[np.ndarray, Known]] = field(default_factory=list)
    _nodes: dict[tuple[int, int], int] = field(default_factory=dict)
    _numbers: dict[tuple[int, ...], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, prompt: Sequence[int], text: Sequence[int], known: Known | None = None) -> None:
        """A prompt of at least one token and a continuation of at least one, with what is known of it."""
        number = self._numbers.setdefault(tuple(prompt), len(self.prompts))
        if number == len(self.prompts):
            self.prompts.append(self._path(prompt, -1))
        path = self._path(text, self.prompts[number][-1])
        self.texts.append((number, path))
        if known is not None and (covered := known.covers(text[:-1])):  # a text's last token is not fed
            self.known.append((np.array(path[:covered]), known))

    def entries(self) -> np.ndarray:
        """Per node the layer from which on it is computed: 0, or one at whose input its residual is known.

        A node's keys are needed wherever one that follows it is computed, so that entries rise along a text.
        """
        entries = np.zeros(len(self), dtype=np.int64)
        for nodes, known in self.known:
            entries[nodes] = np.maximum(entries[nodes], known.layer)
        fed = np.isin(np.arange(len(self)), self.parents)
        for node in np.flatnonzero(fed)[::-1].tolist():  # a node comes after its parent
            parent = self.parents[node]
            if parent >= 0 and entries[node] < entries[parent]:
                entries[parent] = entries[node]
        return entries

    def _path(self, row: Sequence[int], node: int) -> list[int]:
        path = []
        for token in row:
            parent, node = node, self._nodes.setdefault((node, token), len(self.tokens))
            if node == len(self.tokens):
                self.tokens.append(token)
                self.parents.append(parent)
                self.places.append(self.places[parent] + 1 if parent >= 0 else 0)
            path.append(node)
        return path


@dataclass(frozen=True)
class _Block:
    """Rows whose attention is worked out together, in numbers of the nodes that the pass feeds.

    Attributes:
        rows: `[row, pos]`; anything stands where a row has no token.
        nodes, found: the nodes that this block works out first, and where they stand in the flattened `rows`.
        biases: per window, see `Span`.
        prompts: `[prompt, pos]` that come before the rows' own columns; None for rows that begin a text.
        grouping: of the rows by their prompts.
    """

    rows: Tensor
    nodes: Tensor
    found: Tensor
    biases: dict[int | None, Tensor | None]
    prompts: Tensor | None = None
    grouping: Grouping | None = None


class HistoryPass(ForwardPass):
    """Runs a tree through a `Blueprint`."""

    def __init__(self, lm: LanguageModel, tree: Histories) -> None:
        longest = max(map(len, tree.prompts)) + max(len(text) for _, text in tree.texts)
        super().__init__(lm, longest)
        self._tree = tree
        fed = np.unique(tree.parents)  # a node that nothing follows is never fed
        fed, self._entries = fed[fed >= 0], tree.entries()
        self._fed = fed[np.argsort(self._entries[fed], kind="stable")]
        self._number = np.full(len(tree), 0)
        self._number[self._fed] = np.arange(len(self._fed))
        self._done = np.zeros(0, dtype=bool)

    def losses(self) -> list[Tensor]:
        """Per text the negative log-likelihood of each of its tokens given what comes before, float32 on the CPU."""
        texts = [nodes for _, nodes in self._tree.texts]
        wanted = np.unique(np.concatenate(texts))
        parents = self._number[np.array(self._tree.parents)[wanted]]
        order = np.argsort(parents, kind="stable")
        wanted, parents = wanted[order], parents[order]
        read, row_of = np.unique(parents, return_inverse=True)
        hidden = self.net.final_norm(self._hidden()[self._index(read)])
        targets = self._index(np.array(self._tree.tokens)[wanted])
        found = torch.zeros(len(self._tree))
        found[torch.from_numpy(wanted)] = token_losses(self.net.head, hidden, self._index(row_of), targets).cpu()
        return [found[nodes] for nodes in texts]

    def _hidden(self) -> Tensor:
        """The fed nodes' last residual `[node, d_model]`."""
        tree, net = self._tree, self.net
        tokens, places = (self._index(np.array(of)[self._fed])[None] for of in (tree.tokens, tree.places))
        span = Span(slice(0, 0), 0, self._angles(places), {})
        starts = self._entries[self._fed]  # rising
        counts = np.searchsorted(starts, np.arange(len(net.layers) + 1), side="right").tolist()
        hidden, blocks = self._embed(tokens[:, : counts[0]], places[:, : counts[0]]), self._blocks(counts[0])
        for number, layer in enumerate(net.layers):
            if counts[number] > hidden.shape[1]:
                hidden, blocks = self._joined(hidden, number, counts[number]), self._blocks(counts[number])
            joined = span.first(1, counts[number])
            q, k, v = (part[0] for part in self._heads(layer, layer.attn_norm(hidden), joined))
            z = torch.empty(q.shape, dtype=q.dtype, device=q.device)
            for block in blocks:
                self._attend(block, q, k, v, z, layer.scale, block.biases[layer.window])
            del q, k, v
            attended = layer.out(z.flatten(1)[None])
            if layer.attn_post_norm is not None:
                attended = layer.attn_post_norm(attended)
            middle = hidden if net.parallel else attended.add_(hidden)
            outputs = [self._mlp(layer, part).add_(part) for part in middle.split(TOKENS_OF_MLP, dim=1)]
            hidden = torch.cat(outputs, dim=1)
            if net.parallel:
                hidden.add_(attended)
        return self._joined(hidden, len(net.layers), counts[-1])[0]

    def _joined(self, hidden: Tensor, layer: int, count: int) -> Tensor:
        """A layer's input `[1, node, d_model]` of its first `count` nodes: the present ones, then those that enter."""
        present = hidden.shape[1]
        if count == present:
            return hidden
        entering = torch.empty(count - present, hidden.shape[2], dtype=hidden.dtype, device=hidden.device)
        for nodes, known in self._tree.known:
            if known.layer == layer and len(chosen := np.flatnonzero(self._entries[nodes] == layer)):
                places = self._number[nodes[chosen]] - present
                entering[self._index(places)] = known.values[self._index(chosen)]
        return torch.cat([hidden, entering[None]], dim=1)

    def _attend(
        self, block: _Block, q: Tensor, k: Tensor, v: Tensor, z: Tensor, scale: float, bias: Tensor | None
    ) -> None:
        """Writes the block's nodes of z `[node, head, d_head]`."""
        shared = None
        if block.prompts is not None:
            shared = SharedKeys(k[block.prompts].transpose(1, 2), v[block.prompts].transpose(1, 2))
        found = attention(
            q[block.rows],
            k[block.rows].transpose(1, 2),
            v[block.rows].transpose(1, 2),
            bias,
            scale,
            upcast=self.net.upcast,
            shared=shared,
            grouping=block.grouping,
        )
        z[block.nodes] = found.flatten(0, 1)[block.found]

    # the blocks

    def _blocks(self, count: int) -> list[_Block]:
        """Of the first `count` fed nodes."""
        self._done = np.zeros(count, dtype=bool)
        return [*self._prompt_blocks(), *self._text_blocks(count)]

    def _prompt_blocks(self) -> list[_Block]:
        blocks = []
        for start in range(0, len(self._tree.prompts), ROWS_OF_ATTENTION):
            paths = self._tree.prompts[start : start + ROWS_OF_ATTENTION]
            rows, real = _padded(paths, left=True)
            biases = self._biases(self._pads(real), slice(0, rows.shape[1]))
            blocks.append(self._block(rows, real, biases))
        return blocks

    def _text_blocks(self, count: int) -> list[_Block]:
        present = [(number, [n for n in nodes[:-1] if self._number[n] < count]) for number, nodes in self._tree.texts]
        fed = [(number, nodes) for number, nodes in present if nodes]
        blocks = []
        for start in range(0, len(fed), ROWS_OF_ATTENTION):
            part = fed[start : start + ROWS_OF_ATTENTION]
            numbers, prompt_of = np.unique([number for number, _ in part], return_inverse=True)
            before, known = _padded([self._tree.prompts[number] for number in numbers], left=True)
            rows, real = _padded([nodes for _, nodes in part], left=False)
            width = before.shape[1]
            pads = self._pads(known)
            if pads is not None:
                pads = pads[self._index(prompt_of)]
            biases = self._biases(pads, slice(width, width + rows.shape[1]))
            grouping = Grouping.of(torch.from_numpy(prompt_of).to(self.device), len(numbers))
            blocks.append(self._block(rows, real, biases, self._index(self._number[before]), grouping))
        return blocks

    def _block(
        self,
        rows: np.ndarray,
        real: np.ndarray,
        biases: dict[int | None, Tensor | None],
        prompts: Tensor | None = None,
        grouping: Grouping | None = None,
    ) -> _Block:
        rows = self._number[rows]
        places = np.flatnonzero(real)
        nodes, first = np.unique(rows.ravel()[places], return_index=True)
        new = ~self._done[nodes]
        self._done[nodes] = True
        found = self._index(places[first[new]])
        return _Block(self._index(rows), self._index(nodes[new]), found, biases, prompts, grouping)

    def _pads(self, real: np.ndarray) -> Tensor | None:
        return self._pad_bias(torch.from_numpy(real).long())

    def _biases(self, pads: Tensor | None, columns: slice) -> dict[int | None, Tensor | None]:
        return {layer.window: self._bias(pads, columns, columns.stop, layer.window) for layer in self.net.layers}

    def _index(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)


def _padded(paths: Sequence[Sequence[int]], *, left: bool) -> tuple[np.ndarray, np.ndarray]:
    """The paths as `[row, pos]`, and which places are real."""
    width = max(map(len, paths))
    rows = np.zeros((len(paths), width), dtype=np.int64)
    real = np.zeros((len(paths), width), dtype=bool)
    for row, path in enumerate(paths):
        part = slice(width - len(path), width) if left else slice(0, len(path))
        rows[row, part], real[row, part] = path, True
    return rows, real
