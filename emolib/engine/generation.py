"""Batched generation with a different intervention on every row.

Prompts are padded on the left; the attention mask and the position ids follow from it, so that a row's text does not
depend on its neighbours. Rows are put into an order in which work can be shared (`planning`), and come back in theirs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Unpack, get_args

import numpy as np
import torch
from torch import Tensor

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.base.progress import GenerationBar
from emolib.base.signatures import told
from emolib.engine.bridge import BridgeRunner
from emolib.engine.halving import in_halves
from emolib.engine.memory import BatchShape, check_memory, keep_freed_memory
from emolib.engine.native import NativeRunner
from emolib.engine.parity import check_batching
from emolib.engine.planning import Batch, batch_size_for, longest_window, plan_batches
from emolib.engine.sampling import Decoding, DecodingFields
from emolib.interventions import Edits, Intervention, check_interventions, one_per_row
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.tokens import encode, pad_left
from emolib.models.workspace import Workspace

Engine = Literal["auto", "native", "bridge"]
BRIDGE_ROWS = 128  # at once through a model's own code, where nothing is measured
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

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> (out,) = emolib.generate(lm, ["Thank you so much for your help. I am"], max_new_tokens=2)
    >>> out.text, out.finish_reason, len(out.token_ids), out.seed, out.delta_ratio
    (' so grateful', 'length', 2, None, 0.0)
    """

    prompt: str
    text: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    finish_reason: str
    seed: int | None
    delta_ratio: float


@told
def generate(
    lm: LanguageModel,
    prompts: Sequence[str],
    interventions: Sequence[Intervention] | None = None,
    *,
    decoding: Decoding | None = None,
    seeds: Sequence[int] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    use_cache: bool = True,
    engine: Engine = "auto",
    on_batch: Callable[[int], None] | None = None,
    progress: bool = False,
    **fields: Unpack[DecodingFields],
) -> list[Generation]:
    """Continues every prompt under its own intervention.

    Prompts of like length share a padded width that depends on the call's prompts alone, never on the batch size, so
    that a row's numbers do not depend on how rows are batched.

    Args:
        prompts: raw texts.
        interventions: per prompt an intervention, a tuple of several (they apply in that order), or None; None for
            the whole list leaves all unpatched.
        decoding: how many tokens and how they are chosen; None is thirty tokens, greedily.
        seeds: one per row, needed when sampling.
        batch_size: rows at once; `auto` takes all, up to 512, as far as the memory at hand goes; on a GPU it measures
            once per model and length which number is fastest. A batch that does not fit is halved.
        use_cache: False recomputes the whole sequence at every step (slow; equal by contract).
        engine: `native` runs the six known architectures through `emolib.engine.native`, `bridge` any model through its
            own code with hooks; `auto` takes the first where it can. Hooks that a caller has put on the bridge act
            in the second alone.
        on_batch: called with the number of finished rows after every batch.
        progress: shows a bar with tokens per second and the time left (see `emolib.base.progress`).
        fields: of `Decoding` by name (max_new_tokens, temperature, top_p), in place of those of `decoding`.

    Returns:
        One `Generation` per prompt, in the given order.

    Raises:
        UserError: empty prompts, lists of different length, a number out of range, a layer, head, site or vector that
            does not fit the model, more tokens than it has positions or than memory has room for; all before the first
            token is generated.

    >>> import emolib, numpy as np
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> vector = np.random.default_rng(0).standard_normal(lm.d_model)
    >>> steer = emolib.Steer(layer=16, vector=vector, alpha=0.3, unit="resid", resid_norm=100.0)
    >>> prompts = ["Thank you so much for your help. I am"] * 2
    >>> steered, plain = generate(lm, prompts, [steer, None], max_new_tokens=2)
    >>> plain.text, plain.delta_ratio, steered.delta_ratio > 0
    (' so grateful', 0.0, True)
    >>> drawn = generate(lm, prompts, max_new_tokens=2, temperature=0.8, seeds=[1, 1])
    >>> drawn[0].token_ids == drawn[1].token_ids  # a row's text follows from its own prompt, act and seed
    True
    """
    checked_model(lm)
    decoding = _decoding(decoding, fields)
    prompts = arguments.texts(prompts, "prompts")
    acts = one_per_row(interventions, len(prompts))
    rows_at_once = checked_batch_size(batch_size)
    given_seeds = _checked_seeds(seeds, len(prompts), decoding)
    use_cache, progress = arguments.flag("use_cache", use_cache), arguments.flag("progress", progress)
    arguments.function("on_batch", on_batch)
    native = _is_native(lm, engine)
    check_interventions(lm, acts)
    if not prompts:
        return []
    rows = encode(lm, prompts, n_new=decoding.max_new_tokens, name="prompts")
    check_memory(lm, max(map(len, rows)), decoding.max_new_tokens)
    if lm.device.type == "cpu":
        keep_freed_memory()
    job = _Job(lm, rows, acts, given_seeds, decoding, use_cache, native, _workspace(lm))
    if rows_at_once is None:
        rows_at_once = job.fastest_batch_size(len(set(prompts)))
    results: dict[int, Generation] = {}
    with GenerationBar(len(prompts), decoding.max_new_tokens, shown=progress) as bar:
        for batch in plan_batches(job.rows, acts, rows_at_once, lm.n_layers):
            for part, (tokens, ratios) in job.run(batch):
                for place, row in enumerate(part.rows):
                    results[row] = job.result(row, prompts[row], tokens[place].tolist(), float(ratios[place]))
                bar.advance(len(part.rows))
                if on_batch:
                    on_batch(len(results))
    return [results[row] for row in range(len(prompts))]


