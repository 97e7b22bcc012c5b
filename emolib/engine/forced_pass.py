"""Texts that are fed after their prompts, many acts beside each other: what no act reaches is computed once.

Every distinct prompt runs once up to the first patched column; every distinct pair of prompt and text runs once,
unpatched, from there on; a patched row leaves its pair at its first patched layer. All of a pair's columns are known
beforehand, so that nothing is done step by step and no key outlives its layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emolib.engine.bridge import BridgeRunner
from emolib.engine.forward import ForwardPass
from emolib.engine.native import NativeRunner
from emolib.interventions import Edits, Intervention
from emolib.models.attention import Grouping, SharedKeys, Span
from emolib.models.language_model import LanguageModel
from emolib.models.products import linear_into
from emolib.models.tokens import pad_left, position_ids
from emolib.models.workspace import Workspace

TOKENS_AT_ONCE = {"cpu": 512, "cuda": 1024}  # whose logits over the vocabulary are held together
LOGITS_BYTES = {"cpu": 2**27}  # that these take at most, but for 128 tokens
CACHED_BYTES = 2**20  # of the distributions that are worked out together on a CPU: what stays in its cache
BRIDGE_ROWS = 16  # at once through a model's own code, whose logits are held for all tokens


@dataclass(frozen=True)
class ForcedRows:
    """Pairs of a prompt and a text, and the patched rows that each of them has.

    Attributes:
        prompts, texts: token ids per pair; of a text all but the last are fed.
        pair_of: per patched row the number of its pair.
        acts: per patched row, in the order of their first patched layer.
        width, n_fed: to which prompts (on the left) and fed texts (on the right) are padded.
    """

    prompts: Sequence[Sequence[int]]
    texts: Sequence[Sequence[int]]
    pair_of: Sequence[int]
    acts: Sequence[Intervention]
    width: int
    n_fed: int

    @property
    def pair_of_each(self) -> np.ndarray:
        """The pair of every line `[pair + row]`: the pairs themselves, then the rows."""
        return np.concatenate([np.arange(len(self.prompts)), np.asarray(self.pair_of, dtype=np.int64)])

    @property
    def counts(self) -> np.ndarray:
        """Tokens that are fed, per line."""
        return np.array([len(text) - 1 for text in self.texts])[self.pair_of_each]

    def tokens(self) -> Tensor:
        """Text tokens `[pair, n_fed + 1]`, padded on the right: what follows a text cannot reach it."""
        padded = torch.zeros(len(self.texts), self.n_fed + 1, dtype=torch.long)
        for i, text in enumerate(self.texts):
            padded[i, : len(text)] = torch.tensor(text)
        return padded

    def edits(self, lm: LanguageModel) -> Edits:
        """The acts of all lines; a pair has none."""
        lengths = [len(self.prompts[pair]) for pair in self.pair_of_each]
        return Edits(lm, [*[None] * len(self.prompts), *self.acts], lengths, self.width, self.n_fed)


class ForcedPass(NativeRunner):
    """The pass through a `Blueprint`. It shares the block with generation and keeps no cache."""

    def __init__(self, lm: LanguageModel, rows: ForcedRows) -> None:
        ForwardPass.__init__(self, lm, rows.width + rows.n_fed)
        self._rows, self._edits = rows, rows.edits(lm)
        self._first = self._edits.first_column
        distinct = {tuple(prompt): i for i, prompt in enumerate(dict.fromkeys(map(tuple, rows.prompts)))}
        prompt_of = torch.tensor([distinct[tuple(prompt)] for prompt in rows.prompts])
        self._ids, mask = pad_left(list(distinct), lm.pad_id, rows.width)
        self._places, self._mask = position_ids(mask).to(self.device), mask
        self._pair_of = torch.from_numpy(rows.pair_of_each).to(self.device)
        self._trunk_of = prompt_of.to(self.device)[self._pair_of]  # the prompt of every line
        self._shared = [SharedKeys.empty() for _ in self.net.layers]
        self._last_place = None if lm.limits.positions is None else lm.limits.positions - 1

    def hidden(self) -> Tensor:
        """Final hidden states after the prompt and every fed token, not normalised, `[pair + row, 1 + n_fed, d_model]`.

        Raises:
            ValueError: a row without a patch.
        """
        n_pairs, n_layers, first = len(self._rows.prompts), len(self.net.layers), self._first
        entries = self._edits.entry[n_pairs:]
        prefix, prefix_span = self._prefix()
        late, late_span = self._late()
        counts = [n_pairs + int((entries <= number).sum()) for number in range(n_layers)]
        groupings = {count: Grouping.of(self._trunk_of[:count], len(self._ids)) for count in set(counts)}
        for (number, layer), count in zip(enumerate(self.net.layers), counts, strict=True):
            late = self._joined(late, count)
            late = self._edits.stream("resid_pre", number, late, late_span.columns)
            if first:
                prefix = self._block(number, layer, prefix, prefix_span, is_trunk=True)
            late = self._block(number, layer, late, late_span.first(count), grouping=groupings[count])
            self._shared[number] = SharedKeys.empty()
        late = self._joined(late, n_pairs + int((entries <= n_layers).sum()))
        if len(late) < n_pairs + len(entries):
            raise ValueError("expected acts that change something on every patched row")
        late = self._edits.stream("resid_pre", n_layers, late, late_span.columns)
        return late[:, self._rows.width - 1 - first :]

    def _prefix(self) -> tuple[Tensor, Span]:
        """Every distinct prompt before the first patched column."""
        part, places = slice(0, self._first), self._places[:, : self._first]
        hidden = self._embed(self._ids[:, part].to(self.device), places)
        return hidden, self._span(part, places, self._pad_bias(self._mask))

    def _late(self) -> tuple[Tensor, Span]:
        """Every pair from the first patched column on, and what the blocks need to know of all lines there."""
        rows, first = self._rows, self._first
        prompt_of = self._trunk_of[: len(rows.prompts)]
        fed = rows.tokens()[:, :-1].to(self.device)
        ids = torch.cat([self._ids.to(self.device)[prompt_of, first:], fed], dim=1)
        lengths = self._mask.sum(1).to(self.device)[prompt_of]
        after = lengths[:, None] + torch.arange(rows.n_fed, device=self.device)
        if self._last_place is not None:
            after = after.clamp_max(self._last_place)  # of the padding behind a text: no text has so many tokens
        places = torch.cat([self._places[prompt_of, first:], after], dim=1)
        pads = self._pad_bias(self._mask)
        pads = pads if pads is None else pads[self._trunk_of]
        span = self._span(slice(first, self._total), places[self._pair_of], pads)
        return self._embed(ids, places), span

    def _joined(self, late: Tensor, count: int) -> Tensor:
        """The lines so far, and those that leave their pair here."""
        return late if count == len(late) else torch.cat([late, late[self._pair_of[len(late) : count]]])

    def _keep_trunk(self, number: int, k: Tensor, v: Tensor) -> None:
        self._shared[number] = SharedKeys(k, v)

    def _write(self, number: int, k: Tensor, v: Tensor, span: Span) -> tuple[Tensor, Tensor]:
        return k, v


@dataclass(frozen=True)
class Read:
    """What was read of every line, pairs first.

    Attributes:
        logprobs: log-probability of each token that is looked at, `[pair + row, n_fed]`, NaN on padding.
        entropies: of the distribution that it was drawn from, in nats; of pairs alone.
        chosen: mean log-probability over these places of each chosen token, `[pair + row, token]`.
    """

    logprobs: np.ndarray
    entropies: np.ndarray
    chosen: np.ndarray


def read_rows(lm: LanguageModel, rows: ForcedRows, memory: Workspace, chosen: Sequence[int] = ()) -> Read:
    """Runs the lines, and reads off every token's log-probability."""
    real = torch.arange(rows.n_fed) < torch.from_numpy(rows.counts)[:, None]
    targets = rows.tokens()[:, 1:][torch.from_numpy(rows.pair_of_each)]
    reader = _Reader(lm, real.to(lm.device), len(rows.prompts), torch.tensor(chosen, dtype=torch.long))
    if lm.blueprint is None:
        return reader.of_logits(network_logits(lm, rows, rows.n_fed), targets.to(lm.device))
    return reader.of_hidden(ForcedPass(lm, rows).hidden()[:, 1:], targets.to(lm.device), memory)


