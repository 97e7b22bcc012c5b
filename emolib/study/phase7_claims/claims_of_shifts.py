"""The claims of the continuation shift by Phase 5's own numbers and verdicts, and their families over all models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from emolib.statistics.corrections import holm
from emolib.study.phase7_claims.claim_sources import places, source_of, stored
from emolib.study.phase7_claims.vector_claims import claim_row
from emolib.study.run import Run

FAMILIES = ("implicit", "explicit")  # the primary family, and that of the emotions' words
EXPLORATION = "exploration"
TAKEN = ("p", "rank_p", "n_controls", "exploratory", "verdict", "reason", "by_numbers", "by_numbers_reason")


def shift_claims(run: Run, model: str) -> list[dict[str, Any]]:
    """Each style × emotion, by the condition that holds least; none where the model's Phase 5 could not measure S."""
    path = places(run, model).shift("claims")
    if not path.exists():
        return []
    random = bool(source_of(run, model, "phase5").parameters.get("random_weights"))
    rows = []
    for at in stored(run, path).to_dict("records"):
        row = claim_row("shift", model, at["emotion"], f"shift/{at['style']}", path, "phase5")
        row |= {"family": at["style"] if at["style"] in FAMILIES and not random else EXPLORATION}
        row |= {"value": at["mean"], "low": at["low"], "high": at["high"], "reference": 0.0, "n": at["n_texts"]}
        rows.append(row | {"rank_bar": at["bar"], "degenerate": False} | {name: at[name] for name in TAKEN})
    return rows


def corrected(table: pd.DataFrame) -> pd.Series:
    """Holm's p of every claim that is in a family, over the family's emotions and models; NaN elsewhere.

    Args:
        table: columns family, p.

    >>> corrected(pd.DataFrame({"family": ["implicit", "implicit", "exploration"], "p": [0.01, 0.04, 0.5]})).tolist()
    [0.02, 0.04, nan]
    """
    found = pd.Series(np.nan, index=table.index, dtype=float)
    for family in FAMILIES:
        mine = (table["family"] == family) & table["p"].notna()
        found[mine] = holm(table.loc[mine, "p"].to_numpy(float))
    return found
