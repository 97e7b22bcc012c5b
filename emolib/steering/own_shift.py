"""Which of two emotions S is owed to: an emotion's act against the acts of third parties.

S of two labels is symmetric (S_e,o = S_o,e): an act that does nothing has S above 0 against every emotion whose own
act moves its own texts. The own contrast asks for what the emotion's act itself does:
[Δlp(act e, text e) − Δlp(act e, text o)] − mean over other acts k of [Δlp(act k, text e) − Δlp(act k, text o)].
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pandas as pd

from emolib.base.errors import UserError, shown
from emolib.steering.shift_tables import CELL
from emolib.steering.specific_shift import STRENGTH, label_pairs, text_contrast


def own_shift(
    table: pd.DataFrame,
    *,
    pairs: Iterable[tuple[str, str]] | None = None,
    rest: Collection[str] | None = None,
    value: str = "shift",
) -> pd.DataFrame:
    """The own contrast of every cell, for each emotion against each other label.

    Args:
        table: as `emolib.steering.shift_tables.shift_table` gives it.
        pairs: emotion and other label; None takes every pair of labels that have an act.
        rest: the acts whose mean is taken off (third labels, control directions); None takes every act of the table.
            The emotion's and the other label's are never among them.
        value: the column of the shift.

    Returns:
        prompt, text, style, layer, alpha, emotion, other, `specific` (in the unit of `value`), as
        `specific_shift.specific_shift` gives them.

    Raises:
        UserError: no third act for a pair, an emotion's act that is missing, missing columns, a row that stands twice.

    >>> rows = pd.DataFrame({"label": ["joy", "fear"] * 3, "act": ["joy"] * 2 + ["fear"] * 2 + ["calm"] * 2})
    >>> rows = rows.assign(prompt="p", text="t", style="implicit", layer=3, alpha=0.2, shift=[0, 0, 0, 0.5, 0, 0])
    >>> own_shift(rows)[["emotion", "other", "specific"]].values.tolist()
    [['joy', 'fear', 0.0], ['fear', 'joy', 0.5]]
    """
    chosen = label_pairs(table) if pairs is None else list(pairs)
    if not chosen:
        raise UserError("expected at least two labels with texts and acts of their own: an act bears its label's name")
    found = []
    for emotion, other in chosen:
        acts = set(table["act"] if rest is None else rest) - {emotion, other}
        wide = (
            text_contrast(table[table["act"].isin({emotion} | acts)], emotion, other, value=value)
            .set_index([*CELL, *STRENGTH, "act"])["contrast"]
            .unstack("act")
        )
        thirds = [act for act in wide if act != emotion]
        if emotion not in wide or not thirds or wide.isna().any(axis=None):
            raise UserError(
                f"expected the act {shown(emotion)} and at least one of a third label or direction in every cell, for "
                f"{shown(emotion)} against {shown(other)}; some lack one"
            )
        cells = (wide[emotion] - wide[thirds].mean(axis=1)).rename("specific").reset_index()
        found.append(cells.assign(emotion=emotion, other=other))
    return pd.concat(found, ignore_index=True)[[*CELL, *STRENGTH, "emotion", "other", "specific"]]
