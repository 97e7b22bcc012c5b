"""What two models of any width can be compared by: how unlike the same labels are to each other in each of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from emolib.base import store
from emolib.base.paths import ResultPaths
from emolib.directions.agreement import Agreement, agreement
from emolib.study.phase3_vectors.geometry import EMBEDDING
from emolib.study.phase3_vectors.geometry_answers import RELIABLE, SIGNIFICANCE, UNMEASURABLE

COLUMNS = ["labels", "n_labels", "label_correlation", "label_p", "label_ceiling", "label_reliability"]
COLUMNS += ["embedding_correlation", "embedding_p"]


@dataclass(frozen=True)
class LabelTable:
    """A model's dissimilarities.

    Attributes:
        table: as `emolib.study.phase3_vectors.geometry.label_dissimilarities` gives it.
        texts: what tells the texts behind them.
        sha256: of the artifact.
    """

    table: pd.DataFrame
    texts: tuple[str, ...]
    sha256: str

    @property
    def middle(self) -> int:
        """The layer that is compared, named before any number is seen: half of the model's depth."""
        return int(self.table["layer"].max()) // 2

    def reliability(self, layer: int) -> float:
        return float(self.table.loc[self.table["layer"] == layer, "reliability"].iloc[0])

    def square(self, layer: int, labels: list[str]) -> np.ndarray:
        at = self.table[self.table["layer"] == layer]
        known = {frozenset(pair): value for *pair, value in at[["first", "second", "dissimilarity"]].to_numpy()}
        square = np.zeros((len(labels), len(labels)))
        for i, j in combinations(range(len(labels)), 2):
            square[i, j] = square[j, i] = known[frozenset((labels[i], labels[j]))]
        return square

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys([*self.table["first"], *self.table["second"]]))


def label_table(paths: ResultPaths) -> LabelTable | None:
    """A model's stored table; None where it has none, or a killed run left it."""
    path = paths.companion_table("dissimilarities")
    manifest = store.read_manifest(path)
    if manifest is None or not path.is_file():
        return None
    matched = manifest["matched"]
    return LabelTable(store.read_table(path), (matched["texts"], matched["labels"]), manifest["recorded"]["sha256"])


def compared(a: LabelTable | None, b: LabelTable | None, *, seed: int) -> dict[str, Any]:
    """The columns about labels, and the two layers, of one pair of models.

    `labels` is `no_table` (one of them has none: the data set has no companions, or the model's Phase 3 has not come
    to it), `other_texts`, `unmeasurable` (a table is another one in the other half of its scenarios, so that nothing
    follows from a low correlation), else `alike` or `not_told` by the p of the permuted labels. `label_ceiling` is what
    two models that are the same could reach, the root of the product of the two reliabilities.
    """
    if a is None or b is None:
        return {"labels": "no_table"}
    if a.texts != b.texts or set(a.labels) != set(b.labels):
        return {"labels": "other_texts"}
    labels, layers = a.labels, (a.middle, b.middle)
    reliabilities = [table.reliability(layer) for table, layer in zip((a, b), layers, strict=True)]
    at = _agreement(a, b, layers, labels, seed)
    embedded = _agreement(a, b, (EMBEDDING, EMBEDDING), labels, seed)
    lowest = min(reliabilities)
    if not (lowest >= RELIABLE and np.isfinite(at.correlation)):
        code = UNMEASURABLE
    else:
        code = "alike" if at.p <= SIGNIFICANCE else "not_told"
    return {
        **{"labels": code, "n_labels": len(labels), "layer_a": layers[0], "layer_b": layers[1]},
        **{"label_correlation": at.correlation, "label_p": at.p},
        "label_ceiling": float(np.sqrt(np.prod(np.clip(reliabilities, 0, None)))),
        "label_reliability": lowest,
        **{"embedding_correlation": embedded.correlation, "embedding_p": embedded.p},
    }


def _agreement(a: LabelTable, b: LabelTable, layers: tuple[int, int], labels: list[str], seed: int) -> Agreement:
    return agreement(a.square(layers[0], labels), b.square(layers[1], labels), seed=seed)
