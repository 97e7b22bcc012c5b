"""The measures of one design beside each other: S raw, adjusted and contextual, and the own contrast."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from emolib.base.errors import UserError
from emolib.steering.own_shift import own_shift
from emolib.steering.shift_parts import adjusted_specific_shift, lexical_and_contextual
from emolib.steering.specific_shift import label_pairs, specific_shift

MEASURES = ("raw", "adjusted", "contextual", "own")


def measured_cells(
    table: pd.DataFrame,
    *,
    pairs: Iterable[tuple[str, str]] | None = None,
    tokens: pd.DataFrame | None = None,
    training: pd.DataFrame | None = None,
    lexical: pd.DataFrame | None = None,
    own: bool = False,
) -> pd.DataFrame:
    """S of every cell by every measure that can be had from what is given.

    Args:
        table: as `shift_tables.shift_table` gives it; `raw` is of it.
        pairs: emotion and other label; None takes every pair of labels that have an act.
        tokens: as `shift_parts.token_table` gives them, of the same rows.
        training: tokens of training texts under the same acts; with `tokens` it gives `adjusted`.
        lexical: as `shift_parts.lexicon` gives it; with `tokens` it gives `contextual`.
        own: whether `own` (`own_shift.own_shift`) is wanted; it needs an act of a third label or direction.

    Returns:
        measure, then the columns of `specific_shift.specific_shift`.

    Raises:
        UserError: training tokens or a lexicon without tokens; as the measures themselves.

    >>> rows = pd.DataFrame({"label": ["joy", "sadness"] * 2, "act": ["joy", "joy", "sadness", "sadness"]})
    >>> rows = rows.assign(prompt="p", text="t", style="implicit", layer=3, alpha=0.2, shift=[0.9, 0.4, 0.3, 0.2])
    >>> measured_cells(rows, pairs=[("joy", "sadness")])[["measure", "specific"]].round(3).values.tolist()
    [['raw', 0.4]]
    """
    chosen = label_pairs(table) if pairs is None else list(pairs)
    found = {"raw": specific_shift(table, pairs=chosen)}
    if own:
        found["own"] = own_shift(table, pairs=chosen)
    if tokens is None:
        if training is not None or lexical is not None:
            raise UserError("expected tokens where training tokens or a lexicon are given: give tokens=")
    else:
        if training is not None:
            found["adjusted"] = adjusted_specific_shift(tokens, training, pairs=chosen)
        if lexical is not None:
            parts = lexical_and_contextual(tokens, lexical)
            found["contextual"] = specific_shift(parts, pairs=chosen, value="contextual")
    parts = [found[name].assign(measure=name) for name in MEASURES if name in found]
    joined = pd.concat(parts, ignore_index=True)
    return joined[["measure", *(name for name in joined if name != "measure")]]
