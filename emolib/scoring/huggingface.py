"""Sentiment, politeness and GoEmotions by classifiers from the model hub, pinned in `params/scorers/huggingface.yaml`.

A classifier's labels are found by their names, never by their places. Texts run in blocks of one shape, so that a
text's numbers do not depend on the texts beside it. Nothing stands in for a classifier that cannot be had: that is an
error.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from scipy.special import expit, softmax

from emolib.base.config import in_words, scorer_settings
from emolib.base.errors import UserError, nearest, shown
from emolib.base.store import digest, sha256_of
from emolib.models import hub
from emolib.models.products import use_fast_products
from emolib.models.silence import quiet
from emolib.scoring.blocks import token_blocks
from emolib.scoring.goemotions import LABELS
from emolib.scoring.scorer import Scorer
from emolib.scoring.sentiment import CLASSES

POLITENESS = {"NOT_POLITE": -1.0, "NEUTRAL": 0.0, "SOMEWHAT_POLITE": 0.5, "POLITE": 1.0}
COMPUTATION = 1  # raised when the same weights would give other numbers
MAX_TOKENS = 512
VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",))
SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
FILES = tuple(dict.fromkeys([*SETTINGS, *(name for names in VOCABULARIES for name in names)]))
OTHERWISE = 'ask for the bundled scorers explicitly (backend="bundled"); they never stand in by themselves'
UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, pickle.UnpicklingError, SafetensorError)
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ClassifierSpec(BaseModel):
    """One entry of `params/scorers/huggingface.yaml`, and the labels that its classifier must have.

    Attributes:
        repo: the hub's repository, or a local folder.
        revision: a commit, never a branch: what is scored today is scored so tomorrow. A local folder needs none.
        source: where revision, labels and hash were read.
        weights: the only file that weights are read from.
        labels: their names in the order of `Classifier.probabilities`; upper and lower case are the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    source: str = ""
    weights: Literal["model.safetensors", "pytorch_model.bin"] = "model.safetensors"
    sha256: Digest | None = None
    activation: Literal["softmax", "sigmoid"]
    labels: tuple[str, ...]

    @property
    def is_local(self) -> bool:
        return (Path(self.repo) / "config.json").is_file()


def classifier_spec(name: str, labels: Sequence[str]) -> ClassifierSpec:
    """The entry `name` of `params/scorers/huggingface.yaml`.

    Raises:
        UserError: no such entry, or one with an unknown or impossible value.
    """
    entries = scorer_settings("huggingface")
    if not isinstance(entries.get(name), dict):
        raise UserError(f"no classifier {shown(name)} in params/scorers/huggingface.yaml: {nearest(name, entries)}")
    try:
        return ClassifierSpec(**entries[name], labels=tuple(labels))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join([name, *(str(part) for part in problem["loc"])])
        raise UserError(
            f"expected another value of {shown(where)} in params/scorers/huggingface.yaml, got "
            f"{shown(problem['input'])}: "
            f"{in_words(problem)}"
        ) from error


