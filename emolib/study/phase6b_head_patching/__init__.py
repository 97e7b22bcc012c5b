"""Phase 6b: what heads carry of an emotional context, of a steer's effect, and whether steering by them costs less."""

from __future__ import annotations

from emolib.study.phase6b_head_patching.heads_and_steers import (
    damage_table,
    mediation_table,
    steer_layer,
    steered_heads,
    strength_table,
    way_table,
)
from emolib.study.phase6b_head_patching.patched_cells import cells, head_table, heads
from emolib.study.phase6b_head_patching.patched_texts import differences, metric_table, pairs_of_texts
from emolib.study.phase6b_head_patching.patched_trials import (
    ablation_table,
    context_table,
    effect_table,
    interaction_table,
    null_table,
    source_table,
    trials,
)

__all__ = [
    "ablation_table",
    "cells",
    "context_table",
    "damage_table",
    "differences",
    "effect_table",
    "head_table",
    "heads",
    "interaction_table",
    "mediation_table",
    "metric_table",
    "null_table",
    "pairs_of_texts",
    "source_table",
    "steer_layer",
    "steered_heads",
    "strength_table",
    "trials",
    "way_table",
]
