"""The two effects that circuits are held against, as the rows of `kept_nodes`: a context's on m, a steer's on S.

A held node takes its value from a neutral run of the same text, so that what it says of the text stays and what it
says of the emotion goes: behind another scenario's neutral prompt (`resample`), or behind the row's own prompt without
the context or the steer (`own`). A scenario's effect is the mean over its contrasts.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import pandas as pd

from emolib.base import arguments
from emolib.circuits.contrasts import COLUMNS
from emolib.circuits.kept_nodes import EffectRow
from emolib.interventions import Intervention
from emolib.steering.shift_tables import check_columns

SOURCES = ("resample", "own")


def context_effect_rows(table: pd.DataFrame, source: Literal["resample", "own"] = "resample") -> list[EffectRow]:
    """(A): m behind the emotional context; without it, behind the neutral text of the same scenario.

    Args:
        table: of `contrasts.context_contrasts`; a column `most_tokens` limits what is read of a text.
        source: where held nodes take their values from.

    Raises:
        UserError: missing columns, an unknown source.

    >>> texts = {"prompt_with": "I am so glad.", "prompt_without": "I am here.", "text_with": "Thanks.",
    ...          "text_without": "It rained.", "source_prompt": "The bus came.", "source_text": "It left."}
    >>> table = pd.DataFrame([{**dict.fromkeys(COLUMNS, ""), **texts, "scenario": "a"}])
    >>> [(row.prompt, row.weight, row.source) for row in context_effect_rows(table)][0]
    ('I am so glad.', 1.0, ('The bus came.', 'Thanks.'))
    """
    by, n_units = _checked(table, source)
    return [
        EffectRow(
            row["scenario"],
            row["prompt_with"],
            row[text],
            weight / n_units[row["scenario"]],
            without=row["prompt_without"],
            source=(row["source_prompt"], row[text]) if by == "resample" else None,
            most_tokens=_most(row),
        )
        for row in table.to_dict("records")
        for text, weight in (("text_with", 1.0), ("text_without", -1.0))
    ]


def steer_effect_rows(
    table: pd.DataFrame, acts: Mapping[str, Intervention], source: Literal["resample", "own"] = "resample"
) -> list[EffectRow]:
    """(B): S, both texts behind a neutral prompt under the steers of both emotions.

    Args:
        table: of `contrasts.steer_contrasts`.
        acts: emotion → its steer.
        source: as of `context_effect_rows`; no source has a steer.

    Raises:
        UserError: missing columns, an unknown source.
        KeyError: an emotion without a steer.
    """
    by, n_units = _checked(table, source)
    return [
        EffectRow(
            row["scenario"],
            row["prompt_with"],
            row[text],
            sign * weight / n_units[row["scenario"]],
            acts[row[label]],
            source=(row["source_prompt"], row[text]) if by == "resample" else None,
            most_tokens=_most(row),
        )
        for row in table.to_dict("records")
        for label, sign in (("emotion", 1.0), ("other", -1.0))
        for text, weight in (("text_with", 1.0), ("text_without", -1.0))
    ]


def _checked(table: pd.DataFrame, source: str) -> tuple[str, dict[Hashable, int]]:
    """Which source the rows take, and how many contrasts every scenario has."""
    check_columns(table, COLUMNS, "the contrasts")
    return arguments.one_of("source", source, SOURCES), table["scenario"].value_counts().to_dict()


def _most(row: Mapping[Hashable, Any]) -> int | None:
    found = row.get("most_tokens")
    return None if found is None or pd.isna(found) else int(found)
