"""The hub's classifiers as scorers, on tiny random ones of the same architectures; nothing is fetched."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from emolib import scoring
from emolib.base import config as configuration
from emolib.base.errors import UserError
from emolib.base.store import sha256_of
from emolib.scoring import blocks, huggingface
from emolib.scoring.goemotions import LABELS
from emolib.scoring.huggingface import Classifier, ClassifierSpec, classifier_spec

CPU = torch.device("cpu")
POSITIONS = 66  # RoBERTa keeps two of them for itself
TEXTS = (
    "Thank you so much for your help.",
    "I am furious, and I will not forget it!",
    "",
    "We met at the station.",
    "Could you please close the door behind you when you leave the house tonight?",
    "naïve — 感謝 🙂",
    "No.",
)
SENTENCES = [text for text in TEXTS if text] * 3 + ["I am sorry for what I said to you and to your sister last night."]
SENTIMENT = ("negative", "neutral", "positive")
POLITE = ("NOT_POLITE", "NEUTRAL", "SOMEWHAT_POLITE", "POLITE")
SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def roberta(folder: Path, labels: Sequence[str], seed: int = 0) -> Path:
    """A tiny RoBERTa classifier whose tokenizer is vocab.json with merges.txt, as in the sentiment repository."""
    folder.mkdir()
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(SENTENCES, vocab_size=400, min_frequency=1, special_tokens=marks)
    tokenizer.save_model(str(folder))
    torch.manual_seed(seed)
    settings = RobertaConfig(
        **SHAPE,
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
        initializer_range=0.6,  # so that texts differ
    )
    RobertaForSequenceClassification(settings).save_pretrained(folder)
    return folder


def bert(folder: Path, labels: Sequence[str], seed: int = 0) -> Path:
    """A tiny BERT classifier whose tokenizer is vocab.txt, as in the politeness repository."""
    folder.mkdir()
    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(SENTENCES, vocab_size=200, min_frequency=1)
    tokenizer.save_model(str(folder))
    torch.manual_seed(seed)
    settings = BertConfig(
        **SHAPE,
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=POSITIONS - 3,  # no multiple of a block's width
        id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
        initializer_range=0.6,
    )
    BertForSequenceClassification(settings).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("classifiers")
    return {
        "sentiment": roberta(root / "sentiment", SENTIMENT),
        "politeness": bert(root / "politeness", POLITE),
        "goemotions": roberta(root / "goemotions", LABELS),
    }


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A classifier's folder to change."""
    return lambda name: Path(shutil.copytree(folders[name], tmp_path / name))


