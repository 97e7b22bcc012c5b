"""Rows that repeat a prompt share what no patch reaches, and come out as each would alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import Case

from emolib.generation import generate
from emolib.interventions import Steer

PROMPTS = ["The new shop by the old bridge opens again", "The old bridge", "I"]
N_NEW = 8


def steers(case: Case) -> list[Steer | None]:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3, case.lm.d_model)).astype(np.float32)
    acts = [Steer(1, v, 0.6, resid_norm=5.0, window=w) for v, w in zip(vectors, (1, 3, 5), strict=True)]
    return [None, *acts, Steer(case.lm.n_layers, vectors[0], 0.6, resid_norm=5.0)]


class CountedTokens:
    """How many token positions the model was fed."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.total = 0
        self._handle = network.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, module, inputs, output) -> None:
        self.total += inputs[0].numel()

    def __enter__(self) -> CountedTokens:
        return self

    def __exit__(self, *_) -> None:
        self._handle.remove()


def test_repeated_prompts_give_the_texts_that_single_rows_give(case: Case) -> None:
    acts = steers(case)
    together = generate(
        case.lm, [p for _ in acts for p in PROMPTS], [a for a in acts for _ in PROMPTS], max_new_tokens=N_NEW
    )
    for i, act in enumerate(acts):
        for j, prompt in enumerate(PROMPTS):
            (alone,) = generate(case.lm, [prompt], [act], max_new_tokens=N_NEW)
            shared = together[i * len(PROMPTS) + j]
            assert shared.token_ids == alone.token_ids, (act, prompt)
            assert shared.delta_ratio == pytest.approx(alone.delta_ratio, rel=1e-3)


def test_sharing_feeds_fewer_tokens_than_the_rows_hold(case: Case) -> None:
    acts = steers(case)[:1] * 6
    with CountedTokens(case.lm.network) as repeated:
        generate(case.lm, PROMPTS[:1] * 6, acts, max_new_tokens=1)
    with CountedTokens(case.lm.network) as distinct:
        generate(case.lm, [PROMPTS[0] + end for end in " abcde"], acts, max_new_tokens=1)
    assert repeated.total < distinct.total / 2
