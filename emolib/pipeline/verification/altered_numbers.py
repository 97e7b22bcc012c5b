"""Numbers that a report would rest on, read off a run as it lies in memory: what an alteration does to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.recompute.stored_vectors import Fit, mean_difference

Reading = tuple[str, Callable[[Material], float]]


def separation(source: Literal["stored", "fitted"]) -> Reading:
    """How well the vectors tell the test texts of their emotion from neutral ones, in the middle of the depth: AUC.

    Args:
        source: the stored vectors, or those that the activations give with the labels as they are.
    """

    def read(material: Material) -> float:
        layers = sorted(material.stored("resid_pre", "mean"))
        layer = layers[len(layers) // 2]
        texts, values = material.texts, material.activations("mean", layer).astype(np.float64)
        neutral = str(material.parameters.get("neutral", "neutral"))
        held = next(a for a in material.run.of_kind("vectors") if a.said["position"] == "mean")
        stored = material.tensors(held)
        found = []
        for name in (name for name in stored if name.startswith("vector/")):
            emotion = name.partition("/")[2]
            fit = Fit("mean", "all", neutral)
            vector = stored[name][layer] if source == "stored" else mean_difference(material, fit, layer, emotion)
            own = material.data.set_index("id")["emotion"].reindex(texts["id"]).to_numpy()  # as the data set has them
            test = (texts["split"] == "test").to_numpy()
            sides = [values[test & (own == label)] @ vector for label in (emotion, neutral)]
            found.append(_auc(*sides))
        return float(np.mean(found))

    return "auc", read


def _auc(positive: np.ndarray, negative: np.ndarray) -> float:
    ranks = rankdata(np.concatenate([positive, negative]))
    n = len(positive)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def broken_effect() -> Reading:
    """The mean change of the emotions' own words and probabilities, broken texts counted as 0 as they are stored."""

    def read(material: Material) -> float:
        artifact = next(a for a in material.run.artifacts if a.said.get("whole") == "test")
        sweep = material.run.table(artifact)
        counted = ~sweep["fluency/broken"].astype(bool)
        changes: list[float] = []
        for emotion in dict.fromkeys(sweep.loc[sweep["kind"] == "emotion", "emotion"]):
            for name in (f"keywords/{emotion}", f"target/{emotion}"):
                if name in sweep:
                    values = sweep[name].astype(float) * counted
                    own = (sweep["kind"] == "emotion") & (sweep["emotion"] == emotion)
                    changes.append(_mean(values[own]) - _mean(values[sweep["kind"] == "baseline"]))
        return float(np.mean(changes))

    return "effect", read


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if len(values) else 0.0