@pytest.fixture
def entries(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """The tiny classifiers in place of the pinned ones."""
    table = {
        name: {"repo": str(folder), "activation": "sigmoid" if name == "goemotions" else "softmax"}
        for name, folder in folders.items()
    }
    monkeypatch.setattr(huggingface, "scorer_settings", lambda name: table)
    return table


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No hub answers and the local cache is empty; gives the cache's folder."""

    def unreachable(*_args: object, **_kwargs: object) -> None:
        raise OSError("network is unreachable")

    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache


def spec(folder: Path | str, labels: Sequence[str], activation: str = "softmax", **given: str) -> ClassifierSpec:
    return ClassifierSpec(repo=str(folder), labels=tuple(labels), activation=activation, **given)


def one_at_a_time(folder: Path, activation: str, texts: Sequence[str] = TEXTS) -> np.ndarray:
    """`[text, label]` in the network's own order, without batches, padding or anything of the module."""
    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = [network(**tokenizer(text, return_tensors="pt")).logits[0].numpy() for text in texts]
    return expit(logits) if activation == "sigmoid" else softmax(np.array(logits), axis=1)


def rename(folder: Path, labels: Sequence[str]) -> None:
    """Gives the outputs of a saved classifier other names."""
    settings = json.loads((folder / "config.json").read_text())
    settings["id2label"] = {str(place): label for place, label in enumerate(labels)}
    settings["label2id"] = {label: place for place, label in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps(settings))


def as_pickle(folder: Path) -> Path:
    """Turns a folder's weights into pytorch_model.bin."""
    network = AutoModelForSequenceClassification.from_pretrained(folder)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder / "pytorch_model.bin"


# What is computed


@pytest.mark.parametrize(
    ("name", "labels", "activation"),
    [("sentiment", SENTIMENT, "softmax"), ("politeness", POLITE, "softmax"), ("goemotions", LABELS, "sigmoid")],
)
def test_probabilities_are_those_of_one_text_at_a_time(folders, name, labels, activation):
    found = Classifier(spec(folders[name], labels, activation)).probabilities(TEXTS)
    expected = one_at_a_time(folders[name], activation)
    assert found.shape == (len(TEXTS), len(labels)) and found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # controls: the texts differ by far more than that, and so does the other activation
    assert np.ptp(expected, axis=0).max() > 0.05
    other = one_at_a_time(folders[name], "softmax" if activation == "sigmoid" else "sigmoid")
    assert np.abs(found - other).max() > 0.05


@pytest.mark.parametrize(("name", "labels"), [("sentiment", SENTIMENT), ("politeness", POLITE)])
def test_a_text_scores_the_same_alone_among_others_and_in_any_order(folders, name, labels):
    classifier = Classifier(spec(folders[name], labels))
    many = [f"{text} {'again ' * (i % 7)}" for i in range(12) for text in TEXTS]  # several blocks, many widths
    together = classifier.probabilities(many)
    alone = np.concatenate([classifier.probabilities([text]) for text in many])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(classifier.probabilities(many[::-1])[::-1], together)
    assert np.abs(together - together[::-1]).max() > 0.05  # control: a wrong order would show


@pytest.mark.parametrize(("name", "labels"), [("sentiment", SENTIMENT), ("politeness", POLITE)])
def test_padding_is_masked(folders, name, labels, monkeypatch):
    classifier = Classifier(spec(folders[name], labels))
    narrow = classifier.probabilities(TEXTS)
    monkeypatch.setattr(blocks, "BLOCK_WIDTH", 60)
    np.testing.assert_allclose(classifier.probabilities(TEXTS), narrow, atol=1e-5)

    def unmasked(*arguments, **named):
        for places, ids, mask in blocks.token_blocks(*arguments, **named):
            yield places, ids, torch.ones_like(mask)

    monkeypatch.setattr(huggingface, "token_blocks", unmasked)
    assert np.abs(classifier.probabilities(TEXTS) - narrow).max() > 1e-3


def test_sentiment_sums_to_one_and_goemotions_need_not(entries):
    sentiment = huggingface.sentiment(CPU).score(TEXTS)
    assert list(sentiment.columns) == ["sentiment/POSITIVE", "sentiment/NEUTRAL", "sentiment/NEGATIVE"]
    np.testing.assert_allclose(sentiment.sum(axis=1), 1, atol=1e-12)
    emotions = huggingface.goemotions(CPU).score(TEXTS)
    assert list(emotions.columns) == [f"goemotions/{label}" for label in LABELS]
    assert ((emotions >= 0) & (emotions <= 1)).all(axis=None)
    assert (emotions.sum(axis=1) - 1).abs().min() > 0.1


def test_politeness_is_the_expected_value_of_the_class(entries, folders):
    table = huggingface.politeness(CPU).score(TEXTS)
    assert list(table.columns) == ["politeness/score"]
    score = table["politeness/score"]
    assert score.between(-1, 1).all()
    by_class = one_at_a_time(folders["politeness"], "softmax")
    np.testing.assert_allclose(score, -by_class[:, 0] + 0.5 * by_class[:, 2] + by_class[:, 3], atol=1e-5)
    assert np.abs(score - (by_class @ [-1, 0, 1, 0.5])).max() > 1e-3  # control: two classes swapped


@pytest.mark.parametrize(("name", "labels"), [("sentiment", SENTIMENT), ("politeness", POLITE)])
def test_long_texts_are_cut_where_the_network_ends(folders, name, labels):
    classifier = Classifier(spec(folders[name], labels))
    long = "please " * 2000
    found = classifier.probabilities([long, long + "No.", "No."])
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[0], found[1])  # what is cut off has no say
    assert np.abs(found[0] - found[2]).max() > 1e-3
    longest = huggingface._load(classifier.spec, classifier.revision, CPU).max_tokens
    assert longest == (64 if name == "sentiment" else 63)
    with pytest.raises((IndexError, RuntimeError)):  # control: uncut, the network has no positions for it
        one_at_a_time(folders[name], "softmax", [long])


