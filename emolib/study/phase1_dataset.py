"""Phase 1: what the data set holds, and what besides the emotion tells its labels apart.

Needs nothing. Makes the tables under `dataset/`, of the whole data set whatever the profile; only the lengths depend
on the model, by its tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emolib.data.keywords import keyword_digest
from emolib.data.styles import counts_in_its_style, of_style
from emolib.readout import surface
from emolib.readout.leak_search import leak_search
from emolib.readout.leaks import leak_table, sides
from emolib.readout.surface_gate import gate_table
from emolib.scoring import goemotions, version_of
from emolib.scoring.evaluation import auc
from emolib.scoring.measures import agreement as scores_agreement
from emolib.scoring.measures import expressed_columns, with_targets
from emolib.study.phase1_stances import expressed_kinds as expressed_kinds
from emolib.study.phase1_stances import expressed_quality as expressed_quality
from emolib.study.phase1_stances import misleading_texts as misleading_texts
from emolib.study.phase1_stances import reader_agreement as reader_agreement
from emolib.study.run import Run
from emolib.study.text_answers import beside as beside
from emolib.study.text_answers import companion_readings as companion_readings
from emolib.study.text_answers import dataset_readings as dataset_readings
from emolib.study.text_answers import listed_cues as listed_cues
from emolib.study.text_answers import minimal_pairs as minimal_pairs
from emolib.study.text_answers import placebo_differences as placebo_differences
from emolib.study.text_answers import rated_words as rated_words
from emolib.study.text_answers import sequences as sequences

LEAK_LIMIT = 0.65
GATE = 0.62  # of classifier (a) per label and style
CALENDAR_GATE = (0.40, 0.60)
N_SWAPS = 1000
FAMILIES = ("keywords", "target_lexical", "target_encoder", "target", "expressed")


def counts(run: Run) -> pd.DataFrame:
    """Texts and scenarios per split, style and label."""
    return _table(run, "label_counts", lambda: surface.label_counts(run.data))


def lengths(run: Run) -> pd.DataFrame:
    """Characters, and tokens of the run's model (special tokens left out), per label."""

    def token_counts(texts: Sequence[str]) -> list[int]:
        return [len(row) for row in run.described.tokenizer(list(texts), add_special_tokens=False).input_ids]

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


