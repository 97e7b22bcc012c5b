"""What the tables of the labels' geometry say, as codes and numbers. Its bars are applied here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from emolib.study.phase3_vectors.geometry import EMBEDDING

RELIABLE = 0.7  # of a component, a table of dissimilarities, a vector; below it the intervals cover too seldom
SIGNIFICANCE = 0.05
NOT_APPLICABLE = "not_applicable"
UNMEASURABLE = "unmeasurable"
SAME = 1.0  # the cosine of two names of one vector


@dataclass(frozen=True)
class ValenceFinding:
    """The first component against valence at one layer.

    Attributes:
        code: `not_applicable` (no companions), `unmeasurable` (the component is another one in the other half of the
            scenarios), `no_valence` (the correlation is not told from a permuted valence, or its interval reaches 0),
            `null_unmeasurable` (the embedding's component is), else `beyond_embedding`, `as_embedding` or
            `below_embedding` by the interval of the difference.
        row: the layer's row of `valence_table`; empty where there is none.
    """

    code: str
    layer: int
    row: dict[str, float]

    @property
    def smallest(self) -> float:
        """The smallest correlation that so many labels tell from none (two-sided, normal)."""
        freedom = self.row["n_labels"] - 2
        t = float(stats.t.ppf(1 - SIGNIFICANCE / 2, freedom))
        return t / float(np.sqrt(freedom + t**2))


def valence_finding(table: pd.DataFrame | None, layer: int) -> ValenceFinding:
    """Whether the model's first component has valence, and more of it than the embedding."""
    if table is None or table.empty:
        return ValenceFinding(NOT_APPLICABLE, layer, {})
    (row,) = table[table["layer"] == layer].to_dict("records")
    return ValenceFinding(_valence_code(row), layer, {str(key): float(value) for key, value in row.items()})


def _valence_code(row: dict) -> str:
    if not row["reliability"] >= RELIABLE:
        return UNMEASURABLE
    if not (row["p"] <= SIGNIFICANCE and row["low"] > 0):
        return "no_valence"
    if not row["embedding_reliability"] >= RELIABLE:
        return "null_unmeasurable"
    if row["difference_low"] > 0:
        return "beyond_embedding"
    return "below_embedding" if row["difference_high"] < 0 else "as_embedding"


@dataclass(frozen=True)
class DissimilarityFinding:
    """`reliable` or `unmeasurable` at the layer, with the reliabilities there, in the embedding, and how many of the
    layers reach the bar; `not_applicable` without companions."""

    code: str
    layer: int
    reliability: float = float("nan")
    embedding: float = float("nan")
    n_reliable: int = 0
    n_layers: int = 0


def dissimilarity_finding(table: pd.DataFrame | None, layer: int) -> DissimilarityFinding:
    """Whether the table of dissimilarities is fit for comparing models."""
    if table is None or table.empty:
        return DissimilarityFinding(NOT_APPLICABLE, layer)
    of_layer = table.groupby("layer")["reliability"].first()
    at, inner = float(of_layer[layer]), of_layer[of_layer.index > EMBEDDING]
    code = "reliable" if at >= RELIABLE else UNMEASURABLE
    return DissimilarityFinding(code, layer, at, float(of_layer[EMBEDDING]), int((inner >= RELIABLE).sum()), len(inner))


def likeness_codes(table: pd.DataFrame, layer: int) -> pd.DataFrame:
    """`likeness` at one layer with a code: `differs` where the cosine without noise is told from 1, `not_told_apart`
    where it is not, `unmeasurable` where a vector is mostly noise."""
    at = table[table["layer"] == layer]
    measured = (at["reliability"] >= RELIABLE) & at[["corrected", "low", "high"]].notna().all(axis=1)
    code = np.where(at["high"] < SAME, "differs", "not_told_apart")
    return at.assign(code=np.where(measured, code, UNMEASURABLE))
