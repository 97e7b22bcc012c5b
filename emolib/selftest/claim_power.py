"""How often the loop claims what was planted, by the size of the effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from emolib.directions.controls import FAMILIES
from emolib.selftest.calibration import effect_of_size, sizes_over_grid
from emolib.selftest.loop import LEVEL, MEASURES, N_CONTROLS, Design, run_loop
from emolib.selftest.planted.planting import Form
from emolib.selftest.processes import Mapping, one_by_one

N_MODELS = 3
DATA_SEEDS = 100_000  # apart from those of null data sets
CONDITIONS = ("t_test", "interval", *FAMILIES, "claim")


def claim_power(
    form: Form, sizes: Sequence[float], *, repeats: int, seed: int = 0, mapped: Mapping = one_by_one
) -> pd.DataFrame:
    """Share of data sets that pass each condition of a claim, per size of the planted effect.

    Every data set asks about one emotion of one of three models, the nine in turn; that model's `effect` is the one
    at which this emotion's specific difference (its own vector against the others') has the wanted d_z over scenarios.

    Args:
        sizes: wanted d_z, with 24 test scenarios.

    Returns:
        One row per size: d_z, measured (mean over the nine of mean / sd of all their data sets' differences), n, and
        the share that passes t_test (two-sided paired t test at 5 %, in the right direction), interval (BCa, above 0),
        each control family's rank p, and claim (all but the t test).
    """
    grid = sizes_over_grid(form, range(seed, seed + N_MODELS), mapped)
    asked = [
        (Design(form, model_seed, data_seed, effect=effect_of_size(d_z, grid[model_seed, emotion])), emotion, d_z)
        for d_z in sizes
        for model_seed, emotion, data_seed in _questions(repeats, seed)
    ]
    table = pd.DataFrame(mapped(_answer, asked))
    rows = []
    for d_z, part in table.groupby("d_z", sort=False):
        row = {"d_z": float(d_z), "measured": _measured(part), "n": repeats}
        rows.append(row | {name: float(part[name].mean()) for name in CONDITIONS})
    return pd.DataFrame(rows)


def _questions(repeats: int, seed: int) -> list[tuple[int, str, int]]:
    """Model, emotion and data seed of every repeat."""
    emotions = list(MEASURES)
    return [
        (seed + r // len(emotions) % N_MODELS, emotions[r % len(emotions)], DATA_SEEDS * (1 + seed) + r)
        for r in range(repeats)
    ]


def _answer(asked: tuple[Design, str, float]) -> dict[str, Any]:
    """What one data set says about the emotion that it is asked about."""
    design, emotion, d_z = asked
    claims = run_loop(design).claims
    row = claims[claims["emotion"] == emotion].iloc[0]
    smallest = 1 / (1 + N_CONTROLS) + 1e-9
    return {
        "d_z": d_z,
        "asked": f"{design.model_seed} {emotion}",
        "differences": row["differences"],
        "t_test": bool(row["p_t"] < LEVEL and row["vs_others"] > 0),
        "interval": bool(row["beats_others"]),
        **{family: bool(row[f"p_{family}"] <= smallest) for family in FAMILIES},
        "claim": bool(row["supported"]),
    }


def _measured(table: pd.DataFrame) -> float:
    pooled = [np.concatenate(list(part)) for _, part in table.groupby("asked")["differences"]]
    return float(np.mean([values.mean() / values.std(ddof=1) if values.any() else 0.0 for values in pooled]))


def detectable_size(table: pd.DataFrame, *, power: float = 0.8, condition: str = "claim") -> float:
    """The smallest d_z at which a condition is passed with the given power, between the sizes of `claim_power`.

    NaN where no size reaches it.
    """
    ordered = table.sort_values("measured")
    found = np.maximum.accumulate(ordered[condition].to_numpy())
    if not found[-1] >= power:
        return float("nan")
    place = int(np.argmax(found >= power))
    sizes = ordered["measured"].to_numpy()
    if place == 0:
        return float(sizes[0])
    return float(np.interp(power, found[place - 1 : place + 1], sizes[place - 1 : place + 1]))
