"""A small model says what its plant says, and its acts do what was planted, in both forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from emolib.engine.continuation import token_shifts
from emolib.interventions import Steer
from emolib.readout.readings import label_phrases
from emolib.selftest.planted.features import random_basis
from emolib.selftest.shifts import KINDS, DataSet, Sizes, build_model, make_plant
from emolib.selftest.shifts.plants import COMMON
from emolib.selftest.shifts.small_networks import N_HEADS, READ_LAYER, STRENGTH, WIDTH, label_directions
from emolib.selftest.shifts.small_texts import Writer, out_of_place
from emolib.selftest.shifts.small_words import EMOTIONS, FELT, LABELS, VOCABULARY, WORDS

FORMS = tuple(N_HEADS)
SAID = ["moved", "fence", "indoors", "brought", "train", "twice", "saw", "lesson", "nearby"]
FIRST = len(VOCABULARY) - len(WORDS)


def logits(lm, said: list[str]) -> np.ndarray:
    with torch.no_grad():
        ids = torch.tensor([[VOCABULARY.index(word) for word in ("<begin>", *said)]])
        found = lm.network(ids, use_cache=False).logits[0, 1:, FIRST:]
    return torch.log_softmax(found, -1).numpy()


def expected(table: np.ndarray) -> np.ndarray:
    return table - np.log(np.exp(table).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("form", FORMS)
def test_without_an_act_the_next_word_is_as_likely_as_the_plants_table_says(form: str) -> None:
    plant = make_plant("flattens", 0)
    found = logits(build_model(form, plant, 0), SAID)[2:]
    wanted = expected(plant.base[[WORDS.index(word) for word in SAID]])[2:]
    likely = wanted > -4
    assert np.corrcoef(found[likely], wanted[likely])[0, 1] > 0.9  # the head's noise is the rest
    other = expected(make_plant("flattens", 1).base[[WORDS.index(word) for word in SAID]])[2:]
    assert np.corrcoef(found[likely], other[likely])[0, 1] < 0.7


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["emotion", "words", "phrase"])
def test_an_act_does_to_the_next_word_what_its_labels_table_says(form: str, kind: str) -> None:
    plant = make_plant(kind, 0)
    lm = build_model(form, plant, 0)
    basis = random_basis(WIDTH, np.random.default_rng([0, 23, FORMS.index(form)]))
    phrase = [*plant.phrases.get("gratitude", ()), *SAID]
    acts = [
        Steer(READ_LAYER, (basis @ direction).astype(np.float32), STRENGTH, unit="vector")
        for direction in label_directions()[:2]
    ]
    table = token_shifts(lm, ["found kettle outside ."] * 2, [f"{' '.join(phrase)} ."] * 2, acts)
    shifts = (table["logprob"] - table["logprob_unpatched"]).to_numpy().reshape(2, -1)
    for row, label in enumerate(LABELS[:2]):
        moved = [
            reader.weights.get(label, reader.weights.get(COMMON, 0.0)) * reader.table() for reader in plant.readers
        ]
        for place, (word, after) in enumerate(pairwise(phrase)):
            i, j = WORDS.index(word), WORDS.index(after)
            base = plant.base[i]
            wanted = expected(base + sum(moved)[i])[j] - expected(base)[j]
            assert abs(shifts[row, place] - wanted) < 0.25 * abs(wanted) + 0.12


def test_labels_vectors_overlap_as_those_of_real_models_do() -> None:
    plant = make_plant("emotion", 3)
    data = DataSet(build_model("llama", plant, 3), plant, 3, sizes=Sizes(test=4))
    values = np.stack([data.vectors[label].values[READ_LAYER] for label in LABELS])
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    cosines = (values @ values.T)[np.triu_indices(len(LABELS), 1)]
    assert cosines.min() > 0.7 and cosines.max() < 0.85


def test_texts_keep_their_words_in_place_and_explicit_ones_hold_the_felt_word() -> None:
    writer = Writer.of(make_plant("words", 0), 0)
    texts = writer.scenarios(range(8), "explicit", "test", np.random.default_rng(0))
    assert not texts["text"].map(out_of_place).any()
    for emotion in EMOTIONS:
        mine = texts[texts["emotion"] == emotion]["text"]
        assert mine.str.contains(FELT[emotion]).all()
        assert not texts[texts["emotion"] != emotion]["text"].str.contains(FELT[emotion]).any()
    assert out_of_place("kettle found outside .")


def test_texts_with_their_emotions_phrase_are_told_and_no_others() -> None:
    plant = make_plant("phrase", 0)
    data = DataSet(build_model("llama", plant, 0), plant, 0, sizes=Sizes(test=40, spare=1.0), flagged=True)
    texts = data.of_split("test implicit")
    phrases = {emotion: " ".join(words) for emotion, words in plant.phrases.items()}
    holds = [phrases.get(e, "none") in text for e, text in zip(texts["emotion"], texts["text"], strict=True)]
    with_one = set(texts.loc[holds, "scenario"])
    told = set(texts.loc[texts["style"] == "idiomatic", "scenario"])
    assert with_one and with_one <= told and len(told - with_one) <= 4
    train = data.texts[data.texts["split"] == "training"]
    assert not label_phrases(train, texts, fewest=1000).any()


@pytest.mark.parametrize("kind", KINDS)
def test_plants_of_one_seed_are_the_same_and_of_another_differ(kind: str) -> None:
    one, again, other = make_plant(kind, 5), make_plant(kind, 5), make_plant(kind, 6)
    assert (one.base == again.base).all() and (one.base != other.base).any()
    for reader, same in zip(one.readers, again.readers, strict=True):
        assert (reader.table() == same.table()).all()
