"""What a steer's alpha counts in, and what it counts in where nobody says."""

from __future__ import annotations

from typing import Literal, get_args

Unit = Literal["bulk", "resid", "vector"]
UNITS: tuple[Unit, ...] = get_args(Unit)
DEFAULT_UNIT: Unit = "bulk"  # of `Steer`, of sweeps and of Phase 5; the reports' wording follows the run's unit
