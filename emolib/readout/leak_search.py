"""A search for single features that tell a label's texts from the neutral ones of the same scenarios.

Words, word pairs, pairs of coarse tags and classes of characters are ranked on the training scenarios; the best are
tested on the held-out ones by the sign test of the discordant pairs (McNemar's, exact), with Holm's correction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import binom

from emolib.data.keywords import load_keywords
from emolib.readout.leaks import FUNCTION_WORDS, MARKS, PRONOUNS
from emolib.readout.surface import word_parts, words
from emolib.readout.text_counts import text_counts
from emolib.statistics.corrections import holm

TOP = 20
FEWEST_SCENARIOS = 10  # training scenarios in which a feature must occur
LEVEL = 0.05
COLUMNS = [
    *("emotion", "kind", "feature", "own_word", "train_share", "train_neutral", "held_share", "held_neutral"),
    *("auc", "n", "p", "p_holm", "confirmed"),
]
_PRONOUN_TAGS = {form: f"<{name}>" for name, forms in PRONOUNS.items() for form in forms.split()}
_FUNCTION = frozenset(FUNCTION_WORDS)


def leak_search(data: pd.DataFrame, neutral: str, *, top: int = TOP) -> pd.DataFrame:
    """The features that best tell each label from neutral on training scenarios, tested on the others.

    Args:
        data: scenario, emotion, split, text, lang; the texts of one scenario are compared with each other alone.
        neutral: the label to compare with.
        top: features tested per label.

    Returns:
        `COLUMNS`, a row per label and feature, best first: kind (`word`, `pair`, `tags`, `characters`), own_word
        (whether it holds a word of the lists of emotion words), the share of texts with the feature under the label
        and under neutral in training and in held-out scenarios, the held-out AUC of the feature alone, n (held-out
        scenarios), the one-sided p in the direction found in training, the same by Holm over the label's features, and
        confirmed (`p_holm` < 0.05).

    >>> import pandas as pd
    >>> rows = [(f"s{i}", e, "train" if i < 30 else "test", f"{w} {i}") for i in range(60)
    ...         for e, w in (("joy", "a red hat"), ("flat", "monday a hat"))]
    >>> data = pd.DataFrame(rows, columns=["scenario", "emotion", "split", "text"]).assign(lang="en")
    >>> leak_search(data, "flat").query("feature == 'monday'")["confirmed"].tolist()
    [True]
    """
    kinds, names, present = _features(data)
    lists = load_keywords()
    own = np.array([any(lists.count(name, label) for label in lists.labels) for name in names], dtype=bool)
    rows: list[dict] = []
    for emotion in (label for label in dict.fromkeys(data["emotion"]) if label != neutral):
        scenarios, difference, shares = _paired(data, present, emotion, neutral)
        train = scenarios["split"].to_numpy() == "train"
        if train.any() and not train.all():
            rows += _tested(emotion, kinds, names, own, difference, shares, train, top)
    return pd.DataFrame(rows, columns=COLUMNS)


def _features(data: pd.DataFrame) -> tuple[list[str], list[str], sparse.csc_matrix]:
    """Kind and name of every feature, and which text holds it, `[text, feature]`."""
    makers: dict[str, Callable[[str], set[str]]] = {
        "word": lambda text: set(words(text)),
        "pair": lambda text: {" ".join(pair) for pair in pairwise(words(text))},
        "tags": lambda text: {" ".join(pair) for pair in pairwise(coarse_tags(text))},
    }
    texts: list[str] = data["text"].tolist()
    place: dict[tuple[str, str], int] = {}
    cells: list[tuple[int, int]] = []
    for row, text in enumerate(texts):
        for kind, make in makers.items():
            cells += [(row, place.setdefault((kind, name), len(place))) for name in make(text)]
        cells += [(row, place.setdefault(("characters", name), len(place))) for name in _characters(text)]
    counts = text_counts(texts)
    for name in counts:
        column = place.setdefault(("characters", f"<{name}>"), len(place))
        cells += [(int(row), column) for row in np.flatnonzero(counts[name].to_numpy())]
    at = np.array(cells).T
    present = sparse.csc_matrix((np.ones(len(cells)), (at[0], at[1])), shape=(len(texts), len(place)))
    kinds, names = zip(*place, strict=True)
    return list(kinds), list(names), present


def coarse_tags(text: str) -> list[str]:
    """A tag per word part: the pronoun's kind, the function word itself, else the ending's class.

    >>> coarse_tags("You were quickly baking my loaves")
    ['<you>', 'were', '<-ly>', '<-ing>', '<I>', '<-s>']
    """
    return [_tag(part) for part in word_parts(text)]


def _tag(part: str) -> str:
    if part in _PRONOUN_TAGS:
        return _PRONOUN_TAGS[part]
    if part in _FUNCTION:
        return part
    endings = ("ing", "ed", "ly", "er", "est", "s")
    return next((f"<-{ending}>" for ending in endings if part.endswith(ending) and len(part) > len(ending) + 2), "<w>")


def _characters(text: str) -> Iterator[str]:
    yield from {mark for mark in MARKS if mark in text}
    if any(letter.isdigit() for letter in text):
        yield "0-9"
    if any(word.isupper() and len(word) > 1 for word in text.split()):
        yield "<capitals>"


def _paired(
    data: pd.DataFrame, present: sparse.csc_matrix, emotion: str, neutral: str
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Per scenario with both labels: its split; the label's share of texts with each feature less neutral's, and both
    shares, `[2, scenario, feature]`."""
    known = data.reset_index(drop=True)
    both = known[known["emotion"].isin([emotion, neutral])].groupby("scenario", sort=False)["emotion"].nunique() == 2
    scenarios = known[known["scenario"].isin(both.index[both])].drop_duplicates("scenario")[["scenario", "split"]]
    shares = np.stack([_shares(known, present, scenarios["scenario"], label) for label in (emotion, neutral)])
    return scenarios, shares[0] - shares[1], shares