def score_means(scored: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """Mean on-target probabilities, expressed stances, valence and politeness per style and label of the texts."""
    targets = [f"target/{e}" for e in emotions if f"target/{e}" in scored]
    columns = [*targets, *expressed_columns(scored, emotions), "valence", "politeness/score"]
    return scored[counts_in_its_style(scored)].groupby(["style", "emotion"], sort=False)[columns].mean().reset_index()


def highest_scores(means: pd.DataFrame) -> pd.DataFrame:
    """Whose probability is the highest on each emotion's own texts.

    Args:
        means: of `score_means`.

    Returns:
        style, emotion, own (the mean of the emotion's own probability), highest (whose probability is the highest) and
        value (that mean); emotions without a probability of their own are left out.
    """
    targets = [column for column in means if column.startswith("target/")]
    rows = []
    for row in means.to_dict("records"):
        own = f"target/{row['emotion']}"
        if own in targets:
            highest = max(targets, key=row.get)
            found = {"own": row[own], "highest": highest.removeprefix("target/"), "value": row[highest]}
            rows.append({"style": row["style"], "emotion": row["emotion"], **found})
    return pd.DataFrame(rows, columns=["style", "emotion", "own", "highest", "value"])


def agreement(scored: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """How far the two GoEmotions models agree on the scored texts."""
    return scores_agreement(scored, emotions)


def classifier_quality(emotions: Sequence[str]) -> pd.DataFrame:
    """How good the bundled classifiers of the emotions' GoEmotions labels are on that data set's dev split."""
    return goemotions.dev_quality(_own_labels(emotions))


def classifier_calibration(emotions: Sequence[str]) -> pd.DataFrame:
    """Predicted probability and observed share of those labels, in bins of equally many texts."""
    return goemotions.dev_calibration(_own_labels(emotions))


def _own_labels(emotions: Sequence[str]) -> list[str]:
    return [label for emotion in emotions for label in goemotions.matching_labels(emotion)]


def scorer_auc(scored: pd.DataFrame, emotions: Sequence[str], *, neutral: str, seed: int) -> pd.DataFrame:
    """How well each scorer alone tells an emotion's texts from the neutral ones of the same scenarios: AUC per style.

    `null` is the 97.5th percentile of the AUC when the two labels of every scenario are swapped at random; `seen` says
    whether the AUC is above it.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for style in dict.fromkeys(scored["style"]):
        part = scored[of_style(scored, style)]
        for emotion in emotions:
            pair = part[part["emotion"].isin([emotion, neutral])]
            truth = (pair["emotion"] == emotion).to_numpy()
            if truth.all() or not truth.any():
                continue
            number = pd.factorize(pair["scenario"])[0]
            swapped = truth ^ (rng.random((N_SWAPS, number.max() + 1)) < 0.5)[:, number]
            for family in (name for name in FAMILIES if f"{name}/{emotion}" in pair):
                found = auc(np.concatenate([truth[None], swapped]), pair[f"{family}/{emotion}"].to_numpy())
                row = {"style": style, "emotion": emotion, "family": family, "n": len(pair)}
                null = float(np.quantile(found[1:], 0.975))
                rows.append({**row, "auc": found[0], "null": null, "seen": bool(found[0] > null)})
    return pd.DataFrame(rows, columns=["style", "emotion", "family", "n", "auc", "null", "seen"])


def deciding(seen: pd.DataFrame) -> pd.DataFrame:
    """The rows of `scorer_auc` about the measure that later phases decide by: the probability, else the words."""
    return seen[seen["family"] == ("target" if "target" in set(seen["family"]) else "keywords")]


def leaks(run: Run) -> pd.DataFrame:
    """Held-out AUC of every comparison from every feature set, per style, and its null."""
    params = run.params
    return _table(
        run,
        "leaks",
        lambda: leak_table(run.data, params.neutral, n_folds=params.n_folds, seed=params.seed),
        neutral=params.neutral,
        n_folds=params.n_folds,
        seed=params.seed,
        keywords=keyword_digest(run.data),
    )


def gates(run: Run) -> pd.DataFrame:
    """AUC of classifier (a), and of the count of numbers and calendar words, per label, style and kind of scenario."""
    params = run.params
    return _table(
        run,
        "gates",
        lambda: gate_table(run.data, params.neutral, n_folds=params.n_folds, seed=params.seed),
        neutral=params.neutral,
        n_folds=params.n_folds,
        seed=params.seed,
    )


def searched(run: Run) -> pd.DataFrame:
    """The single features that best tell each label from neutral, tested on held-out scenarios."""
    neutral = run.params.neutral
    return _table(
        run, "leak_search", lambda: leak_search(run.data, neutral), neutral=neutral, keywords=keyword_digest(run.data)
    )


@dataclass(frozen=True)
class Gates:
    """Whether the texts pass: classifier (a) at most `GATE`, the calendar's count within `CALENDAR_GATE`.

    Attributes:
        surface, calendar: the AUC furthest from 0.5 over labels and styles; NaN where none could be worked out.
        surface_passes, calendar_passes: None where it could not.
    """

    surface: float
    calendar: float
    surface_passes: bool | None
    calendar_passes: bool | None


def gate_findings(table: pd.DataFrame) -> Gates:
    """What the rows over every scenario of `gates` say."""
    found: dict[str, float] = {}
    for features in ("surface", "calendar"):
        auc = table.loc[(table["texts"] == "every") & (table["features"] == features), "auc"].dropna()
        found[features] = float(auc.iloc[(auc - 0.5).abs().argmax()]) if len(auc) else float("nan")
    low, high = CALENDAR_GATE
    passes = {
        "surface": found["surface"] <= GATE if np.isfinite(found["surface"]) else None,
        "calendar": low <= found["calendar"] <= high if np.isfinite(found["calendar"]) else None,
    }
    return Gates(found["surface"], found["calendar"], passes["surface"], passes["calendar"])


def adjusted(run: Run) -> bool:
    """Whether later phases must also report vectors with the surface features regressed out (see `surface_leak`)."""
    return surface_leak(leaks(run)).exceeds


@dataclass(frozen=True)
class SurfaceLeak:
    """How well pronouns, punctuation and length alone tell labels apart where they do it best.

    Attributes:
        auc: held-out AUC.
        emotion: the label told apart.
        other: from which one; None for all others together.
        style: in which texts.
        exceeds: whether the AUC is above `LEAK_LIMIT`.
    """

    auc: float
    emotion: str
    other: str | None
    style: str
    exceeds: bool


def surface_leak(table: pd.DataFrame) -> SurfaceLeak:
    """The largest AUC of the surface features in any comparison and style of `leaks`."""
    known = sides(table)
    surface_rows = known[known["features"] == "surface"]
    worst = surface_rows.loc[surface_rows["auc"].idxmax()]
    found = float(worst["auc"])
    return SurfaceLeak(found, worst["emotion"], worst["other"], worst["style"], found > LEAK_LIMIT)


def against_neutral(table: pd.DataFrame) -> pd.DataFrame:
    """The comparisons of `leaks` with the neutral label, with the emotion's name in `emotion`."""
    known = sides(table)
    return known[known["other"].notna()].drop(columns="other")


def wording_leaks(table: pd.DataFrame) -> pd.DataFrame:
    """How well function words and the first three words tell emotions from neutral over all styles.

    Returns:
        features, low and high (over emotions), exceeds (whether any is above `LEAK_LIMIT`).
    """
    every = against_neutral(table[table["style"] == "all"])
    rows = []
    for features in ("function_words", "opening"):
        found = every.loc[every["features"] == features, "auc"]
        ends = {"low": found.min(), "high": found.max()}
        rows.append({"features": features, **ends, "exceeds": ends["high"] > LEAK_LIMIT})
    return pd.DataFrame(rows)


def lexical_means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean AUC against neutral of the keyword lists and of all words per style that has one: style, keywords, words."""
    rows = []
    for style in ("explicit", "implicit"):
        part = against_neutral(table[table["style"] == style])
        if part["auc"].notna().any():
            key, every = (part.loc[part["features"] == name, "auc"].mean() for name in ("keywords", "all_words"))
            rows.append({"style": style, "keywords": key, "words": every})
    return pd.DataFrame(rows, columns=["style", "keywords", "words"])


def length_spread(table: pd.DataFrame) -> float:
    """By how much the label with the longest texts exceeds the one with the shortest, in mean tokens (0.1: a tenth)."""
    tokens = table.loc[table["unit"] != "characters", "mean"]
    return float(tokens.max() / tokens.min() - 1)


def _table(run: Run, name: str, compute: Callable[[], pd.DataFrame], **matched: Any) -> pd.DataFrame:
    path = run.paths.dataset(f"{name}.parquet")
    return run.artifacts.table(path, {"data": run.dataset_digest, **matched}, compute, model=False)
