"""The reports' Japanese: sentences and tables computed from numbers, one file per phase."""

from __future__ import annotations

from emolib.report.ja import phase5_damage
from emolib.report.ja.every_report import (
    agreement_rows,
    agreement_sentence,
    environment_line,
    scorer_line,
    settings_table,
    show,
    show_cross_model,
    show_view,
    summary,
    tidy,
)

__all__ = [
    "agreement_rows",
    "agreement_sentence",
    "environment_line",
    "phase5_damage",
    "scorer_line",
    "settings_table",
    "show",
    "show_cross_model",
    "show_view",
    "summary",
    "tidy",
]
