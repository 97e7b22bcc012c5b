"""What Phase 5's notebook shows: `from emolib.report import phase5 as say`."""

from __future__ import annotations

from emolib.report.ja.frame import environment, summary
from emolib.report.ja.pair_tables import table_pair_effects
from emolib.report.ja.phase5_choice import (
    figure_candidates,
    figure_layers,
    table_candidates,
    table_layers,
    table_pareto,
    table_reference,
)
from emolib.report.ja.phase5_claims import (
    figure_controls,
    table_claims,
    table_controls,
    table_scorers,
    table_unfiltered,
)
from emolib.report.ja.phase5_conclusion import conclusion
from emolib.report.ja.phase5_damage import table_broken, table_damage
from emolib.report.ja.phase5_discussion import discussion
from emolib.report.ja.phase5_effects import (
    figure_changes,
    figure_labels,
    figure_prompts,
    figure_specificity,
    table_changes,
    table_labels,
    table_prompts,
    table_specificity,
)
from emolib.report.ja.phase5_limits import criteria, limits
from emolib.report.ja.phase5_next import next_actions
from emolib.report.ja.phase5_other_style import table_other_style
from emolib.report.ja.phase5_regime import settings
from emolib.report.ja.phase5_rivals import table_leads, table_rival_strengths, table_rivals
from emolib.report.ja.phase5_strengths import figure_doses, table_doses
from emolib.report.ja.phase5_texts import table_phrases, texts

__all__ = [
    "conclusion",
    "criteria",
    "discussion",
    "environment",
    "figure_candidates",
    "figure_changes",
    "figure_controls",
    "figure_doses",
    "figure_labels",
    "figure_layers",
    "figure_prompts",
    "figure_specificity",
    "limits",
    "next_actions",
    "settings",
    "summary",
    "table_broken",
    "table_candidates",
    "table_changes",
    "table_claims",
    "table_controls",
    "table_damage",
    "table_doses",
    "table_labels",
    "table_layers",
    "table_leads",
    "table_other_style",
    "table_pair_effects",
    "table_pareto",
    "table_phrases",
    "table_prompts",
    "table_reference",
    "table_rival_strengths",
    "table_rivals",
    "table_scorers",
    "table_specificity",
    "table_unfiltered",
    "texts",
]
