"""Loads a language model by name: the bundled one, a table entry, a hub id, a local folder or a GGUF file.

Nothing else in the package knows how weights are found.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from emolib.base import arguments
from emolib.base.config import ModelSpec, find_model, model_table, validated
from emolib.base.errors import UserError, shown
from emolib.base.signatures import told
from emolib.models import hub
from emolib.models.bundled import BUNDLED, bundled_folder, bundled_revision
from emolib.models.content import content_hash
from emolib.models.devices import DTYPES, pick_device, pick_dtype
from emolib.models.folder import ModelFolder, load_tokenizer, load_weights, read_folder
from emolib.models.gguf import gguf_folder, look_at
from emolib.models.language_model import LanguageModel, wrap
from emolib.models.model_names import holds_model, is_hub_id, local_alternative, local_folder, local_gguf
from emolib.models.rotated import rotated_copy
from emolib.models.silence import quiet
from emolib.models.sources import OTHERWISE, WANTED, ModelSource, random_revision, source_of
from emolib.models.supported import check_kind, check_layers

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


@told
def load_model(
    name: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    random_weights: bool = False,
    seed: int = 0,
) -> LanguageModel:
    """Loads a model.

    Args:
        name: a name or alias of `params/models/`, a hub id (`owner/name`), a local folder, or a GGUF file, which is
            converted into the cache folder at the first call.
        device: `auto` (CUDA, then MPS, then CPU), or a torch device.
        dtype: `float32`, `bfloat16`, `float16`, or torch's own; None takes the table's.
        random_weights: the same architecture at full size with seeded random weights and the bundled tokenizer.
        seed: of the random weights.

    Raises:
        UserError: unknown name, bundled package missing or altered, hub out of reach, access not granted; a GGUF file
            that is damaged, of an architecture that is not read, or that transformers makes another model of.

    >>> import emolib
    >>> lm = emolib.load_model("smollm2_135m", device="cpu")
    >>> lm.n_layers, lm.d_model, lm.n_heads, lm.n_kv_heads
    (30, 576, 9, 3)
    >>> emolib.load_model("./runs/model.gguf")
    Traceback (most recent call last):
    emolib.base.errors.UserError: expected a GGUF file at './runs/model.gguf', found no such file; check the path
    """
    given = arguments.path("a model's name or folder", name)
    name = name if isinstance(name, str) else str(given)
    _check_one_meaning(name)
    return load_known(name, device=device, dtype=dtype, random_weights=random_weights, seed=seed)


def load_known(
    name: str,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype | None = None,
    random_weights: bool = False,
    seed: int = 0,
) -> LanguageModel:
    """`load_model` for a name that was resolved: one of the table is the table's, whatever folders lie here."""
    dtype = None if dtype is None else pick_dtype(dtype)
    random_weights = arguments.flag("random_weights", random_weights)
    seed = arguments.whole_number("seed", seed, least=0, most=2**63 - 1)
    source = _looked_up(name, random_weights=random_weights)
    place = torch.device(pick_device(device))
    spec = source.spec
    if spec is not None and spec.rotation is not None:
        base = load_known(spec.rotation.of, device=place, dtype=dtype, random_weights=random_weights, seed=seed)
        turned = rotated_copy(base, d_model=spec.d_model, seed=spec.rotation.seed)
        return replace(turned, spec=spec.model_copy(update={"random_weights": base.spec.random_weights}))
    if source.kind == "random" and spec is not None:
        return _random_model(spec, place, dtype, seed)
    refuse_int8(spec)
    if source.kind == "bundled" and spec is not None:
        path, revision = bundled_folder(spec)
        folder = read_folder(path, spec.name, verified=True, converted=True)
    elif source.kind == "folder":
        revision = content_hash(Path(source.place))
        folder = read_folder(Path(source.place), name)
        spec = spec_of(folder.config, source.name)
    elif source.kind == "gguf":
        path, revision = gguf_folder(Path(source.place), name)
        folder = read_folder(path, name, converted=True)
        spec = spec_of(folder.config, source.name)
    else:
        path, revision = hub.snapshot(
            source.place, source.repository_revision, WANTED, otherwise=_otherwise(source.place)
        )
        folder = read_folder(path, source.place)
        spec = spec or spec_of(folder.config, source.name, hub_id=name)
    lm = _from_folder(folder, spec, revision, place, dtype)
    if source.spec is None:
        lm = replace(lm, spec=spec.model_copy(update={"chat": _is_chat(lm.tokenizer, revision)}))
    if source.kind == "folder" and content_hash(folder.path) != revision:
        raise UserError(
            f"the model folder {shown(str(folder.path))} changed while it was read; run again when it is written"
        )
    return lm


def refuse_int8(spec: ModelSpec | None) -> None:
    """Raises `UserError` for an entry whose weights are quantised as they are loaded."""
    if spec is not None and spec.quantization == "int8":
        raise UserError(f"{spec.name} asks for int8 weights, which this version cannot load; set quantization: none")


