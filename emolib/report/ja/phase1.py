"""Everything that Phase 1's notebook shows."""

from __future__ import annotations

from emolib.report.ja.frame import environment, scorers, summary
from emolib.report.ja.phase1_expressed import (
    sentence_expressed,
    table_expressed,
    table_kinds,
    table_misleading,
    table_readers,
)
from emolib.report.ja.phase1_leaks import conclusion, discussion, figure_leaks, table_leaks
from emolib.report.ja.phase1_readings import (
    sentence_cues,
    sentence_readings,
    table_beside,
    table_listed,
    table_minimal_pairs,
    table_placebo,
    table_readings,
    table_sequences,
    table_words,
)
from emolib.report.ja.phase1_scorers import (
    figure_calibration,
    figure_scorers,
    sentence_scorers,
    table_quality,
    table_scorers,
    table_scores,
)
from emolib.report.ja.phase1_search import sentence_gates, sentence_search, table_gates, table_search
from emolib.report.ja.phase1_texts import (
    figure_lengths,
    sentence_duplicates,
    settings,
    table_counts,
    table_keywords,
    table_lengths,
    table_openings,
    table_punctuation,
)
from emolib.report.ja.scorer_agreement import sentence_agreement, table_agreement

__all__ = [
    "conclusion",
    "discussion",
    "environment",
    "figure_calibration",
    "figure_leaks",
    "figure_lengths",
    "figure_scorers",
    "scorers",
    "sentence_agreement",
    "sentence_cues",
    "sentence_duplicates",
    "sentence_expressed",
    "sentence_gates",
    "sentence_readings",
    "sentence_scorers",
    "sentence_search",
    "settings",
    "summary",
    "table_agreement",
    "table_beside",
    "table_counts",
    "table_expressed",
    "table_gates",
    "table_keywords",
    "table_kinds",
    "table_leaks",
    "table_lengths",
    "table_listed",
    "table_minimal_pairs",
    "table_misleading",
    "table_openings",
    "table_placebo",
    "table_punctuation",
    "table_quality",
    "table_readers",
    "table_readings",
    "table_scorers",
    "table_scores",
    "table_search",
    "table_sequences",
    "table_words",
]
