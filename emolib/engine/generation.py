"""Batched generation with a different intervention on every row.

Prompts are padded on the left; the attention mask and the position ids follow from it, so that a row's text does not
depend on its neighbours. Rows are put into an order in which work can be shared (`planning`), and come back in theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Unpack, get_args

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.base.progress import GenerationBar
from emolib.base.signatures import told
from emolib.engine.decoding_job import Job
from emolib.engine.memory import check_memory, keep_freed_memory
from emolib.engine.parity import check_batching
from emolib.engine.planning import plan_batches
from emolib.engine.residuals import Residuals
from emolib.engine.sampling import Decoding, DecodingFields
from emolib.interventions import Intervention, check_interventions, one_per_row
from emolib.models.language_model import LanguageModel, checked_model
from emolib.models.tokens import encode
from emolib.models.workspace import Workspace

Engine = Literal["auto", "native", "bridge"]


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
    options = Options(decoding, seeds, batch_size, use_cache, engine, on_batch, progress)
    return generate_parts(lm, prompts, interventions, options)


@dataclass(frozen=True)
class Options:
    """How `generate` runs; see there."""

    decoding: Decoding
    seeds: Sequence[int] | None = None
    batch_size: int | Literal["auto"] = "auto"
    use_cache: bool = True
    engine: Engine = "auto"
    on_batch: Callable[[int], None] | None = None
    progress: bool = False


OnPart = Callable[[Sequence[Generation], Residuals | None], None]


def generate_parts(
    lm: LanguageModel,
    prompts: Sequence[str],
    interventions: Sequence[Intervention] | None,
    options: Options,
    on_part: OnPart | None = None,
) -> list[Generation]:
    """`generate`, with what each finished batch leaves behind of the unpatched model handed on.

    Args:
        on_part: called with the rows of every batch and their residuals, which the next batch overwrites; None in their
            place where the batch ran through the model's own code, without a cache, or not on a CPU.
    """
    prompts = arguments.texts(prompts, "prompts")
    acts = one_per_row(interventions, len(prompts))
    decoding, rows_at_once = options.decoding, checked_batch_size(options.batch_size)
    given_seeds = _checked_seeds(options.seeds, len(prompts), decoding)
    use_cache, progress = arguments.flag("use_cache", options.use_cache), arguments.flag("progress", options.progress)
    arguments.function("on_batch", options.on_batch)
    native = _is_native(lm, options.engine)
    check_interventions(lm, acts)
    if not prompts:
        return []
    rows = encode(lm, prompts, n_new=decoding.max_new_tokens, name="prompts")
    check_memory(lm, max(map(len, rows)), decoding.max_new_tokens)
    if lm.device.type == "cpu":
        keep_freed_memory()
    leaves = on_part is not None and native and use_cache and lm.device.type == "cpu"
    job = Job(lm, rows, acts, given_seeds, decoding, use_cache, native, leaves, _workspace(lm))
    if rows_at_once is None:
        rows_at_once = job.fastest_batch_size(len(set(prompts)))
    results: dict[int, Generation] = {}
    with GenerationBar(len(prompts), decoding.max_new_tokens, shown=progress) as bar:
        for batch in plan_batches(job.rows, acts, rows_at_once, lm.n_layers):
            for part, (tokens, ratios, left) in job.run(batch):
                for place, row in enumerate(part.rows):
                    results[row] = _result(job, row, prompts[row], tokens[place].tolist(), float(ratios[place]))
                if on_part:
                    on_part([results[row] for row in part.rows], left)
                bar.advance(len(part.rows))
                if options.on_batch:
                    options.on_batch(len(results))
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


def _result(job: Job, row: int, prompt: str, tokens: list[int], ratio: float) -> Generation:
    kept, reason = _until_stop(tokens, job.lm.stop_ids)
    return Generation(
        prompt=prompt,
        text=job.lm.tokenizer.decode(kept, skip_special_tokens=True),
        prompt_ids=tuple(job.rows[row]),
        token_ids=tuple(kept),
        finish_reason=reason,
        seed=job.seeds[row] if job.seeds else None,
        delta_ratio=ratio,
    )


def _until_stop(token_ids: list[int], stop_ids: frozenset[int]) -> tuple[list[int], str]:
    for i, token in enumerate(token_ids):
        if token in stop_ids:
            return token_ids[:i], "stop"
    return token_ids, "length"
