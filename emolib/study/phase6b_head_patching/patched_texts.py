"""Texts written while heads are patched, beside the unpatched ones: every metric, the words that differ; secondary."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.circuits.head_conditions import LONG, TARGETS, shared_window
from emolib.engine.read_generation import generate_and_read
from emolib.engine.sampling import Decoding
from emolib.interventions import Intervention, PatchHead, record_heads
from emolib.models.tokens import encode
from emolib.scoring.fluency import fluency_reference, nll_limit, score_fluency
from emolib.statistics.intervals import paired_effects
from emolib.study.phase6b_head_patching.patched_cells import cells, heads, matched
from emolib.study.run import Run, kept

MODE = "v_only"  # reads the source's values while the text is written; the others would hold its last output
BASELINE, PATCHED = "baseline", "patched"
WRITTEN = ["kind", "target", "emotion", "scenario", "sample", "prompt", "text"]
NOT_METRICS = frozenset((*WRITTEN, "fluency/broken"))


@kept
def limit(run: Run) -> float:
    """The likelihood beyond which a text is broken: of sampled, unpatched continuations of the run's training texts."""
    params, texts = run.params, run.texts("train")
    described = {"texts": texts["text"].tolist(), "max_new_tokens": params.max_new_tokens, "seed": params.seed}
    reference = run.artifacts.table(
        run.paths.head_patching("fluency_reference"),
        described,
        lambda: fluency_reference(run.lm, texts, max_new_tokens=params.max_new_tokens, seed=params.seed),
    )
    return nll_limit(reference)


@dataclass(frozen=True)
class _Row:
    """One text to write, and the act under which it is."""

    place: dict[str, object]
    act: Intervention
    seed: int


@kept
def texts(run: Run) -> pd.DataFrame:
    """Every prompt continued unpatched and with all heads patched at once, with every metric of the run's scorers.

    Returns:
        `WRITTEN` (scenario: the context's), the metrics, `fluency/nll` and `fluency/broken`.
    """
    params = run.params
    described = matched(run, mode=MODE, max_new_tokens=params.max_new_tokens, temperature=params.temperature)
    described |= {"top_p": params.top_p, "n_samples": params.n_samples, "seed": params.seed, "backend": params.backend}
    described |= {"limit": limit(run)}
    return run.artifacts.table(run.paths.head_patching("texts"), described, lambda: _written(run))


def _written(run: Run) -> pd.DataFrame:
    rows = _rows(run)
    run.progress.begin("texts", len(rows))
    table, nll = write(
        run, [str(row.place["prompt"]) for row in rows], [row.act for row in rows], [r.seed for r in rows]
    )
    placed = pd.DataFrame([row.place for row in rows]).assign(text=table)
    return scored(run, placed[WRITTEN], nll)


def write(
    run: Run, prompts: Sequence[str], acts: Sequence[Intervention], seeds: Sequence[int]
) -> tuple[list[str], np.ndarray]:
    """Continuations by the run's decoding, and their mean negative log-likelihood under the unpatched model."""
    params = run.params
    decoding = Decoding(params.max_new_tokens, params.temperature, params.top_p)
    given = None if params.temperature == 0 else list(seeds)
    outs, nll = generate_and_read(run.lm, list(prompts), list(acts), decoding=decoding, seeds=given)
    return [out.text for out in outs], nll


def scored(run: Run, placed: pd.DataFrame, nll: np.ndarray) -> pd.DataFrame:
    """Texts (columns prompt, text) with every metric."""
    fluency = score_fluency(placed["text"].tolist(), placed["prompt"].tolist(), run.lm, nll_limit=limit(run), nll=nll)
    return pd.concat([run.scored(placed), fluency], axis=1)


def n_samples(run: Run) -> int:
    """Texts per prompt: one where they are greedy."""
    return 1 if run.params.temperature == 0 else run.params.n_samples


def _rows(run: Run) -> list[_Row]:
    where, patches, rows = cells(run), _patches(run), list[_Row]()
    seen: set[tuple[str, int]] = set()
    for cell in range(len(where)):
        scenario = where.table["third"].iloc[cell]
        for emotion in where.emotions:
            for target in TARGETS:
                label = where.neutral if target == "neutral" else emotion
                prompt = where.prompt(cell, "third", label)
                for sample in range(n_samples(run)):
                    seed = text_seed(run, cell, sample)
                    place = {"target": target, "scenario": scenario, "sample": sample, "prompt": prompt}
                    if (prompt, sample) not in seen:
                        seen.add((prompt, sample))
                        own = "" if target == "neutral" else emotion  # one neutral text for all emotions
                        rows.append(_Row({**place, "kind": BASELINE, "emotion": own}, None, seed))
                    act = patches[cell, emotion, target]
                    rows.append(_Row({**place, "kind": PATCHED, "emotion": emotion}, act, seed))
    return rows


