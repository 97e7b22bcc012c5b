"""Batched generation with a different intervention on every row.

Prompts are padded on the left; the attention mask and the position ids follow from it, so that a row's text does not
depend on its neighbours. Rows are put into an order in which work can be shared (`planning`), and come back in theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from emolib.base.errors import UserError
from emolib.base.progress import GenerationBar
from emolib.engine.bridge import BridgeRunner
from emolib.engine.memory import (
    BatchShape,
    OutOfMemory,
    Workspace,
    keep_freed_memory,
    out_of_memory,
)
from emolib.engine.native import NativeRunner
from emolib.engine.parity import check_batching
from emolib.engine.planning import Batch, batch_size_for, longest_window, plan_batches
from emolib.engine.sampling import Sampler
from emolib.interventions import Edits, Intervention, check_interventions
from emolib.models.loading import LanguageModel
from emolib.models.tokens import encode, pad_left

Engine = Literal["auto", "native", "bridge"]
DROP_SHARE = 8  # finished rows are dropped once they are one row in so many


@dataclass(frozen=True)
class Generation:
    """One row's result.

    Attributes:
        text: the continuation alone, decoded.
        token_ids: of the continuation, without the token that ended it.
        finish_reason: `stop` (an end-of-text token came) or `length`.
        seed: of the row's sampling; None when greedy.
        delta_ratio: realised ‖Δh‖/‖h‖ at the prefill, mean over the patched tokens (and acts); 0 without a patch. A
            steer of the final residual counts at the last token alone, a head's patch against that head's output.
    """

    prompt: str
    text: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    finish_reason: str
    seed: int | None
    delta_ratio: float


def generate(
    lm: LanguageModel,
    prompts: Sequence[str],
    interventions: Sequence[Intervention] | None = None,
    *,
    max_new_tokens: int = 30,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seeds: Sequence[int] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    use_cache: bool = True,
    engine: Engine = "auto",
    on_batch: Callable[[int], None] | None = None,
    progress: bool = False,
) -> list[Generation]:
    """Continues every prompt under its own intervention.

    Prompts of like length share a padded width that depends on the call's prompts alone, never on the batch size, so
    that a row's numbers do not depend on how rows are batched.

    Args:
        prompts: raw texts.
        interventions: per prompt an intervention, a tuple of several (they apply in that order), or None; None for
            the whole list leaves all unpatched.
        max_new_tokens: per row.
        temperature: 0 is greedy; otherwise tokens are drawn with the row's own seed.
        top_p: smallest set of tokens whose probability reaches this share (sampling only).
        seeds: one per row, needed when sampling.
        batch_size: rows at once; `auto` measures once per model and length which number is fastest within the memory
            at hand. A batch that does not fit is halved.
        use_cache: False recomputes the whole sequence at every step (slow; equal by contract).
        engine: `native` runs the six known architectures through `emolib.engine.native`, `bridge` any model through its
            own code with hooks; `auto` takes the first where it can. Hooks that a caller has put on the bridge act
            in the second alone.
        on_batch: called with the number of finished rows after every batch.
        progress: shows a bar with tokens per second and the time left (see `emolib.base.progress`).

    Returns:
        One `Generation` per prompt, in the given order.

    Raises:
        UserError: empty prompts, lists of different length, a number out of range, a layer, head or vector that does
            not fit the model; all before the first token is generated. Also a single row that does not fit in memory.
    """
    acts = list(interventions) if interventions is not None else [None] * len(prompts)
    if len(acts) != len(prompts):
        raise UserError(f"expected one intervention per prompt ({len(prompts)}), got {len(acts)}")
    sampler = Sampler(temperature, top_p)
    _check_counts(len(prompts), max_new_tokens, batch_size, seeds if temperature > 0 else [0] * len(prompts))
    native = _is_native(lm, engine)
    check_interventions(lm, acts)
    if not prompts:
        return []
    if lm.device.type == "cpu":
        keep_freed_memory()
    rows = encode(lm, prompts)
    given_seeds = list(seeds) if temperature > 0 else None
    job = _Job(lm, rows, acts, given_seeds, sampler, max_new_tokens, use_cache, native, _workspace(lm))
    if batch_size == "auto":
        widest = max(len(row) for row in rows)
        batch_size = 128
        if native:
            shape = BatchShape(widest, max_new_tokens, longest_window(acts, widest), len(set(prompts)) / len(prompts))
            batch_size = batch_size_for(lm, len(rows), shape)
    results: list[Generation | None] = [None] * len(prompts)
    finished = 0
    with GenerationBar(len(prompts), max_new_tokens, shown=progress) as bar:
        for batch in plan_batches(rows, acts, batch_size, lm.n_layers):
            for part, (tokens, ratios) in job.run(batch):
                for place, row in enumerate(part.rows):
                    results[row] = job.result(row, prompts[row], tokens[place].tolist(), float(ratios[place]))
                finished += len(part.rows)
                bar.advance(len(part.rows))
                if on_batch:
                    on_batch(finished)
    return results


def _workspace(lm: LanguageModel) -> Workspace:
    """On the CPU kept with the model from call to call; CUDA's own allocator keeps memory anyway."""
    return lm.__dict__.setdefault("_workspace", Workspace()) if lm.device.type == "cpu" else Workspace()


