"""How well classifier (a) tells each label from neutral, per style and on minimal pairs alone, with its interval; and
how well the count of numbers and calendar words alone does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from emolib.base.errors import UserError
from emolib.data.styles import of_style
from emolib.readout.leaks import held_out_scores, scenario_folds, surface_features
from emolib.readout.surface import styles
from emolib.readout.text_counts import calendar_count
from emolib.statistics.auc import auc_interval

COLUMNS = ["emotion", "style", "texts", "features", "n", "auc", "low", "high"]
N_DRAWS = 5  # of the folds: one draw moves the AUC by about 0.02


def gate_table(data: pd.DataFrame, neutral: str, *, n_folds: int = 5, seed: int = 0) -> pd.DataFrame:
    """AUC of every label against neutral over all scenarios, from the surface and from the calendar count alone.

    Args:
        data: with `minimal_pair` where it is stated.
        n_folds: folds of whole scenarios for the surface's classifier.

    Returns:
        emotion, style, texts (`every`, `minimal` pairs or `other` scenarios), features (`surface`: held out, the mean
        over `N_DRAWS` draws of the folds; `calendar`: the count itself, above 0.5 where the label's texts have more),
        n (texts), auc, and its 95 % interval by scenario. NaN where there are too few scenarios.
    """
    data = data.reset_index(drop=True)
    given: list[str] = data["text"].tolist()
    surface, calendar = surface_features(given), calendar_count(given).astype(float)
    rows = []
    for style, texts, part in _parts(data):
        for emotion in (label for label in dict.fromkeys(data["emotion"]) if label != neutral):
            pair = part[part["emotion"].isin([emotion, neutral])]
            at = pair.index.to_numpy()
            pair = pair.reset_index(drop=True)
            truth = (pair["emotion"] == emotion).to_numpy()
            named = {"emotion": emotion, "style": style, "texts": texts, "n": len(pair)}
            found = {
                "surface": _surface(surface[at], pair["scenario"], truth, n_folds, seed),
                "calendar": _calendar(calendar[at], pair["scenario"], truth),
            }
            for features, (auc, low, high) in found.items():
                rows.append({**named, "features": features, "auc": auc, "low": low, "high": high})
    return pd.DataFrame(rows, columns=COLUMNS)


def _parts(data: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for style in styles(data):
        part = data[of_style(data, style)]
        yield style, "every", part
        if "minimal_pair" in data and data["minimal_pair"].nunique() > 1:
            for texts, chosen in (("minimal", part["minimal_pair"]), ("other", ~part["minimal_pair"])):
                if chosen.any():
                    yield style, texts, part[chosen]


def _surface(
    values: np.ndarray, scenarios: pd.Series, truth: np.ndarray, n_folds: int, seed: int
) -> tuple[float, float, float]:
    nothing = (float("nan"),) * 3
    if scenarios.nunique() < 2 * n_folds or truth.all() or not truth.any():
        return nothing
    found = []
    for draw in range(N_DRAWS):
        scores = held_out_scores(values, truth, scenario_folds(scenarios, n_folds, seed=seed + draw))
        if scores is None:
            return nothing
        found.append(auc_interval(scores, truth, scenarios))
    auc, low, high = np.mean(found, axis=0)
    return float(auc), float(low), float(high)


def _calendar(counts: np.ndarray, scenarios: pd.Series, truth: np.ndarray) -> tuple[float, float, float]:
    try:
        return auc_interval(counts, truth, scenarios)
    except UserError:  # one label alone, or one scenario
        return float("nan"), float("nan"), float("nan")
