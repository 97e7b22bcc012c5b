"""Phase 1: what the data set holds, and what besides the emotion tells its labels apart.

Needs nothing. Makes the tables under `dataset/`, of the whole data set whatever the profile; only the lengths depend
on the model, by its tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from emolib.data.keywords import keyword_digest
from emolib.readout import surface
from emolib.scoring import goemotions, version_of
from emolib.scoring.evaluation import auc
from emolib.scoring.measures import agreement as scores_agreement
from emolib.scoring.measures import with_targets
from emolib.study.run import Run

LEAK_LIMIT = 0.65
N_SWAPS = 1000


def counts(run: Run) -> pd.DataFrame:
    """Texts and scenarios per split, style and label."""
    return _table(run, "label_counts", lambda: surface.label_counts(run.data))


def lengths(run: Run) -> pd.DataFrame:
    """Characters, and tokens of the run's model (special tokens left out), per label."""

    def token_counts(texts: Sequence[str]) -> list[int]:
        return [len(row) for row in run.lm.tokenizer(list(texts), add_special_tokens=False).input_ids]

    return run.artifacts.table(
        run.paths.dataset(f"lengths_{run.paths.model}.parquet"),
        {"data": run.dataset_digest},
        lambda: surface.length_table(run.data, {run.paths.model: token_counts}),
    )


def duplicate_pairs(run: Run) -> pd.DataFrame:
    """Exact duplicates, and near-duplicates across scenarios."""
    threshold = run.params.near_duplicate
    return _table(run, "duplicates", lambda: surface.duplicates(run.data, threshold), near_duplicate=threshold)


def openings(run: Run) -> pd.DataFrame:
    """The most frequent first three words per label."""
    return _table(run, "openings", lambda: surface.opening_table(run.data))


def punctuation(run: Run) -> pd.DataFrame:
    """Final marks per label, and whether every scenario shares its own."""
    return _table(run, "punctuation", lambda: surface.punctuation_table(run.data))


def keyword_rates(run: Run) -> pd.DataFrame:
    """Share of texts with a word of each keyword list, per label and style."""
    return _table(run, "keyword_rates", lambda: surface.keyword_rates(run.data), keywords=keyword_digest(run.data))


def scores(run: Run) -> pd.DataFrame:
    """Every text with its scores by the run's backend."""
    scorers = version_of(run.params.backend)
    path = run.paths.dataset(f"scores_{run.params.backend}.parquet")
    return run.artifacts.table(
        path,
        {"data": run.dataset_digest, "scorers": scorers},
        lambda: with_targets(run.scored(run.data), run.emotions),
        model=False,
    )


def score_means(run: Run) -> pd.DataFrame:
    """Mean on-target probabilities, valence and politeness per style and label."""
    table = scores(run)
    columns = [f"target/{e}" for e in run.emotions if f"target/{e}" in table] + ["valence", "politeness/score"]
    return table.groupby(["style", "emotion"], sort=False)[columns].mean().reset_index()


def agreement(run: Run) -> pd.DataFrame:
    """How far the two GoEmotions models agree on the data set's texts."""
    return scores_agreement(scores(run), run.emotions)


def own_labels(run: Run) -> list[str]:
    """The GoEmotions labels that stand for the run's emotions."""
    return [label for emotion in run.emotions for label in goemotions.matching_labels(emotion)]


def scorer_auc(run: Run) -> pd.DataFrame:
    """How well each scorer alone tells an emotion's texts from the neutral ones of the same scenarios: AUC per style.

    `null` is the 97.5th percentile of the AUC when the two labels of every scenario are swapped at random.
    """
    table = scores(run)
    rng = np.random.default_rng(run.params.seed)
    rows = []
    for style, part in table.groupby("style", sort=False):
        for emotion in run.emotions:
            pair = part[part["emotion"].isin([emotion, run.params.neutral])]
            truth = (pair["emotion"] == emotion).to_numpy()
            number = pd.factorize(pair["scenario"])[0]
            swapped = truth ^ (rng.random((N_SWAPS, number.max() + 1)) < 0.5)[:, number]
            families = ("keywords", "target_lexical", "target_encoder", "target")
            for family in (name for name in families if f"{name}/{emotion}" in pair):
                found = auc(np.concatenate([truth[None], swapped]), pair[f"{family}/{emotion}"].to_numpy())
                row = {"style": style, "emotion": emotion, "family": family, "n": len(pair)}
                rows.append({**row, "auc": found[0], "null": float(np.quantile(found[1:], 0.975))})
    return pd.DataFrame(rows, columns=["style", "emotion", "family", "n", "auc", "null"])


def leaks(run: Run) -> pd.DataFrame:
    """Held-out AUC of every comparison from every feature set, per style, and its null."""
    params = run.params
    return _table(
        run,
        "leaks",
        lambda: surface.leak_table(run.data, params.neutral, n_folds=params.n_folds, seed=params.seed),
        neutral=params.neutral,
        n_folds=params.n_folds,
        seed=params.seed,
        keywords=keyword_digest(run.data),
    )


def adjusted(run: Run) -> bool:
    """Whether later phases must also report vectors with the surface features regressed out.

    True where pronouns, punctuation and length alone reach an AUC above `LEAK_LIMIT` in any comparison and style.
    """
    table = leaks(run)
    return bool((table.loc[table["features"] == "surface", "auc"] > LEAK_LIMIT).any())


def _table(run: Run, name: str, compute: Callable[[], pd.DataFrame], **matched: Any) -> pd.DataFrame:
    path = run.paths.dataset(f"{name}.parquet")
    return run.artifacts.table(path, {"data": run.dataset_digest, **matched}, compute, model=False)
