"""Which `effect` gives a wanted d_z of the difference that a claim tests, for one model and one emotion.

`emolib.selftest.planted.effect_for` speaks of greedy texts against unpatched ones; a claim speaks of an emotion's own
vector against the other emotions' vectors, on sampled texts, with vectors, layer and strength that the data set
itself found. That difference is measured here, as the self-test's data sets make it but without controls, on many
test scenarios.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base.errors import UserError
from emolib.selftest.loop import Design, choose_and_test, fitted_sweep, specific_differences
from emolib.selftest.planted import Planted, planted_scenarios
from emolib.selftest.planted.planting import Form
from emolib.selftest.processes import Mapping

GRID = (0.0, 0.2, 0.4, 0.6, 0.9, 1.3)
N_SETS = 10  # data sets per point: each finds vectors, layer and strength of its own
N_FITTED, N_VALIDATION, N_TEST = 72, 24, 96  # scenarios; those that a data set of the study finds its own on, and more
DATA_SEEDS = 10_007  # of texts that no data set of a study is made of
ROUNDING = 1e-9  # of a fitted curve's height: what lies no farther outside it lies at its end


def effect_of_size(d_z: float, sizes: Sequence[float]) -> float:
    """The `effect` at which a specific difference has the wanted d_z, by a curve through its sizes at `GRID`.

    Raises:
        UserError: a size that the grid does not reach.
    """
    fine = np.linspace(GRID[0], GRID[-1], 1001)
    curve = np.maximum.accumulate(np.polyval(np.polyfit(GRID, sizes, 3), fine))
    slack = ROUNDING * (curve[-1] - curve[0])
    if not curve[0] - slack <= d_z <= curve[-1] + slack:
        raise UserError(f"expected d_z from {curve[0]:.2f} to {curve[-1]:.2f}, got {d_z}")
    return float(fine[np.searchsorted(curve, min(d_z, curve[-1]) - slack)])


def sizes_over_grid(form: Form, model_seeds: Sequence[int], mapped: Mapping) -> dict[tuple[int, str], list[float]]:
    """(model, emotion) → d_z at every point of `GRID`, over the pooled test scenarios of its data sets."""
    designs = [
        Design(form, model_seed, DATA_SEEDS + number, effect=effect)
        for model_seed in model_seeds
        for effect in GRID
        for number in range(N_SETS)
    ]
    pooled = defaultdict(list)
    for design, differences in zip(designs, mapped(_differences, designs), strict=True):
        for emotion, values in differences.items():
            pooled[design.model_seed, emotion, design.effect].append(values)
    return {
        (model_seed, emotion): [_d_z(np.concatenate(pooled[model_seed, emotion, effect])) for effect in GRID]
        for model_seed, emotion, _ in pooled
    }


def _d_z(values: Float[np.ndarray, " scenario"]) -> float:
    return float(values.mean() / values.std(ddof=1))


def _differences(design: Design) -> dict[str, Float[np.ndarray, " scenario"]]:
    planted = design.plant()
    _, sweep = fitted_sweep(design, planted, _scenarios(planted, design.data_seed))
    _, test = choose_and_test(sweep, n_controls=0)
    return specific_differences(test)


def _scenarios(planted: Planted, seed: int) -> pd.DataFrame:
    """As many scenarios to fit and to choose on as a data set of the study has, and more to test on."""
    shares = {"train": N_FITTED, "validation": N_VALIDATION, "test": N_TEST}
    data = planted_scenarios(planted, sum(shares.values()), seed)
    splits = np.random.default_rng([seed, 11]).permutation(np.repeat(list(shares), list(shares.values())))
    return data.assign(split=data["scenario"].map(dict(zip(data["scenario"].unique(), splits, strict=True))))
