"""What patched heads do to given texts: the trials of Phase 6b, and what they come to."""

from __future__ import annotations

import pandas as pd

from emolib.circuits.head_conditions import PATCHES, TARGETS, HeadCondition, standard_conditions
from emolib.circuits.head_effects import (
    ablation_effects,
    context_effects,
    contrast_of_sources,
    null_p_values,
    patch_effects,
    uniformity,
)
from emolib.circuits.head_patching import Trials, head_trials
from emolib.circuits.patched_heads import head_interactions
from emolib.study.phase6b_head_patching.patched_cells import cells, heads, matched, patch_settings
from emolib.study.run import Run, kept


@kept
def trials(run: Run) -> Trials:
    """m of every cell under every condition: the modes with every emotion (or in turn), all else with them in turn."""
    made: list[Trials] = []

    def measured() -> Trials:
        if not made:
            made.append(_measured(run))
        return made[0]

    described = matched(run, emotions=run.params.emotions)
    context = run.artifacts.table(run.paths.head_patching("context"), described, lambda: measured().context)
    patched = run.artifacts.table(run.paths.head_patching("trials"), described, lambda: measured().patched)
    return Trials(context, patched)


def _measured(run: Run) -> Trials:
    chosen, where = heads(run), cells(run)
    every = standard_conditions(chosen)
    first = [condition for condition in every if _is_primary(condition)]
    later = [condition for condition in every if not _is_primary(condition)]
    turn = run.params.emotions == "in_turn"
    run.progress.begin("heads", len(where) * (len(first) * (1 if turn else len(where.emotions)) + len(later)))
    whole = head_trials(run.lm, where, first, in_turn=turn)
    run.progress.advance(len(whole.patched))
    in_turn = head_trials(run.lm, where, later, in_turn=True)
    run.progress.advance(len(in_turn.patched))
    return Trials(whole.context, pd.concat([whole.patched, in_turn.patched], ignore_index=True))


def _is_primary(condition: HeadCondition) -> bool:
    return condition.source == "same" and condition.extent == "whole" and condition.mode in PATCHES


def context_table(run: Run) -> pd.DataFrame:
    """The context's effect on m, which heads are to explain; see `head_effects.context_effects`."""
    return context_effects(trials(run), n_resamples=run.params.n_resamples, seed=run.params.seed)


@kept
def effect_table(run: Run) -> pd.DataFrame:
    """Δ of every condition and its share of the context's effect; see `head_effects.patch_effects`."""
    return patch_effects(trials(run), n_resamples=run.params.n_resamples, seed=run.params.seed)


def ablation_table(run: Run) -> pd.DataFrame:
    """What ablated heads take of the context's effect; see `head_effects.ablation_effects`."""
    return ablation_effects(trials(run), n_resamples=run.params.n_resamples, seed=run.params.seed)


def source_table(run: Run) -> pd.DataFrame:
    """What one source carries beyond another; see `head_effects.contrast_of_sources`.

    Returns:
        contrast (`emotion`: another scenario's emotional less another scenario's neutral text; `kind`: the own emotion
        less another emotion of the same scenario), and the columns of `contrast_of_sources`.
    """
    found = []
    for name, (one, other) in {
        "emotion": ("same_emotion", "neutral"),
        "kind": ("same_emotion", "other_emotion"),
    }.items():
        table = contrast_of_sources(trials(run), one, other, n_resamples=run.params.n_resamples, seed=run.params.seed)
        found.append(table[table["target"] == TARGETS[0]].assign(contrast=name))
    return pd.concat(found, ignore_index=True)


def null_table(run: Run) -> tuple[pd.DataFrame, dict[str, float]]:
    """A/A: p of every head, mode and emotion between two neutral sources, and whether they are uniform."""
    table = null_p_values(trials(run))
    return table, uniformity(table["p_t"].to_numpy())


def interaction_table(run: Run) -> pd.DataFrame:
    """Δ(AB) − Δ(A) − Δ(B) of every pair, and its rank among random pairs; see `patched_heads.head_interactions`."""
    settings = patch_settings(run)
    described = matched(
        run, n_null=settings.n_null, n_candidates=settings.n_candidates, n_resamples=settings.n_resamples
    )
    return run.artifacts.table(
        run.paths.head_patching("interactions"),
        described,
        lambda: head_interactions(run.lm, cells(run), heads(run), settings),
    )
