"""What a claim of the continuation shift needs beyond the study's own labels and directions of the same norm.

Three conditions, each of which may be missing, and then nothing is supported: S above 0 against labels of like
valence, with vectors fitted on texts of the same scenarios; a text contrast that no vector of another concept reaches
(topics, an emotion's word where nobody feels it, the feeling denied); and one beyond control directions that move the
next token as far as the steer does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from emolib.base.errors import UserError, shown
from emolib.steering.shift_tables import check_columns

LIKE_VALENT, CONCEPTS, EQUAL_KL = "like_valent", "concepts", "equal_kl"
FURTHER = (LIKE_VALENT, CONCEPTS, EQUAL_KL)
CONCEPT = "concept"  # kind of their acts
LEXICAL = "lexical:"  # beginning of the name of the vector of an emotion's word; the emotion follows
CONCEPT_COLUMNS = ["style", "emotion", "other", "n_concepts", "reaching", "nearest", "nearest_contrast"]


@dataclass(frozen=True)
class Further:
    """What was measured for these conditions; None where it could not be.

    Attributes:
        labels: the labels of like valence that a claim of each emotion needs; an emotion that is not here has none, so
            that nothing can be claimed of it.
        like_valent: as `emolib.steering.claims.shift_conditions` gives them, `other` a label of like valence.
        concepts: as `concept_ranks` gives them.
        equal_kl: as `emolib.steering.claims.shift_ranks` gives them, of directions at the steer's KL.
    """

    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    like_valent: pd.DataFrame | None = None
    concepts: pd.DataFrame | None = None
    equal_kl: pd.DataFrame | None = None


def concept_ranks(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Which vectors of another concept reach the emotion's own text contrast.

    Args:
        contrasts: style, emotion, other, kind (`emotion` or `concept`), act, contrast (nat per token).

    Returns:
        style, emotion, other, contrast (of the own act), n_concepts, reaching (how many come as far), nearest (the act
        that comes farthest) and nearest_contrast, lexical_share (the contrast of the vector of the emotion's own word
        as a share of the own act's; NaN without that vector, or where the own contrast is not above 0).

    Raises:
        UserError: missing columns, a pair without the own act or without concepts.

    >>> rows = pd.DataFrame({"act": ["joy", "lexical:joy", "topic:work"], "contrast": [0.4, 0.1, 0.0]})
    >>> rows = rows.assign(style="implicit", emotion="joy", other="anger", kind=["emotion", "concept", "concept"])
    >>> concept_ranks(rows)[["reaching", "nearest", "lexical_share"]].values.tolist()
    [[0, 'lexical:joy', 0.25]]
    """
    check_columns(contrasts, ["style", "emotion", "other", "kind", "act", "contrast"], "contrasts")
    rows = []
    for (style, emotion, other), part in contrasts.groupby(["style", "emotion", "other"], sort=False):
        own, beside = (part[part["kind"] == kind] for kind in ("emotion", CONCEPT))
        if len(own) != 1 or beside.empty:
            raise UserError(f"expected the own act of {shown(emotion)} and vectors of other concepts, some are missing")
        value, values = float(own["contrast"].iloc[0]), beside.set_index("act")["contrast"].astype(float)
        lexical = float(values.get(f"{LEXICAL}{emotion}", np.nan))
        row = {"style": style, "emotion": emotion, "other": other, "contrast": value, "n_concepts": len(values)}
        row |= {"reaching": int((values >= value - 1e-12).sum()), "nearest": str(values.idxmax())}
        row |= {"nearest_contrast": float(values.max()), "lexical_share": lexical / value if value > 0 else np.nan}
        rows.append(row)
    return pd.DataFrame(rows, columns=[*CONCEPT_COLUMNS[:3], "contrast", *CONCEPT_COLUMNS[3:], "lexical_share"])


def needed_labels(further: Further, style: str, emotion: str, measures: Sequence[str]) -> pd.DataFrame | None:
    """The conditions of S against every label of like valence; None where one of them is missing in any measure."""
    wanted, held = tuple(further.labels.get(emotion, ())), further.like_valent
    if not wanted or held is None:
        return None
    mine = held[(held["style"] == style) & (held["emotion"] == emotion) & held["measure"].isin(list(measures))]
    mine = mine[mine["other"].isin(list(wanted))]
    known = set(zip(mine["other"], mine["measure"], strict=True))
    whole = {(other, measure) for other in wanted for measure in measures} <= known
    return mine if whole and mine["p"].notna().all() else None


def further_numbers(further: Further, style: str, emotion: str, others: Sequence[str]) -> dict[str, Any]:
    """The numbers of one claim from concepts and directions at equal KL.

    Returns:
        n_concepts, concepts_reaching (over the other labels), nearest_concept (that which comes nearest to the own
        contrast), lexical_share (mean over the other labels), kl_rank_p (of the worst family and other label) and
        kl_controls (directions of the smallest); NaN, 0 and an empty name where they are missing.
    """
    row: dict[str, Any] = {"n_concepts": 0, "concepts_reaching": 0, "nearest_concept": "", "lexical_share": np.nan}
    row |= {"kl_rank_p": np.nan, "kl_controls": 0}
    mine = _of_claim(further.concepts, style, emotion, others)
    if mine is not None:
        nearest = mine.loc[(mine["nearest_contrast"] - mine["contrast"]).idxmax()]
        row |= {"n_concepts": int(mine["n_concepts"].min()), "concepts_reaching": int(mine["reaching"].sum())}
        row |= {"nearest_concept": str(nearest["nearest"]), "lexical_share": float(mine["lexical_share"].mean())}
    beside = _of_claim(further.equal_kl, style, emotion, others)
    if beside is not None and beside["rank_p"].notna().all():
        row |= {"kl_rank_p": float(beside["rank_p"].max()), "kl_controls": int(beside["n_controls"].min())}
    return row


def _of_claim(table: pd.DataFrame | None, style: str, emotion: str, others: Sequence[str]) -> pd.DataFrame | None:
    """A claim's rows against each of the other labels; None where one is missing."""
    if table is None:
        return None
    mine = table[(table["style"] == style) & (table["emotion"] == emotion) & table["other"].isin(list(others))]
    return mine if len(mine) and set(others) <= set(mine["other"]) else None


def missing_conditions(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Which further conditions of a claim were not measured."""
    absent = {LIKE_VALENT: not row["like_valent"], CONCEPTS: not row["n_concepts"], EQUAL_KL: not row["kl_controls"]}
    return tuple(name for name in FURTHER if absent[name])


def further_reason(row: Mapping[str, Any]) -> str:
    """Why a claim that holds against the study's own labels and directions of equal norm is not supported; empty where
    it is.

    A concept may not come as far at all. A family at equal KL has to be beaten as at equal norm; where it has fewer
    directions than that bar needs, none of them may come as far.
    """
    if row["missing"]:
        return "conditions_missing"
    if row["concepts_reaching"]:
        return "concepts_reach_it"
    bar = max(row["bar"], 1 / (1 + row["kl_controls"]))
    return "" if row["kl_rank_p"] <= bar + 1e-12 else "equal_kl_reaches_it"
