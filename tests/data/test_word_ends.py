"""Where words end in two tokenizers' tokens, with spans written by hand in either habit."""

from __future__ import annotations

import numpy as np
import pytest

from emolib.base.errors import UserError
from emolib.data.word_ends import SHARES, last_tokens, matched_words, split_of_word

TEXT = "The red cat sat."
WITH_SPACE = [(0, 3), (3, 7), (7, 11), (11, 15), (15, 16)]  # a token begins at the space before its word
WITHOUT = [(0, 0), (0, 3), (4, 7), (8, 9), (9, 11), (12, 15), (15, 16)]  # a mark before the text; `cat` in two pieces


def test_only_the_end_of_a_token_counts_so_that_habits_about_spaces_do_not_matter() -> None:
    found = matched_words([TEXT], [WITH_SPACE], [WITHOUT])
    assert found[["word", "token_a", "token_b"]].values.tolist() == [["red", 1, 2], ["cat", 2, 4], ["sat", 3, 5]]
    assert [TEXT[start:stop] for start, stop in found[["start", "stop"]].to_numpy()] == ["red", "cat", "sat"]


def test_the_first_token_of_a_text_is_no_anchor_in_either_model() -> None:
    """`The` stands behind a mark in the second model, and is an attention sink in the first."""
    assert "the" not in set(matched_words([TEXT], [WITH_SPACE], [WITHOUT])["word"])
    swapped = matched_words([TEXT], [WITHOUT], [WITH_SPACE])
    assert swapped["token_a"].tolist() == [2, 4, 5] and "the" not in set(swapped["word"])


def test_of_byte_pieces_with_one_character_s_offsets_the_last_counts() -> None:
    pieces = [(0, 2), (2, 3), (2, 3), (2, 3)]  # 猫 in three bytes
    assert last_tokens("I 猫", pieces) == {(2, 3): 3}  # the first token reaches beyond `I`
    assert last_tokens("I 猫", [(0, 1), (1, 3), (2, 3)]) == {(0, 1): 0, (2, 3): 2}


def test_a_token_that_reaches_beyond_a_word_is_no_end_of_it() -> None:
    assert last_tokens("cat. dog", [(0, 2), (2, 4), (4, 8)]) == {(5, 8): 2}
    found = matched_words(
        ["A cat. A dog"], [[(0, 1), (1, 5), (5, 6), (6, 8), (8, 12)]], [[(0, 1), (1, 6), (6, 8), (8, 12)]]
    )
    assert found["word"].tolist() == ["a", "dog"]  # the second model's `cat.` is one token


def test_apostrophes_stay_in_their_word() -> None:
    assert last_tokens("It can't", [(0, 2), (2, 6), (6, 8)]) == {(0, 2): 0, (3, 8): 2}


def test_word_types_are_held_out_and_a_type_stays_where_it_is_in_other_texts() -> None:
    words = [f"word{i}" for i in range(4000)]
    splits = np.array([split_of_word(word) for word in words])
    for name, share in SHARES.items():
        assert np.mean(splits == name) == pytest.approx(share, abs=0.03)
    assert (splits != np.array([split_of_word(word, seed=1) for word in words])).mean() > 0.3
    found = matched_words([TEXT, TEXT.replace("sat", "RED")], [WITH_SPACE] * 2, [WITHOUT] * 2)
    assert (found.groupby("word")["split"].nunique() == 1).all() and (found["word"] == "red").sum() == 3


def test_frequent_words_are_taken_a_few_times() -> None:
    found = matched_words([TEXT] * 30, [WITH_SPACE] * 30, [WITHOUT] * 30, most_per_word=4)
    assert found["word"].value_counts().to_dict() == {"red": 4, "cat": 4, "sat": 4}
    assert found["text"].max() == 3


@pytest.mark.parametrize(
    ("texts", "tokens_b", "words"),
    [
        ([], [], "found none"),
        ([TEXT], [], "got those of 1 and 0"),
        (["..."], [[(0, 3)]], "give more or longer texts"),
        ([TEXT], [[(0, 16)]], "give more or longer texts"),
        ("one text", [WITHOUT], "list of texts"),
    ],
)
def test_texts_without_anchors_are_told(texts: list[str], tokens_b: list, words: str) -> None:
    tokens_a = [WITH_SPACE] * len(texts) if isinstance(texts, list) else [WITH_SPACE]
    with pytest.raises(UserError, match=words):
        matched_words(texts, tokens_a, tokens_b)
