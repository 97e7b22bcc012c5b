"""What first-order attribution says of a head, beside what ablating it does.

Attribution patching (Nanda 2023; Syed et al. 2023) estimates an ablation by −z · ∂m/∂z; where a head saturates what
reads it, the gradient is next to nothing though the effect is not (AtP*, Kramár et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from emolib.interventions import hooked
from emolib.models.tokens import encode
from emolib.selftest.planted import Planted, planted_scenarios, words
from emolib.selftest.planted.planting import Head

N_TEXTS = 24


def seen_by_attribution(planted: Planted, head: Head, seed: int) -> float:
    """The first-order estimate over the exact effect of zeroing a head, mean over emotions.

    Effects are on the emotion's logits after emotional texts, with the backup head ablated in the exact ones.
    """
    data = planted_scenarios(planted, N_TEXTS, seed)
    shares = []
    for emotion in planted.truth.directions:
        texts = [f"{text} {words.LINKS[0]}" for text in data.loc[data["emotion"] == emotion, "text"]]
        exact = exact_effect(planted, texts, head, emotion)
        shares.append(first_order_effect(planted, texts, head, emotion) / exact)
    return float(np.mean(shares))


def exact_effect(planted: Planted, texts: Sequence[str], head: Head, emotion: str) -> float:
    """What zeroing a head at every token does to the emotion's logits, with the backup head zeroed throughout."""
    backup = planted.truth.distractors["backup"]
    with torch.no_grad():
        without, with_it = (
            float(_metric(planted, texts, emotion, [(layer, _zeroing(planted, one)) for layer, one in heads]))
            for heads in ((head, backup), (backup,))
        )
    return without - with_it


def first_order_effect(planted: Planted, texts: Sequence[str], head: Head, emotion: str) -> float:
    """−z · ∂m/∂z of the head's output at every token, in one backward pass."""
    layer, number = head
    kept: list[Tensor] = []

    def keep(z: Tensor) -> Tensor:
        kept.append(z.detach().requires_grad_())
        return kept[-1]

    with torch.enable_grad():
        metric = _metric(planted, texts, emotion, [(layer, keep)])
    (gradient,) = torch.autograd.grad(metric, kept[0])
    product = (kept[0] * gradient).reshape(*gradient.shape[:2], planted.lm.n_heads, planted.lm.d_head)
    return -float(product[:, :, number].detach().sum())


def _metric(planted: Planted, texts: Sequence[str], emotion: str, edits: Sequence[tuple[int, Callable]]) -> Tensor:
    """Mean logit of the emotion's words minus that of plain words after the last token, over texts of one length."""
    lm = planted.lm
    with hooked(lm, [("z", layer, edit) for layer, edit in edits]):
        logits = lm.network(torch.tensor(encode(lm, texts)), use_cache=False).logits[:, -1]
    ids = lm.tokenizer.convert_tokens_to_ids
    own, plain = (logits[:, ids(list(found))].mean() for found in (planted.truth.outputs[emotion], words.PLAIN))
    return own - plain


def _zeroing(planted: Planted, head: int) -> Callable[[Tensor], Tensor]:
    def edit(z: Tensor) -> Tensor:
        split = z.reshape(*z.shape[:2], planted.lm.n_heads, planted.lm.d_head).clone()
        split[:, :, head] = 0
        return split.reshape(z.shape)

    return edit
