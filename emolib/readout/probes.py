"""Linear probes: what can be read from the residual stream.

A probe is a logistic regression, emotion against neutral, trained on some scenarios and tested on others. What it
finds counts for little until it is compared with the same probe on labels shuffled within scenarios and on features
that know nothing of the network (Hewitt & Liang 2019, arXiv 1909.03368; `information`). The scenario is the unit: its
texts share their words, so every resample takes whole scenarios.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from emolib.data.activations import Activations


def probe_table(
    train: Activations,
    held_out: Mapping[str, Activations],
    *,
    neutral: str = "neutral",
    n_shuffles: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """AUC of a logistic probe, emotion against neutral, trained on one set of scenarios and tested on others.

    Args:
        held_out: name → activations of scenarios that are not in `train`.

    Returns:
        emotion, layer, split (the name), auc, shuffled_mean and shuffled_max over `n_shuffles` fits on labels
        shuffled within scenarios, tested on labels shuffled likewise.
    """
    rng, held_rng = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    rows = []
    for emotion in (name for name in dict.fromkeys(train.texts["emotion"]) if name != neutral):
        fit_on, *test_on = (against(part, emotion, neutral) for part in (train, *held_out.values()))
        target = (fit_on.texts["emotion"] == emotion).to_numpy()
        targets = [target, *(swap_within(fit_on.texts["scenario"], target, rng) for _ in range(n_shuffles))]
        truths = []
        for part in test_on:
            truth = (part.texts["emotion"] == emotion).to_numpy()
            mixed = (swap_within(part.texts["scenario"], truth, held_rng) for _ in range(n_shuffles))
            truths.append([truth, *mixed])
        for layer in range(train.n_layers + 1):
            scaler = StandardScaler()
            x = scaler.fit_transform(fit_on.values["resid_pre"][layer])
            probes = [logistic(0.01).fit(x, y) for y in targets]
            for split, part, held in zip(held_out, test_on, truths, strict=True):
                x = scaler.transform(part.values["resid_pre"][layer])
                pairs = zip(held, probes, strict=True)
                own, *null = (float(roc_auc_score(truth, probe.decision_function(x))) for truth, probe in pairs)
                found = {"auc": own, "shuffled_mean": float(np.mean(null)), "shuffled_max": float(np.max(null))}
                rows.append({"emotion": emotion, "layer": layer, "split": split, **found})
    return pd.DataFrame(rows)


def against(acts: Activations, emotion: str, neutral: str) -> Activations:
    return acts.where(acts.texts["emotion"].isin([emotion, neutral]))


def logistic(c: float) -> LogisticRegression:
    """The one solver of all probes, so that every table reads the residual stream with the same probe.

    liblinear also shrinks the intercept. Features are centred and a scenario has one text of either label, so there
    is next to nothing to shrink, and the AUC does not see the intercept itself.
    """
    return LogisticRegression(C=c, solver="liblinear")


def swap_within(scenarios: pd.Series, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flips both labels of a random half of the scenarios."""
    codes = pd.factorize(scenarios)[0]
    return np.where(rng.random(codes.max() + 1)[codes] < 0.5, ~target, target)
