"""Everything that Phase 4's notebook shows."""

from __future__ import annotations

from emolib.report.ja.frame import settings, summary
from emolib.report.ja.phase4_conclusion import conclusion, discussion, next_actions
from emolib.report.ja.phase4_judged import (
    figure_margins,
    figure_overlaps,
    table_agreement,
    table_nulls,
    table_other_verdicts,
    table_overlaps,
    table_retrieval,
    table_rivals,
    table_untrained,
    table_verdict_counts,
    table_verdicts,
)
from emolib.report.ja.phase4_maps import (
    environment,
    figure_curve,
    figure_layers,
    sentence_chosen,
    table_anchors,
    table_curve,
    table_layers,
    table_layers_cka,
    table_methods,
    table_raw,
)
from emolib.report.ja.phase4_transfer import sentence_transfer, table_lengths, table_monitoring, table_transfer

__all__ = [
    "conclusion",
    "discussion",
    "environment",
    "figure_curve",
    "figure_layers",
    "figure_margins",
    "figure_overlaps",
    "next_actions",
    "sentence_chosen",
    "sentence_transfer",
    "settings",
    "summary",
    "table_agreement",
    "table_anchors",
    "table_curve",
    "table_layers",
    "table_layers_cka",
    "table_lengths",
    "table_methods",
    "table_monitoring",
    "table_nulls",
    "table_other_verdicts",
    "table_overlaps",
    "table_raw",
    "table_retrieval",
    "table_rivals",
    "table_transfer",
    "table_untrained",
    "table_verdict_counts",
    "table_verdicts",
]
