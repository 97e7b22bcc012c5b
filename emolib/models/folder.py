"""The one reader of model folders: a user's own, or what the hub sent.

Everything that can be wrong with a folder is found here, before anything is allocated and before a notebook starts:
paths, JSON files, sizes, headers of weights, the names of all tensors (by transformers itself, on a device without
memory), and the tokenizer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from emolib.base.errors import UserError, shown
from emolib.models.first_token import restore_first_token
from emolib.models.limits import Limits
from emolib.models.model_names import CONFIG
from emolib.models.settings_files import OPTIONAL, one_of, read_settings, refuse_pointer, start_of
from emolib.models.silence import quiet
from emolib.models.sizes import check_sizes
from emolib.models.stored_names import refuse_not_finite, refuse_strays, refuse_two_heads
from emolib.models.supported import SUPPORTED, check_kind, check_layers
from emolib.models.tokenizer_class import PROBE, check_class, class_fault, refuse_other_tokens
from emolib.models.weight_files import Stored, stored_tensors

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    ("*.model",),
    ("*.tiktoken",),
    ("*.spm",),
    ("tekken.json",),
)
READ_AS_TEXT = ("merges.txt", "vocab.txt", "*.model", "*.tiktoken", "*.spm", "*.jinja")  # beside the JSON files
COPY_TOKENIZER = "copy tokenizer.json and tokenizer_config.json of the base model into the folder"


@dataclass(frozen=True)
class ModelFolder:
    """A folder that was looked through.

    Attributes:
        path: where it lies.
        called: the model as its user called it.
        config: what `config.json` makes of it.
        stored: what its files of weights hold.
        positions: see `emolib.models.limits.Limits`; unknown (None, too) of a folder that a hash has verified.
        converted: it was made of a GGUF file, whose word on the first token it keeps.
    """

    path: Path
    called: str
    config: PretrainedConfig
    stored: Stored
    positions: int | None = None
    converted: bool = False


def read_folder(path: Path, called: str, *, verified: bool = False, converted: bool = False) -> ModelFolder:
    """Looks a model folder through; a folder that has not changed since is not looked through again.

    Args:
        path: a folder with a `config.json`.
        called: the model as its user called it, for messages.
        verified: a hash has shown that the files are as they were made; names of tensors and tokenizer are looked at
            when they are loaded.
        converted: see `ModelFolder`.

    Raises:
        UserError: anything in the folder that would keep it from being loaded, or make another model of it.
    """
    return _read(path.absolute(), called, _state(path, called), verified, converted)


def load_weights(folder: ModelFolder, dtype: torch.dtype) -> PreTrainedModel:
    """The model in memory, on the CPU, with eager attention.

    Raises:
        UserError: a weight that is missing, left over, of another shape or not finite.
    """
    network = _loaded(folder, dtype)
    refuse_not_finite(network, folder.stored, folder.called)
    # a model's class decides how it is run; what config.json calls it may be its base model
    network.config.architectures = [type(network).__name__]
    return network


def load_tokenizer(folder: ModelFolder) -> PreTrainedTokenizerBase:
    """The tokenizer.

    Raises:
        UserError: there is none, it is damaged, or it has tokens that the model has no embedding for.
    """
    from transformers import AutoTokenizer

    called = shown(folder.called)
    if not one_of(folder.path, VOCABULARIES):
        raise UserError(f"expected a tokenizer in {called}, found none; {COPY_TOKENIZER}")
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=False)
            vocabulary = tokenizer.get_vocab()
            ids = tokenizer(PROBE).input_ids
    except BaseException as error:  # the tokenizers library panics with an exception of its own
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        if "custom code" in str(error) or "trust_remote_code" in str(error):
            raise UserError(
                f"the tokenizer of {called} is code of its own, which is not run; {COPY_TOKENIZER}"
            ) from error
        fault = class_fault(folder.path, folder.called)
        raise UserError(
            fault or f"cannot read the tokenizer of {called} ({_reason(error)}); {COPY_TOKENIZER}"
        ) from error
    if not ids:
        raise UserError(
            f"the tokenizer of {called} makes no token of a text, its vocabulary is missing; {COPY_TOKENIZER}"
        )
    refuse_other_tokens(tokenizer, folder.path, folder.called, folder.config.model_type)
    _check_vocabulary(folder, vocabulary, tokenizer)
    if not folder.converted:
        restore_first_token(tokenizer, folder.path, folder.called, folder.config.model_type)
    return tokenizer


def _check_vocabulary(folder: ModelFolder, vocabulary: Mapping[str, int], tokenizer: PreTrainedTokenizerBase) -> None:
    called, n_rows = shown(folder.called), folder.config.get_text_config().vocab_size
    last = max(vocabulary, key=lambda token: vocabulary[token])
    if vocabulary[last] >= n_rows:
        raise UserError(
            f"the tokenizer of {called} has ids up to {vocabulary[last]} ({shown(last, 30)}), the embedding only "
            f"{n_rows} rows; copy the tokenizer that belongs to the weights, or save the model again after "
            f"resize_token_embeddings({vocabulary[last] + 1})"
        )
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is None:
        raise UserError(
            f"the tokenizer of {called} names no eos_token and no pad_token; name one in its tokenizer_config.json"
        )


@lru_cache(maxsize=16)
def _read(path: Path, called: str, state: tuple[Any, ...], verified: bool, converted: bool) -> ModelFolder:
    settings = read_settings(path / CONFIG, called)
    for name in OPTIONAL:
        if os.path.lexists(path / name):
            found = read_settings(path / name, called)
            if name == "generation_config.json":
                _check_end(found, settings, called)
    check_class(path, called)
    for other in sorted(file for pattern in READ_AS_TEXT for file in path.glob(pattern) if file.is_file()):
        refuse_pointer(start_of(other), f"{other.name} of {shown(called)}")
    check_sizes(settings, called)
    check_kind(settings, called)
    _refuse_quantised(settings, called)
    config = _configuration(path, called)
    check_layers(config, called)
    folder = ModelFolder(path, called, config, stored_tensors(path, called, settings), converted=converted)
    if not verified:
        network = _check_hooks(_loaded(folder, torch.float32, device="meta"), called)
        refuse_two_heads(network, folder.stored, called)
        load_tokenizer(folder)
        folder = replace(folder, positions=Limits.of(network).positions)
    return folder


def _check_hooks(network: PreTrainedModel, called: str) -> PreTrainedModel:
    """The network; `UserError` for an architecture whose hook points transformer_lens does not know."""
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

    kind = type(network).__name__
    if kind not in SUPPORTED_ARCHITECTURES:
        raise UserError(
            f"expected an architecture that transformer_lens has hook points for, {shown(called)} is {kind}; "
            f"{SUPPORTED}"
        )
    return network


def _state(path: Path, called: str) -> tuple[Any, ...]:
    """What changes when a file of the folder does."""
    try:
        found = [(entry.name, os.stat(entry.path)) for entry in os.scandir(path) if os.path.exists(entry.path)]
    except OSError as error:
        raise UserError(f"cannot read the folder {shown(called)} ({error.strerror}); allow reading it") from error
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in found))


def _refuse_quantised(settings: Mapping[str, Any], called: str) -> None:
    if settings.get("quantization_config"):
        raise UserError(
            f"expected full weights, got quantization_config in config.json of {shown(called)}: quantised models are "
            "not read; take the original, or save it again after dequantize()"
        )


def _check_end(generation: Mapping[str, Any], settings: Mapping[str, Any], called: str) -> None:
    """Raises `UserError` where no text could ever end by the ids in `generation_config.json`."""
    ends = generation.get("eos_token_id")
    size = settings.get("vocab_size")
    for end in ends if isinstance(ends, list) else [ends]:
        whole = isinstance(end, int) and not isinstance(end, bool)
        if end is not None and (not whole or (isinstance(size, int) and end >= size)):
            raise UserError(
                f"expected eos_token_id in generation_config.json of {shown(called)} to be ids of the vocabulary, got "
                f"{shown(end)}; correct it, or fetch it again"
            )


def _configuration(path: Path, called: str) -> PretrainedConfig:
    from transformers import AutoConfig

    try:
        with quiet():
            return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # a foreign file: whatever the library makes of it is the file's fault
        raise _unloadable(called, error) from error


def _loaded(folder: ModelFolder, dtype: torch.dtype, device: str | None = None) -> PreTrainedModel:
    """What transformers makes of the folder; on device `meta` names and shapes alone, without memory."""
    from transformers import AutoModelForCausalLM

    try:
        with quiet():
            network, report = AutoModelForCausalLM.from_pretrained(
                folder.path,
                dtype=dtype,
                attn_implementation="eager",
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are told by name below
                output_loading_info=True,
                **({"device_map": {"": device}} if device else {}),
            )
    except Exception as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            raise UserError(
                f"not enough memory to load {shown(folder.called)}; take dtype=bfloat16, or a smaller model"
            ) from error
        raise _unloadable(folder.called, error) from error
    refuse_strays(report, folder.stored, folder.called)
    return network


def _unloadable(called: str, error: BaseException) -> UserError:
    return UserError(
        f"transformers makes no model of config.json of {shown(called)} ({_reason(error)}); correct it, or fetch it "
        "again"
    )


def _reason(error: BaseException) -> str:
    """The last line of a library's message says what was wrong; what comes before says where in the library."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "trust_remote_code" not in line]
    if isinstance(error, KeyError):
        return f"unknown value {shown(error.args[0] if error.args else '')}"
    text = re.sub(r"^(?:\w+Error|\w+Exception): ", "", lines[-1] if lines else "")
    return f"{type(error).__name__}: {shown(text, 200)[1:-1]}" if text else type(error).__name__