def check_name(name: str) -> None:
    """Looks at everything about a model that can be seen without loading it.

    Raises:
        UserError: `name` is no table entry, no model folder or GGUF file that can be loaded, and no hub id; or it is
            both a name of the table and a model folder here.
    """
    _check_one_meaning(name)
    source = _looked_up(name)
    if source.kind == "hub" and source.spec is None:
        beside = local_alternative(name)
        if beside and not hub.holds(name):
            raise UserError(f"no model folder {shown(name)}, and no such model on the hub or in its cache; {beside}")


def _check_one_meaning(name: str) -> None:
    """Raises `UserError` for a name of the table that is also a model folder in the working directory."""
    spec = find_model(name)
    if spec is None or not holds_model(name):
        return
    others = [other for other in (spec.name, *spec.aliases, spec.hub_id) if other != name and not os.path.isdir(other)]
    table = f"{others[-1]} for the one of the table" if others else "run elsewhere for the one of the table"
    raise UserError(
        f"expected one model called {shown(name)}, there are two: a folder here and {spec.name} of params/models; give "
        f"{shown(os.path.join('.', name))} for the folder, {table}"
    )


def _looked_up(name: str, *, random_weights: bool = False) -> ModelSource:
    """Where the model is, a path that leads nowhere told as such."""
    spec = find_model(name)
    if spec is None and not random_weights:
        if (file := local_gguf(name)) is not None:
            look_at(file, name)
        elif (folder := local_folder(name)) is not None:
            read_folder(folder, name)
    source = source_of(name, random_weights=random_weights)
    by_path = source.kind == "hub" and spec is not None and not is_hub_id(spec.hub_id)
    if spec is not None and by_path and local_folder(spec.hub_id) is not None:
        raise UserError(
            f"expected a hub id as hub_id of {spec.name} in params/models, {shown(spec.hub_id)} is a folder; give the "
            "folder itself as the model"
        )
    return source


def _otherwise(repo: str) -> str:
    beside = local_alternative(repo)
    return f"{OTHERWISE}; {beside}" if beside else OTHERWISE


def _from_folder(
    folder: ModelFolder, spec: ModelSpec, revision: str, device: torch.device, dtype: str | None
) -> LanguageModel:
    _check_agreement(spec, folder)
    network = load_weights(folder, DTYPES[dtype or spec.dtype])
    tokenizer = load_tokenizer(folder)
    return wrap(network, tokenizer, spec, revision, device)


def _is_chat(tokenizer: PreTrainedTokenizerBase, revision: str) -> bool:
    """Whether a model that was named by its place is a chat model: the table's word on the file that it knows by its
    hash, and of every other whether its tokenizer has a chat format."""
    for entry in model_table().values():
        if entry.bundled is not None and bundled_revision(entry) == revision:
            return entry.chat
    return bool(tokenizer.chat_template)


def _check_agreement(spec: ModelSpec, folder: ModelFolder) -> None:
    """Raises `UserError` where the table says another size than the files."""
    for key, found in _dimensions(folder.config).items():
        if found != getattr(spec, key):
            raise UserError(
                f"expected {key} = {getattr(spec, key)} in the files of {spec.name}, as params/models says, found "
                f"{found}; correct the entry, or take the revision it was written for"
            )


def _dimensions(config: PretrainedConfig) -> dict[str, int]:
    text = config.get_text_config()
    return {
        "n_layers": text.num_hidden_layers,
        "d_model": text.hidden_size,
        "n_heads": text.num_attention_heads,
        "n_kv_heads": getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
        "d_vocab": text.vocab_size,
    }


def spec_of(config: PretrainedConfig, name: str, hub_id: str | None = None) -> ModelSpec:
    """The specification of a model outside the table, read off its configuration.

    Raises:
        UserError: an architecture that cannot be read (`emolib.models.supported`).
    """
    check_kind(config.to_dict(), name)
    check_layers(config, name)
    given = {"name": name, "hub_id": hub_id or name, **_dimensions(config)}
    return validated(ModelSpec, given, f"size of the model {shown(name)}:")


def config_of(spec: ModelSpec) -> PretrainedConfig:
    """The configuration of a model with the entry's architecture and size."""
    from transformers import AutoConfig

    settings = {"pad_token_id": 2, "bos_token_id": 1, "eos_token_id": 2, **spec.config}
    check_kind(settings, spec.name, of="the config of")
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    check_layers(config, spec.name)
    return config


def _random_model(spec: ModelSpec, device: torch.device, dtype: str | None, seed: int) -> LanguageModel:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = config_of(spec)
    precision = DTYPES[dtype or spec.dtype]
    torch.manual_seed(seed)
    with quiet(), torch.device(device):
        network = AutoModelForCausalLM.from_config(config, dtype=precision, attn_implementation="eager")
    folder, _ = bundled_folder(model_table()[BUNDLED])
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder)
    marked = spec.model_copy(update={"random_weights": True, "quantization": "none"})
    return wrap(network, tokenizer, marked, random_revision(spec, seed), device)
