"""Batched generation with a different intervention on every row.

Prompts are padded on the left; the attention mask and the position ids follow from it, so that a row's text does not
depend on its neighbours. Finished rows are fed their pad token until the whole batch has ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emolib.errors import UserError
from emolib.interventions import Intervention, SteeringBatch, check_interventions
from emolib.models import LanguageModel


@dataclass(frozen=True)
class Generation:
    """One row's result.

    Attributes:
        text: the continuation alone, decoded.
        token_ids: of the continuation, without the token that ended it.
        finish_reason: `stop` (an end-of-text token came) or `length`.
        seed: of the row's sampling; None when greedy.
        delta_ratio: realised ‖Δh‖/‖h‖ at the prefill, mean over the patched tokens; 0 without a patch.
    """

    prompt: str
    text: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    finish_reason: str
    seed: int | None
    delta_ratio: float


def encode(lm: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    """Token ids per text, with the special tokens that the model's tokenizer adds by default."""
    for i, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"expected non-empty texts, text {i} is {text!r}")
    ids = lm.tokenizer(list(texts), add_special_tokens=True).input_ids
    return [list(row) for row in ids]


def pad_left(rows: Sequence[Sequence[int]], pad_id: int, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Token ids and mask, both `[row, width]`, padded on the left; `width` defaults to the longest row."""
    width = max(width or 0, max(len(row) for row in rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row)
        mask[i, width - len(row) :] = 1
    return ids, mask


def position_ids(mask: Tensor) -> Tensor:
    """Positions that count real tokens only: `[row, pos]`, 0 on the padding."""
    return (mask.cumsum(1) - 1).clamp_min(0)


def generate(
    lm: LanguageModel,
    prompts: Sequence[str],
    interventions: Sequence[Intervention] | None = None,
    *,
    max_new_tokens: int = 30,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seeds: Sequence[int] | None = None,
    batch_size: int = 128,
    use_cache: bool = True,
    on_batch: Callable[[int], None] | None = None,
) -> list[Generation]:
    """Continues every prompt under its own intervention.

    All rows of a call are padded to the same width, whatever the batch size, so that a row's numbers depend on the
    call's prompts alone.

    Args:
        prompts: raw texts.
        interventions: one `Steer` or None per prompt; None leaves all unpatched.
        max_new_tokens: per row.
        temperature: 0 is greedy; otherwise tokens are drawn with the row's own seed.
        top_p: smallest set of tokens whose probability reaches this share (sampling only).
        seeds: one per row, needed when sampling.
        use_cache: False recomputes the whole sequence at every step (slow; equal by contract).
        on_batch: called with the number of finished rows after every batch.

    Raises:
        UserError: empty prompts, lists of different length, a number out of range, a layer or vector that does not
            fit the model; all before the first token is generated.
    """
    acts = list(interventions) if interventions is not None else [None] * len(prompts)
    if len(acts) != len(prompts):
        raise UserError(f"expected one intervention per prompt ({len(prompts)}), got {len(acts)}")
    sampler = Sampler(temperature, top_p)
    _check_counts(len(prompts), max_new_tokens, batch_size, seeds if temperature > 0 else [0] * len(prompts))
    check_interventions(lm, acts)
    if not prompts:
        return []
    rows = encode(lm, prompts)
    width = max(len(row) for row in rows)
    results: list[Generation] = []
    for start in range(0, len(rows), batch_size):
        chunk = slice(start, start + batch_size)
        ids, mask = pad_left(rows[chunk], lm.tokenizer.pad_token_id, width)
        steering = SteeringBatch(lm, acts[chunk], mask, max_new_tokens)
        chunk_seeds = list(seeds[chunk]) if temperature > 0 else [None] * len(ids)
        draws = sampler.draws(chunk_seeds, max_new_tokens)
        with steering.applied(), torch.inference_mode():
            new = torch.stack(list(_decode(lm, ids, mask, steering, sampler, draws, use_cache)), dim=1).cpu()
        for i, token_ids in enumerate(new.tolist()):
            kept, reason = _until_stop(token_ids, lm.stop_ids)
            results.append(
                Generation(
                    prompt=prompts[start + i],
                    text=lm.tokenizer.decode(kept, skip_special_tokens=True),
                    prompt_ids=tuple(rows[start + i]),
                    token_ids=tuple(kept),
                    finish_reason=reason,
                    seed=chunk_seeds[i],
                    delta_ratio=float(steering.delta_ratio[i]),
                )
            )
        if on_batch:
            on_batch(len(results))
    return results


def _check_counts(n_prompts: int, max_new_tokens: int, batch_size: int, seeds: Sequence[int] | None) -> None:
    for name, value in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"expected {name} of at least 1, got {value}")
    if seeds is None or len(seeds) != n_prompts:
        given = "none" if seeds is None else len(seeds)
        raise UserError(f"sampling needs one seed per prompt ({n_prompts}), got {given}")
    for seed in seeds:
        if seed is None or seed < 0:
            raise UserError(f"expected seeds that are integers of at least 0, got {seed}")


def _until_stop(token_ids: list[int], stop_ids: frozenset[int]) -> tuple[list[int], str]:
    for i, token in enumerate(token_ids):
        if token in stop_ids:
            return token_ids[:i], "stop"
    return token_ids, "length"


def _decode(
    lm: LanguageModel,
    ids: Tensor,
    mask: Tensor,
    steering: SteeringBatch,
    sampler: Sampler,
    draws: Tensor,
    use_cache: bool,
) -> Iterator[Tensor]:
    """Yields the next token of every row, `[row]`, step after step."""
    ids, mask = ids.to(lm.device), mask.to(lm.device)
    stop = torch.tensor(sorted(lm.stop_ids), device=lm.device)
    done = torch.zeros(len(ids), dtype=torch.bool, device=lm.device)
    n_new = draws.shape[1]
    cache, fed = _shared_prefix(lm, ids, mask, steering) if use_cache else (None, ids)
    for step in range(n_new):
        steering.columns = slice(mask.shape[1] - fed.shape[1], mask.shape[1])
        output = lm.network(
            input_ids=fed,
            attention_mask=mask,
            position_ids=position_ids(mask)[:, -fed.shape[1] :],
            past_key_values=cache,
            use_cache=use_cache,
            logits_to_keep=1,
        )
        token = sampler.pick(output.logits[:, -1].float(), draws[:, step])
        token = torch.where(done, lm.tokenizer.pad_token_id, token)
        yield token
        done |= torch.isin(token, stop)
        if bool(done.all()) or step + 1 == n_new:
            return
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        ids = torch.cat([ids, token[:, None]], dim=1)
        cache = output.past_key_values if use_cache else None
        fed = token[:, None] if use_cache else ids


def _shared_prefix(lm: LanguageModel, ids: Tensor, mask: Tensor, steering: SteeringBatch) -> tuple[Any, Tensor]:
    """Keys and values of the columns before any patch, computed once per distinct prompt; and the columns left to feed.

    Rows of a sweep repeat few prompts under many interventions: what no intervention reaches is the same for all.
    """
    width = steering.first_column
    _, inverse = torch.unique(torch.cat([ids, mask], dim=1), dim=0, return_inverse=True)
    count = int(inverse.max()) + 1
    if width < 1 or count == len(ids):
        return None, ids
    rows = torch.arange(len(ids), device=ids.device)
    first = torch.full((count,), len(ids), device=ids.device).scatter_reduce(0, inverse, rows, "amin")
    steering.columns = slice(0, width)
    output = lm.network(
        input_ids=ids[first, :width],
        attention_mask=mask[first, :width],
        position_ids=position_ids(mask)[first, :width],
        use_cache=True,
        logits_to_keep=1,
    )
    cache = output.past_key_values
    cache.batch_select_indices(inverse)
    return cache, ids[:, width:]


FIRST_WIDTH = 64  # most nuclei of a trained model are smaller
WIDTH_FACTOR = 8


@dataclass(frozen=True)
class Sampler:
    """Greedy choice, or nucleus sampling whose randomness comes from each row's own seed.

    Raises:
        UserError: a temperature that is negative or not finite, a top_p outside (0, 1].
    """

    temperature: float
    top_p: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"expected a finite temperature of at least 0 (0 is greedy), got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"expected top_p above 0 and at most 1, got {self.top_p}")

    def draws(self, seeds: Sequence[int | None], n_steps: int) -> Tensor:
        """Uniform numbers `[row, step]`, float64; a row's numbers follow from its seed alone."""
        if self.temperature == 0:
            return torch.zeros(len(seeds), n_steps)
        return torch.tensor(np.stack([np.random.default_rng(seed).random(n_steps) for seed in seeds]))

    def pick(self, logits: Tensor, draw: Tensor) -> Tensor:
        """The next token per row from `[row, vocabulary]` logits.

        Tokens are ordered by falling logit, equal ones by id, and the token is the first at which the cumulated
        probability reaches `draw` times the nucleus' probability. Only the best few are ordered; a row that needs
        more is tried again with more, in the end with the whole vocabulary, so that the result is that of a full sort.
        """
        if self.temperature == 0:
            return logits.argmax(-1)
        # probabilities are cumulated in float64, which MPS does not have
        scaled = (logits.cpu() if logits.device.type == "mps" else logits) / self.temperature
        weight = (scaled - scaled.amax(-1, keepdim=True)).exp()
        total = weight.sum(-1, dtype=torch.float64)
        draw = draw.to(scaled.device)
        chosen = torch.empty(len(scaled), dtype=torch.long, device=scaled.device)
        left, width = torch.arange(len(scaled), device=scaled.device), FIRST_WIDTH
        while len(left):
            width = min(width, scaled.shape[1])
            best, tokens = _best(scaled[left], width)
            share = weight[left].gather(1, tokens).double() / total[left, None]
            # which of several equal logits came last into the best is arbitrary: those do not count
            counted = best > best[:, -1:] if width < scaled.shape[1] else torch.ones_like(best, dtype=torch.bool)
            place, settled = self._place(share, draw[left], counted)
            chosen[left[settled]] = tokens.gather(1, place[:, None])[settled, 0]
            left, width = left[~settled], width * WIDTH_FACTOR
        return chosen.to(logits.device)

    def _place(self, share: Tensor, draw: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """The place drawn among falling probabilities `[row, place]`, and whether what follows could not change it."""
        reached = share.cumsum(-1)
        if self.top_p == 1:
            # all probabilities add up to 1 but for rounding: a draw above their sum is scaled back
            last, mass, needed = share.shape[1] - 1, reached[:, -1].where(draw > reached[:, -1], 1.0), draw
        else:
            last = ((reached - share) < self.top_p).sum(-1) - 1
            mass, needed = reached.gather(1, last[:, None])[:, 0], self.top_p
        settled = counted.all(-1) | ((reached * counted).amax(-1) >= needed)
        return (reached < (draw * mass)[:, None]).sum(-1).clamp_max(last), settled


def _best(values: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The `width` highest values per row and their ids, both `[row, width]`; equal values in the order of their ids."""
    if width == values.shape[1]:
        return values.sort(dim=-1, descending=True, stable=True)
    tokens = values.topk(width, sorted=False).indices.sort(-1).values
    best, order = values.gather(1, tokens).sort(dim=-1, descending=True, stable=True)
    return best, tokens.gather(1, order)
