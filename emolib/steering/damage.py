"""What steering costs: how far it moves the next-token distribution, and whether the text stays with its topic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.engine.divergences import divergences
from emolib.engine.forced_pass import BRIDGE_ROWS, ForcedRows
from emolib.engine.halving import in_halves
from emolib.engine.memory import keep_freed_memory
from emolib.engine.parity import check_batching
from emolib.engine.planning import Batch, plan_batches
from emolib.interventions import Act, Intervention, check_interventions, first_layer, one_per_row
from emolib.models.devices import pick_device
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.tokens import encode
from emolib.models.workspace import Workspace
from emolib.scoring.encoder import N_POOLED, load_encoder

ROWS_AT_ONCE = 128


def next_token_kl(
    lm: LanguageModel,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[int]],
    acts: Sequence[Intervention],
    *,
    batch_size: int = ROWS_AT_ONCE,
    per_position: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """How far interventions move the next-token distribution along a fixed text: mean KL(unpatched ‖ patched) in nats.

    Both are fed the same tokens: a difference comes from the patch, not from texts that have parted. The acts
    fall where they fall in generation: on a window of the prompt, then on every fed token. Distributions are compared
    wherever a token of the continuation is predicted: after the prompt, then after each of its tokens but the last.

    Args:
        prompts: raw texts.
        continuations: token ids per row, for example `token_ids` of the unpatched model's own greedy `Generation`.
        acts: per row an intervention, a tuple of several, or None.
        batch_size: rows at once, halved where they do not fit in memory; through a model's own code no more than 16.
            The unpatched lines come on top, one per distinct prompt and continuation: rows of one prompt stay
            together, so that it runs once, and again only where they go on in another batch.
        per_position: gives the value of every position too.

    Returns:
        `[row]`, NaN for an empty continuation; with `per_position` also `[row, pos]`, NaN beyond a continuation's end.

    Raises:
        UserError: lists of different length, an empty prompt, continuations that are not token ids of the model, an act
            that does not fit the model, `batch_size` below 1, a single row that does not fit in memory.
    """
    if isinstance(acts, Act):
        one_per_row(acts, len(prompts))  # refuses a single act
    _check_lists(prompts=prompts, continuations=continuations, acts=acts)
    checked_model(lm)
    batch_size = arguments.whole_number("batch_size", batch_size, least=1)
    forced = [_token_ids(lm, row, tokens) for row, tokens in enumerate(continuations)]
    check_interventions(lm, acts)
    prompt_ids = encode(lm, prompts, n_new=max(map(len, forced), default=0), name="prompts")
    check_batching(lm)
    if lm.device.type == "cpu":
        keep_freed_memory()
    chosen = [row for row, tokens in enumerate(forced) if tokens]
    job = _Comparison(lm, *([given[row] for row in chosen] for given in (prompt_ids, forced, acts)))
    means = np.full(len(forced), np.nan)
    values = np.full((len(forced), max(map(len, forced), default=0)), np.nan)
    if lm.blueprint is None:
        batch_size = min(batch_size, BRIDGE_ROWS)
    for batch in plan_batches(job.prompts, [None] * len(chosen), batch_size, lm.n_layers):  # by prompt alone
        for part, found in job.run(batch):
            for place, distances in zip(part.rows, found, strict=True):
                row, n_tokens = chosen[place], len(job.continuations[place])
                values[row, :n_tokens] = distances[:n_tokens]
                means[row] = values[row, :n_tokens].mean()
    return (means, values) if per_position else means


def topic_kept(prompts: Sequence[str], texts: Sequence[str], *, device: str = "auto") -> np.ndarray:
    """Cosine similarity `[row]` of a prompt's and its continuation's sentence embedding.

    The embedding is the mean over the tokens of the last layer of all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and
    Gurevych 2019), the use that it was trained for.

    Args:
        texts: continuations without their prompts; an empty one gives NaN.
        device: where the encoder runs.

    Raises:
        UserError: not one text per prompt, something that is no text, an empty prompt, or the package that carries the
            encoder is missing.
    """
    _check_lists(prompts=prompts, texts=texts)
    for name, given in (("prompts", prompts), ("texts", texts)):
        for i, text in enumerate(given):
            if not isinstance(text, str) or (name == "prompts" and not text.strip()):
                raise UserError(f"expected {name} that are texts, a prompt not empty; {name}[{i}] is {shown(text)}")
    kept = [i for i, text in enumerate(texts) if text.strip()]
    similarity = np.full(len(texts), np.nan)
    if not kept:
        return similarity
    pairs = [(prompts[i], texts[i]) for i in kept]
    distinct = {text: place for place, text in enumerate(dict.fromkeys(text for pair in pairs for text in pair))}
    encoder = load_encoder(torch.device(pick_device(device)))
    pooled = encoder.features(list(distinct))[:, : encoder.size // N_POOLED].astype(np.float64)
    unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    first, second = np.array([[distinct[text] for text in pair] for pair in pairs]).T
    similarity[kept] = (unit[first] * unit[second]).sum(axis=1)
    return similarity


def _check_lists(**lists: Sequence) -> None:
    """One entry per row in every list."""
    for name, given in lists.items():
        if isinstance(given, str):
            raise UserError(f"expected a list of {name}, got one text; put it into a list")
    if len({len(given) for given in lists.values()}) > 1:
        counts = ", ".join(f"{len(given)} {name}" for name, given in lists.items())
        raise UserError(f"expected lists of equal length, one entry per row, got {counts}")


def _token_ids(lm: LanguageModel, row: int, tokens: Sequence[int]) -> tuple[int, ...]:
    n_known = lm.spec.d_vocab
    try:
        ids = np.asarray(tokens, dtype=None if len(tokens) else int)
    except (TypeError, ValueError):
        ids = np.asarray(str(tokens))
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or (ids.size and not 0 <= ids.min() <= ids.max() < n_known):
        raise UserError(
            f"expected continuations as lists of token ids from 0 to {n_known - 1} (a Generation's token_ids), "
            f"continuation {row} is {shown(str(tokens))}"
        )
    return tuple(ids.tolist())


@dataclass(frozen=True)
class _Comparison:
    """Rows whose patched pass is held against the unpatched one."""

    lm: LanguageModel
    prompts: list[list[int]]
    continuations: list[tuple[int, ...]]
    acts: list[Intervention]
    memory: Workspace = field(default_factory=Workspace)

    def run(self, batch: Batch) -> Iterator[tuple[Batch, np.ndarray]]:
        """The batch's divergences `[row, pos]`; in halves where it does not fit in memory."""
        yield from in_halves(
            batch,
            self._divergences,
            device=self.lm.device,
            workspace=self.memory,
            n_new=lambda row: len(self.continuations[row]),
        )

    def _divergences(self, batch: Batch) -> np.ndarray:
        """KL `[row, pos]`; a row without a patch is its pair, and no distance from itself."""
        pair_of: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        pairs = {
            row: pair_of.setdefault((tuple(self.prompts[row]), self.continuations[row]), len(pair_of))
            for row in batch.rows
        }
        entries = {row: first_layer(self.acts[row], self.lm.n_layers) for row in batch.rows}
        patched = sorted((row for row in batch.rows if entries[row] <= self.lm.n_layers), key=entries.__getitem__)
        n_tokens = max(len(self.continuations[row]) for row in batch.rows)
        found = np.zeros((len(batch.rows), n_tokens))
        if patched:
            prompts, texts = zip(*pair_of, strict=True)
            acts = [self.acts[row] for row in patched]
            rows = ForcedRows(prompts, texts, [pairs[row] for row in patched], acts, batch.width, n_tokens - 1)
            place_of = {row: place for place, row in enumerate(batch.rows)}
            found[[place_of[row] for row in patched]] = divergences(self.lm, rows, self.memory)
        return found
