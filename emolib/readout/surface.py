"""What besides the emotion tells the labels of a data set apart.

Counts, lengths, duplicates, openings, final marks and keyword rates per label, and how well classifiers that see only
a part of a text separate the labels in scenarios they were not trained on. Every function takes the data set and
returns one tidy table. The word lists here are English: on other languages the pronouns and function words find
nothing and stay at chance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from rapidfuzz import fuzz, process
from rapidfuzz.utils import default_process
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib.base.errors import UserError
from emolib.data.dataset import SPLITS
from emolib.data.keywords import load_keywords, straight_apostrophes

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
NULL = "all_words_shuffled"
BLOCK = 1024  # rows of the pairwise ratio matrix held at once: bounds memory for a large data set

_WORD = re.compile(r"\w+(?:'\w+)*")
_PART = re.compile(r"[^\W\d]+(?=n't\b)|n't\b|'[^\W\d]+|\w+")


def words(text: str) -> list[str]:
    """Lower-case words; contractions stay whole ("don't")."""
    return _WORD.findall(straight_apostrophes(text).lower())


def word_parts(text: str) -> list[str]:
    """Lower-case words with contractions taken apart: "don't" is `do`, `n't`, and "we're" is `we`, `'re`."""
    return _PART.findall(straight_apostrophes(text).lower())


# tables


def label_counts(data: pd.DataFrame) -> pd.DataFrame:
    """Texts and scenarios per `split`, `style` and `emotion`."""
    grouped = data.groupby(["split", "style", "emotion"], sort=False)["scenario"]
    table = grouped.agg(texts="size", scenarios="nunique").reset_index()
    order = {name: rank for rank, name in enumerate(SPLITS)}
    return table.sort_values(
        ["split", "style"], key=lambda c: c.map(order) if c.name == "split" else c, kind="stable", ignore_index=True
    )


def length_table(
    data: pd.DataFrame, tokenizers: Mapping[str, Callable[[Sequence[str]], Sequence[int]]]
) -> pd.DataFrame:
    """Length per label: `emotion, unit, n, mean, min, max, sd`.

    Args:
        tokenizers: name → function from texts to the number of tokens of each. The unit `characters` is always there.
    """
    texts = data["text"].tolist()
    lengths = {
        "characters": [len(text) for text in texts],
        **{name: count(texts) for name, count in tokenizers.items()},
    }
    parts = []
    for unit, values in lengths.items():
        grouped = pd.Series(list(values), index=data.index, dtype=float).groupby(data["emotion"], sort=False)
        table = grouped.agg(n="size", mean="mean", min="min", max="max", sd="std").reset_index()
        parts.append(table.assign(unit=unit).astype({"min": int, "max": int}))
    return pd.concat(parts, ignore_index=True)[["emotion", "unit", "n", "mean", "min", "max", "sd"]]


def duplicates(data: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Pairs of texts that say the same, the closest first.

    `kind` is `exact` (the same words in the same order, whatever case and punctuation; within a scenario too) or
    `near` (token-set ratio of at least `threshold`; only across scenarios, since the texts of one scenario share their
    words on purpose). A text whose words are all contained in another's has ratio 100.

    Args:
        threshold: above 0, at most 100 (`rapidfuzz.fuzz.token_set_ratio`).
    """
    if not 0 < threshold <= 100:
        raise UserError(f"expected a token-set ratio above 0 and at most 100, got {threshold}")
    texts = np.array([default_process(text) or text for text in data["text"]], dtype=object)
    scenarios = pd.factorize(data["scenario"])[0]
    pairs = list(_close_pairs(texts, threshold))
    first, second, ratio = (np.concatenate(column) for column in zip(*pairs, strict=True))
    exact = texts[first] == texts[second]
    kept = exact | (scenarios[first] != scenarios[second])
    first, second = first[kept], second[kept]
    table = pd.DataFrame({"kind": np.where(exact[kept], "exact", "near").astype(str), "ratio": ratio[kept]})
    for column in ("id", "scenario", "emotion", "text"):
        table[f"{column}_a"] = data[column].to_numpy()[first]
        table[f"{column}_b"] = data[column].to_numpy()[second]
    table = table.astype({column: str for column in table.columns if column != "ratio"})
    return table.sort_values(["ratio", "id_a", "id_b"], ascending=[False, True, True], ignore_index=True)


