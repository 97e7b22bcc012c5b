"""`emolib.patch_heads`: the whole of a head patching on given texts, as tidy tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.base.signatures import told
from emolib.circuits.context_cells import ContextCells, context_cells
from emolib.circuits.head_choices import choose_heads
from emolib.circuits.head_conditions import ABLATIONS, PATCHES, SOURCES, standard_conditions
from emolib.circuits.head_effects import ablation_effects, context_effects, null_p_values, patch_effects
from emolib.circuits.head_interactions import (
    interactions,
    nearest_pairs,
    pair_conditions,
    pairs_of,
    single_conditions,
    single_means,
    with_null,
)
from emolib.circuits.head_patching import Trials, head_trials
from emolib.interventions import Head, check_heads
from emolib.models.language_model import LanguageModel, checked_model
from emolib.steering.shift_tables import check_columns


@dataclass(frozen=True)
class PatchSettings:
    """What a head patching tries.

    Attributes:
        modes, sources, ablations: of `emolib.circuits.head_conditions`.
        long: whether one token is held against thirty.
        n_pairs: pairs of the heads whose interaction is looked at, at most; 0: none.
        n_null: random pairs of equal single effects that an interaction is held against.
        n_candidates: other heads of the same layers from which these pairs are made.
        n_resamples, seed: of intervals and draws.

    Raises:
        UserError: an unknown mode, source or ablation, or a number out of range.
    """

    modes: tuple[str, ...] = PATCHES
    sources: tuple[str, ...] = SOURCES
    ablations: tuple[str, ...] = ABLATIONS
    long: bool = True
    n_pairs: int = 10
    n_null: int = 19
    n_candidates: int = 8
    n_resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        for names, known, what in (
            (self.modes, PATCHES, "mode"),
            (self.sources, SOURCES, "source"),
            (self.ablations, ABLATIONS, "ablation"),
        ):
            for name in names:
                arguments.one_of(what, name, known)
        for name in ("n_pairs", "n_null", "n_candidates", "seed"):
            arguments.whole_number(name, getattr(self, name), least=0)
        arguments.whole_number("n_resamples", self.n_resamples, least=1)


DEFAULT = PatchSettings()


@dataclass(frozen=True)
class HeadPatching:
    """What came out; Δ in nat per token, shares of the context's effect on m.

    Attributes:
        heads: those that were patched.
        context: the effect that is to be explained, by emotion (`head_effects.context_effects`).
        effects: Δ of every condition (`head_effects.patch_effects`).
        ablations: what is lost of the context's effect (`head_effects.ablation_effects`).
        null_p: A/A, p values of two neutral sources (`head_effects.null_p_values`); empty without these sources.
        interactions: of pairs of heads, with their rank among random pairs (`head_interactions`).
        trials: cell by cell.
    """

    heads: tuple[Head, ...]
    context: pd.DataFrame
    effects: pd.DataFrame
    ablations: pd.DataFrame
    null_p: pd.DataFrame
    interactions: pd.DataFrame
    trials: Trials = field(repr=False)


@told
def patch_heads(
    lm: LanguageModel,
    heads: str | Sequence[Head],
    data: pd.DataFrame,
    *,
    texts: Collection[str] | None = None,
    pool: Collection[str] | None = None,
    neutral: str = "neutral",
    ranking: pd.DataFrame | None = None,
    settings: PatchSettings = DEFAULT,
    batch_size: int | Literal["auto"] = "auto",
) -> HeadPatching:
    """How much of an emotional context's effect on the text that follows some heads take along.

    Every text follows a neutral prompt that ends with a context, an emotional text of a third scenario or that
    scenario's neutral one. Heads get what they had in another run (three modes, four sources, both directions), or are
    ablated; the change of m is told as a share of the context's own effect on it.

    Args:
        heads: `"3:5,7:2"`, ranges `"0:0-11"`, `"top:10"` of a ranking, or pairs (layer, head).
        data: columns scenario, emotion, style, text (and split, where texts or pool are left out).
        texts: scenarios whose texts follow; None: those of the split test.
        pool: scenarios of prompts and contexts; None: those of the split validation.
        ranking: of heads, needed for `top:N` alone; see `emolib.circuits.head_choices.choose_heads`.
        settings: what is tried.
        batch_size: rows at once.

    Raises:
        UserError: heads of another form or that the model does not have, `top:N` without a ranking, data without these
            columns or splits; as `emolib.circuits.context_cells.context_cells` and `emolib.continuation_shift`.

    >>> import emolib
    >>> from emolib.circuits.patched_heads import PatchSettings
    >>> lm, data = emolib.load_model("smollm2_135m", device="cpu"), emolib.load_dataset()
    >>> few = data["scenario"][data["split"] == "test"].unique()[:2]
    >>> some = PatchSettings(modes=("result",), sources=("same",), ablations=(), long=False, n_pairs=0)
    >>> found = emolib.patch_heads(lm, "12:3", data, texts=few, settings=some)
    >>> found.heads, found.effects[["heads", "mode", "target"]].drop_duplicates().values.tolist()
    (((12, 3),), [['12:3', 'result', 'neutral'], ['12:3', 'result', 'emotional']])
    """
    checked_model(lm)
    chosen = choose_heads(heads, ranking)
    check_heads(lm, chosen)
    check_columns(data, ["scenario", "emotion", "style", "text"], "data")
    arguments.instance("settings", settings, PatchSettings, "PatchSettings(…)")
    cells = context_cells(
        data,
        _of_split(data, "test") if texts is None else list(texts),
        _of_split(data, "validation") if pool is None else list(pool),
        neutral=neutral,
        seed=settings.seed,
    )
    conditions = standard_conditions(
        chosen, modes=settings.modes, sources=settings.sources, long=settings.long, ablations=settings.ablations
    )
    trials = head_trials(lm, cells, conditions, batch_size=batch_size)
    n, seed = settings.n_resamples, settings.seed
    both_nulls = {"neutral", "neutral_again"} <= set(settings.sources)
    return HeadPatching(
        chosen,
        context_effects(trials, n_resamples=n, seed=seed),
        patch_effects(trials, n_resamples=n, seed=seed),
        ablation_effects(trials, n_resamples=n, seed=seed),
        null_p_values(trials) if both_nulls else pd.DataFrame(columns=["heads", "mode", "emotion", "n", "mean", "p_t"]),
        head_interactions(lm, cells, chosen, settings, batch_size=batch_size),
        trials,
    )


def head_interactions(
    lm: LanguageModel,
    cells: ContextCells,
    heads: Sequence[Head],
    settings: PatchSettings,
    *,
    batch_size: int | Literal["auto"] = "auto",
) -> pd.DataFrame:
    """The interactions of the heads' pairs and of random pairs of equal single effects, one emotion per cell in turn.

    Returns:
        As `emolib.circuits.head_interactions.with_null`; empty with a single head or no pairs wanted.
    """
    pairs = pairs_of(heads, most=settings.n_pairs)
    if not pairs:
        return with_null(pd.DataFrame(columns=["pair", "mean"], dtype=float), pd.DataFrame({"mean": []}))
    n, seed = settings.n_resamples, settings.seed
    members = list(dict.fromkeys(head for pair in pairs for head in pair))
    others = other_heads(lm, heads, settings.n_candidates, seed=seed) if settings.n_null else []
    conditions = [*single_conditions([*members, *others]), *pair_conditions(pairs)]
    trials = head_trials(lm, cells, conditions, in_turn=True, batch_size=batch_size)
    found = interactions(trials, pairs, n_resamples=n, seed=seed)
    wanted = list(zip(found["delta_a"], found["delta_b"], strict=True))
    random = nearest_pairs(single_means(trials, others), wanted, settings.n_null)
    if not random:
        return with_null(found, pd.DataFrame({"mean": []}))
    more = head_trials(lm, cells, pair_conditions(random), in_turn=True, batch_size=batch_size)
    joined = Trials(trials.context, pd.concat([trials.patched, more.patched], ignore_index=True))
    return with_null(found, interactions(joined, random, n_resamples=n, seed=seed))


def other_heads(lm: LanguageModel, heads: Sequence[Head], count: int, *, seed: int = 0) -> list[Head]:
    """Random heads of the same layers that are none of these; fewer where there are not so many."""
    layers = sorted({layer for layer, _ in heads})
    free = [(layer, head) for layer in layers for head in range(lm.n_heads) if (layer, head) not in set(heads)]
    order = np.random.default_rng([seed, 6]).permutation(len(free))[:count]
    return [free[i] for i in sorted(order)]


def _of_split(data: pd.DataFrame, split: str) -> list[str]:
    if "split" not in data or not (data["split"] == split).any():
        raise UserError(f"expected texts of the split {split} in data, there are none; say which with texts= and pool=")
    return list(dict.fromkeys(data.loc[data["split"] == split, "scenario"]))