def test_empty_texts_and_broken_characters_have_scores(folders):
    classifier = Classifier(spec(folders["sentiment"], SENTIMENT))
    found = classifier.probabilities(["", "\ud83d", "No.", "\n \t"])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    assert np.abs(found[0] - found[2]).max() > 1e-3
    assert classifier.probabilities([]).shape == (0, 3)
    with pytest.raises((TypeError, UnicodeError)):  # control: the tokenizer alone takes no lone surrogate
        AutoTokenizer.from_pretrained(folders["sentiment"])("\ud83d")


def test_the_network_is_loaded_at_the_first_use_and_once(folders, monkeypatch):
    huggingface._load.cache_clear()
    loads = []
    folder_of = huggingface._folder
    monkeypatch.setattr(huggingface, "_folder", lambda given: loads.append(given.repo) or folder_of(given))
    first = Classifier(spec(folders["sentiment"], SENTIMENT))
    assert first.version and loads == []
    first.probabilities(TEXTS[:1])
    Classifier(spec(folders["sentiment"], SENTIMENT)).probabilities(TEXTS[1:2])
    assert loads == [str(folders["sentiment"])]
    Classifier(spec(folders["politeness"], POLITE)).probabilities(TEXTS[:1])
    assert loads == [str(folders["sentiment"]), str(folders["politeness"])]


def test_the_network_neither_trains_nor_keeps_gradients(folders):
    classifier = Classifier(spec(folders["sentiment"], SENTIMENT))
    network = huggingface._load(classifier.spec, classifier.revision, CPU).network
    assert not network.training and network.dtype == torch.float32
    assert not any(weight.requires_grad for weight in network.parameters())
    before = classifier.probabilities(TEXTS)
    np.testing.assert_array_equal(classifier.probabilities(TEXTS), before)
    network.train()  # control: this network has dropout
    try:
        assert np.abs(classifier.probabilities(TEXTS) - before).max() > 1e-3
    finally:
        network.eval()


# Labels


def test_labels_are_matched_by_name_and_not_by_place(folders, copied):
    folder = copied("sentiment")
    rename(folder, ("Positive", "NEGATIVE", "neutral"))
    straight = Classifier(spec(folders["sentiment"], SENTIMENT)).probabilities(TEXTS)
    permuted = Classifier(spec(folder, SENTIMENT)).probabilities(TEXTS)
    np.testing.assert_allclose(permuted, straight[:, [1, 2, 0]], atol=1e-12)
    assert np.abs(permuted - straight).max() > 0.05  # control: by place, the permutation would go unseen


def test_other_labels_are_refused_with_both_lists(copied):
    folder = copied("politeness")
    assert Classifier(spec(folder, POLITE)).probabilities(TEXTS).shape == (len(TEXTS), 4)
    rename(folder, ("NOT_POLITE", "SOMEWHAT_POLITE", "POLITE", "VERY_POLITE"))
    with pytest.raises(UserError) as caught:
        Classifier(spec(folder, POLITE)).probabilities(TEXTS)
    line = str(caught.value)
    assert "expected the labels NOT_POLITE, NEUTRAL, SOMEWHAT_POLITE, POLITE in" in line and "\n" not in line
    assert "got NOT_POLITE, SOMEWHAT_POLITE, POLITE, VERY_POLITE" in line


def test_two_outputs_with_one_name_are_refused(copied):
    folder = copied("sentiment")
    rename(folder, ("negative", "neutral", "Neutral"))
    with pytest.raises(UserError, match=r"got negative, neutral, Neutral"):
        Classifier(spec(folder, SENTIMENT)).probabilities(TEXTS)


# Files


def test_a_pickle_is_read_only_where_the_entry_names_it(folders, copied):
    folder = copied("sentiment")
    as_pickle(folder)
    with pytest.raises(UserError, match=r"expected weights in model\.safetensors of .*, found pytorch_model\.bin"):
        Classifier(spec(folder, SENTIMENT)).probabilities(TEXTS)
    named = Classifier(spec(folder, SENTIMENT, weights="pytorch_model.bin")).probabilities(TEXTS)
    np.testing.assert_array_equal(named, Classifier(spec(folders["sentiment"], SENTIMENT)).probabilities(TEXTS))


