"""Phase 1: what the data set holds, and what besides the emotion tells its labels apart.

Needs nothing. Makes the tables under `dataset/`, of the whole data set whatever the profile; only the lengths depend
on the model, by its tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from emolib import store, surface
from emolib.keywords import load_keywords
from emolib.phases.run import Run

LEAK_LIMIT = 0.65


def counts(run: Run) -> pd.DataFrame:
    """Texts and scenarios per split, style and label."""
    return _table(run, "label_counts", lambda: surface.label_counts(run.data))


def lengths(run: Run) -> pd.DataFrame:
    """Characters, and tokens of the run's model (special tokens left out), per label."""

    def token_counts(texts: Sequence[str]) -> list[int]:
        return [len(row) for row in run.lm.tokenizer(list(texts), add_special_tokens=False).input_ids]

    return run.table(
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
    return _table(run, "keyword_rates", lambda: surface.keyword_rates(run.data), keywords=_keyword_digest(run))


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
        keywords=_keyword_digest(run),
    )


def adjusted(run: Run) -> bool:
    """Whether later phases must also report vectors with the surface features regressed out.

    True where pronouns, punctuation and length alone reach an AUC above `LEAK_LIMIT` in any comparison and style.
    """
    table = leaks(run)
    return bool((table.loc[table["features"] == "surface", "auc"] > LEAK_LIMIT).any())


def _table(run: Run, name: str, compute: Callable[[], pd.DataFrame], **matched: Any) -> pd.DataFrame:
    path = run.paths.dataset(f"{name}.parquet")
    return run.table(path, {"data": run.dataset_digest, **matched}, compute, model=False)


def _keyword_digest(run: Run) -> str:
    """The hash of the keyword lists of the data set's languages, which are an input too."""
    return store.digest([load_keywords(language).digest() for language in sorted(set(run.data["lang"]))])
