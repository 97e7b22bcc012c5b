"""Two heads at once: Δ(AB) − Δ(A) − Δ(B) on the log-probability scale, and what random pairs of equal effect show.

On the scale of probabilities two heads that do not know each other seem to interact, since probabilities saturate; log
probabilities do so less. What is left of it is in the null: random pairs of other heads whose single effects are as
near to those of the pair as any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.circuits.head_conditions import HeadCondition, head_names
from emolib.circuits.head_patching import Trials
from emolib.interventions import Head
from emolib.statistics.intervals import ROUNDING, paired_effects

Pair = tuple[Head, Head]
COLUMNS = ["pair", "n", "mean", "sd", "d_z", "ci_low", "ci_high", "p_t", "degenerate"]


def pairs_of(heads: Sequence[Head], *, most: int = 10) -> list[Pair]:
    """Every pair of heads, the first ones first.

    >>> pairs_of([(3, 5), (7, 2), (9, 0)], most=2)
    [((3, 5), (7, 2)), ((3, 5), (9, 0))]
    """
    return list(combinations(dict.fromkeys(heads), 2))[:most]


def single_conditions(heads: Sequence[Head], mode: str = "result") -> list[HeadCondition]:
    """Each head alone: emotion → neutral, the same scenario's source."""
    return [HeadCondition((head,), mode, "neutral") for head in heads]


def pair_conditions(pairs: Sequence[Pair], mode: str = "result") -> list[HeadCondition]:
    """Both heads of each pair at once, in the same way."""
    return [HeadCondition(tuple(pair), mode, "neutral") for pair in pairs]


def interactions(
    trials: Trials, pairs: Sequence[Pair], *, mode: str = "result", n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Δ(AB) − Δ(A) − Δ(B) of each pair, a mean over the emotions within each scenario.

    Args:
        trials: with the conditions of `single_conditions` and `pair_conditions` of these pairs.

    Returns:
        pair, n, mean (nat per token), sd, d_z, ci_low, ci_high, p_t, degenerate; delta_a, delta_b and delta_ab, their
        means.

    Raises:
        UserError: trials that lack one of the conditions.
    """
    wide = _wide(trials, mode)
    rows, differences = [], []
    for pair in pairs:
        names = [head_names([pair[0]]), head_names([pair[1]]), head_names(pair)]
        missing = [name for name in names if name not in wide.index]
        if missing:
            raise UserError(f"expected trials of {', '.join(names)} by {mode}, there are none of {missing[0]}")
        a, b, both = (wide.loc[name].to_numpy(float) for name in names)
        differences.append(both - a - b)
        rows.append({"pair": names[2], "delta_a": a.mean(), "delta_b": b.mean(), "delta_ab": both.mean()})
    if not rows:
        return pd.DataFrame(columns=[*COLUMNS, "delta_a", "delta_b", "delta_ab"])
    found = paired_effects(np.array(differences), n_resamples=n_resamples, seed=seed)
    table = pd.concat([pd.DataFrame(rows), found], axis=1)
    return table[[*COLUMNS, "delta_a", "delta_b", "delta_ab"]]


def nearest_pairs(singles: Mapping[Head, float], wanted: Sequence[tuple[float, float]], count: int) -> list[Pair]:
    """Pairs of other heads whose single effects are nearest to those of any wanted pair.

    Args:
        singles: mean Δ of every candidate head.
        wanted: the single effects of the pairs that are tested.
        count: how many pairs at most; each once.

    >>> nearest_pairs({(1, 0): 0.1, (1, 1): 0.5, (2, 0): 0.11, (2, 1): -0.2}, [(0.1, 0.1)], 1)
    [((1, 0), (2, 0))]
    """
    ranked: list[tuple[float, Head, Head]] = []
    for one, other in combinations(singles, 2):
        here = np.sort([singles[one], singles[other]])
        distance = min(float(np.abs(np.sort(pair) - here).sum()) for pair in wanted)
        ranked.append((distance, one, other))
    return [(one, other) for _, one, other in sorted(ranked)[:count]]


def with_null(found: pd.DataFrame, null: pd.DataFrame) -> pd.DataFrame:
    """The interactions with their rank among those of random pairs.

    Args:
        found, null: as `interactions` gives them, of the tested pairs and of random pairs of like single effects.

    Returns:
        found with p_null = (1 + #{|null| ≥ |mean|}) / (1 + N), null_sd and n_null; NaN without random pairs.
    """
    sizes = null["mean"].abs().to_numpy(float)
    mine = found["mean"].abs().to_numpy(float)
    if not len(sizes):
        return found.assign(p_null=np.nan, null_sd=np.nan, n_null=0)
    p = (1 + (sizes >= mine[:, None] - ROUNDING).sum(axis=1)) / (1 + len(sizes))
    return found.assign(p_null=p, null_sd=float(null["mean"].std(ddof=0)), n_null=len(sizes))


def single_means(trials: Trials, heads: Sequence[Head], *, mode: str = "result") -> dict[Head, float]:
    """Mean Δ of each head alone."""
    wide = _wide(trials, mode)
    return {head: float(wide.loc[head_names([head])].to_numpy(float).mean()) for head in heads}


def _wide(trials: Trials, mode: str) -> pd.DataFrame:
    """Δ by heads and scenario, emotion → neutral, a mean over the emotions."""
    table = trials.patched
    some = table[
        (table["mode"] == mode)
        & (table["target"] == "neutral")
        & (table["source"] == "same")
        & (table["extent"] == "whole")
    ]
    return some.pivot_table(index="heads", columns="text", values="delta", aggfunc="mean")
