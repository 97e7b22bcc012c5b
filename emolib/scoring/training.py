"""Trains the bundled scorers: `emolib train-scorers --goemotions DIR --tydip FILE`.

What is chosen (calibration, thresholds, weights of the combination) is chosen on out-of-fold predictions of the
training split; the dev split is only reported on. Weights are rounded to half precision before anything is calibrated
or reported, so that the figures are those of the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from safetensors.numpy import save
from scipy import sparse
from scipy.special import softmax
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from torch import nn

from emolib.base.config import scorer_settings
from emolib.base.errors import UserError, shown
from emolib.base.files import folder_to_fill
from emolib.scoring import evaluation
from emolib.scoring.corpora import read_goemotions, read_tydip
from emolib.scoring.encoder import load_encoder
from emolib.scoring.expressed_data import load_expressed_texts
from emolib.scoring.expressed_training import expressed_files, train_expressed
from emolib.scoring.goemotions import LABELS, WAYS, Head, combined
from emolib.scoring.ngrams import NgramModel, vectorizer
from emolib.scoring.sentiment import CLASSES, class_features, compound_scores
from emolib.scoring.trained_files import calibrated, check_writable, expit32, json_bytes, rounded, write_files

Say = Callable[[str], None]
POLITENESS_FOLDS = 5


@dataclass(frozen=True)
class TrainingSettings:
    """What training depends on besides the data; `params/scorers/training.yaml`."""

    seed: int
    n_folds: int
    lexical: dict[str, float]
    encoder: dict[str, float]
    politeness: dict[str, float]
    expressed: dict[str, float]


def train_scorers(goemotions: Path, tydip: Path, output: Path, *, say: Say = print) -> dict[str, Any]:
    """Trains every bundled scorer and writes its files, all or none.

    Args:
        goemotions: a folder with train.tsv, dev.tsv and labels.txt.
        tydip: a CSV with columns sentence and score.
        output: the folder for weights, vocabularies, metrics and calibration curves; made where it is missing.
        say: called with a line per step.

    Returns:
        The metrics, as they are written to `metrics.json`, and as `expressed` what `expressed.json` says.

    Raises:
        UserError: data that is missing or of another form, an output folder that cannot be written.
    """
    settings = TrainingSettings(**scorer_settings("training"))
    folder_to_fill(output)
    data = {split: read_goemotions(goemotions, split) for split in ("train", "dev")}
    requests = read_tydip(tydip)
    files: dict[str, bytes] = {}
    kept = {name: value for name, value in settings.__dict__.items() if name != "expressed"}  # in a file of its own
    metrics: dict[str, Any] = {"settings": kept, "data": {name: len(data[name][0]) for name in data}}
    curves: dict[str, Any] = {}
    _check_enough(data["train"][1], requests[1], settings)
    check_writable(output)
    say(f"GoEmotions: {len(data['train'][0])} comments to train on, {len(data['dev'][0])} to report on")
    _train_goemotions(data, settings, files, metrics, curves, say)
    say(f"politeness: {len(requests[0])} requests")
    _train_politeness(*requests, settings, files, metrics)
    say("sentiment: VADER's valence to probabilities")
    _fit_sentiment(data, files, metrics, curves)
    files |= _expressed(data["train"], settings, say)
    files["metrics.json"] = json_bytes(metrics)
    files["calibration.json"] = json_bytes(curves)
    write_files(output, files)
    return {**metrics, "expressed": json.loads(files["expressed.json"])}


def train_expressed_alone(goemotions: Path, output: Path, *, say: Say = print) -> dict[str, Any]:
    """Trains `expressed` and writes its two files; the other scorers stay as they are.

    Args:
        goemotions: a folder with train.tsv and labels.txt.
        output: the folder for both files; made where it is missing.
        say: called with a line per epoch.

    Returns:
        What `expressed.json` says.

    Raises:
        UserError: comments or a contrast set that are missing or broken, an output folder that cannot be written.
    """
    settings = TrainingSettings(**scorer_settings("training"))
    folder_to_fill(output)
    check_writable(output)
    files = _expressed(read_goemotions(goemotions, "train"), settings, say)
    write_files(output, files)
    return dict(json.loads(files["expressed.json"]))


def _expressed(comments: tuple[list[str], np.ndarray], settings: TrainingSettings, say: Say) -> dict[str, bytes]:
    texts = load_expressed_texts()
    say(f"expressed: {len(texts)} texts in {texts['group'].nunique()} groups")
    return expressed_files(*train_expressed(texts, comments, settings.expressed, seed=settings.seed, say=say))


def _check_enough(truth: np.ndarray, score: np.ndarray, settings: TrainingSettings) -> None:
    """`UserError` where a part of the training comments may lack a label, or there are too few requests to split."""
    for label, n in zip(LABELS, truth.sum(0, dtype=int), strict=True):
        if n < settings.n_folds:
            raise UserError(
                f"expected at least {settings.n_folds} comments labelled {shown(label)} in train.tsv, got {n}"
            )
    if len(score) < POLITENESS_FOLDS:
        raise UserError(f"expected at least {POLITENESS_FOLDS} requests to learn politeness from, got {len(score)}")


# GoEmotions


def _train_goemotions(
    data: dict[str, tuple[list[str], np.ndarray]],
    settings: TrainingSettings,
    files: dict[str, bytes],
    metrics: dict[str, Any],
    curves: dict[str, Any],
    say: Say,
) -> None:
    (texts, truth), (dev_texts, dev_truth) = data["train"], data["dev"]
    encoder = load_encoder(torch.device("cpu"))
    say("  sentence features")
    features, dev_features = encoder.features(texts), encoder.features(dev_texts)
    folds = list(KFold(settings.n_folds, shuffle=True, random_state=settings.seed).split(texts))
    outside = {way: np.empty((len(texts), len(LABELS)), np.float32) for way in WAYS[:2]}
    for number, (inner, held) in enumerate(folds):
        say(f"  fold {number + 1} of {len(folds)}")
        part = [texts[i] for i in inner]
        model = fit_ngrams(part, truth[inner], settings)
        outside["lexical"][held] = model([texts[i] for i in held])
        head = fit_head(features[inner], truth[inner], settings)
        outside["encoder"][held] = head(features[held])
    say("  on all comments")
    model, head = fit_ngrams(texts, truth, settings), fit_head(features, truth, settings)
    logits = {"lexical": model(dev_texts), "encoder": head(dev_features)}
    calibration, thresholds, tables, probabilities = {}, {}, {}, {}
    for way in WAYS:
        ways = WAYS[:2] if way == "bundled" else (way,)
        calibration[way] = np.round(calibrated([outside[w] for w in ways], truth), 5)  # as it is stored
        fitted = expit32(combined([outside[w] for w in ways], calibration[way]))
        thresholds[way] = np.round(evaluation.best_thresholds(truth, fitted), 5)
        probabilities[way] = expit32(combined([logits[w] for w in ways], calibration[way]))
        tables[way] = evaluation.f1_table(dev_truth, probabilities[way], thresholds[way], LABELS)
        curves[f"goemotions_{way}"] = {
            label: rounded(evaluation.calibration_curve(dev_truth[:, i], probabilities[way][:, i]))
            for i, label in enumerate(LABELS)
        }
        metrics[f"goemotions_{way}"] = summary_of(tables[way])
    metrics["goemotions_agreement"] = {
        label: evaluation.agreement(
            *(probabilities[way][:, i] for way in WAYS[:2]),
            *(probabilities[way][:, i] >= thresholds[way][i] for way in WAYS[:2]),
        )
        for i, label in enumerate(LABELS)
    }
    files |= model.files("goemotions_lexical")
    files["goemotions_encoder.safetensors"] = save({k: v.astype(np.float16) for k, v in head.__dict__.items()})
    shown = {
        "labels": list(LABELS),
        "calibration": {way: value.tolist() for way, value in calibration.items()},
        "thresholds": {way: value.tolist() for way, value in thresholds.items()},
    }
    files["goemotions.json"] = json_bytes(shown)


def fit_ngrams(texts: Sequence[str], truth: np.ndarray, settings: TrainingSettings) -> NgramModel:
    """One logistic regression per label on weighted n-grams; rounded as it will be stored."""
    words = vectorizer(min_df=int(settings.lexical["min_df"]))
    weighted = _usable(words.fit_transform(texts))

    def fit(y: np.ndarray) -> tuple[np.ndarray, float]:
        model = LogisticRegression(C=settings.lexical["c"], solver="liblinear", max_iter=200)
        model.fit(weighted.copy(), y)
        return model.coef_[0], float(model.intercept_[0])

    fitted = Parallel(n_jobs=-1, prefer="threads")(delayed(fit)(y) for y in truth.T)
    weights, bias = (np.array(part, np.float32) for part in zip(*fitted, strict=True))
    return NgramModel(words, weights.T.copy(), bias).rounded()


def fit_head(features: np.ndarray, truth: np.ndarray, settings: TrainingSettings) -> Head:
    """A network with one hidden layer, the mean of several seeds' logits as one wider network; rounded."""
    mean, scale = features.mean(0), features.std(0) + 1e-6
    scale[scale < 1e-4 * np.abs(mean)] = 1  # what never varied would be divided by next to nothing
    x = torch.from_numpy((features - mean) / scale)
    y = torch.from_numpy(truth.astype(np.float32))
    members = [_fit_member(x, y, settings, seed) for seed in range(int(settings.encoder["members"]))]
    stacked = {
        "inner": np.concatenate([m[0].weight.numpy() for m in members]),
        "inner_bias": np.concatenate([m[0].bias.numpy() for m in members]),
        "outer": np.concatenate([m[3].weight.numpy() for m in members], axis=1) / len(members),
        "outer_bias": np.mean([m[3].bias.numpy() for m in members], axis=0),
    }
    rounded = {"mean": mean, "scale": scale, **stacked}
    return Head(**{name: value.astype(np.float16).astype(np.float32) for name, value in rounded.items()})


