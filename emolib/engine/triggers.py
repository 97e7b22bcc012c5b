"""The emotion-trigger token of a text: where its emotion's word stands, by character offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Int

from emolib.base.errors import UserError
from emolib.data.activations import UNLABELLED
from emolib.data.keywords import load_keywords
from emolib.models.tokens import CHUNK

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NONE = -1


def trigger_tokens(tokenizer: PreTrainedTokenizerBase, texts: pd.DataFrame) -> Int[np.ndarray, " text"]:
    """Index of each text's trigger token, counted from its first token; -1 where there is none.

    The trigger is the last token of the first word of the list of the text's own emotion (negated words left out):
    there the word is complete. A text's first token is never one: it is an attention sink whose norm is of another
    size, so a text that opens with its only such word, in a model without a token before it, has no trigger. A label
    without a list has none; in bare strings a word of any list counts.

    Args:
        tokenizer: the model's.
        texts: columns text, emotion and, if there, lang.

    Raises:
        UserError: the tokenizer does not tell where its tokens stand.
    """
    if not tokenizer.is_fast:
        raise UserError(
            "expected a tokenizer that tells where its tokens stand (a fast one), this model has none; "
            "leave out the position 'trigger'"
        )
    languages = texts["lang"] if "lang" in texts else ["en"] * len(texts)
    words = [_words(*row) for row in zip(texts["text"], texts["emotion"], languages, strict=True)]
    found = np.full(len(words), NONE, dtype=np.int64)
    candidates = [i for i, spans in enumerate(words) if spans]
    for chunk in (candidates[start : start + CHUNK] for start in range(0, len(candidates), CHUNK)):
        some = texts["text"].iloc[chunk].tolist()
        places = tokenizer(some, add_special_tokens=True, return_offsets_mapping=True).offset_mapping
        for i, tokens in zip(chunk, places, strict=True):
            ends = [_last_token(tokens, span) for span in words[i]]
            found[i] = next((end for end in ends if end > 0), NONE)
    return found


def _words(text: str, emotion: str, language: str) -> list[tuple[int, int]]:
    """Character spans of the words of the emotion's list (of any list, for a text without a label), in order."""
    lists = load_keywords(language)
    labels = lists.labels if emotion == UNLABELLED else [lists.label_of(emotion)]
    return sorted(span for label in labels if label is not None for span in lists.find(text, label))


def _last_token(tokens: list[tuple[int, int]], span: tuple[int, int]) -> int:
    """Index of the last token that shares a character with the span; -1 if none does."""
    start, stop = span
    return max(
        (k for k, (first, last) in enumerate(tokens) if first < stop and last > start and last > first), default=NONE
    )
