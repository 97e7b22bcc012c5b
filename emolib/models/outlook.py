"""What is known of a model before its weights are loaded: its depth, its positions, its tokenizer, its chat format.

Whatever a run's parameters ask of a model is held against this before anything is started.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from emolib.base.config import ModelSpec, model_table
from emolib.models import hub
from emolib.models.bundled import BUNDLED, bundled_folder, refuse_missing
from emolib.models.chat import in_chat_format
from emolib.models.folder import ModelFolder, load_tokenizer, read_folder
from emolib.models.gguf import gguf_folder
from emolib.models.limits import Limits
from emolib.models.loading import config_of, refuse_int8
from emolib.models.silence import quiet
from emolib.models.sources import OTHERWISE, WANTED, ModelSource, source_of
from emolib.models.weight_files import Stored

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SMALL = tuple(pattern for pattern in WANTED if not pattern.endswith(".safetensors"))


@dataclass(frozen=True)
class Outlook:
    """Each of its facts is looked up when it is first asked for; of a hub's model that may fetch its small files.

    >>> outlook_of("gpt2_small").n_layers, outlook_of("gpt2_small").positions, outlook_of("smollm2_135m").positions
    (12, 1024, None)
    """

    source: ModelSource

    @property
    def name(self) -> str:
        """As messages have it."""
        return self.source.name

    @property
    def n_layers(self) -> int:
        if self.source.spec is not None:
            return self.source.spec.n_layers
        return self._folder.config.get_text_config().num_hidden_layers

    @cached_property
    def positions(self) -> int | None:
        """See `emolib.models.limits.Limits`; None, too, where only the weights tell."""
        if self._made_of is not None:
            return _positions(self._made_of)
        return self._folder.positions

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """
        Raises:
            UserError: there is none, or it does not fit the model.
        """
        return load_tokenizer(self._folder)

    def in_chat_format(self, content: str) -> str:
        """See `emolib.models.chat.in_chat_format`."""
        return in_chat_format(self.tokenizer, self.name, content)

    @property
    def _made_of(self) -> ModelSpec | None:
        """The entry whose files and sizes count: its own, or that of the model which a rotated copy is made of."""
        spec = self.source.spec
        if spec is not None and self.source.kind == "random":
            return spec.model_copy(update={"bundled": None})
        return spec if spec is None or spec.rotation is None else model_table()[spec.rotation.of]

    @cached_property
    def _folder(self) -> ModelFolder:
        """The model's files, or those of the bundled model, whose tokenizer random weights have."""
        from transformers import AutoConfig

        source = self.source
        if source.kind == "folder":
            return read_folder(Path(source.place), source.place)
        if source.kind == "gguf":
            return read_folder(gguf_folder(Path(source.place), source.place)[0], source.place, converted=True)
        if source.kind == "hub":
            path, _ = hub.snapshot(source.place, source.repository_revision, SMALL, otherwise=OTHERWISE)
            with quiet():
                return ModelFolder(path, source.place, AutoConfig.from_pretrained(path), Stored({}, {}, {}))
        made_of = self._made_of
        path, _ = bundled_folder(made_of if made_of is not None and made_of.bundled else model_table()[BUNDLED])
        return read_folder(path, source.name, verified=True, converted=True)


def outlook_of(name: str, *, random_weights: bool = False) -> Outlook:
    """What is known of the model of that name.

    Raises:
        UserError: the name is no model's, or one whose weights cannot be loaded.
    """
    source = source_of(name, random_weights=random_weights)
    if source.kind != "random":
        refuse_int8(source.spec)
        refuse_missing(source.spec)
    return Outlook(source)


def _positions(spec: ModelSpec) -> int | None:
    """Of a table's entry, by a network without memory."""
    if not spec.config:
        return None
    from transformers import AutoModelForCausalLM

    with quiet(), torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config_of(spec))
    return Limits.of(network).positions
