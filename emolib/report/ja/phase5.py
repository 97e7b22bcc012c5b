"""What Phase 5's notebook shows: `from emolib.report import phase5 as say`."""

from __future__ import annotations

from emolib.report.ja.frame import environment, summary
from emolib.report.ja.pair_tables import table_pair_effects
from emolib.report.ja.phase5_choice import (
    figure_choice,
    figure_layers,
    table_candidates,
    table_layers,
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
    figure_specificity,
    table_changes,
    table_labels,
    table_specificity,
)
from emolib.report.ja.phase5_further import table_further, table_survival
from emolib.report.ja.phase5_instruments import table_admissions, table_instruments
from emolib.report.ja.phase5_limits import criteria, limits
from emolib.report.ja.phase5_next import next_actions
from emolib.report.ja.phase5_other_style import table_other_style
from emolib.report.ja.phase5_regime import settings
from emolib.report.ja.phase5_rivals import table_leads, table_rival_strengths, table_rivals
from emolib.report.ja.phase5_shift import table_shift_claims, table_shift_effects
from emolib.report.ja.phase5_shift_doses import figure_shift_doses, table_shift_doses
from emolib.report.ja.phase5_shift_rivals import table_shift_rivals
from emolib.report.ja.phase5_strengths import figure_doses, table_doses
from emolib.report.ja.phase5_text_conclusion import sentence_texts
from emolib.report.ja.phase5_texts import table_phrases, texts
from emolib.report.ja.phase5_words import together

__all__ = [
    "conclusion",
    "criteria",
    "discussion",
    "environment",
    "figure_changes",
    "figure_choice",
    "figure_controls",
    "figure_doses",
    "figure_labels",
    "figure_layers",
    "figure_shift_doses",
    "figure_specificity",
    "limits",
    "next_actions",
    "sentence_texts",
    "settings",
    "summary",
    "table_admissions",
    "table_broken",
    "table_candidates",
    "table_changes",
    "table_claims",
    "table_controls",
    "table_damage",
    "table_doses",
    "table_further",
    "table_instruments",
    "table_labels",
    "table_layers",
    "table_leads",
    "table_other_style",
    "table_pair_effects",
    "table_phrases",
    "table_reference",
    "table_rival_strengths",
    "table_rivals",
    "table_scorers",
    "table_shift_claims",
    "table_shift_doses",
    "table_shift_effects",
    "table_shift_rivals",
    "table_specificity",
    "table_survival",
    "table_unfiltered",
    "texts",
    "together",
]
