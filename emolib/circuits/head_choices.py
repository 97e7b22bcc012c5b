"""Which heads are looked at: named one by one, as ranges, or the first of a ranking."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from emolib.base.errors import UserError, shown
from emolib.interventions import Head, parse_heads
from emolib.steering.shift_tables import check_columns, check_unique

MOST = 999  # heads of a ranking
POOLED = "all"  # the emotions together


def top_count(heads: str | Sequence[Head]) -> int | None:
    """N of `"top:N"`; None for heads that are named.

    Raises:
        UserError: `top:` with something else than a whole number from 1 on.

    >>> top_count("top:10"), top_count("3:5,7:2")
    (10, None)
    """
    if not isinstance(heads, str) or not heads.strip().startswith("top"):
        return None
    found = re.fullmatch(r"\s*top\s*:\s*([0-9]{1,3})\s*", heads)
    if found is None or not 1 <= int(found.group(1)) <= MOST:
        raise UserError(f"expected top:N with N from 1 to {MOST}, for example top:10, got {shown(heads)}")
    return int(found.group(1))


def choose_heads(heads: str | Sequence[Head], ranking: pd.DataFrame | None = None) -> tuple[Head, ...]:
    """Heads as pairs (layer, head): `"3:5,7:2"`, ranges `"0:0-11"`, `"top:10"` of a ranking, or pairs.

    Args:
        ranking: needed for `top:N` alone: what screening found by exact ablation on validation scenarios, columns
            layer, head and t (of the change that the ablation makes; the most negative takes most of the effect and
            comes first); where it has a column emotion, its rows `all` are taken.

    Raises:
        UserError: another form, `top:N` without a ranking or with one of fewer heads, a head ranked twice, t values
            that are not finite.

    >>> ranking = pd.DataFrame({"layer": [3, 7, 9], "head": [5, 2, 0], "t": [0.1, -4.0, -2.0]})
    >>> choose_heads("top:2", ranking), choose_heads("0:0-2")
    (((7, 2), (9, 0)), ((0, 0), (0, 1), (0, 2)))
    """
    count = top_count(heads)
    if count is None:
        return parse_heads(heads)
    if ranking is None:
        raise UserError(
            f"expected a ranking of heads for {shown(heads)}, there is none; name heads, for example 3:5,7:2"
        )
    check_columns(ranking, ["layer", "head", "t"], "the ranking")
    own = ranking[ranking["emotion"] == POOLED] if "emotion" in ranking else ranking
    check_unique(own, ["layer", "head"], "the ranking")
    if len(own) < count or not np.isfinite(own["t"].to_numpy(float)).all():
        raise UserError(f"expected a ranking of at least {count} heads with finite t values, got {len(own)}")
    first = own.sort_values(["t", "layer", "head"], kind="stable").head(count)
    return tuple((int(layer), int(head)) for layer, head in zip(first["layer"], first["head"], strict=True))
