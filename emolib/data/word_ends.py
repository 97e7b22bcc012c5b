"""Where words end in two models' tokens: the places at which both have read exactly the same text.

At the last token of a word a causal model has read the text up to that character and no further, whatever its
tokenizer made of it. Two tokens, one of each model, that end at the same last character of a word are an *anchor*.
Tokenizers tell places by character offsets, and have habits of their own: a token's offsets include the space before
the word or do not, so only its end counts; all byte pieces of one character have the character's offsets, so the last
of them counts; a token that reaches into what follows the word (`word.`) is no end of it; marks that a tokenizer adds
have empty spans.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pandas as pd

from emolib.base import arguments
from emolib.base.errors import UserError
from emolib.data.word_counts import WORD

Spans = Sequence[tuple[int, int]]  # one text's tokens as (first character, character after the last)
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
COLUMNS = ["text", "start", "stop", "word", "token_a", "token_b", "split"]


def last_tokens(text: str, tokens: Spans) -> dict[tuple[int, int], int]:
    """Every word's span and the place of its last token, for the words that end where a token ends.

    Args:
        tokens: in the order of the text, marks that were added included.

    >>> last_tokens("It's 3 cats.", [(0, 0), (0, 2), (2, 4), (4, 6), (6, 11), (11, 12)])
    {(0, 4): 2, (5, 6): 3, (7, 11): 4}
    >>> last_tokens("cats.", [(0, 3), (3, 5)])  # the full stop is in the word's last token
    {}
    """
    covering: dict[int, int] = {}  # character → the last token that holds a part of it
    for place, (first, stop) in enumerate(tokens):
        for character in range(first, stop):
            covering[character] = place
    spans = [match.span() for match in WORD.finditer(text)]
    ends = {span: covering.get(span[1] - 1) for span in spans}
    return {span: place for span, place in ends.items() if place is not None and tokens[place][1] == span[1]}


def split_of_word(word: str, seed: int = 0) -> str:
    """`train`, `validation` or `test`, by the word alone: the same in every text, whichever other words there are.

    >>> [split_of_word(word) for word in ("lamp", "Lamp", "cat")]
    ['train', 'train', 'test']
    """
    digest = hashlib.sha256(f"{seed}|{word.lower()}".encode()).digest()
    place, reached = int.from_bytes(digest[:8], "big") / 2**64, 0.0
    for name, share in SHARES.items():
        reached += share
        if place < reached:
            return name
    return name


def matched_words(
    texts: Sequence[str],
    tokens_a: Sequence[Spans],
    tokens_b: Sequence[Spans],
    *,
    most_per_word: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """The anchors of some texts, with the places of their tokens in both models.

    Word types, not occurrences, are dealt out to `train`, `validation` and `test`, so that a map is judged on words
    that it was not fitted on. A text's first token in either model (an attention sink) is no anchor.

    Args:
        tokens_a, tokens_b: per text, as each model's tokenizer gives them.
        most_per_word: occurrences of a word type that are taken, the first ones; without a limit half of the anchors
            would be a dozen function words.

    Returns:
        text (place in `texts`), start, stop (characters), word (in lower case), token_a, token_b, split.

    Raises:
        UserError: unlike numbers of texts, or not one anchor.

    >>> matched_words(["The red cat"], [[(0, 3), (3, 7), (7, 11)]], [[(0, 0), (0, 3), (4, 7), (8, 9), (9, 11)]])[
    ...     ["word", "token_a", "token_b"]
    ... ].values.tolist()
    [['red', 1, 2], ['cat', 2, 4]]
    """
    given = arguments.texts(texts)
    most_per_word = arguments.whole_number("most_per_word", most_per_word, least=1)
    if not len(given) == len(tokens_a) == len(tokens_b):
        raise UserError(
            f"expected the tokens of {len(given)} texts twice, got those of {len(tokens_a)} and {len(tokens_b)}"
        )
    rows, taken = [], dict[str, int]()
    for place, (text, of_a, of_b) in enumerate(zip(given, tokens_a, tokens_b, strict=True)):
        in_b = last_tokens(text, of_b)
        for span, token_a in last_tokens(text, of_a).items():
            word, token_b = text[slice(*span)].lower(), in_b.get(span, 0)
            if token_a and token_b and taken.get(word, 0) < most_per_word:
                taken[word] = taken.get(word, 0) + 1
                rows.append((place, *span, word, token_a, token_b, split_of_word(word, seed)))
    if not rows:
        raise UserError(
            "expected words that end where a token of either model ends, found none after a text's first token; give "
            "more or longer texts"
        )
    return pd.DataFrame(rows, columns=COLUMNS)
