"""Which `effect` gives a wanted d_z of the difference that a claim tests, for one model and one emotion.

`emolib.planted.effect_for` speaks of greedy texts against unpatched ones; a claim speaks of an emotion's own vector
against the other emotions' vectors, on sampled texts. That difference is measured here on many scenarios.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emolib.claims import specific_difference
from emolib.errors import UserError
from emolib.extraction import extract_activations
from emolib.patching import residual_sweep
from emolib.planted import planted_scenarios
from emolib.planted.planting import Form
from emolib.selftest.loop import ALPHAS, MEASURES, Design, sweep_settings
from emolib.selftest.processes import Mapping
from emolib.vectors import fit_emotion_vectors

GRID = (0.0, 0.2, 0.4, 0.6, 0.9, 1.3)
N_FITTED, N_PROMPTS = 72, 500
SCENARIO_SEED = 10_007  # of texts that no data set of a study is made of


def effect_of_size(d_z: float, sizes: Sequence[float]) -> float:
    """The `effect` at which a specific difference has the wanted d_z, by a curve through its sizes at `GRID`.

    Raises:
        UserError: a size that the grid does not reach.
    """
    fine = np.linspace(GRID[0], GRID[-1], 1001)
    curve = np.maximum.accumulate(np.polyval(np.polyfit(GRID, sizes, 3), fine))
    if not curve[0] <= d_z <= curve[-1]:
        raise UserError(f"expected d_z from {curve[0]:.2f} to {curve[-1]:.2f}, got {d_z}")
    return float(fine[np.searchsorted(curve, d_z)])


def sizes_over_grid(form: Form, model_seeds: Sequence[int], mapped: Mapping) -> dict[tuple[int, str], list[float]]:
    """(model, emotion) → d_z at every point of `GRID`."""
    designs = [Design(form, model_seed, SCENARIO_SEED, effect=effect) for model_seed in model_seeds for effect in GRID]
    found: dict[tuple[int, str], list[float]] = {}
    for design, sizes in zip(designs, mapped(_sizes_at, designs), strict=True):
        for emotion, size in sizes.items():
            found.setdefault((design.model_seed, emotion), []).append(size)
    return found


def _sizes_at(design: Design) -> dict[str, float]:
    planted = design.plant()
    data = planted_scenarios(planted, N_FITTED + N_PROMPTS, design.data_seed)
    fitted = data["scenario"].isin(data["scenario"].unique()[:N_FITTED])
    vectors = fit_emotion_vectors(extract_activations(planted.lm, data[fitted], sites=("resid_pre",), batch_size=512))
    prompts = data[~fitted & (data["emotion"] == "neutral")]
    sweep = residual_sweep(
        planted.lm,
        prompts.reset_index(drop=True),
        vectors,
        layers=[planted.truth.read_layer],
        alphas=ALPHAS[-1:],
        settings=sweep_settings(design.data_seed),
    )
    steered = sweep[sweep["kind"] == "emotion"]
    sizes = {}
    for emotion, (metric,) in MEASURES.items():
        values = specific_difference(steered, emotion, metric, list(MEASURES))
        sizes[emotion] = float(values.mean() / values.std(ddof=1))
    return sizes
