"""Linear probes: what can be read from the residual stream, and how much of it the words alone already tell.

A probe is a logistic regression, emotion against neutral, trained on some scenarios and tested on others. What it
finds counts for little until it is compared with the same probe on labels shuffled within scenarios and on features
that know nothing of the network (Hewitt & Liang 2019, arXiv 1909.03368). The scenario is the unit: its texts share
their words, so every resample takes whole scenarios.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from emolib.base.errors import UserError, nearest
from emolib.data.activations import Activations
from emolib.statistics.auc import auc_difference, auc_interval, pair_wins

PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)  # C of the baselines, chosen on validation
RESIDUAL_PENALTIES = (0.01,)  # for the residual stream the layer is what is chosen
MIN_SCENARIOS = 4  # with both labels, for a style to be tested on its own
SETS = ("training", "validation", "test")
INFORMATION_COLUMNS = (
    *("emotion", "source", "style", "layer", "c", "auc", "low", "high", "shuffled_mean", "shuffled_max"),
    *("advantage", "advantage_low", "advantage_high", "n"),
)
CROSS_STYLE_COLUMNS = (
    *("emotion", "source", "trained_on", "tested_on", "layer", "auc", "low", "high", "shuffled_max", "n"),
)

_WORD = r"\w+(?:['’]\w+)*"
_Candidates = Iterator[tuple[int | None, list[np.ndarray]]]


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
        fit_on, *test_on = (_against(part, emotion, neutral) for part in (train, *held_out.values()))
        target = (fit_on.texts["emotion"] == emotion).to_numpy()
        targets = [target, *(_swap_within(fit_on.texts["scenario"], target, rng) for _ in range(n_shuffles))]
        truths = []
        for part in test_on:
            truth = (part.texts["emotion"] == emotion).to_numpy()
            mixed = (_swap_within(part.texts["scenario"], truth, held_rng) for _ in range(n_shuffles))
            truths.append([truth, *mixed])
        for layer in range(train.n_layers + 1):
            probes = [_fitted_probe(fit_on.values["resid_pre"][layer], y) for y in targets]
            for split, part, held in zip(held_out, test_on, truths, strict=True):
                x = part.values["resid_pre"][layer]
                pairs = zip(held, probes, strict=True)
                own, *null = (float(roc_auc_score(truth, probe.decision_function(x))) for truth, probe in pairs)
                found = {"auc": own, "shuffled_mean": float(np.mean(null)), "shuffled_max": float(np.max(null))}
                rows.append({"emotion": emotion, "layer": layer, "split": split, **found})
    return pd.DataFrame(rows)


def _against(acts: Activations, emotion: str, neutral: str) -> Activations:
    return acts.where(acts.texts["emotion"].isin([emotion, neutral]))


def _fitted_probe(x: np.ndarray, y: np.ndarray) -> Pipeline:
    return make_pipeline(StandardScaler(), _logistic(0.01)).fit(x, y)


def _logistic(c: float) -> LogisticRegression:
    """The one solver of all probes, so that every table reads the residual stream with the same probe.

    liblinear also shrinks the intercept. Features are centred and a scenario has one text of either label, so there
    is next to nothing to shrink, and the AUC does not see the intercept itself.
    """
    return LogisticRegression(C=c, solver="liblinear")


def _swap_within(scenarios: pd.Series, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flips both labels of a random half of the scenarios."""
    codes = pd.factorize(scenarios)[0]
    return np.where(rng.random(codes.max() + 1)[codes] < 0.5, ~target, target)


# what the residual stream knows beyond the words


