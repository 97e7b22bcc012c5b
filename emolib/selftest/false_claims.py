"""How often the loop claims something where nothing was planted."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from emolib.directions.controls import FAMILIES
from emolib.selftest.loop import LEVEL, MEASURES, Design, run_loop
from emolib.selftest.planted.planting import Form
from emolib.selftest.processes import Mapping, one_by_one

NULLS = {"writer cut": {"cut": "writer"}, "all cut": {"cut": True}, "unspecific": {"effect": 0.0}}


def null_table(form: Form, kind: str, *, repeats: int, seed: int = 0, mapped: Mapping = one_by_one) -> pd.DataFrame:
    """One row per seeded null data set, each with a model of its own.

    Texts are sampled, so that emotion words come by chance; steering changes them, in no emotion's favour.

    Args:
        kind: `writer cut` (the readers stay, but what is steered is noise to them), `all cut` (nothing is read either),
            or `unspecific` (what is written is read, but drives the words of all emotions alike: only the comparison
            with the other emotions' vectors can tell).

    Returns:
        any_supported, any_interval (claims by the interval alone), and of one emotion, in turn: varies (its specific
        difference is not degenerate), effect (mean specific difference), and per family its rank p.
    """
    one = partial(_null_data_set, form, kind, seed)
    return pd.DataFrame(mapped(one, range(repeats)))


def _null_data_set(form: Form, kind: str, seed: int, repeat: int) -> dict[str, Any]:
    number = 1_000_000 * seed + repeat
    return null_record(run_loop(Design(form, number, number, **NULLS[kind])).claims, repeat)


def null_record(claims: pd.DataFrame, repeat: int) -> dict[str, Any]:
    """What the claims of one null data set say: a row of `null_table`."""
    row = claims.iloc[repeat % len(MEASURES)]
    return {
        "any_supported": bool(claims["supported"].any()),
        "any_interval": bool(claims["beats_others"].any()),
        "varies": not row["degenerate"],
        "effect": float(row["vs_others"]),
        **{family: float(row[f"p_{family}"]) for family in FAMILIES},
    }


def share_of_small(p_values: pd.Series) -> float:
    """Share of p values of at most 5 %, which is 5 % where they are uniform."""
    return float(np.mean(p_values <= LEVEL + 1e-9))
