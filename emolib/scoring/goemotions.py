"""The 28 labels of GoEmotions (Demszky et al. 2020) as probabilities, by n-grams, by sentence features, and by both.

Every label has a probability of its own (a text may have several labels, or none). The models' logits are calibrated
per label by a logistic regression on out-of-fold predictions (Platt 1999); the combination weighs both logits so.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import erf, expit

from emolib.base.errors import UserError, one_line, shown
from emolib.base.files import read_json
from emolib.base.labels import spelled
from emolib.base.paths import display, params_folder
from emolib.base.store import digest, sha256_of
from emolib.scoring.encoder import SentenceEncoder, encoder_folder, load_encoder
from emolib.scoring.ngrams import RETRAIN, NgramModel, read_tensors
from emolib.scoring.scorer import Scorer

LABELS = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion", "curiosity", "desire"),
    *("disappointment", "disapproval", "disgust", "embarrassment", "excitement", "fear", "gratitude", "grief", "joy"),
    *("love", "nervousness", "optimism", "pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral"),
)
# Which labels stand for an emotion of the default data set; another label stands for itself, where it is one of the 28.
MATCHING = {"anger": ("anger", "annoyance"), "apology": ("remorse",)}
WAYS = ("lexical", "encoder", "bundled")
HEAD_AXES = {"inner": 2, "inner_bias": 1, "mean": 1, "outer": 2, "outer_bias": 1, "scale": 1}
COMPUTATION = 2  # raised when the same files would give other numbers


def matching_labels(emotion: str) -> tuple[str, ...]:
    """The GoEmotions labels that stand for an emotion, however it is spelled; none where there are none.

    >>> matching_labels("Anger"), matching_labels("boredom")
    (('anger', 'annoyance'), ())
    """
    known = spelled(emotion, (*MATCHING, *LABELS))
    return () if known is None else MATCHING.get(known, (known,))


def on_target(table: pd.DataFrame, emotion: str, family: str = "goemotions") -> pd.Series:
    """The probability of the emotion's labels, the highest of them where there are several; `[text]`.

    Raises:
        UserError: none of the 28 labels stands for the emotion.
    """
    return table[[f"{family}/{label}" for label in _needed_labels(emotion)]].max(axis=1)


def is_present(table: pd.DataFrame, emotion: str, way: str = "bundled") -> pd.Series:
    """Whether one of the emotion's labels reaches its threshold, `[text]`, by one of `WAYS`.

    The way's own columns are read (`goemotions_lexical/…`), else `goemotions/…`, which hold it where it scored alone.

    Raises:
        UserError: none of the 28 labels stands for the emotion.
    """
    labels, limits = _needed_labels(emotion), thresholds(way)
    family = f"goemotions_{way}" if f"goemotions_{way}/{labels[0]}" in table else "goemotions"
    reached = [table[f"{family}/{label}"] >= limits[label] for label in labels]
    return pd.concat(reached, axis=1).any(axis=1)


def _needed_labels(emotion: str) -> tuple[str, ...]:
    labels = matching_labels(emotion)
    if not labels:
        raise UserError(
            f"no GoEmotions label stands for {shown(emotion)}; expected one of {', '.join((*MATCHING, *LABELS))}"
        )
    return labels


@dataclass(frozen=True)
class Head:
    """One hidden layer on standardised sentence features: W₂ gelu(W₁ (x − μ) / σ + b₁) + b₂.

    Attributes:
        mean, scale: `[feature]`; inner: `[hidden, feature]`; outer: `[label, hidden]`; biases `[hidden]`, `[label]`.
    """

    mean: np.ndarray
    scale: np.ndarray
    inner: np.ndarray
    inner_bias: np.ndarray
    outer: np.ndarray
    outer_bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Logits `[text, label]`."""
        hidden = _each((features - self.mean) / self.scale, self.inner) + self.inner_bias
        return _each(hidden * 0.5 * (1 + erf(hidden / math.sqrt(2))), self.outer) + self.outer_bias


