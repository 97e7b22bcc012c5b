"""What is known of a model before its weights are in memory: what a report says of it, and its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from emolib.base.config import ModelSpec, model_table
from emolib.models.bundled import BUNDLED, bundled_folder, refuse_missing
from emolib.models.devices import pick_device, pick_dtype
from emolib.models.folder import load_tokenizer, read_folder
from emolib.models.loading import refuse_int8
from emolib.models.sources import model_identity, source_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class UnloadedModel:
    """A model of the table whose files a registry package carries, or whose weights are random.

    Attributes:
        spec, device: as of the `LanguageModel` that a load would give.
        identity: alike; see `emolib.models.sources.model_identity`.

    >>> import emolib
    >>> model, lm = unloaded("smollm2_135m", device="cpu"), emolib.load_model("smollm2_135m", device="cpu")
    >>> model.spec == lm.spec, model.identity == lm.identity, model.device == lm.device
    (True, True, True)
    >>> model.tokenizer("Thank you.").input_ids == lm.tokenizer("Thank you.").input_ids
    True
    """

    spec: ModelSpec
    device: torch.device
    identity: dict[str, str] = field(hash=False)

    @property
    def revision(self) -> str:
        return self.identity["revision"]

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, for what asks for no padding.

        Raises:
            UserError: the files are not installed, or were altered.
        """
        carrier = model_table()[BUNDLED] if self.spec.random_weights else self.spec
        folder, _ = bundled_folder(carrier)
        return load_tokenizer(read_folder(folder, carrier.name, verified=True, converted=True))


def unloaded(
    name: str, *, device: str = "auto", dtype: str | None = None, random_weights: bool = False, seed: int = 0
) -> UnloadedModel | None:
    """The model without its weights; None where only a load tells what it is (a folder, a GGUF file, a hub's model).

    Args:
        name, device, dtype, random_weights, seed: as of `emolib.load_model`.

    Raises:
        UserError: as `emolib.load_model`, as far as no file is read.

    >>> unloaded("owner/name") is None
    True
    """
    source = source_of(name, random_weights=random_weights)
    spec = source.spec
    if spec is None or source.kind not in ("bundled", "random"):
        return None
    precision = None if dtype is None else pick_dtype(dtype)
    if source.kind == "random":
        spec = spec.model_copy(update={"random_weights": True, "quantization": "none"})
    else:
        refuse_int8(spec)
        refuse_missing(spec)
    identity = model_identity(name, dtype=precision, random_weights=random_weights, seed=seed)
    return UnloadedModel(spec, torch.device(pick_device(device)), identity)
