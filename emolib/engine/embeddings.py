"""What a model's texts hold before the first block: the mean of their token embeddings, without positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode


@torch.inference_mode()
def mean_embeddings(lm: LanguageModel, texts: Sequence[str]) -> Float[np.ndarray, "text d_model"]:
    """The mean of each text's token embeddings, the first token left out as at the position `mean`.

    It knows which tokens a text has, not their order or what they do to each other: what stands here already is no
    work of the model's blocks. Where a model adds no positions to it, it is layer 0 of `resid_pre` at `mean`.

    >>> import emolib
    >>> mean_embeddings(emolib.load_model("smollm2_135m", device="cpu"), ["Thank you.", "you Thank."]).shape
    (2, 576)
    """
    embed, rows = lm.network.get_input_embeddings(), []
    for tokens in encode(lm, list(texts)):
        kept = tokens[1:] if len(tokens) > 1 else tokens
        rows.append(embed(torch.tensor(kept, device=lm.device)).float().mean(dim=0).cpu().numpy())
    return np.stack(rows)