@dataclass(frozen=True)
class Classifier:
    """A text classifier, loaded at its first use and once per process and device."""

    spec: ClassifierSpec
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @cached_property
    def revision(self) -> str:
        """The pinned commit, or a hash of a local folder's files."""
        if self.spec.is_local:
            paths = [Path(self.spec.repo) / name for name in (*FILES, self.spec.weights)]
            return digest({path.name: sha256_of(path) for path in paths if path.is_file()})
        if self.spec.revision is None:
            raise UserError(
                f"expected a local model folder, or a repository with a revision, got {shown(self.spec.repo)} alone"
            )
        return self.spec.revision

    @property
    def version(self) -> str:
        """Repository, commit, kind of device, and a hash of what turns logits into probabilities."""
        name = Path(self.spec.repo).resolve().name if self.spec.is_local else self.spec.repo
        reading = digest([COMPUTATION, self.spec.weights, self.spec.activation, self.spec.labels])
        return f"{name}@{self.revision} {self.device.type} {reading[:16]}"

    def fetch(self) -> Path:
        """The folder with its files, see `_folder`."""
        return _folder(self.spec)

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """`[text, label]` float64 in [0, 1], labels in the order of the specification.

        Softmax rows sum to 1; with sigmoid every label stands alone. Longer texts are cut at the model's maximum.

        Raises:
            UserError: the classifier cannot be had, or is not the one expected.
        """
        loaded = _load(self.spec, self.revision, self.device)
        activate = expit if self.spec.activation == "sigmoid" else lambda logits: softmax(logits, axis=1)
        out = np.empty((len(texts), len(self.spec.labels)))
        for places, ids, mask in token_blocks(loaded.tokenizer, texts, most=loaded.max_tokens):
            logits = loaded.network(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits
            out[places] = activate(logits[: len(places)].cpu().double().numpy()[:, loaded.order])
        return out


def sentiment(device: torch.device) -> Scorer:
    """`sentiment/{POSITIVE,NEUTRAL,NEGATIVE}`, which sum to 1, by twitter-roberta-base-sentiment-latest."""
    classifier = Classifier(classifier_spec("sentiment", CLASSES), device)
    return _labels_scorer("sentiment", classifier)


def goemotions(device: torch.device) -> Scorer:
    """`goemotions/<28 labels>`, each a probability of its own, by roberta-base-go_emotions."""
    classifier = Classifier(classifier_spec("goemotions", LABELS), device)
    return _labels_scorer("goemotions", classifier)


def politeness(device: torch.device) -> Scorer:
    """`politeness/score` by polite_bert: -1 (not polite) to 1 (polite).

    The expected value of its class under the values in `POLITENESS`. These are a choice, and not the units of the
    bundled score, which is a regression on annotators' ratings: compare signs and ranks across backends, not values.
    """
    classifier = Classifier(classifier_spec("politeness", tuple(POLITENESS)), device)
    values = np.array(list(POLITENESS.values()))

    def score(texts: Sequence[str]) -> pd.DataFrame:
        # a sum per row, since a matrix product may round by the number of rows
        return pd.DataFrame({"politeness/score": (classifier.probabilities(texts) * values).sum(axis=1)})

    return Scorer("politeness_huggingface", f"{classifier.version} {digest(POLITENESS)[:16]}", score, classifier.fetch)


def _labels_scorer(family: str, classifier: Classifier) -> Scorer:
    """One column per label of the classifier."""
    columns = [f"{family}/{label}" for label in classifier.spec.labels]

    def score(texts: Sequence[str]) -> pd.DataFrame:
        return pd.DataFrame(classifier.probabilities(texts), columns=columns)

    return Scorer(f"{family}_huggingface", f"{classifier.version} {digest(columns)[:16]}", score, classifier.fetch)


# Loading


@dataclass(frozen=True)
class _Loaded:
    """What runs. `order` is the place of each expected label among the network's outputs."""

    network: Any
    tokenizer: Any
    order: list[int]
    max_tokens: int


@cache
def _load(spec: ClassifierSpec, revision: str, device: torch.device) -> _Loaded:
    """The classifier on a device. `revision` tells states of a local folder apart."""
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    folder = _folder(spec)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
            order = _order(spec, config.id2label)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            network, report = AutoModelForSequenceClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=spec.weights.endswith(".safetensors"),
                weights_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except UserError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"expected a text classifier with {spec.weights} in {spec.repo}, its files cannot be read "
            f"({type(error).__name__}: {reason:.120}); fetch them again"
        ) from error
    if report["missing_keys"]:  # transformers would draw them at random
        first = min(report["missing_keys"])
        raise UserError(f"expected all weights of a text classifier in {spec.repo}, {first} is missing; use another")
    network = use_fast_products(network.to(device).eval().requires_grad_(False))
    return _Loaded(network, tokenizer, order, _max_tokens(config, tokenizer))


def _folder(spec: ClassifierSpec) -> Path:
    """The folder with the classifier's files, fetched if need be; that they are there and as expected is checked."""
    if spec.is_local:
        folder = Path(spec.repo)
    else:
        folder, commit = hub.snapshot(spec.repo, spec.revision, (*FILES, spec.weights), otherwise=OTHERWISE)
        if commit != spec.revision:
            raise UserError(f"expected {spec.repo} at commit {spec.revision}, the hub gave {commit}; ask another hub")
    weights = folder / spec.weights
    if not weights.is_file():
        found = ", ".join(sorted(path.name for path in folder.glob("*model*") if path.is_file())) or "none"
        raise UserError(
            f"expected weights in {spec.weights} of {spec.repo}, found {found}; name the file under `weights` in "
            "params/scorers/huggingface.yaml, or fetch it"
        )
    if not any(all((folder / name).is_file() for name in names) for names in VOCABULARIES):
        # transformers would make a tokenizer that knows no word
        known = " or ".join(" with ".join(names) for names in VOCABULARIES)
        raise UserError(f"expected a vocabulary ({known}) in {spec.repo}, found none; fetch it")
    if spec.sha256 is not None and (actual := sha256_of(weights)) != spec.sha256:
        raise UserError(
            f"expected {spec.weights} of {spec.repo} with sha256 {spec.sha256[:12]}…, found {actual[:12]}…; "
            "the file was altered, delete it and fetch it again"
        )
    return folder


def _order(spec: ClassifierSpec, id2label: Mapping[int, str]) -> list[int]:
    """Where each label of the specification lies among the network's outputs; `UserError` unless the names agree."""
    places = {str(name).lower(): int(place) for place, name in id2label.items()}
    expected = [label.lower() for label in spec.labels]
    if sorted(str(name).lower() for name in id2label.values()) != sorted(expected):
        given = ", ".join(str(id2label[place]) for place in sorted(id2label))
        raise UserError(
            f"expected the labels {', '.join(spec.labels)} in {spec.repo}, got {given}; "
            "take the pinned revision, or a classifier with these labels"
        )
    return [places[label] for label in expected]


def _max_tokens(config: Any, tokenizer: Any) -> int:
    """Tokens that fit. RoBERTa's positions begin behind its padding token's: its 514 hold 512 tokens."""
    skipped = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta") else 0
    return min(MAX_TOKENS, tokenizer.model_max_length, config.max_position_embeddings - skipped)
