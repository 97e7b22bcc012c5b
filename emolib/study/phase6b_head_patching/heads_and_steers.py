"""Heads and steers: what ablated heads leave of a residual steer's S, and steering by the heads beside it.

Both ways of steering are brought to one KL of the next token, along sampled continuations of neutral validation texts,
emotion by emotion, and frozen there. What is compared then, on test texts: S, and the fluency rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.base.parameters import spread_layers
from emolib.circuits.head_conditions import head_names
from emolib.circuits.head_mediation import (
    MEAN,
    RESAMPLE,
    ZERO,
    Ablations,
    head_ablations,
    mediated_shares,
    steered_shifts,
)
from emolib.circuits.head_steers import Matched, damage_difference, head_steers, head_vectors, matched_to_kl
from emolib.data.styles import of_style
from emolib.engine.extraction import extract_activations
from emolib.engine.generation import generate
from emolib.interventions import Act, Head, Steer
from emolib.statistics.intervals import paired_effects
from emolib.study.phase3_vectors import fitting
from emolib.study.phase6b_head_patching.patched_cells import cells, heads, matched, random_heads
from emolib.study.phase6b_head_patching.patched_texts import n_samples, scored, text_seed, write
from emolib.study.run import Run, kept

N_PROMPTS, N_TOKENS = 6, 8  # neutral validation texts that strengths are matched on, tokens of each continuation
WINDOW = 3
RESIDUAL, BY_HEADS = "residual", "heads"
ALL_HEADS, RANDOM_HEADS = "all", "random"


@dataclass(frozen=True)
class Steering:
    """One way of steering an emotion, at the strength that was frozen."""

    way: str
    emotion: str
    acts: tuple[Act, ...]
    matched: Matched


@kept
def steer_layer(run: Run) -> int:
    """The layer of the residual steer."""
    given = run.params.steer_layer
    return spread_layers(run.lm.n_layers, 1)[0] if given is None else given


@kept
def steered_heads(run: Run) -> tuple[Head, ...]:
    """The first heads, five at most."""
    return heads(run)[: run.params.n_steered]


@kept
def _vectors(run: Run) -> dict[str, dict[str, object]]:
    """Per emotion its residual vector and its vectors of the steered heads, from the same training texts."""
    params, chosen = run.params, steered_heads(run)
    train = run.texts("train")
    train = train[of_style(train, params.vector_style)]
    layers = sorted({layer for layer, _ in chosen})
    acts = extract_activations(
        run.lm, train, sites=("z",), positions="mean", layers=layers, batch_size=params.extraction_batch
    )
    of_heads = head_vectors(acts, chosen, neutral=params.neutral)
    residual = fitting.vectors(run, "mean", style=params.vector_style)
    return {name: {RESIDUAL: residual[name][steer_layer(run)], BY_HEADS: of_heads[name]} for name in run.emotions}


def _acts(run: Run, emotion: str, way: str, factor: float) -> tuple[Act, ...]:
    vector = _vectors(run)[emotion][way]
    if way == RESIDUAL:
        return (Steer(steer_layer(run), vector, factor, unit="vector", window=WINDOW),)  # type: ignore[arg-type]
    return head_steers(vector, factor, window=WINDOW)  # type: ignore[arg-type]


def _described(run: Run) -> dict[str, object]:
    params = run.params
    numbers = [
        [
            np.asarray(_vectors(run)[name][RESIDUAL].values).tolist(),
            [v.tolist() for v in _vectors(run)[name][BY_HEADS].values()],
        ]  # type: ignore[attr-defined, union-attr]
        for name in run.emotions
    ]
    return {"vectors": store.digest(numbers), "layer": steer_layer(run), "kl": params.match_kl, "window": WINDOW}


@kept
def strength_table(run: Run) -> pd.DataFrame:
    """The factors at which both ways change the next token as much as `match_kl` says: way, emotion, factor, kl.

    The factor multiplies the raw mean difference (of the stream; of each head's output); NaN where none reaches it.
    """
    described = {**matched(run), **_described(run), "n": [N_PROMPTS, N_TOKENS], "seed": run.params.seed}
    return run.artifacts.table(run.paths.head_patching("strengths"), described, lambda: _strengths(run))


def _strengths(run: Run) -> pd.DataFrame:
    prompts = run.neutral_prompts("validation")["text"].tolist()[:N_PROMPTS]
    seeds = [run.params.seed + number for number in range(len(prompts))]
    outs = generate(run.lm, prompts, max_new_tokens=N_TOKENS, temperature=0.7, seeds=seeds)
    long = [i for i, out in enumerate(outs) if len(out.token_ids) >= 3]
    given = [prompts[i] for i in long], [outs[i].token_ids for i in long]
    rows = []
    for emotion in run.emotions:
        for way in (RESIDUAL, BY_HEADS):
            found = matched_to_kl(
                run.lm, lambda factor, e=emotion, w=way: _acts(run, e, w, factor), *given, kl=run.params.match_kl
            )
            rows.append({"way": way, "emotion": emotion, "factor": found.factor, "kl": found.kl})
    return pd.DataFrame(rows)


@kept
def steerings(run: Run) -> dict[str, dict[str, tuple[Act, ...]]]:
    """way → emotion → acts at the frozen strength; a way that some emotion's vector does not reach is left out."""
    table = strength_table(run)
    found: dict[str, dict[str, tuple[Act, ...]]] = {}
    for way, part in table.groupby("way", sort=False):
        if part["factor"].notna().all():
            factors = part.set_index("emotion")["factor"]
            found[str(way)] = {name: _acts(run, name, str(way), float(factors[name])) for name in run.emotions}
    return found


# S under both, and with heads ablated


@kept
def steered_table(run: Run) -> pd.DataFrame:
    """S of every cell under both ways, and under the residual steer with heads ablated.

    Returns:
        way, and the columns of `emolib.circuits.head_mediation.steered_shifts`; without rows where S cannot be had.
    """
    described = {**matched(run), **_described(run), "random": [list(head) for head in random_heads(run)]}
    described |= {"strengths": store.digest(strength_table(run).fillna(-1.0).round(9).to_dict("list"))}
    described |= {"kinds": [RESAMPLE, MEAN, ZERO]}
    return run.artifacts.table(run.paths.head_patching("steered"), described, lambda: _steered(run))


COLUMNS = ["way", "ablation", "prompt", "text", "style", "layer", "alpha", "emotion", "other", "specific"]


def _steered(run: Run) -> pd.DataFrame:
    if len(run.emotions) < 2:
        return pd.DataFrame(columns=COLUMNS)
    parts = []
    for way, steers in steerings(run).items():
        ablations = _ablations(run) if way == RESIDUAL else {}
        run.progress.begin(f"S by {way}", len(cells(run)))
        parts.append(steered_shifts(run.lm, cells(run), steers, ablations).assign(way=way))
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _ablations(run: Run) -> Ablations:
    """Resample ablation of every head, of all, and of as many random ones; of all by mean and zero beside it."""
    chosen, others = heads(run), random_heads(run)
    sets = {head_names([head]): (head,) for head in chosen} if len(chosen) > 1 else {}
    sets |= {ALL_HEADS: chosen} | ({RANDOM_HEADS: others} if others else {})
    found = head_ablations(run.lm, cells(run), sets)
    return found | head_ablations(run.lm, cells(run), {ALL_HEADS: chosen}, kinds=(MEAN, ZERO))


def mediation_table(run: Run) -> pd.DataFrame:
    """The share of the residual steer's S that ablations take; see `emolib.circuits.head_mediation.mediated_shares`."""
    table = steered_table(run)
    mine = table[table["way"] == RESIDUAL]
    if mine.empty:
        return pd.DataFrame()
    return mediated_shares(mine, n_resamples=run.params.n_resamples, seed=run.params.seed)


def way_table(run: Run) -> pd.DataFrame:
    """S of both ways, a mean over the other labels within each scenario, and their difference (heads less residual).

    Returns:
        emotion, n, s_residual, s_heads, difference, ci_low, ci_high, d_z, p_t, degenerate; without rows where one of
        the ways was left out.
    """
    table = steered_table(run)
    plain = table[table["ablation"] == "with"]
    if set(plain["way"]) != {RESIDUAL, BY_HEADS}:
        return pd.DataFrame()
    wide = plain.pivot_table(index=["emotion", "way"], columns="text", values="specific", sort=False)
    rows = []
    for emotion in dict.fromkeys(plain["emotion"]):
        by_heads, residual = (wide.loc[(emotion, way)].to_numpy(float) for way in (BY_HEADS, RESIDUAL))
        found = paired_effects(
            (by_heads - residual)[None], n_resamples=run.params.n_resamples, seed=run.params.seed
        ).iloc[0]
        row = {"emotion": emotion, "n": int(found["n"]), "s_residual": residual.mean(), "s_heads": by_heads.mean()}
        row |= {"difference": found["mean"]}
        rows.append({**row, **{name: found[name] for name in ("ci_low", "ci_high", "d_z", "p_t", "degenerate")}})
    return pd.DataFrame(rows)


# what it costs


@kept
def steered_texts(run: Run) -> pd.DataFrame:
    """Texts under both ways after neutral test prompts, with every metric and the fluency rule.

    Returns:
        way, emotion, scenario (of the prompt), sample, prompt, text, the metrics, `fluency/nll` and `fluency/broken`.
    """
    params = run.params
    described = {**matched(run), **_described(run), "max_new_tokens": params.max_new_tokens, "seed": params.seed}
    described |= {"temperature": params.temperature, "top_p": params.top_p, "n_samples": params.n_samples}
    described |= {"strengths": store.digest(strength_table(run).fillna(-1.0).round(9).to_dict("list"))}
    described |= {"backend": params.backend}
    return run.artifacts.table(run.paths.head_patching("steered_texts"), described, lambda: _written(run))


def _written(run: Run) -> pd.DataFrame:
    prompts = run.neutral_prompts("test").head(run.params.n_texts)
    rows, acts, seeds = [], [], []
    for way, steers in steerings(run).items():
        for emotion, act in steers.items():
            for number, (scenario, prompt) in enumerate(zip(prompts["scenario"], prompts["text"], strict=True)):
                for sample in range(n_samples(run)):
                    place = {"way": way, "emotion": emotion, "scenario": scenario, "sample": sample, "prompt": prompt}
                    rows.append(place)
                    acts.append(act)
                    seeds.append(text_seed(run, number, sample))
    if not rows:
        return pd.DataFrame()
    run.progress.begin("steered texts", len(rows))
    texts, nll = write(run, [str(row["prompt"]) for row in rows], acts, seeds)
    return scored(run, pd.DataFrame(rows).assign(text=texts), nll)


def damage_table(run: Run) -> pd.DataFrame:
    """Broken shares and likelihoods of both ways; see `emolib.circuits.head_steers.damage_difference`."""
    table = steered_texts(run)
    if table.empty or set(table["way"]) != {RESIDUAL, BY_HEADS}:
        return pd.DataFrame()
    named = table.rename(columns={"fluency/broken": "broken", "fluency/nll": "nll"})
    about = named[["way", "emotion", "scenario", "broken", "nll"]]
    return damage_difference(about, n_resamples=run.params.n_resamples, seed=run.params.seed)