def test_of_two_files_the_one_that_the_entry_names_is_read(copied):
    folder = copied("sentiment")
    network = AutoModelForSequenceClassification.from_pretrained(folder)
    network.classifier.out_proj.bias.data += torch.tensor([0.0, 0.0, 2.0])
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    plain = Classifier(spec(folder, SENTIMENT)).probabilities(TEXTS)
    named = Classifier(spec(folder, SENTIMENT, weights="pytorch_model.bin")).probabilities(TEXTS)
    np.testing.assert_allclose(plain, one_at_a_time(folder, "softmax"), atol=1e-5)
    shifted = plain * np.exp([0.0, 0.0, 2.0])
    np.testing.assert_allclose(named, shifted / shifted.sum(axis=1, keepdims=True), atol=1e-5)
    assert np.abs(named - plain).max() > 0.05


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path, str]]:
        return Path.write_text, (self.trace, "ran")


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(copied, tmp_path):
    folder, trace = copied("sentiment"), tmp_path / "trace"
    path = as_pickle(folder)
    torch.save({"classifier.out_proj.bias": Hostile(trace)}, path)
    with pytest.raises(UserError, match=r"pytorch_model\.bin .* cannot be read \(UnpicklingError"):
        Classifier(spec(folder, SENTIMENT, weights="pytorch_model.bin")).probabilities(TEXTS)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # control: the file does run code in a reader that lets it
    assert trace.read_text() == "ran"
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path)


def test_weights_with_another_hash_are_refused(copied):
    folder = copied("sentiment")
    right = sha256_of(folder / "model.safetensors")
    assert Classifier(spec(folder, SENTIMENT, sha256=right)).probabilities(TEXTS).shape == (len(TEXTS), 3)
    with pytest.raises(UserError, match=rf"with sha256 {'0' * 12}…, found {right[:12]}…"):
        Classifier(spec(folder, SENTIMENT, sha256="0" * 64)).probabilities(TEXTS)


def test_missing_weights_are_not_drawn_at_random(copied):
    from safetensors.torch import load_file, save_file

    folder = copied("sentiment")
    weights = load_file(folder / "model.safetensors")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert Classifier(spec(folder, SENTIMENT)).probabilities(TEXTS).shape == (len(TEXTS), 3)
    weights.pop("classifier.out_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"classifier\.out_proj\.weight is missing"):
        Classifier(spec(folder, SENTIMENT)).probabilities(TEXTS)


def test_truncated_weights_are_one_line(copied):
    folder = copied("sentiment")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"its files cannot be read \(") as caught:
        Classifier(spec(folder, SENTIMENT)).probabilities(TEXTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "labels", "file"), [("sentiment", SENTIMENT, "merges.txt"), ("politeness", POLITE, "vocab.txt")]
)
def test_a_folder_without_its_vocabulary_is_refused(copied, name, labels, file):
    folder = copied(name)
    (folder / file).unlink()
    with pytest.raises(UserError, match=r"expected a vocabulary .* found none"):
        Classifier(spec(folder, labels)).probabilities(TEXTS)


# Without a hub

PINNED = "0123456789abcdef0123456789abcdef01234567"


def test_without_a_hub_the_call_ends_in_one_line_and_in_no_other_backends_scores(no_hub):
    huggingface._load.cache_clear()
    with pytest.raises(UserError) as caught:
        scoring.score_texts(["Thank you."], backend="huggingface", device="cpu")
    line = str(caught.value)
    assert "cardiffnlp/twitter-roberta-base-sentiment-latest" in line and "\n" not in line
    assert "connect" in line and 'backend="bundled"' in line and "explicitly" in line


def test_without_a_hub_the_local_cache_is_used(no_hub, folders):
    given = spec("someone/tiny", SENTIMENT, revision=PINNED)
    with pytest.raises(UserError, match="someone/tiny is not in the local cache"):
        Classifier(given).probabilities(TEXTS)
    shutil.copytree(folders["sentiment"], no_hub / "models--someone--tiny" / "snapshots" / PINNED)
    found = Classifier(given).probabilities(TEXTS)
    np.testing.assert_array_equal(found, Classifier(spec(folders["sentiment"], SENTIMENT)).probabilities(TEXTS))


