"""Continuation shift: how much an intervention raises the log-probability of given texts after given prompts.

Nothing is generated and nothing is scored: the texts are fed as they stand, and the acts fall where they would fall
while a model wrote them: on a window of prompt tokens, then on every token that is fed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.engine.continuation_means import means, table_of_means
from emolib.engine.continuation_tokens import Continuation, continuations
from emolib.engine.forced_pass import BRIDGE_ROWS, ForcedRows, read_rows
from emolib.engine.generation import checked_batch_size
from emolib.engine.halving import in_halves
from emolib.engine.memory import BatchShape, available_memory, check_memory, generation_bytes, keep_freed_memory
from emolib.engine.padding_classes import padding_classes
from emolib.engine.parity import check_batching
from emolib.engine.planning import FIRST_SIZE, MEMORY_SHARE, Batch, longest_window, plan_batches
from emolib.interventions import Intervention, check_interventions, first_layer, one_per_row
from emolib.models.finite import require_finite
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.limits import check_ids, check_length
from emolib.models.tokens import encode
from emolib.models.workspace import Workspace

PROMPT_PADDING = {"cpu": 8}  # tokens by which a prompt is padded at most; elsewhere as in generation


@told
def continuation_shift(
    lm: LanguageModel,
    prompts: Sequence[str],
    texts: Sequence[str],
    acts: Sequence[Intervention] | None = None,
    *,
    batch_size: int | Literal["auto"] = "auto",
) -> pd.DataFrame:
    """Mean token log-probability of every text after its prompt, under its act and unpatched, and the difference.

    A text follows its prompt after one space, without special tokens between them. Its first token and its final mark
    are left out: which word a sentence begins with, and how it is punctuated, is not what it says. Acts are applied at
    the absolute positions at which `emolib.generate` applies them. Prompts and pairs of prompt and text that rows
    share run once, and again only where they go on in another batch.

    Args:
        prompts: raw texts, one per row.
        texts: what follows, one per row.
        acts: per row an intervention, a tuple of several, or None; None for the whole list leaves all unpatched.
        batch_size: rows at once; `auto` takes what fits in memory. A batch that does not fit is halved.

    Returns:
        One row per row given, in that order. `logprob` and `logprob_unpatched` are means over the `n_tokens` tokens
        that count, `shift` is their difference (nat per token; above 0: the act makes the text more probable),
        `shift_sum` the summed difference (nat), `n_characters` the characters of these tokens (`shift_sum` divided by
        them can be compared between tokenizers). Without a patch (None, strength 0) both are one number, the shift 0.0.

    Raises:
        UserError: lists of different length, an empty prompt or text, a text without a token between its first one and
            its final mark, more tokens than the model has positions or than memory has room for, an act that does not
            fit the model, a log-probability that is not finite.

    >>> import emolib, numpy as np
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> vector = np.random.default_rng(0).standard_normal(lm.d_model)
    >>> steer = emolib.Steer(layer=16, vector=vector, alpha=0.3, unit="resid", resid_norm=100.0)
    >>> prompts = ["The bus was late again."] * 2
    >>> table = continuation_shift(lm, prompts, ["Thank you for waiting with me."] * 2, [steer, None])
    >>> table.columns.tolist()
    ['row', 'n_tokens', 'n_characters', 'logprob', 'logprob_unpatched', 'shift', 'shift_sum']
    >>> table["n_tokens"].tolist(), bool(table["shift"][0] != 0), float(table["shift"][1])
    ([5, 5], True, 0.0)
    """
    job = _Job.of(lm, prompts, texts, acts, batch_size)
    found = {row: means(read.patched, read.unpatched) for row, read in job.read()}
    return table_of_means(job.texts, [found[row] for row in range(len(job.texts))])


@told
def token_shifts(
    lm: LanguageModel,
    prompts: Sequence[str],
    texts: Sequence[str],
    acts: Sequence[Intervention] | None = None,
    *,
    batch_size: int | Literal["auto"] = "auto",
) -> pd.DataFrame:
    """The same token by token: what `continuation_shift` takes the means of.

    Args, Raises: as `continuation_shift`.

    Returns:
        One line per row and token that counts: row, position (of the token in its text; the first one, which does not
        count, is 0), token_id, word (the word in which it stands, in lower case; a mark as it is), logprob and
        logprob_unpatched (nat), and entropy (nat) of the unpatched distribution that the token was drawn from.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> table = token_shifts(lm, ["The bus was late again."], ["Thank you for waiting."])
    >>> table[["row", "position", "word"]].to_dict("list")
    {'row': [0, 0, 0], 'position': [1, 2, 3], 'word': ['you', 'for', 'waiting']}
    """
    job = _Job.of(lm, prompts, texts, acts, batch_size)
    found = dict(job.read())
    order, reads = range(len(job.texts)), [found[row] for row in range(len(job.texts))]
    lengths = [text.n_tokens for text in job.texts]

    def joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
        return np.concatenate([*parts, np.zeros(0, dtype)]).astype(dtype)

    return pd.DataFrame(
        {
            "row": np.repeat(np.array(order, dtype=int), lengths),
            "position": joined([np.arange(1, length + 1) for length in lengths], int),
            "token_id": joined([np.array(text.ids[1:]) for text in job.texts], int),
            "word": [word for text in job.texts for word in text.words],
            "logprob": joined([read.patched for read in reads], float),
            "logprob_unpatched": joined([read.unpatched for read in reads], float),
            "entropy": joined([read.entropy for read in reads], float),
        }
    )


@told
def context_shift(
    lm: LanguageModel,
    prompts: Sequence[str],
    texts: Sequence[str],
    acts: Sequence[Intervention] | None,
    token_ids: Sequence[int],
    *,
    batch_size: int | Literal["auto"] = "auto",
) -> Float[np.ndarray, "row token"]:
    """How much an act would raise each given token, whether it stands there or not: the mean over a text's places.

    With neutral prompts and texts, and the mean over the rows of one act, this is the lexical part of a token's shift:
    what the act does to the token in any sentence.

    Args:
        token_ids: tokens of the model's vocabulary.
        prompts, texts, acts, batch_size: as of `continuation_shift`.

    Returns:
        `[row, token]` in nat: log-probability under the act minus unpatched, mean over the places of the tokens that
        count; 0 without a patch.

    Raises:
        UserError: as `continuation_shift`; ids that the model does not have.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> context_shift(lm, ["The bus was late again."], ["It came at noon."], None, [100, 200]).tolist()
    [[0.0, 0.0]]
    """
    chosen = tuple(arguments.whole_numbers("token_ids", token_ids, least=0))
    job = _Job.of(lm, prompts, texts, acts, batch_size, chosen)
    check_ids(lm, [chosen], "token_ids")
    found = {row: read.chosen for row, read in job.read()}
    return np.array([found[row] for row in range(len(job.texts))]).reshape(-1, len(chosen))


@told
def context_logprobs(
    lm: LanguageModel,
    prompts: Sequence[str],
    texts: Sequence[str],
    token_ids: Sequence[int],
    *,
    batch_size: int | Literal["auto"] = "auto",
) -> Float[np.ndarray, "row token"]:
    """How probable each given token is, whether it stands there or not, without a patch: the mean over a text's places.

    Where two prompts tell of the same, the difference is what the one does to the token in any sentence.

    Args:
        token_ids: tokens of the model's vocabulary.
        prompts, texts, batch_size: as of `continuation_shift`.

    Returns:
        `[row, token]`: mean log-probability in nat over the places of the tokens that count.

    Raises:
        UserError: as `context_shift`.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> found = context_logprobs(lm, ["The bus was late again."], ["It came at noon."], [100, 200])
    >>> found.shape, bool((found < 0).all())
    ((1, 2), True)
    """
    chosen = tuple(arguments.whole_numbers("token_ids", token_ids, least=0))
    job = _Job.of(lm, prompts, texts, None, batch_size, chosen)
    check_ids(lm, [chosen], "token_ids")
    found = {row: read.chosen_unpatched for row, read in job.read()}
    return np.array([found[row] for row in range(len(job.texts))]).reshape(-1, len(chosen))


@dataclass(frozen=True)
class _Row:
    """What was read of one row: per token that counts, and per chosen token."""

    patched: np.ndarray
    unpatched: np.ndarray
    entropy: np.ndarray
    chosen_unpatched: np.ndarray
    chosen: np.ndarray


@dataclass(frozen=True)
class _Job:
    """What all batches of a call share."""

    lm: LanguageModel
    prompts: list[list[int]]
    texts: list[Continuation]
    acts: list[Intervention]
    batch_size: int | None
    chosen: tuple[int, ...] = ()
    memory: Workspace = field(default_factory=Workspace)

    @classmethod
    def of(
        cls,
        lm: LanguageModel,
        prompts: Sequence[str],
        texts: Sequence[str],
        acts: Sequence[Intervention] | None,
        batch_size: int | str,
        chosen: tuple[int, ...] = (),
    ) -> _Job:
        """Everything checked."""
        checked_model(lm)
        prompts, texts = arguments.texts(prompts, "prompts"), arguments.texts(texts, "texts")
        if len(prompts) != len(texts):
            raise UserError(
                f"expected one text per prompt, got {len(prompts)} prompts and {len(texts)} texts; the lists are "
                "zipped: repeat a prompt for each of its texts"
            )
        given, rows_at_once = one_per_row(acts, len(prompts)), checked_batch_size(batch_size)
        check_interventions(lm, given)
        check_batching(lm)
        followed = continuations(lm, texts)
        encoded = dict(zip(prompts, encode(lm, prompts, name="prompts"), strict=True))
        rows = [encoded[prompt] for prompt in prompts]
        if rows:
            longest = max(range(len(rows)), key=lambda row: len(rows[row]) + len(followed[row].ids))
            sizes = len(rows[longest]), len(followed[longest].ids)
            check_length(lm, *sizes, f"text {longest} of prompts")
            check_memory(lm, *sizes)
        return cls(lm, rows, followed, given, rows_at_once, chosen)

    def read(self) -> Iterator[tuple[int, _Row]]:
        """Every row, in the order in which they are run."""
        if self.lm.device.type == "cpu":
            keep_freed_memory()
        for n_fed, members in self._classes():
            prompts = [self.prompts[row] for row in members]
            acts: list[Intervention] = [None] * len(members)  # by prompt alone: a pair's rows stay together
            size = self.batch_size or self._fitting_size(members, n_fed)
            padding = PROMPT_PADDING.get(self.lm.device.type)
            for planned in plan_batches(prompts, acts, size, self.lm.n_layers, padding=padding):
                batch = Batch(tuple(members[place] for place in planned.rows), planned.width)
                yield from self._run(batch, n_fed)

    def _classes(self) -> Iterator[tuple[int, list[int]]]:
        """Rows whose texts are padded to one length, and that length; pairs of prompt and text beside each other."""
        prompts, texts = [tuple(prompt) for prompt in self.prompts], [text.ids for text in self.texts]
        layers = [self.lm.n_layers - first_layer(act, self.lm.n_layers) for act in self.acts]
        for rows in padding_classes(prompts, texts, layers, self.lm.n_layers):
            yield max(self.texts[row].n_tokens for row in rows), rows

    def _fitting_size(self, rows: Sequence[int], n_fed: int) -> int:
        if self.lm.blueprint is None:
            return BRIDGE_ROWS
        size = FIRST_SIZE.get(self.lm.device.type, 128)
        width = max(len(self.prompts[row]) for row in rows)
        patched = longest_window([self.acts[row] for row in rows], width) + n_fed
        shape = BatchShape(width, n_fed, patched, 1.0)
        room = MEMORY_SHARE * available_memory(self.lm.device)
        while size > 1 and generation_bytes(self.lm, size, shape) > room:
            size //= 2
        return size

    def _run(self, batch: Batch, n_fed: int) -> Iterator[tuple[int, _Row]]:
        for part, found in in_halves(
            batch,
            lambda some: self._rows(some, n_fed),
            device=self.lm.device,
            workspace=self.memory,
            n_new=lambda row: self.texts[row].n_tokens,
        ):
            yield from zip(part.rows, found, strict=True)

    def _rows(self, batch: Batch, n_fed: int) -> list[_Row]:
        n_layers = self.lm.n_layers
        entries = {row: first_layer(self.acts[row], n_layers) for row in batch.rows}
        pair_of: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        pairs = {
            row: pair_of.setdefault((tuple(self.prompts[row]), self.texts[row].ids), len(pair_of)) for row in batch.rows
        }
        patched = sorted((row for row in batch.rows if entries[row] <= n_layers), key=lambda row: entries[row])
        prompts, texts = zip(*pair_of, strict=True)
        acts = [self.acts[row] for row in patched]
        forced = ForcedRows(prompts, texts, [pairs[row] for row in patched], acts, batch.width, n_fed)
        read = read_rows(self.lm, forced, self.memory, self.chosen)
        # a row without a patch is its pair: the same numbers, not equal ones
        line_of = {**pairs, **{row: len(pair_of) + place for place, row in enumerate(patched)}}
        found = []
        for row in batch.rows:
            line, pair, n_tokens = line_of[row], pairs[row], self.texts[row].n_tokens
            per_token = (read.logprobs[line], read.logprobs[pair], read.entropies[pair])
            logprobs, unpatched, entropy = (of_token[:n_tokens] for of_token in per_token)
            require_finite(self.lm, ((row, part) for part in (logprobs, unpatched)), "the log-probability")
            picked, base = read.chosen[line], read.chosen[pair]
            found.append(_Row(logprobs, unpatched, entropy, base, picked - base))
        return found
