"""A GGUF file as a model: converted once into the cache folder, held against the file, and refused where it differs.

Which model it is follows from the file's bytes alone; where it lies and what it is called does not count.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer

from emolib.base import paths
from emolib.base.errors import UserError, shown
from emolib.base.writing import TROUBLES
from emolib.models import conversion
from emolib.models.content import file_hash
from emolib.models.folder import read_folder
from emolib.models.gguf_architectures import architecture_of, stated
from emolib.models.gguf_check import check_conversion, differing
from emolib.models.gguf_file import GgufFile, read_gguf
from emolib.models.gguf_tokens import (
    DIGITS,
    PIECES,
    WHOLE_WORDS,
    begins_with_mark,
    blanks_written,
    ends_with_mark,
    split_beforehand,
    way_of_splitting,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

CHECKED = 1  # of the ways of checking a conversion: with another one it is made anew
MARKS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def look_at(path: Path, called: str) -> GgufFile:
    """Everything about a file that can be seen without converting it.

    Args:
        called: the file as its user called it.

    Raises:
        UserError: no GGUF file, a part of one, or a model that is not read.
    """
    file = read_gguf(path, called)
    architecture_of(file)
    way_of_splitting(file)
    return file


def gguf_revision(path: Path) -> str:
    """What decides the model: the file's sha256 and, from the second one on, the way of converting it."""
    return conversion.revision_of(file_hash(path))


def gguf_folder(path: Path, called: str) -> tuple[Path, str]:
    """The folder with the file's model as safetensors, made and checked at the first call, and its revision.

    Args:
        called: the file as its user called it.

    Raises:
        UserError: see `look_at`; also a conversion that is not what the file holds, or a folder altered since.
    """
    file, sha256 = look_at(path, called), file_hash(path)

    def make(work: Path) -> str:
        convert(file, work)
        if file_hash(path) != sha256:
            raise UserError(f"{shown(called)} changed while it was read; run again when it is written")
        return path.name

    return conversion.kept(place_of(sha256), make), conversion.revision_of(sha256)


def place_of(sha256: str) -> Path:
    """Where the conversion of the file with that hash is kept, wherever the file lies."""
    version = f"v{conversion.VERSION}-{conversion.RECORD}-{CHECKED}"
    return paths.cache_root() / "gguf" / f"{sha256[:32]}-{version}"


def convert(file: GgufFile, work: Path) -> None:
    """Saves the model in the folder `work` and holds it against the file.

    The file is read through a link in a folder of its own, so that nothing that lies beside it is taken for a part of
    the model.

    Raises:
        UserError: transformers makes no model of the file, or another one.
    """
    alone = work.parent / "source" / "model.gguf"
    alone.parent.mkdir()
    alone.symlink_to(file.path.resolve())
    called = shown(file.called)
    try:
        conversion.save_as_folder(
            alone,
            work,
            configured=lambda config: _with_what_was_lost(config, file),
            tokenized=lambda tokenizer: _tokenizer(tokenizer, file),
        )
    except Exception as error:  # a foreign file: whatever the library makes of it is the file's fault, or the disk's
        if isinstance(error, UserError) or (isinstance(error, OSError) and error.errno in TROUBLES):
            raise
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise UserError(f"not enough memory to convert {called} to float32; take a smaller model") from error
        raise UserError(
            f"transformers makes no model of {called} ({type(error).__name__}: {shown(str(error), 200)}); take the "
            "model's transformers files"
        ) from error
    check_conversion(file, read_folder(work, file.called, converted=True))


def _with_what_was_lost(config: PretrainedConfig, file: GgufFile) -> PretrainedConfig:
    """The configuration with what the file says where the library says something else, or nothing."""
    settings, expected = conversion.settings_of(config), stated(file)
    names = {name.partition(".")[0] for name, _, _ in differing(settings, expected)} - {"model_type"}
    if not names:
        return config
    return type(config)(**{**settings, **{name: expected[name] for name in names}})


def _tokenizer(given: PreTrainedTokenizerBase, file: GgufFile) -> PreTrainedTokenizerBase:
    """The tokenizer as the file describes it, read as it stands and not made anew by a class of the architecture's.

    What the library adds to the file's tokens is left out, and what it does not know of the way of splitting put in.
    """
    from transformers import PreTrainedTokenizerFast

    tokens, way = file.settings["tokenizer.ggml.tokens"], way_of_splitting(file)
    told: dict[str, Any] = json.loads(given.backend_tokenizer.to_str())
    told["added_tokens"] = [token for token in told["added_tokens"] if token["id"] < len(tokens)]
    if way == WHOLE_WORDS:
        told["model"]["ignore_merges"] = True
    backend = Tokenizer.from_str(json.dumps(told))
    if way == DIGITS:
        backend.pre_tokenizer = split_beforehand(way)
    if way == PIECES:
        backend.normalizer, backend.pre_tokenizer = blanks_written(file), None
    ids = {mark: file.settings.get(f"tokenizer.ggml.{key}_token_id") for mark, key in MARKS.items()}
    marks = {mark: tokens[token] for mark, token in ids.items() if isinstance(token, int) and 0 <= token < len(tokens)}
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        add_bos_token=begins_with_mark(file),
        add_eos_token=ends_with_mark(file),
        **marks,
    )
    made.chat_template = file.settings.get("tokenizer.chat_template")
    return made
