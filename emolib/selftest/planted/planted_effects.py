"""What `effect` means as a standardised effect size, measured by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float

from emolib.base.errors import UserError
from emolib.data.keywords import load_keywords
from emolib.engine.generation import generate
from emolib.interventions import Steer
from emolib.selftest.planted import words
from emolib.selftest.planted.planting import Form, Planted, plant
from emolib.selftest.planted.scenarios import planted_scenarios

GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.4, 2.0)
N_SCENARIOS, N_TOKENS = 300, 12


def specific_counts(texts: Sequence[str], emotion: str) -> Float[np.ndarray, " text"]:
    """Per text: the emotion's words by the keyword lists, minus the mean of the other emotions'."""
    counts = {label: np.array([_count(text, label) for text in texts], dtype=float) for label in words.EMOTIONS}
    return counts[emotion] - np.mean([counts[label] for label in words.EMOTIONS if label != emotion], axis=0)


@lru_cache(maxsize=100_000)
def _count(text: str, emotion: str) -> int:
    return load_keywords().count(text, emotion)


def steering_effects(planted: Planted, prompts: Sequence[str], *, max_new_tokens: int = N_TOKENS) -> pd.DataFrame:
    """Δ of `specific_counts` per prompt and emotion: steered minus unpatched, greedy.

    The steer adds what the write head would write (`truth.strength` along `truth.directions`) at `truth.read_layer`.

    Returns:
        Columns prompt (its number), emotion, effect.
    """
    truth, n = planted.truth, len(prompts)
    steers = {
        emotion: Steer(truth.read_layer, direction * np.float32(truth.strength), 1.0, unit="vector")
        for emotion, direction in truth.directions.items()
    }
    acts = [None] * n + [steer for steer in steers.values() for _ in range(n)]
    outs = generate(planted.lm, list(prompts) * (len(steers) + 1), acts, max_new_tokens=max_new_tokens)
    texts = [out.text for out in outs]
    parts = []
    for place, emotion in enumerate(steers, start=1):
        moved = specific_counts(texts[place * n : (place + 1) * n], emotion) - specific_counts(texts[:n], emotion)
        parts.append(pd.DataFrame({"prompt": np.arange(n), "emotion": emotion, "effect": moved}))
    return pd.concat(parts, ignore_index=True)


def planted_effects(
    form: Form,
    effects: Sequence[float] = GRID,
    *,
    noise: float = 0.2,
    seed: int = 0,
    n_scenarios: int = N_SCENARIOS,
) -> pd.DataFrame:
    """Effect size of steering per value of `effect`, over neutral texts of planted scenarios.

    d_z is the mean of `steering_effects` over its standard deviation over scenarios, per emotion, then averaged over
    emotions.

    Returns:
        Columns effect, d_z, mean (words per text), one row per value.
    """
    rows = []
    for effect in effects:
        planted = plant(form, effect=effect, noise=noise, seed=seed)
        data = planted_scenarios(planted, n_scenarios, seed)
        moved = steering_effects(planted, data.loc[data["emotion"] == "neutral", "text"].tolist())
        by_emotion = moved.groupby("emotion")["effect"]
        d_z = float((by_emotion.mean() / by_emotion.std()).mean())
        rows.append({"effect": float(effect), "d_z": d_z, "mean": float(moved["effect"].mean())})
    return pd.DataFrame(rows)


def effect_for(d_z: float, form: Form = "gpt2", *, noise: float = 0.2, seed: int = 0) -> float:
    """The `effect` at which `plant` gives a steering effect of the wanted size, by simulation over a grid.

    The first call for a form, noise and seed takes about ten seconds, later ones none.

    Raises:
        UserError: an effect size that the grid does not reach.
    """
    sizes = _sizes(form, noise, seed)
    if not sizes[0] <= d_z <= sizes[-1]:
        raise UserError(f"expected an effect size d_z of {sizes[0]:.2f} to {sizes[-1]:.2f} for {form}, got {d_z}")
    return float(np.interp(d_z, sizes, GRID))


@lru_cache(maxsize=32)
def _sizes(form: Form, noise: float, seed: int) -> tuple[float, ...]:
    """d_z at every point of the grid; 0 at no effect, as designed, and never falling, whatever the sampling error."""
    found = planted_effects(form, GRID[1:], noise=noise, seed=seed)["d_z"]
    return (0.0, *np.maximum.accumulate(np.maximum(found, 0)))