def _patches(run: Run) -> dict[tuple[int, str, str], Intervention]:
    """Per cell, emotion and target all heads at once, from the other context of the same scenario."""
    where, lm, chosen = cells(run), run.lm, heads(run)
    labels = (where.neutral, *where.emotions)
    prompts = {(cell, label): where.prompt(cell, "third", label) for cell in range(len(where)) for label in labels}
    distinct = list(dict.fromkeys([*prompts.values(), *(where.bare_prompt(cell) for cell in range(len(where)))]))
    lengths = dict(zip(distinct, map(len, encode(lm, distinct, name="prompts")), strict=True))
    sources = list(dict.fromkeys(prompts.values()))
    records = dict(zip(sources, record_heads(lm, sources, chosen), strict=True))
    found: dict[tuple[int, str, str], Intervention] = {}
    for cell in range(len(where)):
        bare = lengths[where.bare_prompt(cell)]
        for emotion in where.emotions:
            neutral, emotional = prompts[cell, where.neutral], prompts[cell, emotion]
            for target, (into, source) in {"neutral": (neutral, emotional), "emotional": (emotional, neutral)}.items():
                window = shared_window(lengths, bare, into, source)
                found[cell, emotion, target] = tuple(
                    PatchHead(*head, records[source], MODE, window, steps=LONG - 1) for head in chosen
                )
    return found


def text_seed(run: Run, cell: int, sample: int) -> int:
    """The seed of a text, the same under every act."""
    return int(np.random.SeedSequence([run.params.seed, 62, cell, sample]).generate_state(1)[0])


def metric_table(run: Run) -> pd.DataFrame:
    """Every metric, unpatched and patched, samples averaged within the scenario of the context.

    Returns:
        target, emotion, metric, n, baseline, patched, difference, ci_low, ci_high, d_z, p_t, p_wilcoxon, degenerate.
    """
    table = texts(run)
    metrics = [name for name in table if name not in NOT_METRICS and pd.api.types.is_numeric_dtype(table[name])]
    rows = []
    for (target, emotion), part in table[table["kind"] == PATCHED].groupby(["target", "emotion"], sort=False):
        before = table[(table["kind"] == BASELINE) & (table["target"] == target)]
        before = before[before["emotion"].isin(["", emotion])]
        sides = [side.groupby("scenario")[metrics].mean() for side in (before, part)]
        base, after = (side.reindex(sides[1].index) for side in sides)
        effects = paired_effects(
            (after - base).T.to_numpy(float),
            baseline_sd=base.std(ddof=1).fillna(0.0).to_numpy(float),
            n_resamples=run.params.n_resamples,
            seed=run.params.seed,
        )
        about = {"target": target, "emotion": emotion, "metric": metrics}
        means = {"baseline": base.mean().to_numpy(), "patched": after.mean().to_numpy()}
        rows.append(pd.DataFrame(about).assign(**means).join(effects.rename(columns={"mean": "difference"})))
    columns = ["target", "emotion", "metric", "n", "baseline", "patched", "difference", "ci_low", "ci_high", "d_z"]
    return pd.concat(rows, ignore_index=True)[[*columns, "p_t", "p_wilcoxon", "degenerate"]]


def pairs_of_texts(run: Run) -> pd.DataFrame:
    """Unpatched and patched texts beside each other, in a fixed order: one per emotion and target, then the rest.

    Returns:
        target, emotion, scenario, prompt, before, after, and likeness (0 to 1, of their words).
    """
    table = texts(run)
    first = table[table["sample"] == 0]
    base = first[first["kind"] == BASELINE].drop_duplicates(["prompt"]).set_index("prompt")["text"]
    patched = first[first["kind"] == PATCHED]
    found = patched.assign(before=patched["prompt"].map(base), after=patched["text"])
    found["likeness"] = [likeness(*pair) for pair in zip(found["before"], found["after"], strict=True)]
    order = found.groupby(["target", "emotion"], sort=False).cumcount()
    ordered = found.assign(order=order).sort_values(["order", "target", "emotion"], kind="stable")
    return ordered[["target", "emotion", "scenario", "prompt", "before", "after", "likeness"]].reset_index(drop=True)


def likeness(one: str, other: str) -> float:
    """How much of two texts' words is the same, in order: 1 for equal texts.

    >>> likeness("a b c d", "a b x d"), likeness("a", "a")
    (0.75, 1.0)
    """
    return difflib.SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()


def differences(one: str, other: str) -> list[tuple[str, bool]]:
    """The other text in parts, each with whether it differs from the one.

    >>> differences("a b c", "a x c")
    [('a', False), ('x', True), ('c', False)]
    """
    words = other.split()
    matcher = difflib.SequenceMatcher(None, one.split(), words, autojunk=False)
    parts = [
        (" ".join(words[start:stop]), kind != "equal")
        for kind, _, _, start, stop in matcher.get_opcodes()
        if stop > start
    ]
    return parts
