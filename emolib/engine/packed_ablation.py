"""Exact ablation of many heads under packed rows: what lies before an ablated head is computed once for all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.engine.packed_pass import Held, PackedPass, PackedRows, Tokens
from emolib.models.language_model import LanguageModel

Head = tuple[int, int]
KINDS = ("resample", "mean", "zero", "context")
TOKENS_AT_ONCE = {"cpu": 4096, "cuda": 65536}


@dataclass(frozen=True)
class Sources:
    """What the ablated parts take their values from.

    Attributes:
        rows: contexts with one text each, which run once, unpatched.
        of_row: per ablated row the number of its source.
        same_text: whether a row's k-th text takes the source's k-th one, rather than its first.
    """

    rows: PackedRows
    of_row: Sequence[int]
    same_text: bool = False


@dataclass(frozen=True)
class Targets:
    """What stands in for every head, MLP and neuron at every token of some packed rows.

    Attributes:
        kind: of `KINDS`.
        factor: `[token]`, 0 at every context's first token (an attention sink, which is left alone), else 1.
        index: `[token]`, the source's token that each takes its value from; None where it is the same everywhere.
        held: what the sources hold.
        counted: `[source token]`, those that a mean is taken over.
    """

    kind: str
    factor: Tensor
    index: Tensor | None
    held: Held
    counted: Tensor

    def z(self, layer: int) -> Tensor:
        """`[token, head, d_head]`."""
        return self._of(self.held.z[layer])

    def mlp_out(self, layer: int) -> Tensor:
        """`[token, d_model]`."""
        return self._of(self.held.mlp_out[layer])

    def neurons(self, layer: int) -> Tensor:
        """`[token, neuron]`."""
        return self._of(self.held.neurons[layer])

    def _of(self, values: Tensor) -> Tensor:
        if self.index is not None:
            return values.index_select(0, self.index)
        one = values[self.counted].mean(0) if self.kind == "mean" else torch.zeros_like(values[0])
        return one.expand(len(self.factor), *one.shape)

    def replaced(self, layer: int, z: Tensor, heads: Sequence[int]) -> Tensor:
        """z `[token, head, d_head]` with these heads ablated; a copy."""
        out = z.clone()
        chosen = list(heads)
        out[:, chosen] += self.factor[:, None, None] * (self.z(layer)[:, chosen] - z[:, chosen])
        return out


@torch.inference_mode()
def find_targets(lm: LanguageModel, packed: PackedPass, kind: str, sources: Sources) -> Targets:
    """Runs the sources and says what every token of the packed rows takes from them.

    A token takes what the source had as far from its own context's end: before it in the context, behind it in the
    text. A context that reaches further back than its source's takes that one's second token there (the first is a
    sink), a text that goes on for longer than its source's that one's last.

    Args:
        kind: `resample` and `context` take the source's values token by token (`context`: the row's own other context,
            which the caller gives as sources), `mean` their mean over all tokens but each source's first, `zero` 0.

    Raises:
        UserError: an unknown kind, another number of sources than of rows.
    """
    arguments.one_of("ablation", kind, KINDS)
    if len(sources.of_row) != len(packed.rows.contexts):
        raise UserError(f"expected a source per row ({len(packed.rows.contexts)}), got {len(sources.of_row)}")
    held, given = Held(), PackedPass(lm, sources.rows)
    given.through(0, given.start(), held=held)
    factor = torch.from_numpy((packed.tokens.place > 0).astype(np.float32)).to(lm.device, lm.dtype)
    index = None
    if kind in ("resample", "context"):
        found = _matched(packed.tokens, given.tokens, np.asarray(sources.of_row), same_text=sources.same_text)
        index = torch.from_numpy(found).to(lm.device)
    counted = torch.from_numpy(np.flatnonzero(given.tokens.place > 0)).to(lm.device)
    return Targets(kind, factor, index, held, counted)


def _matched(tokens: Tokens, source: Tokens, of_row: np.ndarray, *, same_text: bool) -> np.ndarray:
    """`[token]`, the source's token that stands for each."""
    first: dict[tuple[int, int], int] = {}  # (row, text) → its first token, and how many it has
    size: dict[tuple[int, int], int] = defaultdict(int)
    for number, key in enumerate(zip(source.row.tolist(), source.text.tolist(), strict=True)):
        first.setdefault(key, number)
        size[key] += 1
    found = np.zeros(len(tokens.row), dtype=np.int64)
    for number, (row, text, after) in enumerate(
        zip(tokens.row.tolist(), tokens.text.tolist(), tokens.after.tolist(), strict=True)
    ):
        key = (int(of_row[row]), -1 if text < 0 else text if same_text else 0)
        n = size[key]
        place = max(n + after, min(1, n - 1)) if text < 0 else min(after, n - 1)
        found[number] = first[key] + place
    return found