def information_table(
    train: Activations,
    validation: Activations,
    test: Activations,
    *,
    embedding: Sequence[Float[np.ndarray, "text d_model"]],
    neutral: str = "neutral",
    layers: Sequence[int] | None = None,
    n_shuffles: int = 20,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Does the residual stream tell an emotion from neutral better than the words do?

    One logistic probe per emotion and source, trained on the training scenarios and tested once:

    - `residual`: `resid_pre` at the layer with the best validation AUC (the lowest of equals), C = 0.01;
    - `embedding`: the mean token embedding;
    - `words`: TF-IDF of words and word pairs of the training texts, lower case;
    - `length`: tokens, characters and words.

    The last three are given their best chance: their C is the one of `PENALTIES` with the best validation AUC. All
    features are standardised by the training texts; TF-IDF, whose scale carries meaning, is only centred.

    Args:
        train, validation, test: activations of three sets of scenarios that share none.
        embedding: `[text, d_model]` for each of the three sets, in the order of their texts.
        layers: the layers to choose from; all by default.

    Returns:
        One row per emotion, source and style (`all`, and each with at least `MIN_SCENARIOS` test scenarios that have
        both labels). layer: missing except for `residual`. auc, low, high: see `auc_interval`. shuffled_mean,
        shuffled_max: over `n_shuffles` refits, at the same layer and C, on labels swapped within scenarios, those of
        the test texts too.
        advantage, advantage_low, advantage_high: AUC of `residual` minus this source's (`auc_difference`); NaN for
        `residual`. n: test texts.

    Raises:
        UserError: an absent label, a scenario in two sets, a layer out of range, values that are not finite, or
            embeddings that do not match the texts.
    """
    sets = _with_embedding((train, validation, test), embedding)
    emotions = _checked_sets(sets, neutral, n_shuffles)
    offered = _checked_layers(train, layers)
    resampling = {"n_resamples": n_resamples, "seed": seed}
    rows = []
    for index, emotion in enumerate(emotions):
        contrast = _contrast(sets, emotion, neutral, n_shuffles, [seed, index])
        probes = {source: _chosen_probe(contrast, source, offered) for source in _SOURCES}
        for source, probe in probes.items():
            for style, kept in _tested_styles(contrast).items():
                found = _tested(probe, contrast, kept, resampling)
                found |= _advantage(probes["residual"], probe, contrast, kept, resampling)
                chosen = {"layer": probe.layer, "c": probe.c}
                rows.append({"emotion": emotion, "source": source, "style": style, **chosen, **found})
    return _table(rows, INFORMATION_COLUMNS)


def cross_style_table(
    train: Activations,
    validation: Activations,
    test: Activations,
    *,
    neutral: str = "neutral",
    styles: Sequence[str] = ("explicit", "implicit"),
    n_shuffles: int = 20,
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Does a probe that learned an emotion from texts of one style read it in texts of the other?

    Probes on `residual` and `words` as in `information_table`, trained on the texts of each style and on `all` texts,
    each tested on the test texts of each style. Layer and C are chosen on validation texts of the style trained on.

    Args:
        train, validation, test: activations of three sets of scenarios that share none.
        styles: values of the column `style` of the texts.

    Returns:
        One row per emotion, source, trained_on and tested_on, with layer (missing for `words`), auc, low, high (see
        `auc_interval`), shuffled_max over `n_shuffles` refits on labels swapped within scenarios (tested on swapped
        ones), and n test texts. An emotion has no rows where a style lacks it: no training scenario with both labels,
        not both labels in validation, or fewer than `MIN_SCENARIOS` test scenarios with both. The table is then empty
        if no emotion is left.

    Raises:
        UserError: an absent label, a scenario in two sets, or values that are not finite.
    """
    sets = [replace(part, values={"resid_pre": part.values["resid_pre"]}) for part in (train, validation, test)]
    emotions = _checked_sets(sets, neutral, n_shuffles)
    offered = _checked_layers(train, None)
    resampling = {"n_resamples": n_resamples, "seed": seed}
    rows = []
    for index, emotion in enumerate(emotions):
        contrast = _contrast(sets, emotion, neutral, n_shuffles, [seed, index])
        if not all(contrast.has(style) for style in styles):
            continue
        for trained_on in (*styles, "all"):
            part = contrast if trained_on == "all" else contrast.learning_from(trained_on)
            for source in ("residual", "words"):
                probe = _chosen_probe(part, source, offered)
                for tested_on in styles:
                    found = _tested(probe, part, part.of_style(tested_on)[-1], resampling)
                    named = {"emotion": emotion, "source": source, "trained_on": trained_on, "tested_on": tested_on}
                    rows.append({**named, "layer": probe.layer, **found})
    return _table(rows, CROSS_STYLE_COLUMNS)


def _table(rows: list[dict], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns)).astype({"layer": "Int64"})