def _fit_member(x: torch.Tensor, y: torch.Tensor, settings: TrainingSettings, seed: int) -> nn.Sequential:
    given = settings.encoder
    generator = torch.Generator().manual_seed(settings.seed + 1000 * (seed + 1))
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed + 1000 * (seed + 1))
        hidden = int(given["hidden"])
        layers = [nn.Linear(x.shape[1], hidden), nn.GELU(), nn.Dropout(given["dropout"]), nn.Linear(hidden, y.shape[1])]
        network = nn.Sequential(*layers)
        optimizer = torch.optim.AdamW(network.parameters(), lr=given["rate"], weight_decay=given["decay"])
        batch, epochs = int(given["batch"]), int(given["epochs"])
        steps = epochs * -(-len(x) // batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, given["rate"], total_steps=steps, pct_start=0.1)
        for _ in range(epochs):
            for part in torch.randperm(len(x), generator=generator).split(batch):
                loss = nn.functional.binary_cross_entropy_with_logits(network(x[part]), y[part])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    return network.eval().requires_grad_(False)


def summary_of(table: pd.DataFrame) -> dict[str, Any]:
    """Macro means and the table itself."""
    return {
        "macro_f1": float(table["f1"].mean()),
        "mean_ece": float(table["ece"].mean()),
        "labels": {label: {k: float(v) for k, v in row.items()} for label, row in table.iterrows()},
    }


def _usable(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """A copy that liblinear may read from several threads."""
    own = matrix.copy()
    own.sort_indices()
    return own


# politeness


def _train_politeness(
    texts: list[str], score: np.ndarray, settings: TrainingSettings, files: dict[str, bytes], metrics: dict[str, Any]
) -> None:
    outside = np.empty(len(texts))
    by_fold = []
    for inner, held in KFold(POLITENESS_FOLDS, shuffle=True, random_state=settings.seed).split(texts):
        model = fit_politeness([texts[i] for i in inner], score[inner], settings)
        outside[held] = model([texts[i] for i in held])[:, 0]
        by_fold.append(float(spearmanr(outside[held], score[held]).statistic))
    low, high = np.quantile(score, [0.25, 0.75])
    ends = (score <= low) | (score >= high)
    files |= fit_politeness(texts, score, settings).files("politeness")
    metrics["politeness"] = {
        "n": len(texts),
        "spearman_by_fold": by_fold,
        "spearman": float(spearmanr(outside, score).statistic),
        "quartile_accuracy": float(((outside > np.median(outside)) == (score >= high))[ends].mean()),
    }


def fit_politeness(texts: Sequence[str], score: np.ndarray, settings: TrainingSettings) -> NgramModel:
    """Ridge regression on weighted n-grams; rounded as it will be stored."""
    words = vectorizer(min_df=int(settings.politeness["min_df"]))
    model = Ridge(alpha=settings.politeness["alpha"], solver="sparse_cg", tol=1e-6).fit(
        words.fit_transform(texts), score
    )
    weights = np.asarray(model.coef_, np.float32).reshape(-1, 1)
    return NgramModel(words, weights, np.array([model.intercept_], np.float32)).rounded()


# sentiment

GROUPS = {
    "POSITIVE": (
        *("admiration", "amusement", "approval", "caring", "desire", "excitement", "gratitude", "joy", "love"),
        *("optimism", "pride", "relief"),
    ),
    "NEUTRAL": ("neutral",),
    "NEGATIVE": (
        *("anger", "annoyance", "disappointment", "disapproval", "disgust", "embarrassment", "fear", "grief"),
        *("nervousness", "remorse", "sadness"),
    ),
}


def sentiment_classes(truth: np.ndarray) -> np.ndarray:
    """The one group of a comment's labels as an index into `CLASSES`; -1 where it has several, or an ambiguous one."""
    members = np.array([[label in GROUPS[name] for label in LABELS] for name in CLASSES], int)
    touched = truth @ members.T > 0
    ambiguous = truth @ (1 - members.sum(0)) > 0
    return np.where((touched.sum(1) == 1) & ~ambiguous, touched.argmax(1), -1)


def _fit_sentiment(
    data: dict[str, tuple[list[str], np.ndarray]],
    files: dict[str, bytes],
    metrics: dict[str, Any],
    curves: dict[str, Any],
) -> None:
    known = {}
    for split, (texts, truth) in data.items():
        classes = sentiment_classes(truth)
        kept = np.flatnonzero(classes >= 0)
        known[split] = class_features(compound_scores([texts[i] for i in kept])), classes[kept]
    model = LogisticRegression(C=1e3, max_iter=1000).fit(*known["train"])
    weights, bias = np.round(model.coef_, 5), np.round(model.intercept_, 5)
    files["sentiment.json"] = json_bytes({"classes": list(CLASSES), "weights": weights.tolist(), "bias": bias.tolist()})
    x, y = known["dev"]
    probability = softmax(x @ weights.T + bias, axis=1)
    truth = np.eye(len(CLASSES))[y]
    metrics["sentiment"] = {
        "n": len(y),
        "accuracy": float((probability.argmax(1) == y).mean()),
        "accuracy_of_the_most_frequent": float(np.bincount(y).max() / len(y)),
        "ece": {c: evaluation.calibration_error(truth[:, i], probability[:, i]) for i, c in enumerate(CLASSES)},
        "brier_skill": {c: evaluation.brier_skill(truth[:, i], probability[:, i]) for i, c in enumerate(CLASSES)},
    }
    curves["sentiment"] = {
        c: rounded(evaluation.calibration_curve(truth[:, i], probability[:, i])) for i, c in enumerate(CLASSES)
    }