def _each(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """rows weightsᵀ, a row at a time: in a common product a row's last bits depend on its place among the others."""
    out = np.empty((len(rows), len(weights)), rows.dtype)
    for place, row in enumerate(rows):
        out[place] = weights @ row
    return out


@dataclass(frozen=True)
class GoEmotionsModels:
    """What is read from `params/scorers/`.

    Attributes:
        calibration: per way `[label, n + 1]`: a factor per logit, and a constant.
        thresholds: per way `[label]`: from which probability on a label counts as present.
    """

    ngrams: NgramModel
    head: Head
    calibration: dict[str, np.ndarray]
    thresholds: dict[str, np.ndarray]
    version: str

    def probabilities(self, lexical: np.ndarray | None, encoder: np.ndarray | None, way: str) -> np.ndarray:
        """`[text, label]` from the logits of either or both."""
        logits = {"lexical": [lexical], "encoder": [encoder], "bundled": [lexical, encoder]}[way]
        return expit(combined(logits, self.calibration[way])).astype(np.float32)


def combined(logits: Sequence[np.ndarray], calibration: np.ndarray) -> np.ndarray:
    """Calibrated logits `[text, label]`: a weighted sum per label."""
    return sum(z * calibration[:, i] for i, z in enumerate(logits)) + calibration[:, -1]


@lru_cache(maxsize=1)
def load_models() -> GoEmotionsModels:
    """The trained models; `UserError` where a file is missing."""
    folder = params_folder("scorers")
    ngrams = NgramModel.read(folder, "goemotions_lexical")
    head_file, settings_file = folder / "goemotions_encoder.safetensors", folder / "goemotions.json"
    tensors = {name: value.astype(np.float32) for name, value in read_tensors(head_file, HEAD_AXES).items()}
    settings = read_json(settings_file, kind=dict, name=f"the trained scorer {display(settings_file)}", advice=RETRAIN)
    if settings.get("labels") != list(LABELS):
        raise UserError(f"expected the 28 labels of GoEmotions in {display(settings_file)}, got others; {RETRAIN}")
    by_way = {
        key: {way: _per_label(settings, key, way, display(settings_file)) for way in WAYS}
        for key in ("calibration", "thresholds")
    }
    version = digest([COMPUTATION, ngrams.version, sha256_of(head_file), sha256_of(settings_file)])
    return GoEmotionsModels(ngrams, Head(**tensors), **by_way, version=version)


def _per_label(settings: dict[str, Any], key: str, way: str, place: str) -> np.ndarray:
    """`[label]` or `[label, factor]` float32."""
    shape = (len(LABELS),) if key == "thresholds" else (len(LABELS), 3 if way == "bundled" else 2)
    try:
        values = np.array(settings[key][way], np.float32)
    except (KeyError, TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != shape:
        raise UserError(f"expected {key} of {way} with shape {list(shape)} in {place}, got others; {RETRAIN}")
    return values


def thresholds(way: str = "bundled") -> pd.Series:
    """From which probability on each label counts as present, `[label]`; chosen on out-of-fold predictions."""
    return pd.Series(load_models().thresholds[way], index=LABELS)


def dev_quality(labels: Sequence[str]) -> pd.DataFrame:
    """How good each model is for these labels on GoEmotions' dev split, as training found it: label, way, n, precision,
    recall, f1, ece, brier_skill."""
    names = ("n", "precision", "recall", "f1", "ece", "brier_skill")
    rows = []
    with _kept_quality("metrics.json") as metrics:
        for label, way in product(labels, WAYS):
            found = metrics[f"goemotions_{way}"]["labels"][label]
            rows.append({"label": label, "way": way, **{name: found[name] for name in names}})
    return pd.DataFrame(rows, columns=["label", "way", *names]).astype({"n": int})


def dev_calibration(labels: Sequence[str]) -> pd.DataFrame:
    """The calibration curves of these labels on the same split: label, way, predicted, observed, n, a row per bin."""
    with _kept_quality("calibration.json") as curves:
        parts = [
            pd.DataFrame(curves[f"goemotions_{way}"][label])[["predicted", "observed", "n"]].assign(
                label=label, way=way
            )
            for label, way in product(labels, WAYS)
        ]
    empty = pd.DataFrame(columns=["predicted", "observed", "n", "label", "way"])
    return pd.concat(parts, ignore_index=True) if parts else empty


@contextlib.contextmanager
def _kept_quality(name: str) -> Iterator[dict[str, Any]]:
    """What training has found, as its file says; what the block misses in it is told with the file's name."""
    path = params_folder("scorers") / name
    found = read_json(path, kind=dict, name=f"what training found, {display(path)}", advice=RETRAIN)
    try:
        yield found
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"expected {one_line(error):.60} of every label in {display(path)}, it is missing; {RETRAIN}"
        ) from error


def lexical(device: torch.device) -> Scorer:
    """Weighted word n-grams and one logistic regression per label."""
    models = load_models()
    return Scorer(
        "goemotions_lexical", models.version, lambda texts: _table(models, texts, None, ["lexical"])["lexical"]
    )


def encoder(device: torch.device) -> Scorer:
    """A small network on all-MiniLM-L6-v2's features."""
    models, version = load_models(), _version(device)

    def score(texts: Sequence[str]) -> pd.DataFrame:
        return _table(models, texts, load_encoder(device), ["encoder"])["encoder"]

    return Scorer("goemotions_encoder", version, score)


def bundled(device: torch.device) -> Scorer:
    """Both combined, as `goemotions/<label>`; each alone as `goemotions_lexical/…` and `goemotions_encoder/…`."""
    models, version = load_models(), _version(device)

    def score(texts: Sequence[str]) -> pd.DataFrame:
        tables = _table(models, texts, load_encoder(device))
        singles = [tables[way].rename(columns=lambda c, w=way: c.replace("/", f"_{w}/")) for way in WAYS[:2]]
        return pd.concat([tables["bundled"], *singles], axis=1)

    return Scorer("goemotions_bundled", version, score)


def _version(device: torch.device) -> str:
    """Of what the sentence features take part in; processors of another kind round otherwise."""
    return digest([load_models().version, encoder_folder()[1], device.type])


def _table(
    models: GoEmotionsModels, texts: Sequence[str], reader: SentenceEncoder | None, ways: Sequence[str] = WAYS
) -> dict[str, pd.DataFrame]:
    """Probabilities per way; only the models that take part are asked."""
    columns = [f"goemotions/{label}" for label in LABELS]
    words = None if tuple(ways) == ("encoder",) else models.ngrams(texts)
    features = None if reader is None else models.head(reader.features(texts))
    return {way: pd.DataFrame(models.probabilities(words, features, way), columns=columns) for way in ways}
