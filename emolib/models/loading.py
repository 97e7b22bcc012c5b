"""Loads a language model by name: the bundled one, a table entry, a hub id or a local folder.

Nothing else in the package knows how weights are found.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from emolib.base.config import ModelSpec, model_table, validated
from emolib.base.errors import UserError, shown
from emolib.models import hub
from emolib.models.bundled import BUNDLED, bundled_folder
from emolib.models.content import content_hash
from emolib.models.devices import DTYPES, pick_device
from emolib.models.language_model import LanguageModel, wrap
from emolib.models.silence import quiet
from emolib.models.sources import OTHERWISE, WANTED, random_revision, source_of


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

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> lm.n_layers, lm.d_model, lm.n_heads, lm.n_kv_heads
    (30, 576, 9, 3)
    """
    source = source_of(name, random_weights=random_weights)
    place = torch.device(pick_device(device))
    spec = source.spec
    if source.kind == "random" and spec is not None:
        return _random_model(spec, place, dtype, seed)
    if source.kind == "bundled" and spec is not None:
        folder, revision = bundled_folder(spec)
    elif source.kind == "folder":
        folder = Path(source.place)
        revision = content_hash(folder)
        spec = _spec_of_folder(folder, source.name)
    else:
        folder, revision = hub.snapshot(source.place, source.repository_revision, WANTED, otherwise=OTHERWISE)
        spec = spec or _spec_of_folder(folder, source.name, hub_id=name)
    if spec.quantization == "int8":
        raise UserError(f"{spec.name} asks for int8 weights, which this version cannot load; set quantization: none")
    lm = _from_folder(folder, spec, revision, place, dtype)
    if source.kind == "folder" and content_hash(folder) != revision:
        raise UserError(
            f"the model folder {shown(str(folder))} changed while it was read; run again when it is written"
        )
    return lm


def check_name(name: str) -> None:
    """Raises `UserError` unless `name` is a table entry, a local model folder or has the form of a hub id."""
    source = source_of(name)
    if source.kind == "folder" and not (Path(source.place) / "config.json").is_file():
        content_hash(Path(source.place))


def _from_folder(
    folder: Path, spec: ModelSpec, revision: str, device: torch.device, dtype: str | None
) -> LanguageModel:
    precision = DTYPES[dtype or spec.dtype]
    if not list(folder.glob("*.safetensors")):
        raise UserError(f"expected safetensors weights in {shown(folder.name)}, found none; convert the model first")
    with quiet():
        network = AutoModelForCausalLM.from_pretrained(
            folder, dtype=precision, attn_implementation="eager", use_safetensors=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return wrap(network, tokenizer, spec, revision, device)


def _dimensions(config: PretrainedConfig) -> dict[str, int]:
    text = config.get_text_config()
    heads = text.num_attention_heads
    return {
        "n_layers": text.num_hidden_layers,
        "d_model": text.hidden_size,
        "n_heads": heads,
        "n_kv_heads": getattr(text, "num_key_value_heads", None) or heads,
        "d_vocab": text.vocab_size,
    }


def spec_of(config: PretrainedConfig, name: str, hub_id: str | None = None) -> ModelSpec:
    """The specification of a model outside the table, read off its configuration."""
    given = {"name": name, "hub_id": hub_id or name, **_dimensions(config)}
    return validated(ModelSpec, given, f"size of the model {shown(name)}:")


def _spec_of_folder(folder: Path, name: str, hub_id: str | None = None) -> ModelSpec:
    with quiet():
        return spec_of(AutoConfig.from_pretrained(folder, trust_remote_code=False), name, hub_id)


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
    return wrap(network, tokenizer, marked, random_revision(spec, seed), device)
