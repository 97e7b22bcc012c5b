"""Everything that Phase 9's notebook shows."""

from __future__ import annotations

from IPython.display import Markdown

from emolib.base.escaping import code_span
from emolib.report.ja import frame
from emolib.report.ja.frame import summary
from emolib.report.ja.phase9_conclusion import conclusion, discussion, next_actions
from emolib.report.ja.phase9_tables import (
    table_checks,
    table_failures,
    table_faults,
    table_instruments,
    table_negative,
    table_recomputed,
    table_reports,
    table_skipped,
    table_ties,
)
from emolib.study.run import Run

__all__ = [
    "conclusion",
    "discussion",
    "environment",
    "next_actions",
    "settings",
    "summary",
    "table_checks",
    "table_failures",
    "table_faults",
    "table_instruments",
    "table_negative",
    "table_recomputed",
    "table_reports",
    "table_skipped",
    "table_ties",
]


def environment(run: Run) -> Markdown:
    """Whose run is verified."""
    profile, model = code_span(run.params.profile), code_span(run.paths.model)
    return Markdown(f"プロファイル {profile} の、モデル {model} の実行を検証する。再計算は CPU で行う。")


def settings(run: Run) -> Markdown:
    """実行設定: every parameter of this phase."""
    return frame.settings(run)
