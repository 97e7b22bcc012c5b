"""What a claim of the continuation shift needs beyond labels and norm, all of it held unless told otherwise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from emolib.directions.controls import FAMILIES
from emolib.steering.claims import shift_conditions, shift_ranks
from emolib.steering.further_conditions import Further, concept_ranks
from emolib.steering.shift_measures import MEASURES
from emolib.steering.shift_tables import crossed_cells

EMOTIONS = ("gratitude", "anger", "apology")
LIKE = {"gratitude": ("joy", "admiration"), "anger": ("sadness", "fear"), "apology": ("sadness", "embarrassment")}


def further_of(
    styles: Sequence[str] = ("explicit", "implicit"),
    *,
    emotions: Sequence[str] = EMOTIONS,
    like: float = 0.3,
    concept: float = 0.0,
    kl: float = 0.0,
    n_kl: int = 6,
    n_texts: int = 12,
    **parts: Any,
) -> Further:
    """`like`: S against labels of like valence; `concept`, `kl`: the largest contrast of a concept and of a direction
    at equal KL, beside an own one of 0.3; `parts` replaces parts."""
    generator, cells, contrasts, drawn = np.random.default_rng(0), [], [], []
    for style in styles:
        design = crossed_cells([f"p{i}" for i in range(n_texts)], [f"{style} {i}" for i in range(n_texts)])
        for emotion, measure in itertools.product(emotions, MEASURES):
            for other in LIKE[emotion]:
                values = like + 0.05 * generator.standard_normal(len(design))
                named = {"style": style, "emotion": emotion, "other": other, "measure": measure}
                cells.append(design.assign(specific=values, **named))
        for emotion, other in itertools.permutations(emotions, 2):
            pair = {"style": style, "emotion": emotion, "other": other}
            own = {**pair, "kind": "emotion", "act": emotion, "contrast": 0.3}
            words = {f"lexical:{emotion}": 0.06, "topic:work": concept, f"denied:{emotion}": -0.01}
            contrasts += [own, *({**pair, "kind": "concept", "act": k, "contrast": v} for k, v in words.items())]
            drawn.append(own)
            drawn += [{**pair, "kind": f, "contrast": kl if i == 0 else 0.0} for f in FAMILIES for i in range(n_kl)]
    held = {
        "labels": {emotion: LIKE[emotion] for emotion in emotions},
        "like_valent": shift_conditions(pd.concat(cells, ignore_index=True)),
        "concepts": concept_ranks(pd.DataFrame(contrasts)),
        "equal_kl": shift_ranks(pd.DataFrame(drawn)),
    }
    return Further(**{**held, **parts})
