"""Phase 5: residual patching with controls."""

from __future__ import annotations

from emolib.study.phase5_steering.design import (
    dose_sweep,
    operating_points,
    reference,
    test_sweep,
    validation_sweep,
)
from emolib.study.phase5_steering.other_style import claims as other_style_claims
from emolib.study.phase5_steering.rival_sweeps import alternatives_sweep, equal_strength
from emolib.study.phase5_steering.side_effects import damage

__all__ = [
    "alternatives_sweep",
    "damage",
    "dose_sweep",
    "equal_strength",
    "operating_points",
    "other_style_claims",
    "reference",
    "test_sweep",
    "validation_sweep",
]
