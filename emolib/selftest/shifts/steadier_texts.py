"""Generated texts under acts that break less: what the secondary rule of generated texts says of them.

A score that every text has (a constant 1, broken texts 0) rises where fewer texts break. No claim rests on generated
texts; this says how far their rule can be trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from emolib.directions.controls import FAMILIES
from emolib.selftest.shifts.data_sets import BATCH, DataSet
from emolib.selftest.shifts.small_networks import READ_LAYER
from emolib.selftest.shifts.small_texts import N_TURNS, out_of_place
from emolib.selftest.shifts.small_words import EMOTIONS
from emolib.steering.cells import Controls, SweepSettings
from emolib.steering.sweeps import residual_sweep
from emolib.steering.text_claims import claims_table

TEMPERATURE = 1.5  # at which about half of the unpatched texts leave the order of places
CONSTANT_SCORES = {emotion: [f"target/{emotion}"] for emotion in EMOTIONS}


def steadier_claims(data: DataSet) -> pd.DataFrame:
    """As `emolib.steering.text_claims.claims_table` gives them, of a score of 1 per text, 0 where it is broken."""
    prompts = data.neutral("prompt")
    vectors = replace(data.vectors, values={emotion: data.vectors.values[emotion] for emotion in EMOTIONS})
    settings = SweepSettings(
        unit="resid",
        max_new_tokens=N_TURNS,
        temperature=TEMPERATURE,
        seed=data.seed,
        batch_size=BATCH,
        backend=_constant_scores,
    )
    sweep = residual_sweep(
        data.lm,
        prompts,
        vectors,
        layers=[READ_LAYER],
        alphas=[data.alpha],
        controls=Controls(data.sizes.controls, FAMILIES, data.source),
        settings=settings,
    )
    return claims_table(sweep, CONSTANT_SCORES, families=FAMILIES, seed=data.seed)


def _constant_scores(texts: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(1.0, index=range(len(texts)), columns=[names[0] for names in CONSTANT_SCORES.values()])
    return table.assign(**{"fluency/broken": [out_of_place(text) for text in texts]})