def _shares(data: pd.DataFrame, present: sparse.csc_matrix, scenarios: pd.Series, label: str) -> np.ndarray:
    rows = np.flatnonzero(data["emotion"].to_numpy() == label)
    number = pd.Index(scenarios).get_indexer(data["scenario"].to_numpy()[rows])
    rows, number = rows[number >= 0], number[number >= 0]
    weight = 1 / np.bincount(number, minlength=len(scenarios))[number]
    mean = sparse.csr_matrix((weight, (number, rows)), shape=(len(scenarios), present.shape[0]))
    found: np.ndarray = (mean @ present).toarray()
    return found


def _tested(
    emotion: str,
    kinds: Sequence[str],
    names: Sequence[str],
    own: np.ndarray,
    difference: np.ndarray,
    shares: np.ndarray,
    train: np.ndarray,
    top: int,
) -> list[dict]:
    more, less = (difference[train] > 0).sum(0), (difference[train] < 0).sum(0)
    occurs = (shares[:, train] > 0).any(0).sum(0)
    z = np.where(occurs >= FEWEST_SCENARIOS, np.abs(more - less) / np.sqrt(np.maximum(more + less, 1)), 0)
    best = [int(k) for k in np.lexsort((np.array(names), -z))[:top] if z[k] > 0]
    held = difference[~train][:, best]
    sign = np.sign(more[best] - less[best])
    agree, against = (held * sign > 0).sum(0), (held * sign < 0).sum(0)
    p = binom.sf(agree - 1, agree + against, 0.5)
    corrected = holm(p)
    return [
        {
            "emotion": emotion,
            "kind": kinds[k],
            "feature": names[k],
            "own_word": bool(own[k]),
            "train_share": float(shares[0][train][:, k].mean()),
            "train_neutral": float(shares[1][train][:, k].mean()),
            "held_share": float(shares[0][~train][:, k].mean()),
            "held_neutral": float(shares[1][~train][:, k].mean()),
            "auc": float(0.5 + difference[~train][:, k].mean() / 2),
            "n": int((~train).sum()),
            "p": float(p[i]),
            "p_holm": float(corrected[i]),
            "confirmed": bool(corrected[i] < LEVEL),
        }
        for i, k in enumerate(best)
    ]


def unexplained(found: pd.DataFrame) -> pd.DataFrame:
    """The confirmed features that hold no word of the emotion lists."""
    return found[found["confirmed"].astype(bool) & ~found["own_word"].astype(bool)]
