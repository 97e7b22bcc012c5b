"""Everything that Phase 6a's notebook shows."""

from __future__ import annotations

from emolib.report.ja.frame import environment, settings, summary
from emolib.report.ja.phase6a_conclusion import conclusion, discussion, next_actions
from emolib.report.ja.phase6a_figures import figure_attention, figure_road
from emolib.report.ja.phase6a_tables import (
    table_agreement,
    table_bends,
    table_controls,
    table_effects,
    table_halves,
    table_joint,
    table_kinds,
    table_missed,
    table_mlps,
    table_ranked,
    table_selection,
    table_steer,
    table_text_changes,
    table_texts,
    table_verdicts,
    table_writes,
)

__all__ = [
    "conclusion",
    "discussion",
    "environment",
    "figure_attention",
    "figure_road",
    "next_actions",
    "settings",
    "summary",
    "table_agreement",
    "table_bends",
    "table_controls",
    "table_effects",
    "table_halves",
    "table_joint",
    "table_kinds",
    "table_missed",
    "table_mlps",
    "table_ranked",
    "table_selection",
    "table_steer",
    "table_text_changes",
    "table_texts",
    "table_verdicts",
    "table_writes",
]
