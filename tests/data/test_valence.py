"""Ratings of label words are those of VADER's lexicon, and a word that nobody rated gets none."""

from __future__ import annotations

import ast
from importlib.resources import files

import numpy as np

from emolib.data.companions import LABELS
from emolib.data.valence import FORMS, RATERS, human_valence

OWN = ("gratitude", "anger", "apology", "neutral")
EVERY = (*OWN, *LABELS["five"], *LABELS["fifteen"])


def raw() -> dict[str, list[str]]:
    text = files("vaderSentiment").joinpath("vader_lexicon.txt").read_text(encoding="utf-8")
    return {line.split("\t")[0]: line.split("\t") for line in text.splitlines()}


def test_mean_and_spread_are_those_of_the_ten_ratings_themselves() -> None:
    lexicon = raw()
    found = human_valence(EVERY)
    for label, (word, mean, sd) in found.items():
        ratings = ast.literal_eval(lexicon[word][3])
        assert len(ratings) == RATERS
        assert np.isclose(np.mean(ratings), mean) and np.isclose(np.std(ratings), sd, atol=1e-4)
        assert word in (label, FORMS.get(label))


def test_a_label_that_nobody_rated_is_left_out() -> None:
    assert [label for label in EVERY if label not in human_valence(EVERY)] == ["neutral", "disapproval"]
    assert human_valence(["no such word", ""]) == {}
    assert all(form in raw() and label not in raw() for label, form in FORMS.items())


def test_the_spelling_of_a_label_does_not_matter_and_its_own_stays() -> None:
    assert human_valence(["Joy"]) == {"Joy": human_valence(["joy"])["joy"]}


def test_pleasant_labels_are_rated_above_unpleasant_ones() -> None:
    found = human_valence(EVERY)
    pleasant, unpleasant = ("joy", "gratitude", "love", "relief"), ("anger", "fear", "sadness", "disgust")
    assert min(found[name].mean for name in pleasant) > 0 > max(found[name].mean for name in unpleasant)