def test_only_the_files_that_are_read_are_fetched_and_at_the_pinned_commit(folders, monkeypatch):
    asked = {}

    def snapshot(repo: str, revision: str, wanted: Sequence[str], *, otherwise: str) -> tuple[Path, str]:
        asked.update(repo=repo, revision=revision, wanted=set(wanted))
        return folders["sentiment"], revision

    monkeypatch.setattr(huggingface.hub, "snapshot", snapshot)
    Classifier(spec("someone/else", SENTIMENT, revision=PINNED)).probabilities(TEXTS)
    assert (asked["repo"], asked["revision"]) == ("someone/else", PINNED)
    assert {"config.json", "vocab.json", "merges.txt", "model.safetensors"} <= asked["wanted"]
    assert not asked["wanted"] & {"pytorch_model.bin", "tf_model.h5"}
    monkeypatch.setattr(huggingface.hub, "snapshot", lambda *_args, **_kwargs: (folders["sentiment"], "f" * 40))
    with pytest.raises(UserError, match=rf"at commit {PINNED}, the hub gave {'f' * 40}"):
        Classifier(spec("someone/third", SENTIMENT, revision=PINNED)).probabilities(TEXTS)


# Versions and the entries


def test_the_version_follows_commit_labels_device_and_a_local_folders_files(entries, folders, copied, monkeypatch):
    pinned = spec("someone/tiny", SENTIMENT, revision=PINNED)
    version = Classifier(pinned).version
    assert "someone/tiny" in version and PINNED in version and "cpu" in version
    others = [
        Classifier(pinned.model_copy(update={"revision": "f" * 40})).version,
        Classifier(pinned.model_copy(update={"labels": SENTIMENT[::-1]})).version,
        Classifier(pinned.model_copy(update={"activation": "sigmoid"})).version,
        Classifier(pinned, torch.device("cuda")).version,
    ]
    assert len({version, *others}) == 5
    assert Classifier(pinned, torch.device("cuda:1")).version == others[3]
    score = huggingface.politeness(CPU).version
    assert huggingface.politeness(CPU).version == score
    monkeypatch.setitem(huggingface.POLITENESS, "SOMEWHAT_POLITE", 0.25)
    assert huggingface.politeness(CPU).version != score
    folder = copied("sentiment")
    assert Classifier(spec(folder, SENTIMENT)).version == Classifier(spec(folders["sentiment"], SENTIMENT)).version
    before = Classifier(spec(folder, SENTIMENT)).version
    rename(folder, SENTIMENT[::-1])
    assert Classifier(spec(folder, SENTIMENT)).version != before


def test_the_entries_pin_commits_name_their_sources_and_say_where_a_pickle_is_read():
    labels = {"sentiment": SENTIMENT, "politeness": POLITE, "goemotions": LABELS}
    specs = {name: classifier_spec(name, names) for name, names in labels.items()}
    assert set(configuration.scorer_settings("huggingface")) == set(specs)
    assert all(len(given.revision) == 40 and "https://huggingface.co/" in given.source for given in specs.values())
    assert {name for name, given in specs.items() if given.weights == "pytorch_model.bin"} == {
        "sentiment",
        "politeness",
    }
    assert [specs[name].activation for name in labels] == ["softmax", "softmax", "sigmoid"]
    assert specs["sentiment"].sha256 == "4d24a3e32a88ed1c4e5b789fc6644e2e767500554e954b27dccf52a8e762cbae"


@pytest.mark.parametrize(
    ("key", "value"),
    [("revision", "main"), ("weights", "weights.pt"), ("activation", "none"), ("sha256", "12"), ("colour", "red")],
)
def test_an_impossible_entry_is_one_line(entries, key, value):
    assert classifier_spec("sentiment", SENTIMENT).repo == entries["sentiment"]["repo"]
    entries["sentiment"][key] = value
    with pytest.raises(UserError, match=rf"'sentiment\.{key}' in params/scorers/huggingface\.yaml, got '{value}'"):
        classifier_spec("sentiment", SENTIMENT)


def test_an_unknown_entry_or_an_unpinned_repository_is_refused(entries):
    with pytest.raises(UserError, match="did you mean 'sentiment'"):
        classifier_spec("sentimnt", SENTIMENT)
    with pytest.raises(UserError, match=r"a repository with a revision, got 'someone/tiny' alone"):
        Classifier(spec("someone/tiny", SENTIMENT)).probabilities(TEXTS)
