"""A table as the lines or bars of a figure: one series per value of a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from emolib.base.errors import UserError, shown

BAND_OPACITY = 0.18


class Series(NamedTuple):
    """The rows of one line or set of bars, and the values that set them apart; None where nothing does."""

    label: object
    key: object
    rows: pd.DataFrame


def series_of(
    table: pd.DataFrame, x: str, colour: str | None, *, numbers: Sequence[str | None], dash: str | None = None
) -> list[Series]:
    """One series per value of the columns `colour` and `dash`, in the table's order.

    Args:
        numbers: columns that are drawn; None stands for one that is not wanted.

    Raises:
        UserError: a column is missing or holds no numbers, or a series has several rows at one value of `x`.
    """
    drawn = [column for column in numbers if column is not None]
    keys = list(dict.fromkeys(key for key in (x, colour, dash) if key is not None))
    _check(table, keys, drawn)
    chosen = [key for key in (colour, dash) if key is not None]
    if not chosen:
        return [Series(None, None, table)]
    groups = table.groupby(chosen, sort=False, observed=True)
    named: list[tuple[dict[str | None, object], pd.DataFrame]]
    named = [(dict(zip(chosen, values, strict=True)), part) for values, part in groups]
    return [Series(values.get(colour), values.get(dash), part) for values, part in named]


def _check(table: pd.DataFrame, keys: list[str], drawn: list[str]) -> None:
    missing = [column for column in (*keys, *drawn) if column not in table]
    if missing:
        raise UserError(f"expected a table with the columns {missing} too, got {list(table.columns)}")
    for column in drawn:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise UserError(f"expected numbers to draw in the column {shown(column)}, got {table[column].dtype}")
    repeated = table[table.duplicated(keys)]
    if len(repeated):
        first = repeated.iloc[0][keys].to_dict()
        raise UserError(f"expected one row per {' and '.join(keys)}, got several for {first}; filter or average first")


def hover_value(name: str) -> str:
    """plotly's template of a hover box that shows a name and the value.

    >>> hover_value("AUC")
    'AUC: %{y:.4g}<extra></extra>'
    """
    return f"{name}: %{{y:.4g}}<extra></extra>"


def faint(colour: str) -> str:
    """A colour `#rrggbb` as one that lets the grid through.

    >>> faint("#ff8000")
    'rgba(255,128,0,0.18)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{BAND_OPACITY})"
