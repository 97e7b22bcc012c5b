"""Texts to padded token ids: padding on the left, and positions that count real tokens only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from emolib.base import arguments
from emolib.base.characters import is_whole
from emolib.base.errors import UserError, shown
from emolib.models.language_model import LanguageModel
from emolib.models.limits import check_rows

CHUNK = 2048  # texts tokenised at once: what a tokenizer keeps beside the ids is several times as large


def encode(lm: LanguageModel, texts: Iterable[str], *, n_new: int = 0, name: str = "texts") -> list[list[int]]:
    """Token ids per text, with the special tokens that the model's tokenizer adds by default.

    A text that is written in a chat format may begin with the first of them; it is not added twice.

    Args:
        n_new: tokens that will be generated after every text.
        name: of the argument that holds the texts, for messages.

    Raises:
        UserError: no list of texts, an empty text or one that gives no token, ids that the model's embedding does not
            have, more tokens than it has positions.
    """
    given = arguments.texts(texts, name)
    rows: list[list[int]] = []
    for start in range(0, len(given), CHUNK):
        rows += _token_ids(lm, given[start : start + CHUNK], start, name)
    first = lm.tokenizer.bos_token_id
    rows = [list(row[1:] if first is not None and row[:2] == [first, first] else row) for row in rows]
    for place, row in enumerate(rows):
        if not row:
            raise UserError(
                f"expected texts that give at least one token, text {place} of {name} gives none with this model's "
                f"tokenizer: {shown(given[place])}"
            )
    check_rows(lm, rows, n_new, f"text {{place}} of {name}")
    return rows


def first_mark(lm: LanguageModel, template: str = "{text}") -> str | None:
    """The beginning-of-sequence token that every text begins with; None where texts begin with their own first token.

    Args:
        template: what stands around a text, with the text in place of `{text}`.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> first_mark(lm), first_mark(lm, lm.tokenizer.bos_token + "{text}")
    (None, '<|im_start|>')
    """
    [row] = encode(lm, [template.replace("{text}", "A text")])
    return lm.tokenizer.bos_token if row[0] == lm.tokenizer.bos_token_id else None


def _token_ids(lm: LanguageModel, texts: list[str], start: int, name: str) -> list[list[int]]:
    try:
        return lm.tokenizer(texts, add_special_tokens=True).input_ids
    except (TypeError, UnicodeError) as error:
        for place, text in enumerate(texts, start):
            if not is_whole(text):
                raise UserError(
                    f"expected texts in Unicode, text {place} of {name} holds half a character (a lone surrogate): "
                    f"{shown(text)}"
                ) from error
        raise


def pad_left(rows: Sequence[Sequence[int]], pad_id: int, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Token ids and mask, both `[row, width]`, padded on the left; `width` defaults to the longest row."""
    width = max(width or 0, max(len(row) for row in rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.as_tensor(row)
        mask[i, width - len(row) :] = 1
    return ids, mask


def position_ids(mask: Tensor) -> Tensor:
    """Positions that count real tokens only: `[row, pos]`, 0 on the padding."""
    return (mask.cumsum(1) - 1).clamp_min(0)
