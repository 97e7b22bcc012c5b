"""Everything that the confirmation's notebook shows."""

from __future__ import annotations

from emolib.report.ja.confirm_conclusion import conclusion, discussion, next_actions
from emolib.report.ja.confirm_tables import (
    environment,
    table_choice,
    table_claims,
    table_effects,
    table_family,
    table_like_valent,
    table_sealed,
    table_texts,
)
from emolib.report.ja.frame import summary

__all__ = [
    "conclusion",
    "discussion",
    "environment",
    "next_actions",
    "summary",
    "table_choice",
    "table_claims",
    "table_effects",
    "table_family",
    "table_like_valent",
    "table_sealed",
    "table_texts",
]