def _close_pairs(texts: np.ndarray, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Positions i < j of texts with a ratio of at least the threshold, and the ratio, block by block."""
    for start in range(0, len(texts), BLOCK):
        block = texts[start : start + BLOCK]
        # no score_cutoff: cdist also drops ratios that just reach it
        ratio = process.cdist(block, texts[start:], scorer=fuzz.token_set_ratio, dtype=np.float64, workers=2)
        i, j = np.nonzero(np.triu(ratio >= threshold, k=1))
        yield i + start, j + start, ratio[i, j]


def opening_table(data: pd.DataFrame, n: int = 3, *, top: int = 3) -> pd.DataFrame:
    """The `top` most frequent first `n` words per label: `emotion, rank, opening, count, share` (of its texts)."""
    openings = data["text"].map(lambda text: " ".join(words(text)[:n]))
    rows = []
    for emotion, part in openings.groupby(data["emotion"], sort=False):
        counts = part.value_counts().reset_index(name="count")
        counts = counts.sort_values(["count", "text"], ascending=[False, True]).head(top)
        for rank, row in enumerate(counts.itertuples(index=False), start=1):
            share = row.count / len(part)
            rows.append({"emotion": emotion, "rank": rank, "opening": row.text, "count": row.count, "share": share})
    return pd.DataFrame(rows)


def final_mark(text: str) -> str:
    """The punctuation that ends a text, as one string (`?!`); empty where it ends with a word."""
    return re.search(r"[^\w\s]*$", text.rstrip())[0]


def punctuation_table(data: pd.DataFrame) -> pd.DataFrame:
    """Final marks per label: `emotion, mark, count, share, scenarios, shared`.

    `shared` is how many of the `scenarios` that use the mark under this label end with it under every label: the mark
    tells nothing about the label where the two are equal.
    """
    marked = data.assign(mark=data["text"].map(final_mark))
    marked["uniform"] = marked.groupby("scenario")["mark"].transform("nunique") == 1
    rows = []
    for (emotion, mark), part in marked.groupby(["emotion", "mark"], sort=False):
        rows.append(
            {
                "emotion": emotion,
                "mark": mark,
                "count": len(part),
                "share": len(part) / int((data["emotion"] == emotion).sum()),
                "scenarios": part["scenario"].nunique(),
                "shared": part.loc[part["uniform"], "scenario"].nunique(),
            }
        )
    return pd.DataFrame(rows)


def keyword_rates(data: pd.DataFrame) -> pd.DataFrame:
    """Share of texts with a word of each list: `emotion, style, keywords, share, n`; style `all` beside each style."""
    found = keyword_counts(data) > 0
    rows = []
    for style in styles(data):
        chosen = data if style == "all" else data[data["style"] == style]
        for emotion, part in chosen.groupby("emotion", sort=False):
            for label in found:
                share = float(found.loc[part.index, label].mean())
                rows.append({"emotion": emotion, "style": style, "keywords": label, "share": share, "n": len(part)})
    return pd.DataFrame(rows)


def keyword_counts(data: pd.DataFrame) -> pd.DataFrame:
    """Words of each list per text, by the lists of the text's language: `[text, list]`, indexed like `data`."""
    parts = []
    for language, part in data.groupby("lang", sort=False):
        lists = load_keywords(language)
        counts = {label: [lists.count(text, label) for text in part["text"]] for label in lists.labels}
        parts.append(pd.DataFrame(counts, index=part.index))
    return pd.concat(parts).reindex(data.index).fillna(0).astype(int)


def styles(data: pd.DataFrame) -> list[str]:
    """`all`, then every style where there are several."""
    found = sorted(set(data["style"]))
    return ["all", *found] if len(found) > 1 else ["all"]


# leaks


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
            f"expected texts with the neutral label {neutral!r}, found {', '.join(sorted(set(data['emotion'])))}"
        )
    rows = []
    for style in styles(data):
        part = (data if style == "all" else data[data["style"] == style]).reset_index(drop=True)
        enough = style == "all" or part["scenario"].nunique() >= n_folds
        # a single fold leaves nothing to train on: its AUC is NaN
        folds = scenario_folds(part["scenario"], n_folds, seed=seed) if enough else np.zeros(len(part), dtype=int)
        features = feature_sets(part)
        labels = part["emotion"].to_numpy(dtype=object)
        rng = np.random.default_rng(seed)
        shuffles = [shuffled_within(labels, part["scenario"], rng) for _ in range(n_shuffles)]
        for positive, other in comparisons(labels, neutral):
            named = {"comparison": f"{positive} vs {other}", "style": style}
            for name, values in features.items():
                auc, n = _compared(values, labels, positive, other, folds)
                rows.append({**named, "features": name, "auc": auc, "n": n})
            null = [_compared(features["all_words"], s, positive, other, folds)[0] for s in shuffles]
            rows.append({**named, "features": NULL, "auc": float(np.mean(null)), "n": n})
    return pd.DataFrame(rows)[["comparison", "features", "style", "auc", "n"]]


