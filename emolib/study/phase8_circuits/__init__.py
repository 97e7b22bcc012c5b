"""Phase 8: what heads write and read by their weights, and small circuits of a context's and of a steer's effect.

Needs Phase 3's vectors. Nodes are ranked by attribution and the circuits chosen on validation scenarios; what they
explain is judged on test scenarios. (A) is the effect of an emotional context on m, (B) that of a steer on S.
"""

from __future__ import annotations

from emolib.study.phase8_circuits.chosen_circuits import attributions, choice, circuit_heads, effects, units
from emolib.study.phase8_circuits.circuit_files import circuit_summary
from emolib.study.phase8_circuits.judged_circuits import (
    ablations,
    areas,
    curves,
    edges,
    gaps,
    judged,
    minimality,
    random_sets,
    roles,
    stability,
    verdicts,
    whole_effects,
)
from emolib.study.phase8_circuits.reading_weights import (
    composed,
    mlps,
    neurons,
    ov_chosen,
    ov_heads,
    ov_largest,
    promoted_lists,
    promoted_top,
    reconstruction,
)
from emolib.study.phase8_circuits.word_routing import cut_edges, pairs, routing, routing_heads
from emolib.study.run import Run

MOST_HEADS = 12  # whose composition and tokens are shown


def shown_heads(run: Run) -> tuple[tuple[int, int], ...]:
    """The heads of the circuits and those that stand out by their weights, each once."""
    return tuple(dict.fromkeys((*circuit_heads(run), *ov_chosen(run))))[:MOST_HEADS]


def shown_text(run: Run) -> str:
    """The first test context and what follows it."""
    first = units(run, effects(run)[0], "test", run.params.n_judged).iloc[0]
    return f"{first['prompt_with']} {first['text_with']}"


def samples(run: Run) -> int:
    """Contrasts and texts that were looked at."""
    params = run.params
    counts = [
        len(units(run, which, split, count))
        for which in effects(run)
        for split, count in (("validation", max(params.n_attributed, params.n_chosen)), ("test", params.n_judged))
    ]
    return sum(counts) + len(pairs(run))


__all__ = [
    "ablations",
    "areas",
    "attributions",
    "choice",
    "circuit_heads",
    "circuit_summary",
    "composed",
    "curves",
    "cut_edges",
    "edges",
    "effects",
    "gaps",
    "judged",
    "minimality",
    "mlps",
    "neurons",
    "ov_chosen",
    "ov_heads",
    "ov_largest",
    "pairs",
    "promoted_lists",
    "promoted_top",
    "random_sets",
    "reconstruction",
    "roles",
    "routing",
    "routing_heads",
    "samples",
    "shown_heads",
    "shown_text",
    "stability",
    "units",
    "verdicts",
    "whole_effects",
]
