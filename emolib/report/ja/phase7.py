"""Everything that Phase 7's notebook shows."""

from __future__ import annotations

from emolib.report.ja.frame import summary
from emolib.report.ja.phase7_claims import table_bars, table_steering_claims, table_vector_claims
from emolib.report.ja.phase7_conclusion import conclusion, discussion
from emolib.report.ja.phase7_effects import (
    figure_effects,
    table_effects,
    table_families,
    table_other_effects,
    table_other_tests,
    table_ranks,
    table_tests,
)
from emolib.report.ja.phase7_next_actions import next_actions
from emolib.report.ja.phase7_power import sentence_power, table_detectable, table_observed, table_required
from emolib.report.ja.phase7_sources import environment, limits, settings, table_sources, table_vectors
from emolib.report.ja.phase7_subspaces import (
    figure_overlaps,
    sentence_k,
    table_chosen,
    table_overlaps,
    table_test_overlaps,
)

__all__ = [
    "conclusion",
    "discussion",
    "environment",
    "figure_effects",
    "figure_overlaps",
    "limits",
    "next_actions",
    "sentence_k",
    "sentence_power",
    "settings",
    "summary",
    "table_bars",
    "table_chosen",
    "table_detectable",
    "table_effects",
    "table_families",
    "table_observed",
    "table_other_effects",
    "table_other_tests",
    "table_overlaps",
    "table_ranks",
    "table_required",
    "table_sources",
    "table_steering_claims",
    "table_test_overlaps",
    "table_tests",
    "table_vector_claims",
    "table_vectors",
]
