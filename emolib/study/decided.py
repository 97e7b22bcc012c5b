"""What a run of Phase 5 has decided of its texts and kept, read without what the phase computes with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emolib.base import store
from emolib.base.errors import shown
from emolib.steering.regime import Regime


def read_regime(path: Path) -> Regime:
    """Whether the run's texts are greedy or sampled.

    Raises:
        UserError: it is not there, has changed since, or holds something else.
    """
    found: dict[str, Any] = store.read_json(path, kind=dict)
    values = [found.get(name) for name in ("temperature", "broken", "n")]
    if not all(isinstance(value, int | float) for value in values):
        raise store.unusable(path, "temperature, broken and n", shown(found))
    return Regime(*values)
