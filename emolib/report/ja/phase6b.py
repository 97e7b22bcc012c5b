"""Everything that Phase 6b's notebook shows."""

from __future__ import annotations

from emolib.report.ja.frame import environment, scorers, settings, summary
from emolib.report.ja.phase6b_discussion import conclusion, discussion, next_actions, remarks
from emolib.report.ja.phase6b_tables import (
    figure_modes,
    table_ablations,
    table_context,
    table_contrasts,
    table_extents,
    table_heads,
    table_interactions,
    table_mediation,
    table_modes,
    table_modes_by_emotion,
    table_null,
    table_sources,
    table_strengths,
    table_ways,
)
from emolib.report.ja.phase6b_texts import sentence_likeness, table_goemotions, table_metrics, texts

__all__ = [
    "conclusion",
    "discussion",
    "environment",
    "figure_modes",
    "next_actions",
    "remarks",
    "scorers",
    "sentence_likeness",
    "settings",
    "summary",
    "table_ablations",
    "table_context",
    "table_contrasts",
    "table_extents",
    "table_goemotions",
    "table_heads",
    "table_interactions",
    "table_mediation",
    "table_metrics",
    "table_modes",
    "table_modes_by_emotion",
    "table_null",
    "table_sources",
    "table_strengths",
    "table_ways",
    "texts",
]
