"""One module per phase: what it needs, what it makes, and how each artifact is computed."""

from __future__ import annotations

from emolib.base.parameters import OF_PAIRS
from emolib.study.run import Run, open_run

NEEDS: dict[str, tuple[str, ...]] = {
    "phase1": (),
    "phase2": ("phase1",),
    "phase3": ("phase2",),
    "phase4": ("phase3",),
    "phase5": ("phase3",),
    "phase6a": ("phase3",),
    "phase6b": ("phase3", "phase6a"),  # of Phase 6a it reads the ranking alone, where heads=top:N asks for it
    "phase7": ("phase5",),
    "phase8": ("phase3", "phase6b", "phase7"),  # it reads Phase 3's vectors; the others come before it
    "phase9": ("phase6b", "phase7", "phase8"),
}
MEASURED = ("phase5",)  # need a measure of every label; the others do without, and Phase 7 reads what they left

__all__ = ["MEASURED", "NEEDS", "OF_PAIRS", "Run", "open_run"]