def comparisons(labels: np.ndarray, neutral: str) -> list[tuple[str, str]]:
    """Every emotion against neutral, then every label against the `rest`."""
    names = list(dict.fromkeys(labels))
    return [(name, neutral) for name in names if name != neutral] + [(name, "rest") for name in names]


def feature_sets(data: pd.DataFrame) -> dict[str, np.ndarray | sparse.csr_matrix]:
    """What the classifiers see of every text, `[text, feature]`: counts, dense or sparse.

    `surface`: pronouns, punctuation marks, words and characters. `function_words`: counts of `FUNCTION_WORDS`.
    `opening`: the first three words with their position. `keywords`: counts of the emotion word lists. `all_words`:
    counts of words and word pairs. A word that only held-out texts have gets no weight, so one vocabulary serves all
    folds.
    """
    texts = data["text"].tolist()
    function_words = CountVectorizer(analyzer=word_parts, vocabulary=FUNCTION_WORDS).transform(texts)
    opening = CountVectorizer(analyzer=lambda text: [f"{i} {word}" for i, word in enumerate(words(text)[:3])])
    pairs = CountVectorizer(tokenizer=words, token_pattern=None, ngram_range=(1, 2))
    return {
        "surface": np.array([_surface(text) for text in texts], dtype=float),
        "function_words": function_words.toarray().astype(float),
        "opening": opening.fit_transform(texts),
        "keywords": keyword_counts(data).to_numpy(dtype=float),
        "all_words": pairs.fit_transform(texts),
    }


def _surface(text: str) -> list[int]:
    parts = word_parts(text)
    pronouns = [sum(part in forms.split() for part in parts) for forms in PRONOUNS.values()]
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


def _compared(
    values: np.ndarray | sparse.csr_matrix, labels: np.ndarray, positive: str, other: str, folds: np.ndarray
) -> tuple[float, int]:
    kept = np.ones(len(labels), dtype=bool) if other == "rest" else np.isin(labels, [positive, other])
    return held_out_auc(values[kept], labels[kept] == positive, folds[kept]), int(kept.sum())


def held_out_auc(values: np.ndarray | sparse.csr_matrix, positive: np.ndarray, folds: np.ndarray) -> float:
    """AUC of a logistic regression's scores on the folds it was not fitted on, pooled.

    Args:
        values: `[text, feature]`; dense features are standardised and sparse counts weighted by TF-IDF, both as the
            training folds say.
        positive: `[text]` bool.
        folds: `[text]`.
    """
    scores = np.empty(len(positive))
    for fold in np.unique(folds):
        train = folds != fold
        if positive[train].all() or not positive[train].any():
            return float("nan")
        weighting = TfidfTransformer() if sparse.issparse(values) else StandardScaler()
        # liblinear's primal solver draws nothing at random and is the fastest at this size
        model = make_pipeline(weighting, LogisticRegression(solver="liblinear"))
        model.fit(values[train], positive[train])
        scores[~train] = model.decision_function(values[~train])
    return float(roc_auc_score(positive, scores))
