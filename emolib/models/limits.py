"""How far a model reaches: the token ids that its embedding has, and the positions that it can tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from emolib.base.errors import UserError, shown
from emolib.base.notices import notice

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emolib.models.language_model import LanguageModel

POSITION_TABLES = ("wpe", "embed_positions", "position_embeddings", "positions_embed", "pos_emb")
DECLARED = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
BOUNDED = ("MptForCausalLM",)  # their attention has a table of the declared length, though their positions have none
SPECIAL = ("pad", "bos", "eos")


@dataclass(frozen=True)
class Limits:
    """What a model can be given.

    Attributes:
        vocabulary: rows of its embedding; ids from 0 to one less.
        positions: tokens that it has positions for, as a learned table has; None where they have no end.
        trained: tokens that it was trained on, as its configuration says; further ones are extrapolated. None: unknown.
    """

    vocabulary: int
    positions: int | None
    trained: int | None

    @classmethod
    def of(cls, network: PreTrainedModel) -> Limits:
        config = network.config.get_text_config()
        declared = next((getattr(config, name) for name in DECLARED if getattr(config, name, None)), None)
        tables = list(_position_tables(network))
        if type(network).__name__ in BOUNDED and declared:
            tables.append(declared)
        return cls(len(network.get_input_embeddings().weight), min(tables, default=None), declared)


def _position_tables(network: PreTrainedModel) -> Iterator[int]:
    """How many positions every table of learned or tabulated positions has."""
    for path, module in network.named_modules():
        names = [part for part in path.split(".") if not part.startswith("_")]  # the bridge's wrappers have no say
        if isinstance(module, nn.Embedding) and names and names[-1] in POSITION_TABLES:
            yield module.num_embeddings - getattr(module, "offset", 0)
        for name, table in module.named_buffers(recurse=False):
            if name in POSITION_TABLES and table.dim() == 2:
                yield len(table)


def check_special_tokens(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raises `UserError` where the tokenizer's own marks have ids that the model's embedding has no row for."""
    size = len(network.get_input_embeddings().weight)
    for mark in SPECIAL:
        token = getattr(tokenizer, f"{mark}_token_id", None)
        if token is not None and not 0 <= token < size:
            raise UserError(
                f"expected token ids below {size}, the rows of the embedding of {shown(name)}; the tokenizer's {mark} "
                f"token {shown(getattr(tokenizer, f'{mark}_token'))} has id {token}: resize the model's embedding "
                "(resize_token_embeddings), or choose another token"
            )


def check_rows(lm: LanguageModel, rows: Sequence[Sequence[int]], n_new: int = 0, what: str = "text {place}") -> None:
    """Whether the model can be given these token ids, and so many more; warns once where they are more than it knows.

    Args:
        rows: token ids per text.
        n_new: tokens that are generated after each; the last of them is never fed.
        what: how a message names a row, with `{place}` for its number.

    Raises:
        UserError: an id that the embedding has no row for, or more tokens than the model has positions.
    """
    check_ids(lm, rows, what)
    place = max(range(len(rows)), key=lambda i: len(rows[i]), default=0)
    check_length(lm, len(rows[place]) if len(rows) else 0, n_new, what.format(place=place))


def check_ids(lm: LanguageModel, rows: Sequence[Sequence[int]], what: str) -> None:
    """The part of `check_rows` that looks at the ids."""
    limits = lm.limits
    for place, row in enumerate(rows):
        highest = max(row, default=0)
        if highest >= limits.vocabulary:
            token = shown(lm.tokenizer.decode([highest]))
            raise UserError(
                f"expected token ids below {limits.vocabulary}, the rows of the embedding of {lm.spec.name}; "
                f"{what.format(place=place)} has id {highest} ({token}): the tokenizer is larger than the model, give "
                "the model its own"
            )


def check_length(lm: LanguageModel, length: int, n_new: int, what: str) -> None:
    """The part of `check_rows` that looks at their number: `length` are read, and `n_new` follow them."""
    limits, fed = lm.limits, length + max(n_new - 1, 0)
    check_positions(lm.spec.name, limits.positions, length, n_new, what)
    if limits.trained is not None and fed > limits.trained and not lm.worked_out.warned_of_length:
        lm.worked_out.warned_of_length = True
        notice(
            f"{lm.spec.name} was trained on texts of up to {limits.trained} tokens, {_told(length, n_new, what)}: what "
            "it says beyond them may mean little"
        )


def check_positions(name: str, positions: int | None, length: int, n_new: int, what: str) -> None:
    """Raises `UserError` where a model with so many positions cannot read `length` tokens and write `n_new` more.

    Args:
        positions: None: without end.
        what: how the message names the text.
    """
    if positions is not None and length + max(n_new - 1, 0) > positions:
        room = positions - length + 1
        fewer = f", or at most {room} new tokens" if n_new and room > 0 else ""
        raise UserError(
            f"{name} has {positions} positions, {_told(length, n_new, what)}: give a shorter text{fewer}, "
            "or a model with more positions"
        )


def _told(length: int, n_new: int, what: str) -> str:
    return f"{what} has {length} tokens" + (f", with {n_new} new ones {length + n_new}" if n_new else "")
