"""How well classifiers that see only a part of a text separate the labels, in scenarios they were not trained on.

The word lists here are English: on other languages the pronouns and function words find nothing and stay at chance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from emolib.base.errors import UserError, shown
from emolib.data.keywords import straight_apostrophes
from emolib.data.styles import of_style
from emolib.readout.surface import keyword_counts, styles, word_parts, words
from emolib.readout.text_counts import text_counts

PRONOUNS = {
    "I": "i me my mine myself",
    "we": "we us our ours ourselves",
    "you": "you your yours yourself yourselves",
    "he": "he him his himself",
    "she": "she her hers herself",
    "they": "they them their theirs themselves themself",
    "it": "it its itself",
}
MARKS = ".,;:!?'\"()-\u2013\u2014\u2026"
FUNCTION_WORDS = tuple(
    dict.fromkeys(
        f"""
    a an the this that these those another each every either neither both all some any no none such other same own
    few little less least many much more most several enough half
    {" ".join(PRONOUNS.values())} one someone somebody something anyone anybody anything everyone everybody everything
    nobody nothing who whom whose which what whatever whoever
    am is are was were be been being do does did done doing have has had having can ca could will wo would shall should
    may might must ought need let
    n't not never 's 'm 're 've 'd 'll
    about above across after against along among around as at before behind below beneath beside between beyond by
    despite down during except for from in inside into like near of off on onto out outside over past per since than
    through throughout till to toward towards under until up upon via with within without
    and but or nor so yet if unless because while whereas though although whether when whenever where wherever why how
    again already also always anymore away back else even ever far further here how however instead just maybe not now
    often once only perhaps quite rather really so sometimes soon still then there therefore thus together too twice
    very well
    """.split()
    )
)
_FORMS = tuple(frozenset(forms.split()) for forms in PRONOUNS.values())
NULL = "all_words_shuffled"

Values: TypeAlias = np.ndarray | sparse.csr_matrix  # `[text, feature]`


def leak_table(
    data: pd.DataFrame, neutral: str = "neutral", *, n_folds: int = 5, seed: int = 0, n_shuffles: int = 5
) -> pd.DataFrame:
    """How well each part of a text gives its label away, in scenarios the classifier was not trained on.

    One row per comparison (`<emotion> vs <neutral>`, `<label> vs rest`), feature set and style, with the AUC of a
    logistic regression's held-out scores pooled over the folds, and the number of texts. The feature sets are those of
    `feature_sets`; `all_words_shuffled` is chance: `all_words` with the labels shuffled within every scenario, the
    mean over `n_shuffles` shuffles. The AUC is NaN where a style has fewer scenarios than folds, or a fold's training
    texts lack one of the two classes.

    Args:
        n_folds: folds of whole scenarios.
        seed: of the folds and the shuffles.

    Raises:
        UserError: no text has the neutral label, or there are fewer scenarios than folds.
    """
    if neutral not in set(data["emotion"]):
        raise UserError(
            f"expected texts with the neutral label {shown(neutral)}, found {', '.join(sorted(set(data['emotion'])))}"
        )
    rows = []
    for style in styles(data):
        part = data[of_style(data, style)].reset_index(drop=True)
        enough = style == "all" or part["scenario"].nunique() >= n_folds
        # a single fold leaves nothing to train on: its AUC is NaN
        folds = scenario_folds(part["scenario"], n_folds, seed=seed) if enough else np.zeros(len(part), dtype=int)
        features = feature_sets(part)
        labels = part["emotion"].to_numpy(dtype=object)
        rng = np.random.default_rng(seed)
        shuffles = [shuffled_within(labels, part["scenario"], rng) for _ in range(n_shuffles)]
        others, pairs = _rest(labels), comparisons(labels, neutral)
        found = {name: _aucs(values, [labels], pairs, folds)[0] for name, values in features.items()}
        found[NULL] = _aucs(features["all_words"], shuffles, pairs, folds).mean(axis=0)
        for place, (positive, other) in enumerate(pairs):
            n = len(labels) if other is None else int(np.isin(labels, [positive, other]).sum())
            named = {"comparison": f"{positive} vs {other or others}", "style": style, "n": n}
            rows += [{**named, "features": name, "auc": float(aucs[place])} for name, aucs in found.items()]
    return pd.DataFrame(rows)[["comparison", "features", "style", "auc", "n"]]


def comparisons(labels: np.ndarray, neutral: str) -> list[tuple[str, str | None]]:
    """Every emotion against neutral, then every label against all others (None)."""
    names = list(dict.fromkeys(labels))
    return [(name, neutral) for name in names if name != neutral] + [(name, None) for name in names]


def _rest(labels: Iterable[str]) -> str:
    """What all other labels together are called: `rest`, which gets a mark where a label is called so."""
    name, taken = "rest", list(labels)
    while any(label == name or label.endswith(f" vs {name}") for label in taken):
        name += "'"
    return name


def sides(table: pd.DataFrame) -> pd.DataFrame:
    """The table with both sides of every comparison in the columns `emotion` and `other` (None for all others).

    What a name says is told by the names together, whatever the labels hold (`calm vs tense` may be one of them): the
    second half of the comparisons are those with all others, and in the first half the neutral label is the same.

    Args:
        table: of `leak_table`, or some rows of it.
    """
    names = list(dict.fromkeys(table["comparison"]))
    pairs, against_all = names[: len(names) // 2], names[len(names) // 2 :]
    last = re.search(r" vs rest'*$", against_all[0] if against_all else " vs rest")
    if last is None:
        raise UserError(f"expected comparisons as leak_table gives them, got {shown(names)}; give all of its rows")
    labels = [name.removesuffix(last[0]) for name in against_all]
    found: dict[str, tuple[str, str | None]] = {n: (e, None) for n, e in zip(against_all, labels, strict=True)}
    ways = [{name[len(e) + 4 :]: e for e in labels if name.startswith(f"{e} vs ")} for name in pairs]
    common = [other for other in ways[0] if all(other in way for way in ways)] if ways else []
    neutral = next((other for other in common if other in labels), common[0] if common else None)
    found |= {name: (way[neutral], neutral) for name, way in zip(pairs, ways, strict=True) if neutral is not None}
    both = [found[name] for name in table["comparison"]]
    return table.assign(emotion=[one for one, _ in both], other=pd.Series([o for _, o in both], table.index, object))


def feature_sets(data: pd.DataFrame) -> dict[str, np.ndarray | sparse.csr_matrix]:
    """What the classifiers see of every text, `[text, feature]`: counts, dense or sparse.

    `surface`: `surface_features`. `function_words`: counts of `FUNCTION_WORDS`.
    `opening`: the first three words with their position. `keywords`: counts of the emotion word lists. `all_words`:
    counts of words and word pairs. A word that only held-out texts have gets no weight, so one vocabulary serves all
    folds.
    """
    texts = data["text"].tolist()
    function_words = CountVectorizer(analyzer=word_parts, vocabulary=FUNCTION_WORDS).transform(texts)
    opening = CountVectorizer(analyzer=lambda text: [f"{i} {word}" for i, word in enumerate(words(text)[:3])])
    pairs = CountVectorizer(tokenizer=words, token_pattern=None, ngram_range=(1, 2))
    return {
        "surface": surface_features(texts),
        "function_words": function_words.toarray().astype(float),
        "opening": opening.fit_transform(texts),
        "keywords": keyword_counts(data).to_numpy(dtype=float),
        "all_words": pairs.fit_transform(texts),
    }


def surface_features(texts: Sequence[str]) -> np.ndarray:
    """Pronouns, punctuation marks, words, characters, and the counts of `text_counts`, `[text, feature]`."""
    plain = np.array([_surface(text) for text in texts], dtype=float)
    return np.hstack([plain, text_counts(texts).to_numpy(dtype=float)])


def _surface(text: str) -> list[int]:
    parts = word_parts(text)
    pronouns = [sum(part in forms for part in parts) for forms in _FORMS]
    plain = straight_apostrophes(text)
    return [*pronouns, *(plain.count(mark) for mark in MARKS), len(text.split()), len(text)]


def scenario_folds(scenarios: pd.Series, n_folds: int, *, seed: int = 0) -> np.ndarray:
    """The fold of every text, `[text]`; a scenario lies in one fold."""
    count = scenarios.nunique()
    if count < n_folds:
        raise UserError(f"expected at least {n_folds} scenarios for {n_folds} folds, got {count}; lower n_folds")
    folds = np.empty(len(scenarios), dtype=int)
    splitter = GroupKFold(n_folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(scenarios, groups=scenarios)):
        folds[held_out] = fold
    return folds


def shuffled_within(labels: np.ndarray, scenarios: pd.Series, rng: np.random.Generator) -> np.ndarray:
    """The labels permuted within every scenario; texts alone in theirs are permuted among themselves."""
    codes = pd.factorize(scenarios, sort=True)[0]
    codes = np.where(np.bincount(codes)[codes] == 1, -1, codes)
    order = np.lexsort((np.arange(len(codes)), codes))
    drawn = np.lexsort((rng.random(len(codes)), codes))
    shuffled = labels.copy()
    shuffled[order] = labels[drawn]
    return shuffled


def _aucs(
    values: Values, labellings: Sequence[np.ndarray], pairs: Sequence[tuple[str, str | None]], folds: np.ndarray
) -> np.ndarray:
    """`[labelling, comparison]`; what all texts are compared on is weighted once."""
    every = list(weighted_folds(values, folds))
    return np.array([[_compared(values, labels, *pair, folds, every) for pair in pairs] for labels in labellings])


def _compared(
    values: Values,
    labels: np.ndarray,
    positive: str,
    other: str | None,
    folds: np.ndarray,
    every: Sequence[WeightedFold],
) -> float:
    if other is None:
        return _auc(_scores(every, labels == positive), labels == positive)
    kept = np.isin(labels, [positive, other])
    return held_out_auc(values[kept], labels[kept] == positive, folds[kept])


def held_out_auc(values: Values, positive: np.ndarray, folds: np.ndarray) -> float:
    """AUC of `held_out_scores`, pooled over the folds; NaN where there are none."""
    return _auc(held_out_scores(values, positive, folds), positive)


def _auc(scores: np.ndarray | None, positive: np.ndarray) -> float:
    return float("nan") if scores is None else float(roc_auc_score(positive, scores))


def held_out_scores(values: Values, positive: np.ndarray, folds: np.ndarray) -> np.ndarray | None:
    """A logistic regression's scores on the folds it was not fitted on, `[text]`; None where one class is missing.

    Args:
        values: `[text, feature]`; see `weighted_folds`.
        positive: `[text]` bool.
        folds: `[text]`.
    """
    return _scores(weighted_folds(values, folds), positive)


@dataclass(frozen=True)
class WeightedFold:
    """Which texts a fold's classifier is fitted on, `[text]` bool, and the weighted features of these and the others,
    whatever their labels."""

    train: np.ndarray
    seen: Values
    unseen: Values


def weighted_folds(values: Values, folds: np.ndarray) -> Iterator[WeightedFold]:
    """Every fold's features: dense ones standardised and sparse counts weighted by TF-IDF, both as the training texts
    say. Features of a fold without any other are empty."""
    for fold in np.unique(folds):
        train = folds != fold
        if not train.any():
            yield WeightedFold(train, values[train], values)
        else:
            weighting = (TfidfTransformer() if sparse.issparse(values) else StandardScaler()).fit(values[train])
            yield WeightedFold(train, weighting.transform(values[train]), weighting.transform(values[~train]))


def _scores(folds: Iterable[WeightedFold], positive: np.ndarray) -> np.ndarray | None:
    scores = np.empty(len(positive))
    for fold in folds:
        labels = positive[fold.train]
        if labels.all() or not labels.any():
            return None
        # liblinear's primal solver draws nothing at random and is the fastest at this size
        model = LogisticRegression(solver="liblinear").fit(fold.seen, labels)
        scores[~fold.train] = np.ravel(fold.unseen @ model.coef_.T + model.intercept_)
    return scores
