"""Phase 7: statistics and claims across the models of a profile; the names here are what its notebook calls.

Reads whatever is there: Phase 3 of a model gives its k and its claims about vectors, Phase 5 its effects, its power and
its claims about steering. No model is loaded and no text generated.
"""

from __future__ import annotations

from emolib.study.phase7_claims.claim_sources import (
    every_model,
    finished_phases,
    samples,
    steered_models,
    vector_differences,
    vector_models,
    vector_places,
)
from emolib.study.phase7_claims.design_power import detectable_effects, power
from emolib.study.phase7_claims.effect_table import effects, families, own_effects
from emolib.study.phase7_claims.study_claims import claims
from emolib.study.phase7_claims.subspace_sizes import k_selection, next_directions
from emolib.study.phase7_claims.vector_claims import grounds

__all__ = [
    "claims",
    "detectable_effects",
    "effects",
    "every_model",
    "families",
    "finished_phases",
    "grounds",
    "k_selection",
    "next_directions",
    "own_effects",
    "power",
    "samples",
    "steered_models",
    "vector_differences",
    "vector_models",
    "vector_places",
]
