"""The reports' Japanese: sentences and tables computed from numbers, one file per phase."""

from __future__ import annotations

from emolib.report.common import environment_line, settings_table, summary, tidy

__all__ = ["environment_line", "settings_table", "summary", "tidy"]
