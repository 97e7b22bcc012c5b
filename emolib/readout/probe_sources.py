"""What a probe may read (the residual stream, embeddings, words, lengths), and the probe of each that validation
chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from emolib.data.activations import Activations
from emolib.readout.label_contrasts import Contrast
from emolib.readout.probes import logistic
from emolib.statistics.auc import pair_wins

PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)  # C of the baselines, chosen on validation
RESIDUAL_PENALTIES = (0.01,)  # for the residual stream the layer is what is chosen
_WORD = r"\w+(?:['’]\w+)*"
_Candidates = Iterator[tuple[int | None, list[np.ndarray]]]


@dataclass(frozen=True)
class ChosenProbe:
    """A chosen probe's layer, C and scores: `[1 + shuffle, test text]`, the first row trained on the true labels."""

    layer: int | None
    c: float
    scores: Float[np.ndarray, "fit text"]


def chosen_probe(contrast: Contrast, source: str, layers: Sequence[int]) -> ChosenProbe:
    """The probe of a source whose layer and C have the best validation AUC, the first of equals; then its shuffles."""
    features_of, penalties, unit_sd = SOURCES[source]
    found: list[tuple[float, int | None, float, list[np.ndarray], LogisticRegression]] = []
    for layer, features in features_of(contrast.sets, layers):
        rotated = row_space(*features, unit_sd=unit_sd)
        for c in penalties:
            probe = logistic(c).fit(rotated[0], contrast.targets[0])
            auc = pair_wins(probe.decision_function(rotated[1]), contrast.truths[1]).mean()
            if not found or auc > found[0][0]:
                found = [(auc, layer, c, rotated, probe)]
    _, layer, c, (fit_on, _, test_on), probe = found[0]
    null = [logistic(c).fit(fit_on, target).decision_function(test_on) for target in contrast.targets[1:]]
    return ChosenProbe(layer, c, np.stack([probe.decision_function(test_on), *null]))


def row_space(
    train: Float[np.ndarray, "text feature"], *others: Float[np.ndarray, "text feature"], unit_sd: bool = True
) -> list[Float[np.ndarray, "text rank"]]:
    """Features standardised by the training texts, in an orthonormal basis of the training rows.

    With an L2 penalty the fitted weights lie in the span of the training rows and only inner products matter, so a
    probe on at most as many coordinates as there are texts scores every text as the probe on all features does
    (Hastie & Tibshirani 2004, doi 10.1093/biostatistics/kxh010). The penalised intercept is not touched by the
    rotation.
    """
    scaler = StandardScaler(with_std=unit_sd)
    standardised = [scaler.fit_transform(train.astype(float)), *(scaler.transform(x.astype(float)) for x in others)]
    basis = np.linalg.qr(standardised[0].T)[0]
    return [x @ basis for x in standardised]


def _residual(sets: Sequence[Activations], layers: Sequence[int]) -> _Candidates:
    for layer in layers:
        yield layer, [part.values["resid_pre"][layer] for part in sets]


def _embedding(sets: Sequence[Activations], layers: Sequence[int]) -> _Candidates:
    yield None, [part.values["embedding"][0] for part in sets]


def _words(sets: Sequence[Activations], layers: Sequence[int]) -> _Candidates:
    """TF-IDF `[text, word or pair]`; the words and their weights are those of the training texts."""
    # scikit-learn's own pattern drops words of one letter, "I" among them
    vectorizer = TfidfVectorizer(lowercase=True, ngram_range=(1, 2), token_pattern=_WORD)
    vectorizer.fit(sets[0].texts["text"])
    yield None, [vectorizer.transform(part.texts["text"]).toarray() for part in sets]


def _length(sets: Sequence[Activations], layers: Sequence[int]) -> _Candidates:
    """Tokens, characters and words: `[text, 3]`."""
    counted = [
        (part.texts["n_tokens"], part.texts["text"].str.len(), part.texts["text"].str.count(_WORD)) for part in sets
    ]
    yield None, [np.column_stack(columns) for columns in counted]


# source → its features (one candidate per layer, where it has layers), the values of C, whether to scale to unit sd
SOURCES: dict[str, tuple[Callable[[Sequence[Activations], Sequence[int]], _Candidates], tuple[float, ...], bool]] = {
    "residual": (_residual, RESIDUAL_PENALTIES, True),
    "embedding": (_embedding, PENALTIES, True),
    "words": (_words, PENALTIES, False),
    "length": (_length, PENALTIES, True),
}