@dataclass(frozen=True)
class _Contrast:
    """One emotion against neutral: the three sets, their labels, and the labels to train on.

    Attributes:
        truths: per set, `[text]`.
        targets: `[1 + shuffle, training text]`; the first row is the truth.
        test_targets: likewise of the test texts: what a shuffled fit is tested on. Tested on the true labels it would
            keep what of the emotion its shuffled labels happen to hold, and could be perfect.
    """

    sets: tuple[Activations, ...]
    truths: tuple[Bool[np.ndarray, "text"], ...]
    targets: Bool[np.ndarray, "fit text"]
    test_targets: Bool[np.ndarray, "fit text"]

    def of_style(self, style: str) -> list[Bool[np.ndarray, "text"]]:
        """The texts of a style, per set."""
        return [(part.texts["style"] == style).to_numpy() for part in self.sets]

    def has(self, style: str) -> bool:
        """Whether the texts of a style are enough to train, choose and test on."""
        kept = self.of_style(style)
        paired = [
            _paired_scenarios(part.texts["scenario"][keep], truth[keep])
            for part, truth, keep in zip(self.sets, self.truths, kept, strict=True)
        ]
        both_in_validation = len(set(self.truths[1][kept[1]])) == 2
        return paired[0] >= 1 and both_in_validation and paired[2] >= MIN_SCENARIOS

    def learning_from(self, style: str) -> _Contrast:
        """The same contrast with training and validation texts of one style and all test texts."""
        fit, choose, _ = self.of_style(style)
        return _Contrast(
            (self.sets[0].where(fit), self.sets[1].where(choose), self.sets[2]),
            (self.truths[0][fit], self.truths[1][choose], self.truths[2]),
            self.targets[:, fit],
            self.test_targets,
        )


@dataclass(frozen=True)
class _Probe:
    """A chosen probe's layer, C and scores: `[1 + shuffle, test text]`, the first row trained on the true labels."""

    layer: int | None
    c: float
    scores: Float[np.ndarray, "fit text"]


def _paired_scenarios(scenarios: pd.Series, truth: Bool[np.ndarray, "text"]) -> int:
    """How many scenarios have texts of both labels."""
    return len(set(scenarios[truth]) & set(scenarios[~truth]))


def _contrast(
    sets: Sequence[Activations], emotion: str, neutral: str, n_shuffles: int, seed: Sequence[int]
) -> _Contrast:
    parts = tuple(_against(part, emotion, neutral) for part in sets)
    truths = tuple((part.texts["emotion"] == emotion).to_numpy() for part in parts)
    for name, truth in zip(SETS, truths, strict=True):
        if truth.all() or not truth.any():
            raise UserError(f"expected texts of {emotion!r} and {neutral!r} in the {name} set, one of them is absent")
    scenarios = parts[0].texts["scenario"]
    if not _paired_scenarios(scenarios, truths[0]):  # else a shuffle could leave one label alone
        raise UserError(f"expected a training scenario that has both {emotion!r} and {neutral!r}, found none")
    rng = np.random.default_rng(seed)
    shuffled = [_swap_within(scenarios, truths[0], rng) for _ in range(n_shuffles)]
    tested = [_swap_within(parts[-1].texts["scenario"], truths[-1], rng) for _ in range(n_shuffles)]
    return _Contrast(parts, truths, np.stack([truths[0], *shuffled]), np.stack([truths[-1], *tested]))


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
_SOURCES: dict[str, tuple[Callable[[Sequence[Activations], Sequence[int]], _Candidates], tuple[float, ...], bool]] = {
    "residual": (_residual, RESIDUAL_PENALTIES, True),
    "embedding": (_embedding, PENALTIES, True),
    "words": (_words, PENALTIES, False),
    "length": (_length, PENALTIES, True),
}


def _chosen_probe(contrast: _Contrast, source: str, layers: Sequence[int]) -> _Probe:
    """The probe of a source whose layer and C have the best validation AUC, the first of equals; then its shuffles."""
    features_of, penalties, unit_sd = _SOURCES[source]
    best, choice = -np.inf, None
    for layer, features in features_of(contrast.sets, layers):
        rotated = _row_space(*features, unit_sd=unit_sd)
        for c in penalties:
            probe = _logistic(c).fit(rotated[0], contrast.targets[0])
            auc = pair_wins(probe.decision_function(rotated[1]), contrast.truths[1]).mean()
            if auc > best:
                best, choice = auc, (layer, c, rotated, probe)
    layer, c, (fit_on, _, test_on), probe = choice
    null = [_logistic(c).fit(fit_on, target).decision_function(test_on) for target in contrast.targets[1:]]
    return _Probe(layer, c, np.stack([probe.decision_function(test_on), *null]))