@dataclass(frozen=True)
class Ablated:
    """Mean token log-probabilities.

    Attributes:
        base: `[row, text]`, nothing ablated.
        logprobs: `[variant, row, text]`.
    """

    base: np.ndarray
    logprobs: np.ndarray


@torch.inference_mode()
def ablate_packed(
    lm: LanguageModel, packed: PackedPass, targets: Targets, variants: Sequence[Sequence[Head]]
) -> Ablated:
    """Every variant's heads replaced at once, by teacher forcing.

    The rows run once up to each layer; a variant leaves them behind the attention of its first ablated layer.

    Args:
        packed: one copy of the rows.
        variants: each some heads (layer, head), at least one.

    Raises:
        UserError: a variant without heads, or a head that the model does not have.
    """
    by_layer: dict[int, list[int]] = defaultdict(list)
    for number, heads in enumerate(variants):
        if not heads or not all(0 <= layer < lm.n_layers and 0 <= head < lm.n_heads for layer, head in heads):
            raise UserError(
                f"expected heads of layers 0-{lm.n_layers - 1} and 0-{lm.n_heads - 1}, got {list(heads)} in variant "
                f"{number}"
            )
        by_layer[min(layer for layer, _ in heads)].append(number)
    at_once = max(1, TOKENS_AT_ONCE.get(lm.device.type, 4096) // packed.n_tokens)
    passes: dict[int, PackedPass] = {1: packed}
    found = np.zeros((len(variants), len(packed.rows.contexts), packed.rows.n_texts))
    hidden = packed.start()
    for layer in range(lm.n_layers):
        z = packed.heads_of(layer, hidden)
        for start in range(0, len(by_layer[layer]), at_once):
            some = by_layer[layer][start : start + at_once]
            if len(some) not in passes:
                passes[len(some)] = PackedPass(lm, packed.rows, len(some))
            read = _variants(passes[len(some)], targets, [variants[number] for number in some], (layer, hidden, z))
            found[some] = read.view(len(some), *found.shape[1:]).double().cpu().numpy()
        hidden = packed.edited("resid_pre", layer + 1, packed.after_heads(layer, hidden, z))
    return Ablated(packed.logprobs(hidden).double().cpu().numpy(), found)


def _variants(
    copies: PackedPass, targets: Targets, variants: Sequence[Sequence[Head]], at: tuple[int, Tensor, Tensor]
) -> Tensor:
    """Log-probabilities `[variant · row, text]` of variants that begin at one layer."""
    layer, hidden, z = at
    heads_at: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for copy, heads in enumerate(variants):
        for depth, head in heads:
            heads_at[depth][copy].append(head)

    def change(depth: int, values: Tensor) -> Tensor:
        if depth not in heads_at:
            return values
        split = values.view(len(variants), -1, *values.shape[1:])
        parts = [
            targets.replaced(depth, split[copy], heads_at[depth][copy]) if heads_at[depth][copy] else split[copy]
            for copy in range(len(variants))
        ]
        return torch.cat(parts)

    after = copies.after_heads(layer, copies.copied(hidden), change(layer, copies.copied(z)))
    return copies.logprobs(copies.through(layer + 1, copies.edited("resid_pre", layer + 1, after), change))
