"""How every row of Phase 5's sweeps is continued and scored: greedy or sampled, the prompt's format, and when a text
counts as broken."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from emolib.base import store
from emolib.base.errors import UserError, shown
from emolib.engine.generation import generate
from emolib.engine.sampling import Decoding
from emolib.models.language_model import LanguageModel
from emolib.models.outlook import Outlook
from emolib.scoring.fluency import broken_texts, fluency_reference, nll_limit
from emolib.steering.cells import SweepSettings
from emolib.steering.regime import LOOPING_SHARE, SAMPLING_TEMPERATURE, Regime, regime_of
from emolib.study.batch_size import generation_batch
from emolib.study.decided import read_regime
from emolib.study.phase5_steering.design import Part, parts, prompts
from emolib.study.run import Run, kept

REFERENCE_SCENARIOS = 40


@kept
def settings(run: Run, part: Part) -> SweepSettings:
    """What the part's rows share, with the limit of its own fluency reference."""
    params = run.params
    return SweepSettings(
        unit=params.unit,
        window=params.window,
        schedule=params.schedule,
        template=template_of(run),
        n_samples=params.n_samples,
        max_new_tokens=params.max_new_tokens,
        temperature=regime(run).temperature,
        top_p=params.top_p,
        seed=params.seed,
        batch_size=generation_batch(run, prompts(run, part, "validation")),
        backend=params.backend,
        nll_limit=nll_limit(reference(run, part)),
    )


@kept
def regime(run: Run) -> Regime:
    """Whether the run's texts are greedy or sampled: as the parameters say, or by the rule of
    `emolib.steering.regime`, decided once for all parts and sweeps, and kept.

    The rule reads how the unpatched model continues the first part's validation prompts, which every other choice rests
    on, too. In a cross-fitted design every scenario is tested in some part, those that are trained on alike, so no
    prompts would leave all tests unseen: those of one part are the fewest, and nothing of an emotion, a layer or a
    strength is in them.
    """
    if run.params.temperature != "auto":
        return Regime(float(run.params.temperature))
    part = parts(run)[0]
    texts, template = prompts(run, part, "validation"), template_of(run)
    full = [template.replace("{text}", text) for text in texts["text"]]
    greedy = Decoding(run.params.max_new_tokens)
    limit = nll_limit(reference(run, part))
    matched = {
        "texts": store.digest([texts["scenario"].tolist(), full]),
        "decoding": greedy.fingerprint(),
        "nll_limit": limit,
        "rule": {"looping_share": LOOPING_SHARE, "temperature": SAMPLING_TEMPERATURE},
    }

    def compute() -> bytes:
        run.progress.begin("greedy or sampled", len(full), tokens_per_row=greedy.max_new_tokens)
        outs = generate(run.lm, full, decoding=greedy, batch_size=generation_batch(run, texts))
        broken = broken_texts([out.text for out in outs], full, run.lm, nll_limit=limit)
        run.progress.advance(len(full))
        found = regime_of(broken.tolist())
        looped = texts.loc[broken, "scenario"].tolist()
        return store.json_bytes({**asdict(found), "share": found.share, "rule": matched["rule"], "scenarios": looped})

    return read_regime(run.artifacts.obtain(run.paths.decoding(), matched, compute))


def reference(run: Run, part: Part | None = None) -> pd.DataFrame:
    """Sampled, unpatched continuations of the training texts, in the sweeps' prompt format, and their likelihood."""
    params, part = run.params, part or parts(run)[0]
    data = run.data
    first = sorted(part.train)[:REFERENCE_SCENARIOS]
    texts = run.texts("train") if not part.name else data[data["scenario"].isin(first)].reset_index(drop=True)
    template = template_of(run)
    texts = texts.assign(text=[template.replace("{text}", text) for text in texts["text"]])
    matched = {
        "texts": store.digest(texts.to_dict("list")),
        "max_new_tokens": params.max_new_tokens,
        "seed": params.seed,
    }

    def compute() -> pd.DataFrame:
        run.progress.begin("fluency reference", len(texts), tokens_per_row=params.max_new_tokens)
        table = fluency_reference(
            run.lm,
            texts,
            max_new_tokens=params.max_new_tokens,
            seed=params.seed,
            batch_size=generation_batch(run, texts),
        )
        run.progress.advance(len(texts))
        return table

    return run.artifacts.table(run.paths.fluency_reference(part.file("")), matched, compute)


def template_of(run: Run, model: LanguageModel | Outlook | None = None) -> str:
    """What the sweeps continue, with the prompt in place of `{text}`.

    Args:
        model: what knows the model's tokenizer; None loads the model.

    Raises:
        UserError: the model has no chat format, or no beginning-of-sequence token, and is asked for it.
    """
    model = model or run.lm
    template = model.in_chat_format("{text}") if run.params.prompt_format == "chat" else "{text}"
    if run.params.bos == "model":
        return template
    first = model.tokenizer.bos_token
    if not first:
        raise UserError(
            f"expected a tokenizer with a beginning-of-sequence token, {shown(run.params.model)} has none; "
            "use bos=model"
        )
    return template if template.startswith(first) else first + template


def prompt_template(run: Run, request: str = "") -> str:
    """The model's chat format around one message of the user.

    Raises:
        UserError: the model has no chat format.
    """
    return run.lm.in_chat_format("{text}" + request)
