"""The former place of what every report shares; see `emolib.report.markup`, `names`, `frame` and `agreement`."""

from __future__ import annotations

import pandas as pd

from emolib.report.ja.agreement import sentence_agreement as agreement_sentence
from emolib.report.ja.agreement import table_agreement as agreement_rows
from emolib.report.ja.frame import environment as environment_line
from emolib.report.ja.frame import scorers as scorer_line
from emolib.report.ja.frame import settings as settings_table
from emolib.report.ja.frame import summary
from emolib.report.ja.names import (
    BACKEND_NAMES,
    FAMILIES,
    MOST_DRAWN,
    SPLIT_NAMES,
    STYLE_NAMES,
    emotion_name,
    metric_name,
)
from emolib.report.markup import escape, layers_shown, markdown_table, number, show, show_view, tidy

__all__ = [
    "BACKEND_NAMES",
    "FAMILIES",
    "MOST_DRAWN",
    "SPLIT_NAMES",
    "STYLE_NAMES",
    "agreement_rows",
    "agreement_sentence",
    "emotion_name",
    "environment_line",
    "escape",
    "layers_shown",
    "markdown_table",
    "metric_name",
    "none_at_hand",
    "number",
    "scorer_line",
    "settings_table",
    "show",
    "show_view",
    "summary",
    "tidy",
]


def none_at_hand() -> pd.DataFrame:
    """What stands where a table would be empty."""
    return pd.DataFrame({"結果": ["該当なし"]})