def _workspace(lm: LanguageModel) -> Workspace:
    """On the CPU kept with the model from call to call; CUDA's own allocator keeps memory anyway."""
    return lm.worked_out.workspace if lm.device.type == "cpu" else Workspace()


def _is_native(lm: LanguageModel, engine: Engine) -> bool:
    arguments.one_of("engine", engine, get_args(Engine))
    if engine == "native" and lm.blueprint is None:
        raise UserError(f"the native engine does not know {type(lm.network).__name__}; use engine='bridge'")
    native = engine != "bridge" and lm.blueprint is not None
    check_batching(lm, native=native)
    return native


def _decoding(given: Decoding | None, fields: DecodingFields) -> Decoding:
    arguments.check_names("argument of generate", fields, DecodingFields.__annotations__)
    if given is not None:
        arguments.instance("decoding", given, Decoding, "Decoding(…)")
    return replace(given or Decoding(), **fields)


def checked_batch_size(batch_size: int | str) -> int | None:
    """Rows at once; None for `auto`."""
    if isinstance(batch_size, str):
        if batch_size != "auto":
            raise UserError(f"expected batch_size of at least 1 or 'auto', got {shown(batch_size)}")
        return None
    return arguments.whole_number("batch_size", batch_size, least=1)


def _checked_seeds(seeds: Sequence[int] | None, n_prompts: int, decoding: Decoding) -> list[int] | None:
    """None where nothing is drawn."""
    given = None if seeds is None else arguments.whole_numbers("seeds", seeds, least=0)
    if decoding.is_greedy:
        return None
    if given is None or len(given) != n_prompts:
        count = "none" if given is None else len(given)
        raise UserError(f"sampling needs one seed per prompt ({n_prompts}), got {count}")
    return given


@dataclass(frozen=True)
class _Job:
    """What all batches of a call share."""

    lm: LanguageModel
    rows: list[list[int]]
    acts: list[Intervention]
    seeds: list[int] | None
    decoding: Decoding
    use_cache: bool
    native: bool
    workspace: Workspace

    def fastest_batch_size(self, n_distinct: int) -> int:
        """How many rows at once, where the caller leaves it open."""
        if not self.native:
            return BRIDGE_ROWS
        widest = max(len(row) for row in self.rows)
        patched, distinct = longest_window(self.acts, widest), n_distinct / len(self.rows)
        shape = BatchShape(widest, self.decoding.max_new_tokens, patched, distinct)
        return batch_size_for(self.lm, len(self.rows), shape)

    def run(self, batch: Batch) -> Iterator[tuple[Batch, tuple[np.ndarray, np.ndarray]]]:
        """The batch's new tokens `[row, step]` and ratios `[row]`; in halves where it does not fit in memory."""
        n_new = self.decoding.max_new_tokens
        yield from in_halves(
            batch, self._tokens, device=self.lm.device, workspace=self.workspace, n_new=lambda row: n_new
        )

    def _tokens(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        n_new = self.decoding.max_new_tokens
        ids, mask = pad_left([self.rows[row] for row in batch.rows], self.lm.pad_id, batch.width)
        acts = [self.acts[row] for row in batch.rows]
        lengths = [len(self.rows[row]) for row in batch.rows]
        seeds = [self.seeds[row] if self.seeds else None for row in batch.rows]
        draws = self.decoding.sampler().draws(seeds, n_new)
        edits = Edits(self.lm, acts, lengths, batch.width, n_new)
        tokens, unsound = _decode(self, ids, mask, edits, draws)
        self._refuse_unsound([row for row, bad in zip(batch.rows, unsound.tolist(), strict=True) if bad])
        return tokens.cpu().numpy(), edits.delta_ratio

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


def _decode(job: _Job, ids: Tensor, mask: Tensor, edits: Edits, draws: Tensor) -> tuple[Tensor, Tensor]:
    """New tokens `[row, step]`, and the rows with one from NaN or infinite logits; what follows a row's end-of-text
    token means nothing."""
    lm, n_new, sampler = job.lm, job.decoding.max_new_tokens, job.decoding.sampler()
    stop = torch.tensor(sorted(lm.stop_ids), device=lm.device)
    new = torch.zeros((len(ids), n_new), dtype=torch.long, device=lm.device)
    picked: list[tuple[Tensor, Tensor]] = []  # per step the rows, and the logits of their tokens `[row, 1]`
    runner = _runner(job, ids, mask, edits, n_new)
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


def _runner(job: _Job, ids: Tensor, mask: Tensor, edits: Edits, n_new: int) -> NativeRunner | BridgeRunner:
    if job.native:
        return NativeRunner(job.lm, ids, mask, edits, n_new - 1, workspace=job.workspace)
    return BridgeRunner(job.lm, ids, mask, edits, n_new)
