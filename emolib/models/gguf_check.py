"""A converted GGUF file held against the file itself: settings, every weight, and the tokenizer.

The file is read once more, without the library that converted it. A conversion that differs is not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from emolib.base.errors import UserError, shown
from emolib.models.folder import ModelFolder, load_tokenizer
from emolib.models.gguf_architectures import FREQUENCIES, architecture_of, stated
from emolib.models.gguf_file import GgufFile
from emolib.models.gguf_tokens import (
    BEGINNING,
    BLANK,
    CONTROL,
    PROBES,
    USER_DEFINED,
    begins_with_mark,
    ends_with_mark,
    splitter,
    tokens_of_kind,
)
from emolib.models.weight_files import Stored

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_conversion(file: GgufFile, folder: ModelFolder) -> None:
    """Raises `UserError` for the first thing in which a folder is not what the GGUF file says."""
    for name, found, expected in differing(folder.config.to_dict(), stated(file)):
        raise _wrong(file, f"{name} is {shown(found, 40)}, by the file it is {shown(expected, 40)}")
    check_weights(file, folder.stored)
    check_tokenizer(file, load_tokenizer(folder))


def check_weights(file: GgufFile, stored: Stored) -> None:
    """Raises `UserError` unless the model's weights are those of the file, every number of them.

    Args:
        stored: what lies in the converted files.
    """
    architecture = architecture_of(file)
    names = architecture.names_of(file.get("block_count"))
    expected = {names[name]: name for name in file.tensors if name != FREQUENCIES}
    if others := expected.keys() ^ stored.shapes.keys():
        raise _wrong(file, f"{shown(min(others))} is in one of them alone")
    for there, here in expected.items():
        try:
            values = architecture.as_in_model(here, file.values(here), file)
        except ValueError as error:
            raise _wrong(file, f"{shown(here)} has the shape {list(file.tensors[here].shape)}") from error
        if tuple(values.shape) != stored.shapes[there] or not _same(values, stored.read(there).numpy()):
            raise _wrong(file, f"{shown(there)} holds other numbers than {shown(here)}")


def _same(values: np.ndarray, found: np.ndarray) -> bool:
    return np.array_equal(values, found, equal_nan=True)  # NaN is told when the model is loaded


def check_tokenizer(file: GgufFile, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises `UserError` unless the tokenizer has the file's tokens and marks, and splits texts as the file says."""
    for number, (found, expected) in enumerate(_texts_of_tokens(file, tokenizer)):
        if found != expected:
            raise _wrong(file, f"token {number} is {shown(found, 40)}, by the file it is {shown(expected, 40)}")
    for mark in ("bos", "eos"):
        token = file.settings.get(f"tokenizer.ggml.{mark}_token_id")
        if token is not None and getattr(tokenizer, f"{mark}_token_id") != token:
            came = getattr(tokenizer, f"{mark}_token_id")
            raise _wrong(file, f"the {mark} token is {shown(came)}, by the file it is {shown(token)}")
    for text, token in tokens_of_kind(file, CONTROL, USER_DEFINED).items():
        if text and _ids(tokenizer, text) != [token]:
            raise _wrong(file, f"token {token} ({shown(text, 40)}) is not read as a whole")
    ids = splitter(file)
    for text in PROBES:
        if _ids(tokenizer, text) != ids(text):
            raise _wrong(file, f"the text {shown(text, 60)} is split into other tokens")
    if (form := file.settings.get("tokenizer.chat_template")) is not None and tokenizer.chat_template != form:
        raise _wrong(file, "its chat format is another one")
    first = [file.settings.get("tokenizer.ggml.bos_token_id")] if begins_with_mark(file) else []
    last = [file.settings.get("tokenizer.ggml.eos_token_id")] if ends_with_mark(file) else []
    found = list(tokenizer(BEGINNING).input_ids)
    if found != first + ids(BEGINNING) + last:
        raise _wrong(file, f"a text begins with token {shown(found[:1])} or ends otherwise than the file says")


def _texts_of_tokens(file: GgufFile, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[Any, str]]:
    """What every token of the tokenizer is and what it is by the file; what is written in two ways in one."""
    given = file.settings["tokenizer.ggml.tokens"]
    found = tokenizer.convert_ids_to_tokens(list(range(len(given))))
    last = {text: number for number, text in enumerate(given)}
    blanks = file.settings.get("tokenizer.ggml.model") == "llama"
    for number, (token, text) in enumerate(zip(found, given, strict=True)):
        if last[text] != number:  # one of several with one text, of which a vocabulary keeps the last
            yield text, text
        elif blanks:
            yield token and token.replace(" ", BLANK), text.replace(" ", BLANK)
        else:
            yield token, text


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def differing(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The settings that are not as expected: name, what was found, what was expected.

    >>> list(differing({"a": 1, "b": {"c": 2.0, "d": 3}}, {"a": 1, "b": {"c": 2.5}}))
    [('b.c', 2.0, 2.5)]
    """
    for name, value in expected.items():
        other = found.get(name)
        if isinstance(value, dict):
            inner = differing(other if isinstance(other, dict) else {}, value)
            yield from ((f"{name}.{key}", a, b) for key, a, b in inner)
        elif isinstance(value, float) and isinstance(other, int | float):
            if not math.isclose(value, other, rel_tol=1e-6):
                yield name, other, value
        elif other != value:
            yield name, other, value


def _wrong(file: GgufFile, what: str) -> UserError:
    return UserError(
        f"transformers makes another model of {shown(file.called)} than the file holds ({what}); take the model's "
        "transformers files"
    )