def network_logits(lm: LanguageModel, rows: ForcedRows, n_last: int) -> Tensor:
    """Logits `[pair + row, n_last, vocabulary]` of the last columns through the model's own code, with hooks."""
    fed = rows.tokens()[:, :-1]
    ids, mask = pad_left([rows.prompts[pair] for pair in rows.pair_of_each], lm.pad_id, rows.width)
    ids = torch.cat([ids, fed[torch.from_numpy(rows.pair_of_each)]], dim=1)
    mask = torch.cat([mask, torch.from_numpy(np.arange(rows.n_fed) < rows.counts[:, None]).long()], dim=1)
    return BridgeRunner(lm, ids, mask, rows.edits(lm), rows.n_fed).read(n_last)


class _Reader:
    """Reads distributions over the vocabulary, a few tokens at a time."""

    def __init__(self, lm: LanguageModel, real: Tensor, n_pairs: int, chosen: Tensor) -> None:
        self._lm, self._real, self._chosen = lm, real, chosen.to(lm.device)
        self._n_pair_tokens = int(real[:n_pairs].sum())  # pairs come first
        self._n_pairs = n_pairs
        self._step = _tokens_at_once(lm)
        self._line_of = real.nonzero()[:, 0]
        self._logprobs: list[Tensor] = []
        self._entropies: list[Tensor] = []
        self._n_taken = 0
        self._sums = torch.zeros(len(real), len(chosen), dtype=torch.float64)

    def of_hidden(self, hidden: Tensor, targets: Tensor, memory: Workspace) -> Read:
        net = self._lm.native
        head, wanted = net.head, targets[self._real]
        logits = memory.take("scores", (self._step, head.weight.shape[0]), head.weight)
        for part, target in zip(hidden[self._real].split(self._step), wanted.split(self._step), strict=True):
            normed = net.final_norm(part)
            self._take(linear_into(normed, head.weight, head.bias, logits[: len(part)]), target)
        return self._read()

    def of_logits(self, logits: Tensor, targets: Tensor) -> Read:
        wanted = targets[self._real]
        for part, target in zip(logits[self._real].split(self._step), wanted.split(self._step), strict=True):
            self._take(part, target)
        return self._read()

    def _take(self, logits: Tensor, target: Tensor) -> None:
        at_once = max(CACHED_BYTES // (4 * logits.shape[1]), 1) if logits.is_cpu else len(logits)
        for some, wanted in zip(logits.split(at_once), target.split(at_once), strict=True):
            self._take_some(some, wanted)

    def _take_some(self, logits: Tensor, target: Tensor) -> None:
        wide = logits.float().log_softmax(-1)
        self._logprobs.append(wide.gather(1, target[:, None])[:, 0])
        unpatched = wide[: max(self._n_pair_tokens - self._n_taken, 0)]
        if len(unpatched):
            self._entropies.append(_entropies(unpatched))
        if len(self._chosen):
            picked = wide[:, self._chosen].double().cpu()
            self._sums.index_add_(0, self._line_of[self._n_taken : self._n_taken + len(logits)].cpu(), picked)
        self._n_taken += len(logits)

    def _read(self) -> Read:
        real = self._real.cpu().numpy()
        logprobs, entropies = (
            self._placed(parts, shape)
            for parts, shape in ((self._logprobs, real), (self._entropies, real[: self._n_pairs]))
        )
        return Read(logprobs, entropies, (self._sums / self._real.sum(1).cpu()[:, None]).numpy())

    @staticmethod
    def _placed(parts: Sequence[Tensor], real: np.ndarray) -> np.ndarray:
        values = np.full(real.shape, np.nan)
        values[real] = torch.cat(list(parts)).double().cpu().numpy()
        return values


def _entropies(logprobs: Tensor) -> Tensor:
    """Entropy in nats of every row of log-probabilities `[row, vocabulary]`; what is impossible adds nothing."""
    found = -torch.linalg.vecdot(logprobs.exp(), logprobs)
    return found if bool(found.isfinite().all()) else -(logprobs.exp() * logprobs).nan_to_num().sum(-1)


def _tokens_at_once(lm: LanguageModel) -> int:
    """How many tokens' logits are held together: the weights are read once for all of them."""
    kind = lm.device.type
    step, room = TOKENS_AT_ONCE.get(kind, 128), LOGITS_BYTES.get(kind)
    if room is None or lm.blueprint is None:
        return step
    return max(128, min(step, room // (4 * lm.native.head.weight.shape[0])))
