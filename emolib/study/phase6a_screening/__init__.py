"""Phase 6a: which heads carry what an emotional context does, by three roads.

Needs Phase 3's vectors. All heads: what they write (test texts), exact resample ablation on validation scenarios (heads
are selected by it) beside AtP, and on test scenarios, one emotion each in turn, exact resample ablation beside AtP and
AtP*. The selected heads and random ones of the same layers and norms: every emotion, against neutral and against the
other emotions, topics, other kinds of ablation, a steer's effect, and generated texts.
"""

from __future__ import annotations

from emolib.study.phase6a_screening.all_roads import (
    all_heads,
    controlled,
    controls,
    halves,
    ranking,
    samples,
    scores,
    selection,
    writes,
)
from emolib.study.phase6a_screening.closer_look import (
    chosen_heads,
    joint,
    other_kinds,
    steer_effect,
    text_changes,
    texts,
    verdicts,
)
from emolib.study.phase6a_screening.contrast_design import shown_text
from emolib.study.phase6a_screening.gradient_roads import (
    agreement,
    attributed,
    bends,
    missed,
    mlps,
    roads,
    validation_scores,
)

__all__ = [
    "agreement",
    "all_heads",
    "attributed",
    "bends",
    "chosen_heads",
    "controlled",
    "controls",
    "halves",
    "joint",
    "missed",
    "mlps",
    "other_kinds",
    "ranking",
    "roads",
    "samples",
    "scores",
    "selection",
    "shown_text",
    "steer_effect",
    "text_changes",
    "texts",
    "validation_scores",
    "verdicts",
    "writes",
]
