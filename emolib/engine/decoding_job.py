"""One call's batches: how the tokens of each are decoded, and what is asked of a batch whose logits are not finite."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emolib.base.errors import UserError, shown
from emolib.engine.bridge import BridgeRunner
from emolib.engine.halving import in_halves
from emolib.engine.memory import BatchShape
from emolib.engine.native import NativeRunner
from emolib.engine.planning import Batch, batch_size_for, longest_window
from emolib.engine.residuals import Residuals
from emolib.engine.sampling import Decoding
from emolib.interventions import Edits, Intervention
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import pad_left
from emolib.models.workspace import Workspace

BRIDGE_ROWS = 128  # at once through a model's own code, where nothing is measured
DROP_SHARE = 8  # finished rows are dropped once they are one row in so many
Made = tuple[np.ndarray, np.ndarray, Residuals | None]  # new tokens `[row, step]`, ratios `[row]`, residuals


@dataclass(frozen=True)
class Job:
    """What all batches of a call share."""

    lm: LanguageModel
    rows: list[list[int]]
    acts: list[Intervention]
    seeds: list[int] | None
    decoding: Decoding
    use_cache: bool
    native: bool
    leaves: bool  # residuals behind
    workspace: Workspace

    def fastest_batch_size(self, n_distinct: int) -> int:
        """How many rows at once, where the caller leaves it open."""
        if not self.native:
            return BRIDGE_ROWS
        widest = max(len(row) for row in self.rows)
        patched, distinct = longest_window(self.acts, widest), n_distinct / len(self.rows)
        shape = BatchShape(widest, self.decoding.max_new_tokens, patched, distinct)
        return batch_size_for(self.lm, len(self.rows), shape)

    def run(self, batch: Batch) -> Iterator[tuple[Batch, Made]]:
        """What is made of the batch; in halves where it does not fit in memory."""
        n_new = self.decoding.max_new_tokens
        yield from in_halves(
            batch, self._tokens, device=self.lm.device, workspace=self.workspace, n_new=lambda row: n_new
        )

    def _tokens(self, batch: Batch) -> Made:
        n_new = self.decoding.max_new_tokens
        ids, mask = pad_left([self.rows[row] for row in batch.rows], self.lm.pad_id, batch.width)
        acts = [self.acts[row] for row in batch.rows]
        lengths = [len(self.rows[row]) for row in batch.rows]
        seeds = [self.seeds[row] if self.seeds else None for row in batch.rows]
        draws = self.decoding.sampler().draws(seeds, n_new)
        edits = Edits(self.lm, acts, lengths, batch.width, n_new)
        left = Residuals(self.lm.native, edits.entry, n_new - 1, self.workspace) if self.leaves else None
        tokens, unsound = _decode(self, ids, mask, edits, draws, left)
        self._refuse_unsound([row for row, bad in zip(batch.rows, unsound.tolist(), strict=True) if bad])
        return tokens.cpu().numpy(), edits.delta_ratio, left

    def _refuse_unsound(self, rows: Sequence[int]) -> None:
        """Raises `UserError` for the first row whose logits were NaN or infinite: no token follows from them."""
        if not rows:
            return
        act, dtype = self.acts[rows[0]], str(self.lm.dtype).removeprefix("torch.")
        under = "without an intervention" if act is None else f"under {shown(type(act).__name__)}"
        remedy = "load the model as float32, or look at its weights" if act is None else "give a weaker act"
        raise UserError(
            f"the logits of {shown(self.lm.spec.name)} for prompts[{rows[0]}] {under} are not finite in {dtype}: no "
            f"token follows from them; {remedy}"
        )


def _decode(
    job: Job, ids: Tensor, mask: Tensor, edits: Edits, draws: Tensor, left: Residuals | None
) -> tuple[Tensor, Tensor]:
    """New tokens `[row, step]`, and the rows with one from NaN or infinite logits; what follows a row's end-of-text
    token means nothing."""
    lm, n_new, sampler = job.lm, job.decoding.max_new_tokens, job.decoding.sampler()
    stop = torch.tensor(sorted(lm.stop_ids), device=lm.device)
    new = torch.zeros((len(ids), n_new), dtype=torch.long, device=lm.device)
    picked: list[tuple[Tensor, Tensor]] = []  # per step the rows, and the logits of their tokens `[row, 1]`
    runner = _runner(job, ids, mask, edits, n_new, left)
    alive = torch.arange(len(ids), device=lm.device)  # the rows that the runner still has
    done = torch.zeros(len(ids), dtype=torch.bool, device=lm.device)
    draws = draws.to(lm.device) if lm.device.type != "mps" else draws
    logits = runner.start()
    for step in range(n_new):
        token = sampler.pick(logits, draws[:, step])
        new[alive, step] = token.where(~done, new[alive, step])
        picked.append((alive, logits.gather(1, token[:, None])))
        done |= torch.isin(token, stop)
        if step + 1 == n_new or bool(done.all()):
            break
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
    return new, _unsound(new, picked, stop)


def _unsound(new: Tensor, picked: Sequence[tuple[Tensor, Tensor]], stop: Tensor) -> Tensor:
    """The rows `[row]` with a token from logits that were not finite, up to the token that ended the text.

    Where one of a row's logits is not finite, the token that is picked has the highest one or a NaN.
    """
    logits = torch.zeros(new.shape, device=new.device)
    step = 0
    for _, part in itertools.groupby(picked, key=lambda one: id(one[0])):  # rows are dropped a few times only
        rows, columns = zip(*part, strict=True)
        logits[rows[0], step : step + len(columns)] = torch.cat(columns, dim=1).float()
        step += len(columns)
    ended = torch.isin(new, stop).int()
    return (~logits.isfinite() & (ended.cumsum(1) == ended)).any(1)


def _runner(
    job: Job, ids: Tensor, mask: Tensor, edits: Edits, n_new: int, left: Residuals | None = None
) -> NativeRunner | BridgeRunner:
    if job.native:
        return NativeRunner(job.lm, ids, mask, edits, n_new - 1, workspace=job.workspace, left=left)
    return BridgeRunner(job.lm, ids, mask, edits, n_new)
