"""Vectors from some of the texts, or without what the surface explains, beside those from all texts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from emolib.data.activations import Activations
from emolib.data.styles import of_style
from emolib.directions.covariates import CovariateFit, fit_covariates, regress_out
from emolib.directions.vector_tables import separation_table
from emolib.directions.vectors import EmotionVectors, cosine, fit_emotion_vectors
from emolib.readout import leaks, surface
from emolib.study import phase1_dataset
from emolib.study.phase3_vectors import fitting
from emolib.study.phase3_vectors.separation import best_layer, interval
from emolib.study.run import Run

FEWEST_SCENARIOS = 2  # of a style, for vectors of its own


def style_agreement(run: Run, position: str) -> pd.DataFrame:
    """Cosine between vectors from explicit and from implicit training texts, per emotion and layer; empty without."""
    fitted = [_style_vectors(run, position, style) for style in ("explicit", "implicit")]
    if any(vecs is None for vecs in fitted):
        return pd.DataFrame(columns=["emotion", "layer", "cosine"])
    rows = [
        {"emotion": e, "layer": layer, "cosine": float(c)}
        for e in fitted[0]
        for layer, c in enumerate(cosine(fitted[0].values[e], fitted[1].values[e]))
    ]
    return pd.DataFrame(rows)


def _style_vectors(run: Run, position: str, style: str) -> EmotionVectors | None:
    """Vectors from the training texts of one style; None where there are too few."""
    train = fitting.training(run, position)
    part = train.where(of_style(train.texts, style))
    complete = part.texts.groupby("scenario")["emotion"].nunique() == train.texts["emotion"].nunique()
    if complete.sum() < FEWEST_SCENARIOS:
        return None
    return fit_emotion_vectors(part, neutral=run.params.neutral)


def restricted_vectors(run: Run) -> dict[str, tuple[EmotionVectors, CovariateFit | None]]:
    """Vectors at the mean by what they were fitted on: all texts, implicit ones alone, surface features regressed out.

    The last only where Phase 1 finds that pronouns, punctuation and length tell labels apart; with it come the
    coefficients' fit. Each value: vectors, and the fit or None.
    """
    found: dict[str, tuple[EmotionVectors, CovariateFit | None]] = {"all": (fitting.vectors(run, "mean"), None)}
    implicit = _style_vectors(run, "mean", "implicit")
    if implicit is not None:
        found["implicit"] = (implicit, None)
    if phase1_dataset.adjusted(run):
        train = fitting.training(run, "mean")
        features = surface_features(train.texts)
        fit = fit_covariates(train, features)
        found["adjusted"] = (fit_emotion_vectors(train, neutral=run.params.neutral, covariates=features), fit)
    return found


def surface_features(texts: pd.DataFrame) -> np.ndarray:
    """Pronouns, punctuation and length of every text, `[text, feature]`."""
    return leaks.surface_features(texts["text"].tolist())


def restricted_table(run: Run) -> pd.DataFrame:
    """What the restricted vectors share with those from all texts, and how well they tell test texts apart.

    Returns:
        emotion, fitted_on (all, implicit, adjusted), layer (chosen on validation for each), cosine (with the vector
        from all texts at that layer), tested_on (all, explicit, implicit), auc, low, high, n. Under `adjusted` the
        test activations are adjusted by the training texts' fit too.
    """
    everything, rows = fitting.vectors(run, "mean"), []
    for fitted_on, (vecs, fit) in restricted_vectors(run).items():
        held = {split: _adjusted(fitting.split_of(run, "mean", split), fit) for split in ("validation", "test")}
        table = separation_table(vecs, held, neutral=run.params.neutral)
        for emotion in vecs:
            layer = int(best_layer(table[(table["emotion"] == emotion) & (table["variant"] == "raw")])["layer"])
            shared = float(cosine(vecs.values[emotion][layer], everything.values[emotion][layer]))
            place = {"emotion": emotion, "fitted_on": fitted_on, "layer": layer, "cosine": shared}
            rows += [
                {**place, **found}
                for found in _by_style(run, held["test"], emotion, vecs.values[emotion][layer], layer)
            ]
    return pd.DataFrame(rows)


def _adjusted(acts: Activations, fit: CovariateFit | None) -> Activations:
    return acts if fit is None else regress_out(acts, fit, surface_features(acts.texts))


def _by_style(run: Run, test: Activations, emotion: str, direction: np.ndarray, layer: int) -> list[dict]:
    rows = []
    for style in surface.styles(test.texts):
        kept = test.texts["emotion"].isin([emotion, run.params.neutral])
        part = test.where(kept & of_style(test.texts, style))
        truth = (part.texts["emotion"] == emotion).to_numpy()
        if truth.sum() >= 2 and (~truth).sum() >= 2:
            auc, low, high = interval(part.values["resid_pre"][layer] @ direction, truth, part, params=run.params)
            rows.append({"tested_on": style, "auc": auc, "low": low, "high": high, "n": len(truth)})
    return rows
