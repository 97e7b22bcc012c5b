"""What the steers do at the reported point on prompts of minimal pairs, and on those of other scenarios. Exploratory:
nothing is chosen or judged by it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from emolib.data.minimal_pairs import PairKinds, pair_kinds
from emolib.statistics.intervals import bootstrap_mean
from emolib.study.phase5_steering.results import prompt_effects
from emolib.study.run import Run

COLUMNS = ("emotion", "metric", "texts", "n", "effect", "low", "high")


@dataclass(frozen=True)
class PairEffects:
    """The test scenarios by kind, and the effects in each.

    Attributes:
        kinds: of the test scenarios.
        table: the columns of `COLUMNS`; empty unless there are both kinds.
    """

    kinds: PairKinds
    table: pd.DataFrame


def minimal_pair_effects(run: Run) -> PairEffects:
    """The effect of each emotion's own vector on the test prompts, for minimal pairs and for other scenarios.

    Returns:
        Per emotion and measure, texts (`minimal` or `other`): n scenarios, the mean effect (patched minus unpatched,
        broken texts as 0) and its 95 % BCa interval over scenarios, NaN where there are too few or they
        hardly vary.
    """
    effects = prompt_effects(run)
    kinds = pair_kinds(run.data, effects["scenario"])
    rows = []
    if kinds.code == "both":
        for (emotion, metric), part in effects.groupby(["emotion", "metric"], sort=False):
            for texts, scenarios in (("minimal", kinds.minimal), ("other", kinds.other)):
                found = _effect(run, part.loc[part["scenario"].isin(scenarios), "effect"])
                rows.append({"emotion": emotion, "metric": metric, "texts": texts, **found})
    return PairEffects(kinds, pd.DataFrame(rows, columns=list(COLUMNS)))


def _effect(run: Run, effects: pd.Series) -> dict[str, float]:
    if len(effects) < 2:
        return {"n": len(effects), "effect": float(effects.mean()), "low": float("nan"), "high": float("nan")}
    found = bootstrap_mean(effects.to_numpy(), n_resamples=run.params.n_resamples, seed=run.params.seed)
    return {"n": found.n, "effect": found.mean, "low": found.low, "high": found.high}