def _is_native(lm: LanguageModel, engine: Engine) -> bool:
    if engine not in ("auto", "native", "bridge"):
        raise UserError(f"unknown engine {engine!r}: expected auto, native or bridge")
    if engine == "native" and lm.blueprint is None:
        raise UserError(f"the native engine does not know {type(lm.network).__name__}; use engine='bridge'")
    native = engine != "bridge" and lm.blueprint is not None
    check_batching(lm, native=native)
    return native


def _check_counts(n_prompts: int, max_new_tokens: int, batch_size: int | str, seeds: Sequence[int] | None) -> None:
    if isinstance(batch_size, str) and batch_size != "auto":
        raise UserError(f"expected batch_size of at least 1 or 'auto', got {batch_size!r}")
    for name, value in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if value != "auto" and value < 1:
            raise UserError(f"expected {name} of at least 1, got {value}")
    if seeds is None or len(seeds) != n_prompts:
        given = "none" if seeds is None else len(seeds)
        raise UserError(f"sampling needs one seed per prompt ({n_prompts}), got {given}")
    for seed in seeds:
        if seed is None or seed < 0:
            raise UserError(f"expected seeds that are integers of at least 0, got {seed}")


@dataclass(frozen=True)
class _Job:
    """What all batches of a call share."""

    lm: LanguageModel
    rows: list[list[int]]
    acts: list[Intervention]
    seeds: list[int] | None
    sampler: Sampler
    n_new: int
    use_cache: bool
    native: bool
    workspace: Workspace

    def run(self, batch: Batch) -> Iterator[tuple[Batch, tuple[np.ndarray, np.ndarray]]]:
        """The batch's new tokens `[row, step]` and ratios `[row]`; in halves where it does not fit in memory."""
        result = self._fitting(batch)
        if result is not None:
            yield batch, result
            return
        self.workspace.kept.clear()
        if self.lm.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch.rows) == 1:
            raise UserError(
                f"one row of {batch.width} + {self.n_new} tokens does not fit in the memory of {self.lm.device}; "
                "use a smaller dtype or fewer tokens"
            )
        for half in batch.halves():
            yield from self.run(half)

    def _fitting(self, batch: Batch) -> tuple[np.ndarray, np.ndarray] | None:
        """The batch's result, or None (with nothing of it left in memory) where it does not fit."""
        try:
            return self._tokens(batch)
        except OutOfMemory:
            return None

    def _tokens(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        ids, mask = pad_left([self.rows[row] for row in batch.rows], self.lm.tokenizer.pad_token_id, batch.width)
        acts = [self.acts[row] for row in batch.rows]
        lengths = [len(self.rows[row]) for row in batch.rows]
        draws = self.sampler.draws([self.seeds[row] if self.seeds else None for row in batch.rows], self.n_new)
        with out_of_memory(), torch.inference_mode():
            edits = Edits(self.lm, acts, lengths, batch.width, self.n_new)
            tokens = _decode(self, ids, mask, edits, draws)
            return tokens.cpu().numpy(), edits.delta_ratio

    def result(self, row: int, prompt: str, tokens: list[int], ratio: float) -> Generation:
        kept, reason = _until_stop(tokens, self.lm.stop_ids)
        return Generation(
            prompt=prompt,
            text=self.lm.tokenizer.decode(kept, skip_special_tokens=True),
            prompt_ids=tuple(self.rows[row]),
            token_ids=tuple(kept),
            finish_reason=reason,
            seed=self.seeds[row] if self.seeds else None,
            delta_ratio=ratio,
        )


def _until_stop(token_ids: list[int], stop_ids: frozenset[int]) -> tuple[list[int], str]:
    for i, token in enumerate(token_ids):
        if token in stop_ids:
            return token_ids[:i], "stop"
    return token_ids, "length"


def _decode(job: _Job, ids: Tensor, mask: Tensor, edits: Edits, draws: Tensor) -> Tensor:
    """New tokens `[row, step]`; what follows a row's end-of-text token means nothing."""
    lm, n_new = job.lm, job.n_new
    stop = torch.tensor(sorted(lm.stop_ids), device=lm.device)
    new = torch.zeros((len(ids), n_new), dtype=torch.long, device=lm.device)
    runner = _runner(job, ids, mask, edits, n_new)
    alive = torch.arange(len(ids), device=lm.device)  # the rows that the runner still has
    done = torch.zeros(len(ids), dtype=torch.bool, device=lm.device)
    draws = draws.to(lm.device) if lm.device.type != "mps" else draws
    logits = runner.start()
    for step in range(n_new):
        token = job.sampler.pick(logits, draws[:, step])
        new[alive, step] = token.where(~done, new[alive, step])
        done |= torch.isin(token, stop)
        if step + 1 == n_new or bool(done.all()):
            return new
        if not job.use_cache:
            ids = torch.cat([ids, token[:, None].cpu()], dim=1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            logits = _runner(job, ids, mask, edits, n_new - step - 1).start()
            continue
        if runner.can_drop and int(done.sum()) * DROP_SHARE >= len(done):
            going_on = (~done).nonzero()[:, 0]
            runner.select(going_on.tolist())
            alive, token, done, draws = (
                alive[going_on],
                token[going_on],
                done[going_on],
                draws[going_on.to(draws.device)],
            )
        logits = runner.step(token)
    return new


def _runner(job: _Job, ids: Tensor, mask: Tensor, edits: Edits, n_new: int) -> NativeRunner | BridgeRunner:
    if job.native:
        return NativeRunner(job.lm, ids, mask, edits, n_new - 1, workspace=job.workspace)
    return BridgeRunner(job.lm, ids, mask, edits, n_new)
