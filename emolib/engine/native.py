"""The forward pass of generation: plain tensors, one cache that is never copied, work that rows share done once.

Rows are in the order of the layer at which they first differ from the unpatched text. At the prefill every distinct
prompt runs once (the trunk); a row leaves the trunk at its first patched layer, with the columns from the first patched
one on (the branch). The columns before are the same for all rows of a prompt: their keys and values are kept and read
once per prompt, unless a prompt has so few rows that it would save nothing. Keys and values of several query heads are
not expanded. After the prefill each step feeds one column; on CUDA the step is captured once as a graph and replayed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from emolib.engine.forward import ForwardPass
from emolib.engine.memory import ROWS_THAT_SHARE
from emolib.engine.residuals import Residuals
from emolib.interventions import Edits
from emolib.models.attention import Columns, Grouping, HeadParts, SharedKeys, Span, attention
from emolib.models.blueprint import Layer
from emolib.models.language_model import LanguageModel
from emolib.models.products import linear_into
from emolib.models.tokens import position_ids
from emolib.models.workspace import Workspace


class NativeRunner(ForwardPass):
    """Runs one batch through a `Blueprint`: `start` with the prompts, then `step` with each new token.

    Args:
        ids, mask: `[row, column]` on the CPU, padded on the left.
        edits: of the same rows, which are in the order of `edits.entry`.
        n_fed: how many columns will be fed after the prompts at most (the last new token never is).
        workspace: memory of an earlier batch to use again.
        as_graph: every Python number of a step becomes a tensor, so that a CUDA graph can hold it; None: on CUDA.
        left: is given the residuals before the first act on each row, at every step; not inside a graph.
    """

    def __init__(
        self,
        lm: LanguageModel,
        ids: Tensor,
        mask: Tensor,
        edits: Edits,
        n_fed: int,
        *,
        workspace: Workspace | None = None,
        as_graph: bool | None = None,
        left: Residuals | None = None,
    ) -> None:
        if (np.diff(edits.entry) < 0).any():
            raise ValueError("expected rows in the order of the layer at which they are first patched")
        self.as_graph = lm.device.type == "cuda" if as_graph is None else as_graph
        self.can_drop = not self.as_graph  # a captured graph has its number of rows in it
        # products of 16-bit slices copy them first: there all columns are read, the coming ones hidden
        whole = self.as_graph or lm.dtype != torch.float32
        super().__init__(lm, ids.shape[1] + n_fed, whole=whole)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._edits, self._left = edits, left
        self._ids, self._mask = ids, mask
        self._width = ids.shape[1]
        self._first = edits.first_column
        self._trunk_of, self._trunk_ids, self._trunk_mask = _distinct(ids, mask)
        shared = len(ids) >= ROWS_THAT_SHARE * len(self._trunk_ids)
        self._begin = self._first if shared else 0  # the first column of the rows' own cache
        memory = workspace or Workspace()
        shape = (len(self.net.layers), len(ids), self.net.n_kv_heads, self._total - self._begin, self.net.d_head)
        caches = [memory.take(name, shape, self.net.embedding) for name in ("keys", "values")]
        if self._whole:  # columns that are read before they are written must hold numbers, whatever was there before
            for cache in caches:
                cache.zero_()
        self._keys, self._values = list(caches[0]), list(caches[1])
        self._logits = memory.take("logits", (len(ids), self.net.head.weight.shape[0]), self.net.embedding)
        self._lengths = mask.sum(1).to(lm.device)
        self._pads = self._pad_bias(mask)
        self._trunk_of = self._trunk_of.to(lm.device)
        self._shared = [SharedKeys.empty() for _ in self.net.layers]
        self._grouping = Grouping.of(self._trunk_of, len(self._trunk_ids))
        self._column = self._width  # where the next token goes

    # the prefill

    def start(self) -> Tensor:
        """Logits `[row, vocabulary]` after the prompts; valid until the next call."""
        if not self._begin and len(self._trunk_ids) == len(self._trunk_of):
            return self._start_apart()
        trunk_of = self._trunk_of
        places = position_ids(self._trunk_mask).to(self.device)
        trunk = self._embed(self._trunk_ids.to(self.device), places)
        first, width = self._first, self._width
        trunk_span = self._span(slice(0, width), places, self._pad_bias(self._trunk_mask))
        patched = int((self._edits.entry < len(self.net.layers)).sum())
        branch_span = self._span(slice(first, width), places[trunk_of[:patched], first:], self._pads)
        branch = trunk[:0, first:]
        counts = [int((self._edits.entry <= number).sum()) for number in range(len(self.net.layers))]
        groupings = {count: Grouping.of(trunk_of[:count], len(trunk)) for count in set(counts) if count}
        for (number, layer), joined in zip(enumerate(self.net.layers), counts, strict=True):
            if joined > len(branch):
                branch = torch.cat([branch, trunk[trunk_of[len(branch) : joined], first:]])
            if joined == len(trunk_of):  # nobody needs the unpatched late columns any more
                trunk = trunk[:, :first]
            if trunk.shape[1]:
                span = trunk_span.first(len(trunk), trunk.shape[1])
                trunk = self._block(number, layer, trunk, span, is_trunk=True)
            if joined:
                branch = self._edits.stream("resid_pre", number, branch, branch_span.columns)
                branch = self._block(number, layer, branch, branch_span.first(joined), grouping=groupings[joined])
        last = branch[:, -1:]
        if len(branch) < len(trunk_of):
            last = torch.cat([last, trunk[trunk_of[len(branch) :], -1:]])
        return self._head(last, slice(width - 1, width))

    def _start_apart(self) -> Tensor:
        """The same where every row has a prompt of its own."""
        columns = slice(0, self._width)
        places = position_ids(self._mask).to(self.device)
        hidden = self._through_blocks(self._ids.to(self.device), places, columns)
        return self._head(hidden[:, -1:], slice(self._width - 1, self._width))

    # a step

    def step(self, tokens: Tensor) -> Tensor:
        """Logits `[row, vocabulary]` after one more token per row; valid until the next call."""
        column = self._column
        self._column += 1
        if not self.as_graph:
            return self._one_column(tokens, slice(column, column + 1))
        if self._graph is None:
            return self._capture(tokens, column)
        self._token_buffer.copy_(tokens)
        self._column_buffer.fill_(column)
        self._graph.replay()
        return self._logits

    def read(self, tokens: Tensor) -> Tensor:
        """Feeds several tokens per row `[row, pos]` at once, after `start`; their final hidden states, normalised."""
        columns = slice(self._column, self._column + tokens.shape[1])
        self._column = columns.stop
        hidden = self._through_blocks(tokens, self._positions(columns), columns)
        return self.net.final_norm(self._edits.stream("resid_pre", len(self.net.layers), hidden, columns))

    def _one_column(self, tokens: Tensor, columns: Columns) -> Tensor:
        hidden = self._through_blocks(tokens[:, None], self._positions(columns), columns)
        self._leave(len(self.net.layers), hidden, columns)
        return self._head(hidden, columns)

    def _leave(self, number: int, hidden: Tensor, columns: Columns) -> None:
        """Hands over what a generated token's residual is; the prompts' own are not asked for."""
        if self._left is not None and isinstance(columns, slice) and columns.start >= self._width:
            self._left.take(number, hidden, columns.start - self._width)

    def _positions(self, columns: Columns) -> Tensor:
        """Positions `[row, pos]` of columns behind the prompts."""
        if isinstance(columns, slice):
            columns = torch.arange(columns.start, columns.stop, device=self.device)
        return self._lengths[:, None] + (columns - self._width)

    def _through_blocks(self, tokens: Tensor, places: Tensor, columns: Columns) -> Tensor:
        hidden = self._embed(tokens, places)
        span = self._span(columns, places, self._pads)
        for number, layer in enumerate(self.net.layers):
            self._leave(number, hidden, columns)
            hidden = self._edits.stream("resid_pre", number, hidden, columns)
            hidden = self._block(number, layer, hidden, span)
        return hidden

    def _capture(self, tokens: Tensor, column: int) -> Tensor:
        """Runs the step with tensors for numbers; on CUDA it also becomes a graph, which later steps replay."""
        self._token_buffer = tokens.clone()
        self._column_buffer = torch.tensor([column], device=self.device)
        if self.device.type != "cuda":
            return self._one_column(self._token_buffer, self._column_buffer)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # repeating the step writes the same keys to the same column
            for _ in range(2):
                self._one_column(self._token_buffer, self._column_buffer)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._one_column(self._token_buffer, self._column_buffer)
        self._graph.replay()
        return self._logits

    def select(self, kept: Sequence[int]) -> None:
        """Goes on with these rows alone, in this (rising) order."""
        index = torch.tensor(list(kept), device=self.device)
        for cache in (self._keys, self._values):
            for number in range(len(cache)):
                cache[number] = cache[number][index]
        self._trunk_of = self._trunk_of[index]
        self._grouping = Grouping.of(self._trunk_of, len(self._trunk_ids))
        self._lengths = self._lengths[index]
        if self._pads is not None:
            self._pads = self._pads[index]
        self._logits = self._logits[: len(kept)]
        self._edits.select(kept)
        if self._left is not None:
            self._left.select(kept)

    # a block

    def _block(
        self,
        number: int,
        layer: Layer,
        hidden: Tensor,
        span: Span,
        *,
        grouping: Grouping | None = None,
        is_trunk: bool = False,
    ) -> Tensor:
        """Attention and MLP with their residual connections; no edit applies to the trunk."""
        q, k, v = self._heads(layer, layer.attn_norm(hidden), span)
        k, v = k.transpose(1, 2), v.transpose(1, 2)
        edits = None if is_trunk else self._edits
        bias = span.biases[layer.window]
        if edits is None:
            self._keep_trunk(number, k, v)
            z = attention(q, k, v, bias, layer.scale, upcast=self.net.upcast)
        else:
            own = self._write(number, k, v, span)
            shared, grouping = self._shared[number], grouping or self._grouping
            z = attention(q, *own, bias, layer.scale, upcast=self.net.upcast, shared=shared, grouping=grouping)
            if edits.changes_heads(number):
                parts = HeadParts(q, *own, bias, layer.scale, shared, self._trunk_of)
                z = edits.heads(number, z, span.columns, parts)
        attended = layer.out(z.flatten(2))
        if layer.attn_post_norm is not None:
            attended = layer.attn_post_norm(attended)
        if edits is not None:
            attended = edits.stream("attn_out", number, attended, span.columns)
        if not self.net.parallel:
            hidden = attended.add_(hidden)
        output = self._mlp(layer, hidden)
        if edits is not None:
            output = edits.stream("mlp_out", number, output, span.columns)
        if self.net.parallel:
            output.add_(attended)
        return output.add_(hidden)

    def _keep_trunk(self, number: int, k: Tensor, v: Tensor) -> None:
        """Columns before the rows' own stay with the prompts, later ones go to every row."""
        begin, width = self._begin, k.shape[2]
        if begin:
            self._shared[number] = SharedKeys(k[:, :, :begin].contiguous(), v[:, :, :begin].contiguous())
        if width > begin:
            self._keys[number][:, :, : width - begin] = k[:, :, begin:][self._trunk_of]
            self._values[number][:, :, : width - begin] = v[:, :, begin:][self._trunk_of]

    def _write(self, number: int, k: Tensor, v: Tensor, span: Span) -> tuple[Tensor, Tensor]:
        """Puts new keys and values into the rows' own cache; returns what attention reads of it."""
        begin, columns, rows = self._begin, span.columns, len(k)
        own: slice | Tensor  # of the rows' own columns
        own = slice(columns.start - begin, columns.stop - begin) if isinstance(columns, slice) else columns - begin
        keys, values = self._keys[number][:rows], self._values[number][:rows]
        keys[:, :, own] = k
        values[:, :, own] = v
        return keys[:, :, : span.stop - begin], values[:, :, : span.stop - begin]

    def _head(self, hidden: Tensor, columns: Columns) -> Tensor:
        hidden = self._edits.stream("resid_pre", len(self.net.layers), hidden, columns)
        normed, head = self.net.final_norm(hidden)[:, -1], self.net.head
        return linear_into(normed, head.weight, head.bias, self._logits)


def _distinct(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For every row the number of its prompt, and the distinct prompts' ids and masks."""
    both = torch.cat([ids, mask], dim=1).numpy()
    _, first, inverse = np.unique(both, axis=0, return_index=True, return_inverse=True)
    return torch.from_numpy(inverse.reshape(-1)), ids[first], mask[first]
