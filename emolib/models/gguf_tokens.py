"""How the tokenizer in a GGUF file splits a text, worked out from the file alone.

A file holds its tokens, what they are worth to each other and a name for the way of splitting a text beforehand. What
the converting library makes of them is held against this, on texts with words, numbers, scripts and marks in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from emolib.base.errors import UserError, shown
from emolib.models.gguf_file import GgufFile

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4  # kinds of tokens, by llama.cpp's count
BLANK = "\u2581"  # what stands for a blank in a sentencepiece vocabulary
BEGINNING = "A text"
PROBES = (
    "Thank you so much for your help. I am",
    "I'M so sorry, we'll pay 12345.67 by 2031; DON'T worry!",
    "naïve café, Ελληνικά, Привет, schön",
    # thanks, and sorry with a price, in Japanese
    "\u3042\u308a\u304c\u3068\u3046\u3054\u3056\u3044\u307e\u3059\u3002"
    "\u672c\u5f53\u306b\u7533\u3057\u8a33\u3042\u308a\u307e\u305b\u3093\u3001100\u5186\u3067\u3059\u3002",
    'def f(x):\n    return {"a": x**2}  # ok',
    "Well...  two  blanks, a\ttab\nand a line\n\nand an emoji 🙂👍🏽",
    "http://example.org/a_b?c=d&e=100%",
    "12 34  56\n7 x8",
    "  after two blanks",
)
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
PIECES = "sentencepiece"
DIGITS = "digits"  # GPT-2's way, every digit for itself before
SPLITS = {  # the ways of splitting, and what files call them; None is GPT-2's
    "gpt2": (None, ("gpt-2", "olmo", "phi-2", "mpt")),
    DIGITS: (None, ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")),
    "llama3": (rf"{_SHORT}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}", ("llama3", "llama-v3", "llama-bpe", "falcon3")),
    "qwen2": (rf"{_SHORT}|{_LETTERS}|\p{{N}}|{_REST}", ("qwen2", "deepseek-r1-qwen", "megrez")),
}
WHOLE_WORDS = "llama3"  # here a word that is a token is taken whole, whatever its parts would join to
BEGINS = "llama3"  # and a text begins with the first token, unless the file says otherwise


def way_of_splitting(file: GgufFile) -> str:
    """A key of `SPLITS`, or `PIECES`.

    Raises:
        UserError: a kind of tokenizer, or a way of splitting, that is not known.
    """
    kind, where = file.settings.get("tokenizer.ggml.model"), shown(file.called)
    if kind == "llama":
        scores = file.settings.get("tokenizer.ggml.scores")
        if not isinstance(scores, list) or len(scores) != len(file.settings["tokenizer.ggml.tokens"]):
            raise UserError(
                f"expected a score for every token of {where} (tokenizer.ggml.scores), which say what is joined first, "
                "found none or others; take another file of the model"
            )
        return PIECES
    if kind != "gpt2":
        raise UserError(
            f"expected a byte-level or sentencepiece tokenizer in {where}, found {shown(kind)}; take the model's "
            "transformers files"
        )
    name = file.settings.get("tokenizer.ggml.pre")
    found = next((way for way, (_, names) in SPLITS.items() if name in names), None)
    if found is None:
        raise UserError(
            f"expected to know how the tokenizer of {where} splits a text (tokenizer.ggml.pre), found "
            f"{'nothing' if name is None else shown(name)}; take a file of a newer llama.cpp, or the model's "
            "transformers files"
        )
    return found


def begins_with_mark(file: GgufFile) -> bool:
    """Whether a text begins with the first token (BOS)."""
    given = file.settings.get("tokenizer.ggml.add_bos_token")
    return way_of_splitting(file) in (BEGINS, PIECES) if given is None else bool(given)


def ends_with_mark(file: GgufFile) -> bool:
    """Whether the last token (EOS) is added to a text."""
    return bool(file.settings.get("tokenizer.ggml.add_eos_token", False))


def tokens_of_kind(file: GgufFile, *kinds: int) -> dict[str, int]:
    """The tokens of these kinds, with their ids; of several with one text the last."""
    tokens, given = file.settings["tokenizer.ggml.tokens"], file.settings.get("tokenizer.ggml.token_type")
    listed = given if isinstance(given, list) and len(given) == len(tokens) else [NORMAL] * len(tokens)
    return {token: i for i, (token, kind) in enumerate(zip(tokens, listed, strict=True)) if kind in kinds}


def splitter(file: GgufFile) -> Callable[[str], list[int]]:
    """Gives the token ids of a text, as the file says; without a first or last token.

    Raises:
        UserError: see `way_of_splitting`; also tokens and rules that do not fit each other.
    """
    way = way_of_splitting(file)
    plain = _sentencepiece(file) if way == PIECES else _byte_level(file, way)
    whole = tokens_of_kind(file, CONTROL, USER_DEFINED)
    found = re.compile("|".join(re.escape(token) for token in sorted(whole, key=len, reverse=True) if token) or r"(?!)")

    def ids(text: str) -> list[int]:
        made: list[int] = []
        for part, is_whole in _parts(text, found):
            made += [whole[part]] if is_whole else plain(part)
        return made

    return ids


def _parts(text: str, found: re.Pattern[str]) -> Iterator[tuple[str, bool]]:
    """What is a token as it stands, and what lies between."""
    place = 0
    for match in found.finditer(text):
        if match.start() > place:
            yield text[place : match.start()], False
        yield match[0], True
        place = match.end()
    if place < len(text):
        yield text[place:], False


def _byte_level(file: GgufFile, way: str) -> Callable[[str], list[int]]:
    tokens, merges = file.settings["tokenizer.ggml.tokens"], file.settings.get("tokenizer.ggml.merges")
    try:
        pairs: Any = [tuple(merge.split(" ", 1)) for merge in merges or ()]
        vocabulary = {token: number for number, token in enumerate(tokens)}
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=way == WHOLE_WORDS))
    except Exception as error:  # the library's own, and its panics on foreign lists
        raise UserError(
            f"the tokens and rules (tokenizer.ggml.merges) of {shown(file.called)} do not fit each other "
            f"({shown(str(error), 60)}); fetch it again"
        ) from error
    backend.pre_tokenizer = split_beforehand(way)
    return lambda text: backend.encode(text, add_special_tokens=False).ids


def split_beforehand(way: str) -> Any:
    """What a byte-level tokenizer that splits in this way does before it looks for tokens."""
    pattern = SPLITS[way][0]
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)]
    if pattern is not None:
        steps.insert(0, pre_tokenizers.Split(Regex(pattern), "isolated"))
    elif way == DIGITS:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    return pre_tokenizers.Sequence(steps)


def blanks_written(file: GgufFile) -> Any:
    """What a sentencepiece tokenizer does to a text, and to what follows a mark in it, before it looks for tokens."""
    steps: list[Any] = [normalizers.Replace(" ", BLANK)]
    if begins_with_blank(file):
        steps.insert(0, normalizers.Prepend(BLANK))
    return normalizers.Sequence(steps)


def begins_with_blank(file: GgufFile) -> bool:
    """Whether a blank is put before a text, whatever that begins with."""
    return bool(file.settings.get("tokenizer.ggml.add_space_prefix", True))


def _sentencepiece(file: GgufFile) -> Callable[[str], list[int]]:
    """Joins the pair with the best score, the first of several, until no pair is a token."""
    tokens, scores = file.settings["tokenizer.ggml.tokens"], file.settings["tokenizer.ggml.scores"]
    numbers = {token.replace(" ", BLANK): number for number, token in enumerate(tokens)}
    before = BLANK if begins_with_blank(file) else ""
    unknown = file.settings.get("tokenizer.ggml.unknown_token_id", 0)

    def ids(text: str) -> list[int]:
        pieces = list(before + text.replace(" ", BLANK))
        while True:
            pairs = [(numbers.get(a + b), place) for place, (a, b) in enumerate(pairwise(pieces))]
            known = [(-scores[number], place) for number, place in pairs if number is not None]
            if not known:
                break
            place = min(known)[1]
            pieces[place : place + 2] = ["".join(pieces[place : place + 2])]
        made: list[int] = []
        for piece in pieces:
            in_bytes = [numbers.get(f"<0x{byte:02X}>", unknown) for byte in piece.encode()]
            made += [numbers[piece]] if piece in numbers else in_bytes
        return made

    return ids
