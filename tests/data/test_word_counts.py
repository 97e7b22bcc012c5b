"""Frequencies of words."""

from __future__ import annotations

import numpy as np
import pytest

from emolib.base.errors import UserError
from emolib.data.word_counts import log_frequencies, word_cube


def test_frequent_words_have_higher_frequencies_and_unseen_ones_the_lowest() -> None:
    texts = ["The cat and the dog", "the sun isn't out, and THE moon"]
    found = log_frequencies(["the", "and", "isn't", "horse"], texts)
    assert (np.diff(found) < 0).all()
    np.testing.assert_allclose(np.exp(found), np.array([5, 3, 2, 1]) / (12 + 8 + 1))


def test_without_any_word_nothing_is_frequent() -> None:
    assert log_frequencies([], ["a"]).shape == (0,)
    assert np.exp(log_frequencies(["a"], []))[0] == 1


def test_words_of_every_text_count_nothing_and_rare_ones_most() -> None:
    cube = word_cube([["the cat cat", "the dog"], ["the sun", "The dog"]])
    assert cube.shape == (2, 2, 4)  # cat, dog, sun, the
    assert (cube[..., 3] == 0).all()
    np.testing.assert_allclose(cube[0, 0, 0], 2 / 3 * np.log(4))
    np.testing.assert_allclose(cube[:, 1, 1], 1 / 2 * np.log(2))


@pytest.mark.parametrize("texts", [[], [["a", "b"], ["a"]], [["..."]]])
def test_texts_that_are_no_table_or_have_no_words_are_told(texts: list) -> None:
    with pytest.raises(UserError):
        word_cube(texts)
