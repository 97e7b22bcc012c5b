"""Several texts after one context in one row: what they share is computed once, and every head can be got at.

A row is a context and, behind it and side by side, the texts that follow it; a text sees the context and itself.
Padding is left out of every product with the weights: tokens stand one after the other, `[token, …]`, and are laid out
as rows for attention alone. Nothing is written in place, so that the same pass can be differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from emolib.base.errors import UserError
from emolib.engine.forward import LOWEST, ForwardPass
from emolib.engine.memory import keep_freed_memory
from emolib.interventions import Edits, Intervention, acts_of
from emolib.interventions.acts import StreamAct
from emolib.models.attention import Span, attention
from emolib.models.blueprint import Layer
from emolib.models.language_model import LanguageModel
from emolib.models.products import linear_into
from emolib.models.workspace import Workspace

READ_AT_ONCE = {"cpu": 256, "cuda": 4096}  # tokens whose logits over the vocabulary are held together
Pair = tuple[Tensor, Tensor]
Change = Callable[[int, Tensor], Tensor]  # layer, z [token, head, d_head] → z


@dataclass(frozen=True)
class PackedRows:
    """Contexts, and the texts that follow each.

    Attributes:
        contexts: token ids per row.
        texts: per row as many texts as in every other; of each all tokens but the last are fed, all but the first are
            looked at.
        acts: per row what happens to its residual stream, or None; the same at every text's tokens.
    """

    contexts: Sequence[Sequence[int]]
    texts: Sequence[Sequence[Sequence[int]]]
    acts: Sequence[Intervention] = ()

    @property
    def n_texts(self) -> int:
        """Texts per row."""
        return len(self.texts[0])


@dataclass(frozen=True)
class Tokens:
    """Where every token of the packed rows stands.

    Attributes:
        row, place: `[token]`, its row and its position in the model's count.
        text: `[token]`, the number of its text; -1 in a context.
        after: `[token]`, how far it lies after its context's end: -1 is the context's last token, 0 a text's first.
        target: `[token]`, the token that is looked at after it; -1 in a context.
    """

    row: np.ndarray
    place: np.ndarray
    text: np.ndarray
    after: np.ndarray
    target: np.ndarray

    @classmethod
    def of(cls, rows: PackedRows) -> Tokens:
        """The tokens in their order: row by row, the context first."""
        parts = []
        for number, (context, texts) in enumerate(zip(rows.contexts, rows.texts, strict=True)):
            n = len(context)
            parts.append((np.full(n, number), np.arange(n), np.full(n, -1), np.arange(-n, 0), np.full(n, -1)))
            for which, text in enumerate(texts):
                fed = np.arange(len(text) - 1)
                parts.append((fed * 0 + number, n + fed, fed * 0 + which, fed, np.array(text[1:])))
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Held:
    """What a differentiable pass went through, by layer.

    Attributes:
        resid: the input of every block, and the final residual, `[token, d_model]`.
        z: heads' outputs, `[token, head, d_head]`.
        neurons: what the MLP's second projection reads, `[token, neuron]`.
        mlp_out: what the MLP adds, `[token, d_model]`.
        logprobs: `[row, text]`, mean token log-probability.
    """

    resid: list[Tensor] = field(default_factory=list)
    z: list[Tensor] = field(default_factory=list)
    neurons: list[Tensor] = field(default_factory=list)
    mlp_out: list[Tensor] = field(default_factory=list)
    logprobs: Tensor | None = None


class PackedPass(ForwardPass):
    """One batch of packed rows, or so many copies of it beside each other.

    Args:
        copies: how often every row stands there; copy by copy.
    """

    def __init__(self, lm: LanguageModel, rows: PackedRows, copies: int = 1) -> None:
        if lm.blueprint is None:
            raise UserError(
                f"expected an architecture whose weights the engine reads, {lm.spec.name} "
                f"({type(lm.network).__name__}) runs through its own code; use acts and continuation_shift there"
            )
        if lm.device.type == "cpu":
            keep_freed_memory()
        self.rows, self.copies, self.tokens = rows, copies, Tokens.of(rows)
        self._memory = lm.worked_out.workspace if lm.device.type == "cpu" else Workspace()
        self._width = max(map(len, rows.contexts))
        self._n_fed = max(len(text) - 1 for texts in rows.texts for text in texts)
        super().__init__(lm, int(self.tokens.place.max()) + 1)
        self._n_rows, self.n_tokens = len(rows.contexts), len(self.tokens.row)
        pairs = zip(rows.contexts, rows.texts, strict=True)
        fed = [[*context, *(token for text in texts for token in text[:-1])] for context, texts in pairs]
        self._ids = torch.tensor([token for row in fed for token in row], device=self.device)
        self._lay_out()
        self.edits = self._edits(lm)

    def _lay_out(self) -> None:
        """Where tokens stand in rows for attention, what they see there, and the angles of their positions."""
        tokens, n_columns = self.tokens, self._width + self.rows.n_texts * self._n_fed
        column = np.where(
            tokens.text < 0, self._width + tokens.after, self._width + tokens.text * self._n_fed + tokens.after
        )
        flat = tokens.row * n_columns + column
        token_at = np.zeros(self._n_rows * n_columns, dtype=np.int64)
        token_at[flat] = np.arange(self.n_tokens)
        filled = np.zeros(self._n_rows * n_columns, dtype=bool)
        filled[flat] = True
        real = filled.reshape(self._n_rows, n_columns)
        part = np.concatenate([np.full(self._width, -1), np.repeat(np.arange(self.rows.n_texts), self._n_fed)])
        place = tokens.place[token_at].reshape(self._n_rows, n_columns)
        order = np.arange(n_columns)
        seen = real[:, None, :] & ((part[None] == -1) | (part[:, None] == part[None])) & (order[None] <= order[:, None])
        back = place[:, :, None] - place[:, None, :]
        offsets = np.arange(self.copies)[:, None]
        self._shape = (self.copies * self._n_rows, n_columns)
        self._token_at = self._index((offsets * self.n_tokens + token_at).ravel())
        self._flat = self._index((offsets * len(token_at) + flat).ravel())
        places = self._index(np.tile(tokens.place, self.copies))
        biases: dict[int | None, Tensor | None] = {}
        for window in self._windows:
            allowed = seen if window is None else seen & (back < window)
            bias = torch.where(torch.from_numpy(allowed)[:, None], 0.0, LOWEST).to(self.device)
            biases[window] = bias.repeat(self.copies, 1, 1, 1)
        self._every = Span(slice(0, n_columns), n_columns, self._angles(places[None]), biases)

    def _index(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(self.device)

    def _edits(self, lm: LanguageModel) -> Edits | None:
        acts = list(self.rows.acts)
        if not any(acts_of(act) for act in acts):
            return None
        for act in (act for one in acts for act in acts_of(one)):
            of_stream = isinstance(act, StreamAct) and getattr(act, "site", None) != "z"
            if not of_stream or act.schedule != "constant" or act.steps is not None:
                raise UserError(
                    "expected acts on the residual stream with a constant schedule, which fall alike on every text; "
                    f"got {type(act).__name__}"
                )
        lengths = [len(context) for context in self.rows.contexts] * self.copies
        return Edits(lm, acts * self.copies, lengths, self._width, self.rows.n_texts * self._n_fed)

    # laying out

    def in_rows(self, values: Tensor) -> Tensor:
        """`[token, …]` as `[row, column, …]`; what stands on padding means nothing."""
        return values.index_select(0, self._token_at).view(*self._shape, *values.shape[1:])

    def in_line(self, values: Tensor) -> Tensor:
        """The inverse."""
        return values.reshape(-1, *values.shape[2:]).index_select(0, self._flat)

    def copied(self, values: Tensor) -> Tensor:
        """`[token, …]` of the rows once, for every copy."""
        return values.repeat(self.copies, *([1] * (values.dim() - 1)))

    # the pass

    def embedded(self) -> Tensor:
        """`[token, d_model]`."""
        places = self._index(np.tile(self.tokens.place, self.copies))
        return self._embed(self._ids.repeat(self.copies), places)

    def edited(self, site: str, number: int, hidden: Tensor) -> Tensor:
        """What the rows' own acts make of a site."""
        if self.edits is None:
            return hidden
        laid = self.in_rows(hidden).clone()
        return self.in_line(self.edits.stream(site, number, laid, self._every.columns))

    def queries_keys_values(self, layer: Layer, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of a block's input `[token, d_model]`, each `[token, head or KV head, d_head]`."""
        q, k, v = self._heads(layer, layer.attn_norm(hidden)[None], self._every)
        return q[0], k[0], v[0]

    def attended(self, layer: Layer, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Heads' outputs z `[token, head, d_head]`."""
        keys, values = (self.in_rows(part).transpose(1, 2) for part in (k, v))
        bias = self._every.biases[layer.window]
        return self.in_line(attention(self.in_rows(q), keys, values, bias, layer.scale, upcast=self.net.upcast))

    def scores(self, layer: Layer, q: Tensor, k: Tensor) -> Tensor:
        """softmax's input `[row, head, column, column]` in float32."""
        queries, keys = self.in_rows(q).transpose(1, 2).float(), self.in_rows(k).transpose(1, 2).float()
        keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1)
        bias = self._every.biases[layer.window]
        assert bias is not None, "every window of a packed pass has a bias"
        return queries @ keys.transpose(2, 3) * layer.scale + bias

    def heads_of(self, number: int, hidden: Tensor) -> Tensor:
        """z of a block whose (edited) input is `hidden`."""
        layer = self.net.layers[number]
        return self.attended(layer, *self.queries_keys_values(layer, hidden))

    def attention_added(self, number: int, z: Tensor) -> Tensor:
        """What a block's attention adds to the stream, from its heads' outputs."""
        layer = self.net.layers[number]
        attended = layer.out(z.flatten(1))
        if layer.attn_post_norm is not None:
            attended = layer.attn_post_norm(attended)
        return self.edited("attn_out", number, attended)

    def mlp_added(self, number: int, middle: Tensor, norm: Callable[[Tensor], Tensor] | None = None) -> Pair:
        """A block's neurons, and what its MLP adds, from what its norm reads; `norm` may stand in for that norm."""
        layer = self.net.layers[number]
        neurons = _neurons(layer, (norm or layer.mlp_norm)(middle))
        added = layer.down(neurons)
        if layer.mlp_post_norm is not None:
            added = layer.mlp_post_norm(added)
        return neurons, self.edited("mlp_out", number, added)

    def after_heads(self, number: int, hidden: Tensor, z: Tensor, held: Held | None = None) -> Tensor:
        """The block's output from its (edited) input and its heads' outputs."""
        attended = self.attention_added(number, z)
        middle = hidden if self.net.parallel else hidden + attended
        neurons, added = self.mlp_added(number, middle)
        if held is not None:
            held.neurons.append(neurons)
            held.mlp_out.append(added)
        return middle + added + attended if self.net.parallel else middle + added

    def through(self, number: int, hidden: Tensor, change: Change | None = None, held: Held | None = None) -> Tensor:
        """The final residual from the (edited) input of block `number`; `change` may replace heads' outputs."""
        n_layers = len(self.net.layers)
        for at in range(number, n_layers):
            if held is not None:
                held.resid.append(hidden)
            z = self.heads_of(at, hidden)
            z = z if change is None else change(at, z)
            if held is not None:
                held.z.append(z)
            hidden = self.edited("resid_pre", at + 1, self.after_heads(at, hidden, z, held))
        if held is not None:
            held.resid.append(hidden)
        return hidden

    def start(self) -> Tensor:
        """The (edited) input of the first block."""
        return self.edited("resid_pre", 0, self.embedded())

    def held(self) -> Held:
        """Everything that the pass goes through, in a graph that can be differentiated."""
        held = Held()
        with torch.enable_grad():
            final = self.through(0, self.start().detach().requires_grad_(), held=held)
            logprobs = self.logprobs(final)
        return Held(held.resid, held.z, held.neurons, held.mlp_out, logprobs)

    # reading

    def logprobs(self, final: Tensor) -> Tensor:
        """Mean token log-probability of every text, `[copy · row, text]`, float32."""
        target = np.tile(self.tokens.target, self.copies)
        read = np.flatnonzero(target >= 0)
        step = READ_AT_ONCE.get(self.device.type, 256)
        targets = self._index(target[read])
        parts = final.index_select(0, self._index(read)).split(step)
        found = [self._read(part, wanted) for part, wanted in zip(parts, targets.split(step), strict=True)]
        n_texts = self.rows.n_texts
        copy = np.repeat(np.arange(self.copies), self.n_tokens)
        row, text = (np.tile(one, self.copies) for one in (self.tokens.row, self.tokens.text))
        slot = ((copy * self._n_rows + row) * n_texts + text)[read]
        counts = np.bincount(slot, minlength=self._shape[0] * n_texts)
        sums = torch.zeros(len(counts), device=self.device).index_add(0, self._index(slot), torch.cat(found))
        return (sums / torch.from_numpy(counts).to(self.device)).view(self._shape[0], n_texts)

    def _read(self, part: Tensor, target: Tensor) -> Tensor:
        net = self.net
        normed = net.final_norm(part)
        if torch.is_grad_enabled() and part.requires_grad:
            logits = net.head(normed)
        else:
            logits = self._memory.take("packed_logits", (len(part), net.head.weight.shape[0]), net.head.weight)
            logits = linear_into(normed, net.head.weight, net.head.bias, logits)
        wide = logits.float()
        return wide.gather(1, target[:, None])[:, 0] - wide.logsumexp(-1)


def _neurons(layer: Layer, normed: Tensor) -> Tensor:
    """What the MLP's second projection reads."""
    inner = layer.up(normed)
    if not layer.gated:
        return layer.activation(inner)
    gate, up = inner.chunk(2, dim=-1)
    return layer.activation(gate) * up
