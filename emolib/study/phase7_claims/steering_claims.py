"""The claims about steering, by Phase 5's own numbers, and their rank p corrected for how many are looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from emolib.statistics import intervals
from emolib.steering.effects import control_counts, control_effects, effects, value_of
from emolib.steering.findings import findings
from emolib.study.phase7_claims.claim_sources import places, stored, test_sweep
from emolib.study.phase7_claims.vector_claims import claim_row
from emolib.study.run import Run

JUDGED = (
    *("value", "low", "high", "reference", "n", "rank_p", "rank_bar", "n_controls", "degenerate", "met"),
    *("n_nonzero", "p_sign", "p_flip"),
)


def steering_claims(run: Run, model: str) -> list[dict[str, Any]]:
    """Each emotion × measure: Phase 5's own numbers, and the rank p corrected for how many are looked at."""
    path = places(run, model).sweep("claims")
    table, sweep = stored(run, path), test_sweep(run, model)
    corrected = corrected_ranks(sweep, list(zip(table["emotion"], table["metric"], strict=True))).to_dict("records")
    found = findings(table, sweep, smallest_d=run.params.smallest_d).to_dict("records")
    rows = []
    for at, over_all in zip(found, corrected, strict=True):
        row = claim_row("steering", model, at["emotion"], at["metric"], path, "phase5")
        rows.append(row | {name: at[name] for name in JUDGED} | over_all)
    return rows


def corrected_ranks(sweep: pd.DataFrame, cells: list[tuple[str, str]]) -> pd.DataFrame:
    """The worst control family's rank p of every (emotion, measure), against the largest over all of them.

    Each direction's effects are studentised, then its largest is compared (Westfall & Young 1993): what is left is
    corrected for the number of emotions and measures. Cells whose own effect is degenerate (`statistics.is_degenerate`)
    take no part: where next to nothing moves, one word in one text is many standard deviations.

    Returns:
        Per cell: max_p (NaN where left out, or without control directions), max_family (the family whose p it is; of
        equals that with the larger maximum), max_at and max_z (the measure at which the largest effect of any of that
        family's directions lies, and that effect in standard deviations), max_left_out.
    """
    kept = [number for number, cell in enumerate(cells) if not _hardly_moves(sweep, *cell)]
    found: list[dict[str, Any]] = [
        {"max_p": np.nan, "max_family": None, "max_at": None, "max_z": np.nan, "max_left_out": number not in kept}
        for number in range(len(cells))
    ]
    for family in control_counts(sweep) if kept else ():
        chosen = [cells[number] for number in kept]
        own = np.array([effects(sweep, "emotion", emotion, metric).mean() for emotion, metric in chosen])
        drawn = [control_effects(sweep, emotion, metric, family=family) for emotion, metric in chosen]
        own, nulls = intervals.studentise(own, pd.concat(drawn, axis=1).dropna().to_numpy())
        place = int(np.unravel_index(nulls.argmax(), nulls.shape)[1])
        at = {"max_family": family, "max_at": chosen[place][1], "max_z": float(nulls.max())}
        for number, p in zip(kept, intervals.max_statistic_p(own, nulls), strict=True):
            before = found[number]
            if before["max_family"] is None or (p, at["max_z"]) > (before["max_p"], before["max_z"]):
                found[number] = {**before, "max_p": float(p), **at}
    return pd.DataFrame(found)


def _hardly_moves(sweep: pd.DataFrame, emotion: str, metric: str) -> bool:
    """Whether the effect of an emotion's own vector is degenerate, beside the unpatched texts' spread."""
    base = sweep[sweep["kind"] == "baseline"]
    spread = value_of(base, metric).groupby(base["scenario"]).mean().std(ddof=1)
    own = effects(sweep, "emotion", emotion, metric).to_numpy()
    return bool(intervals.is_degenerate(own[None], np.array([spread]))[0])
