"""The tokens of a text that follows a prompt, and which of them count: not the first, not the final mark."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from emolib.base import arguments
from emolib.base.errors import UserError, shown
from emolib.data.word_counts import WORD
from emolib.models.language_model import LanguageModel
from emolib.models.limits import check_ids
from emolib.models.tokens import CHUNK


@dataclass(frozen=True)
class Continuation:
    """A text as tokens after a prompt and one space.

    Attributes:
        ids: up to the last token that counts; the first stands for itself alone and does not count.
        words: of the tokens that count, in lower case the word in which each stands, or the token itself where it
            stands in none (a mark).
        n_characters: of the tokens that count.
    """

    ids: tuple[int, ...]
    words: tuple[str, ...]
    n_characters: int

    @property
    def n_tokens(self) -> int:
        """How many tokens count."""
        return len(self.ids) - 1


def continuations(lm: LanguageModel, texts: Sequence[str], name: str = "texts") -> list[Continuation]:
    """Every text as what follows a prompt: one space before it, no special tokens.

    Args:
        name: of the argument that holds the texts, for messages.

    Raises:
        UserError: an empty text, one without a token between its first one and its final mark, ids that the model
            does not have, a tokenizer that does not tell where its tokens stand.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> [found] = continuations(lm, ["Thanks, that was kind!?"])
    >>> lm.tokenizer.decode(found.ids), found.words, found.n_characters
    (' Thanks, that was kind', (',', 'that', 'was', 'kind'), 15)
    """
    given = arguments.texts(texts, name)
    if not lm.tokenizer.is_fast:
        raise UserError(
            "expected a tokenizer that tells where its tokens stand (a fast one), this model has none; "
            "the final mark of a text cannot be told from it"
        )
    places = {text: place for place, text in reversed(list(enumerate(given)))}
    distinct = list(dict.fromkeys(given))
    found: dict[str, Continuation] = {}
    for start in range(0, len(distinct), CHUNK):
        some = distinct[start : start + CHUNK]
        told = lm.tokenizer([f" {text}" for text in some], add_special_tokens=False, return_offsets_mapping=True)
        for text, ids, offsets in zip(some, told.input_ids, told.offset_mapping, strict=True):
            found[text] = _counted(f" {text}", ids, offsets, f"text {places[text]} of {name}")
    check_ids(lm, [found[text].ids for text in given], f"text {{place}} of {name}")
    return [found[text] for text in given]


def _counted(text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]], what: str) -> Continuation:
    mark = _final_mark(text)
    stop = len(ids)
    while stop and _first_character(text, *offsets[stop - 1]) >= mark:
        stop -= 1
    if stop < 2:
        raise UserError(
            f"expected texts with a token between their first one and their final mark, {what} has none: "
            f"{shown(text[1:])}; the first token and the final mark do not count"
        )
    spans = [match.span() for match in WORD.finditer(text)]
    words = tuple(_word(text, spans, *place) for place in offsets[1:stop])
    return Continuation(tuple(ids[:stop]), words, offsets[stop - 1][1] - offsets[1][0])


def _final_mark(text: str) -> int:
    """Where the marks that end the text begin; its length where it ends in none."""
    end = len(text.rstrip())
    start = end
    while start and unicodedata.category(text[start - 1])[0] in "PZ":
        start -= 1
    return start if start < end else len(text)


def _first_character(text: str, start: int, stop: int) -> int:
    """Where a token begins, the spaces before it left out."""
    while start < stop and text[start].isspace():
        start += 1
    return start


def _word(text: str, spans: Sequence[tuple[int, int]], start: int, stop: int) -> str:
    """The word that shares a character with a token, the last one where it shares one with several."""
    inside = [span for span in spans if span[0] < stop and span[1] > start]
    return text[slice(*inside[-1])].lower() if inside else text[start:stop].strip()
