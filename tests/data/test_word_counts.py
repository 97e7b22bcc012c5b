"""Frequencies of words."""

from __future__ import annotations

import numpy as np

from emolib.data.word_counts import log_frequencies


def test_frequent_words_have_higher_frequencies_and_unseen_ones_the_lowest() -> None:
    texts = ["The cat and the dog", "the sun isn't out, and THE moon"]
    found = log_frequencies(["the", "and", "isn't", "horse"], texts)
    assert (np.diff(found) < 0).all()
    np.testing.assert_allclose(np.exp(found), np.array([5, 3, 2, 1]) / (12 + 8 + 1))


def test_without_any_word_nothing_is_frequent() -> None:
    assert log_frequencies([], ["a"]).shape == (0,)
    assert np.exp(log_frequencies(["a"], []))[0] == 1
