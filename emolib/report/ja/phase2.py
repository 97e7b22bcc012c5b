"""Everything that Phase 2's notebook shows."""

from __future__ import annotations

from emolib.report.ja.frame import environment, scorers, summary
from emolib.report.ja.model_words import settings
from emolib.report.ja.phase2_discussion import conclusion, discussion
from emolib.report.ja.phase2_tables import (
    figure_norms,
    figure_shares,
    table_correlations,
    table_cost,
    table_dimensions,
    table_norms,
    table_storage,
    table_triggers,
)

__all__ = [
    "conclusion",
    "discussion",
    "environment",
    "figure_norms",
    "figure_shares",
    "scorers",
    "settings",
    "summary",
    "table_correlations",
    "table_cost",
    "table_dimensions",
    "table_norms",
    "table_storage",
    "table_triggers",
]
