"""Everything that Phase 8's notebook shows."""

from __future__ import annotations

from emolib.report.ja.frame import environment, settings, summary
from emolib.report.ja.phase8_conclusion import conclusion, discussion, next_actions
from emolib.report.ja.phase8_figures import figure_attention, figure_circuit, figure_ov, figure_sizes
from emolib.report.ja.phase8_tables import (
    table_ablations,
    table_areas,
    table_effects,
    table_judged,
    table_random,
    table_roles,
    table_stability,
    table_verdicts,
)
from emolib.report.ja.phase8_weights import (
    table_composition,
    table_cut,
    table_lists,
    table_mlps,
    table_neurons,
    table_ov,
    table_reconstruction,
    table_routing,
    table_tokens,
)

__all__ = [
    "conclusion",
    "discussion",
    "environment",
    "figure_attention",
    "figure_circuit",
    "figure_ov",
    "figure_sizes",
    "next_actions",
    "settings",
    "summary",
    "table_ablations",
    "table_areas",
    "table_composition",
    "table_cut",
    "table_effects",
    "table_judged",
    "table_lists",
    "table_mlps",
    "table_neurons",
    "table_ov",
    "table_random",
    "table_reconstruction",
    "table_roles",
    "table_routing",
    "table_stability",
    "table_tokens",
    "table_verdicts",
]
