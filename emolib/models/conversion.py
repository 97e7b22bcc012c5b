"""A GGUF file made a folder of safetensors once, kept in the cache folder, and looked at before every use."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import torch

from emolib.base.errors import UserError, shown
from emolib.base.files import read_json
from emolib.base.own_folders import own_folder
from emolib.base.store import sha256_of
from emolib.base.writing import writing
from emolib.models.content import content_hash
from emolib.models.gguf_headers import read_once
from emolib.models.silence import quiet

if TYPE_CHECKING:
    from transformers import PretrainedConfig

VERSION = 1  # of the way of converting: another one makes another model
RECORD = 2  # what emolib.json says: the hash of the weights, and of everything that decides the model
SAID = "emolib.json"


def kept(folder: Path, make: Callable[[Path], str]) -> Path:
    """The folder, made at the first call and unaltered since.

    Args:
        make: saves the model into a folder that it is given, and returns the name of what it was made from.

    Raises:
        UserError: a file in the folder is another than was written.
    """
    record = folder / SAID
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not record.is_file():
                _make(folder, make)
    expected = read_json(record, kind=dict, advice=f"delete the folder {shown(str(folder))} and retry")
    found = {"sha256": sha256_of(folder / "model.safetensors"), "content": content_hash(folder)}
    if any(expected.get(key) != value for key, value in found.items()):
        raise UserError(f"the converted model in the cache folder {folder} was altered; delete that folder and retry")
    return folder


def revision_of(sha256: str) -> str:
    """What decides a converted model: the file's hash and, from the second one on, the way of converting it."""
    return sha256 if VERSION == 1 else f"{sha256}-v{VERSION}"


def _make(folder: Path, make: Callable[[Path], str]) -> None:
    """Makes it in a temporary folder, then renames that into place."""
    shutil.rmtree(folder, ignore_errors=True)
    with own_folder(folder.parent, ".converting-") as temporary:
        work = temporary / "model"
        source = make(work)
        record = {"sha256": sha256_of(work / "model.safetensors"), "source": source, "content": content_hash(work)}
        (work / SAID).write_text(json.dumps(record))
        os.replace(work, folder)


def save_as_folder(
    gguf: Path,
    folder: Path,
    *,
    configured: Callable[[PretrainedConfig], PretrainedConfig] | None = None,
    tokenized: Callable[[Any], Any] | None = None,
) -> None:
    """Dequantises a GGUF file to float32 safetensors, as transformers reads it.

    Args:
        configured: gives the configuration in place of the one that transformers makes of the file.
        tokenized: the same for the tokenizer.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    with quiet(), read_once():
        given: dict[str, Any] = {}
        if configured is not None:
            given["config"] = configured(AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name))
        loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32, **given)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        # save_pretrained refuses a model that remembers its GGUF quantisation: hand its weights to a fresh one
        config = type(loaded.config)(**settings_of(loaded.config))
        with torch.device("meta"):  # it takes the weights as they are, and none of its own
            fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        fresh.load_state_dict(loaded.state_dict(), assign=True)
        fresh.tie_weights()
        fresh.save_pretrained(folder, max_shard_size="1TB")
        (tokenizer if tokenized is None else tokenized(tokenizer)).save_pretrained(folder)


def settings_of(config: PretrainedConfig) -> dict[str, Any]:
    """What a configuration holds, less that the model was quantised."""
    return {name: value for name, value in config.to_dict().items() if name != "quantization_config"}
