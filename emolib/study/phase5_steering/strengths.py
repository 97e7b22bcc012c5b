"""The vectors that Phase 5 steers with, in the run's unit of strength.

The unit `kl` is measured along sampled, unpatched continuations of neutral training texts, those of the fluency
reference, in the sweeps' prompt format, window and schedule: nothing of the validation and test scenarios is in it.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.directions.vectors import EmotionVectors
from emolib.steering.kl_lengths import KL_NAT, TOLERANCE, with_kl_lengths, with_lengths
from emolib.study.phase5_steering import design
from emolib.study.phase5_steering.design import Part, parts
from emolib.study.phase5_steering.sweep_settings import reference, settings
from emolib.study.run import Run, kept

N_PROMPTS, N_TOKENS = 8, 12  # neutral texts that the unit is measured on, tokens of each continuation


@kept
def vectors(run: Run, part: Part) -> EmotionVectors:
    """The emotions' vectors, which hold the run's unit at every layer that is steered."""
    fitted = design.vectors(run, part)
    return with_lengths(fitted, _lengths(run, part))[0] if run.params.unit == "kl" else fitted


def kl_lengths(run: Run) -> pd.DataFrame | None:
    """How the unit `kl` came about, all parts together; None where the run has another unit.

    Returns:
        part, layer, emotion, length, kl, unit; see `emolib.steering.kl_lengths`.
    """
    if run.params.unit != "kl":
        return None
    return pd.concat([_lengths(run, part).assign(part=part.name) for part in parts(run)], ignore_index=True)


@kept
def _lengths(run: Run, part: Part) -> pd.DataFrame:
    fitted, params, lm = design.vectors(run, part), run.params, run.lm
    layers = (*params.candidate_layers(lm.n_layers), lm.n_layers)  # the last one: the direct path
    chosen = reference(run, part)
    chosen = chosen[chosen["emotion"] == params.neutral].head(N_PROMPTS)
    texts = [lm.tokenizer(text, add_special_tokens=False).input_ids[:N_TOKENS] for text in chosen["text"]]
    matched = {
        "vectors": hashlib.sha256(np.stack([fitted[e].values[list(layers)] for e in fitted]).tobytes()).hexdigest(),
        "layers": layers,
        "texts": store.digest([chosen["prompt"].tolist(), texts]),
        "steer": store.digest([params.window, params.schedule]),
        "rule": {"kl": KL_NAT, "tolerance": TOLERANCE},
    }

    def compute() -> pd.DataFrame:
        run.progress.begin("KL lengths", len(layers) * len(fitted.emotions))
        given = settings(run, part)
        _, table = with_kl_lengths(
            lm,
            fitted,
            layers,
            chosen["prompt"].tolist(),
            texts,
            window=given.window,
            schedule=given.factors(),
        )
        run.progress.advance(len(table))
        return table

    return run.artifacts.table(run.paths.kl_lengths(part.file("")), matched, compute)
