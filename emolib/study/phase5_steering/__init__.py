"""Phase 5: residual patching with controls; the names here are what its notebook calls."""

from __future__ import annotations

from emolib.study.phase5_steering.instrument_stage import admissions, instruments
from emolib.study.phase5_steering.outcomes import Outcome, outcome
from emolib.study.phase5_steering.own_sweeps import dose_sweep, operating_points, test_sweep
from emolib.study.phase5_steering.pair_effects import minimal_pair_effects
from emolib.study.phase5_steering.results import (
    broken_shares,
    claims,
    control_effects,
    doses,
    equal_strength,
    examples,
    family_ranks,
    label_changes,
    layer_means,
    metric_changes,
    realised_norms,
    rival_findings,
    save,
    scorer_agreement,
    specificity,
    stock_phrases,
)
from emolib.study.phase5_steering.rival_sweeps import alternatives_sweep
from emolib.study.phase5_steering.shift_rivals import beside_steers
from emolib.study.phase5_steering.side_effects import damage
from emolib.study.phase5_steering.strengths import kl_lengths
from emolib.study.phase5_steering.sweep_settings import reference
from emolib.study.phase5_steering.validation_sweeps import validation_sweep

__all__ = [
    "Outcome",
    "admissions",
    "alternatives_sweep",
    "beside_steers",
    "broken_shares",
    "claims",
    "control_effects",
    "damage",
    "dose_sweep",
    "doses",
    "equal_strength",
    "examples",
    "family_ranks",
    "instruments",
    "kl_lengths",
    "label_changes",
    "layer_means",
    "metric_changes",
    "minimal_pair_effects",
    "operating_points",
    "outcome",
    "realised_norms",
    "reference",
    "rival_findings",
    "save",
    "scorer_agreement",
    "specificity",
    "stock_phrases",
    "test_sweep",
    "validation_sweep",
]
