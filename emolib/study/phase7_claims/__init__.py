"""Phase 7: statistics and claims across the models of a profile."""

from __future__ import annotations

from emolib.study.phase7_claims.study_tables import effects, k_selection, power
from emolib.study.phase7_claims.verdicts import claims

__all__ = ["claims", "effects", "k_selection", "power"]