def _row_space(
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


def _tested_styles(contrast: _Contrast) -> dict[str, Bool[np.ndarray, "text"]]:
    """Test texts by style: `all`, and every style that has enough scenarios with both labels."""
    texts, truth = contrast.sets[-1].texts, contrast.truths[-1]
    found = {"all": np.ones(len(texts), dtype=bool)}
    for style in sorted(set(texts["style"])):
        kept = (texts["style"] == style).to_numpy()
        if _paired_scenarios(texts["scenario"][kept], truth[kept]) >= MIN_SCENARIOS:
            found[style] = kept
    return found


def _tested(probe: _Probe, contrast: _Contrast, kept: np.ndarray, resampling: dict[str, int]) -> dict[str, float]:
    truth, scenarios = contrast.truths[-1][kept], contrast.sets[-1].texts["scenario"][kept]
    auc, low, high = auc_interval(probe.scores[0, kept], truth, scenarios, **resampling)
    pairs = zip(probe.scores[1:, kept], contrast.test_targets[1:, kept], strict=True)
    null = [pair_wins(scores, target).mean() for scores, target in pairs]
    shuffled = {"shuffled_mean": float(np.mean(null)), "shuffled_max": float(np.max(null))}
    return {"auc": auc, "low": low, "high": high, **shuffled, "n": len(truth)}


def _advantage(
    residual: _Probe, probe: _Probe, contrast: _Contrast, kept: np.ndarray, resampling: dict[str, int]
) -> dict[str, float]:
    named = ("advantage", "advantage_low", "advantage_high")
    if probe is residual:
        return dict.fromkeys(named, np.nan)
    truth, scenarios = contrast.truths[-1][kept], contrast.sets[-1].texts["scenario"][kept]
    found = auc_difference(residual.scores[0, kept], probe.scores[0, kept], truth, scenarios, **resampling)
    return dict(zip(named, found, strict=True))


# what is asked for


def _with_embedding(sets: Sequence[Activations], embedding: Sequence[np.ndarray]) -> list[Activations]:
    """The residual stream with the embeddings as a site of one layer: what selects texts then selects both."""
    found = [np.shape(rows) for rows in embedding]
    expected = [len(part.texts) for part in sets]
    if [shape[0] for shape in found if len(shape) == 2] != expected or len({shape[1] for shape in found}) > 1:
        raise UserError(f"expected embeddings [text, d_model] of {expected} texts ({', '.join(SETS)}), got {found}")
    return [
        replace(part, values={"resid_pre": part.values["resid_pre"], "embedding": np.asarray(rows)[None]})
        for part, rows in zip(sets, embedding, strict=True)
    ]


def _checked_sets(sets: Sequence[Activations], neutral: str, n_shuffles: int) -> list[str]:
    """The emotions of the training set."""
    if n_shuffles < 1:
        raise UserError(f"expected at least 1 label shuffle, got {n_shuffles}")
    names = list(dict.fromkeys(sets[0].texts["emotion"]))
    if neutral not in names:
        raise UserError(f"no training texts with the neutral label {neutral!r}: {nearest(neutral, names)}")
    if len(names) < 2:
        raise UserError(f"expected at least one label beside {neutral!r}, found none")
    scenarios = [set(part.texts["scenario"]) for part in sets]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        if shared := scenarios[first] & scenarios[second]:
            pair = f"{SETS[first]} and {SETS[second]}"
            raise UserError(f"expected no scenario in two sets, {pair} share {len(shared)}, such as {min(shared)!r}")
    if not all(np.isfinite(values).all() for part in sets for values in part.values.values()):
        raise UserError("the activations hold values that are not finite; extract them in float32")
    return [name for name in names if name != neutral]


def _checked_layers(acts: Activations, layers: Sequence[int] | None) -> list[int]:
    """The layers to choose from, the lowest first: of equals the first is taken."""
    offered = sorted(range(acts.n_layers + 1) if layers is None else set(layers))
    if not offered or not 0 <= offered[0] <= offered[-1] <= acts.n_layers:
        raise UserError(f"expected layers in 0-{acts.n_layers}, got {offered}")
    return offered
