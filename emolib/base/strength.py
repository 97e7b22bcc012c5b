"""What a steer's alpha counts in, and what it counts in where nobody says."""

from __future__ import annotations

from typing import Literal, get_args

Unit = Literal["kl", "bulk", "resid", "vector"]
UNITS: tuple[Unit, ...] = get_args(Unit)
DEFAULT_UNIT: Unit = "bulk"  # of `Steer` and of sweeps: what a vector knows without a pass through its model
STUDY_UNIT: Unit = "kl"  # of Phase 5, which measures it; the reports' wording follows the run's unit
