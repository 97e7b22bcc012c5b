"""Gradients of continuations' log-probabilities: those of finite differences made by acts in the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Case, count_hooks

from emolib.base.errors import UserError
from emolib.engine.continuation import continuation_shift
from emolib.engine.continuation_tokens import continuations
from emolib.engine.gradients import continuation_gradients
from emolib.engine.observation import observe
from emolib.interventions import AblateHead, Steer
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left

PROMPTS = ["The new shop by the old bridge", "Rain fell and", "I"]
TEXTS = ["We went in, and out.", "It stopped at noon!", "No one knows it"]
WEIGHTS = [1.0, -1.0, 0.5]
STREAM = ("resid_pre", "attn_out", "mlp_out")


def combined(lm: LanguageModel, acts: list[Any]) -> float:
    """m under acts, by the engine."""
    return float(np.dot(WEIGHTS, continuation_shift(lm, PROMPTS, TEXTS, acts)["logprob"]))


def assert_derivative(found: float, above: float, below: float, step: float) -> None:
    """Central differences in float32: their rounding is that of m divided by the step."""
    wanted = (above - below) / (2 * step)
    assert found == pytest.approx(wanted, rel=0.02, abs=2e-6 / step)


def test_the_gradient_of_the_stream_is_that_of_finite_differences(case: Case) -> None:
    lm = case.lm
    hooks = count_hooks(lm)
    gradients = continuation_gradients(lm, PROMPTS, TEXTS, WEIGHTS, sites=STREAM)
    assert count_hooks(lm) == hooks
    generator, seen = np.random.default_rng(0), 0.0
    tiny = lm.n_layers < 10
    every = range(lm.n_layers) if tiny else (1, 15, 29)  # a real model's first layer bends m within any step
    # the rounding of a real model's m is larger, its curvature another at every place: two steps, the nearer counts
    steps, rounding = ((0.0005,), 2e-6) if tiny else ((0.1, 0.02), 1e-5)
    for site, layer in [*((site, layer) for site in STREAM for layer in every), ("resid_pre", lm.n_layers)]:
        direction = generator.standard_normal(lm.d_model).astype(np.float32)
        parts = zip(gradients.values[site, layer], gradients.n_prompt, strict=True)
        found = sum(float((array[n - 1 :] @ direction).sum()) for array, n in parts)  # from the last prompt token on
        wanted = {}
        for length in steps:
            step = length / float(np.abs(direction).max())
            above, below = (
                combined(lm, [Steer(layer, direction, sign * step, unit="vector", site=site, window=1)] * 3)
                for sign in (1, -1)
            )
            wanted[step] = (above - below) / (2 * step)
        step = min(wanted, key=lambda one: abs(wanted[one] - found))
        assert found == pytest.approx(wanted[step], rel=0.02, abs=rounding / step), (site, layer)
        seen = max(seen, abs(found))
    assert seen > 1e-2, "gradients of nothing were compared"


def test_the_gradient_of_heads_is_that_of_finite_differences(tiny_case: Case) -> None:
    lm = tiny_case.lm
    gradients = continuation_gradients(lm, PROMPTS, TEXTS, WEIGHTS, sites=["z"])
    followed, step = continuations(lm, TEXTS), 0.02
    held: dict[tuple[int, int], torch.Tensor] = {}
    for row, ids in enumerate(encode(lm, PROMPTS)):
        with torch.inference_mode():
            observe(
                lm,
                *pad_left([[*ids, *followed[row].ids[:-1]]], lm.pad_id),
                [("z", layer) for layer in range(lm.n_layers)],
                lambda site, layer, value, row=row: held.update({(row, layer): value[0].clone()}),
            )
    seen = 0.0
    for layer in range(lm.n_layers):
        for head in range(lm.n_heads):
            found = 0.0
            for row, array in enumerate(gradients.values["z", layer]):
                some = slice(gradients.n_prompt[row] - 1, None)
                found += float((array[some, head] * -held[row, layer][some, head].numpy()).sum())
            above, below = (
                combined(lm, [AblateHead(layer, head, window=1, schedule=(sign * step,) * 60)] * 3) for sign in (1, -1)
            )
            assert_derivative(found, above, below, step)
            seen = max(seen, abs(found))
    assert seen > 1e-2


def test_means_are_those_of_the_shift_and_batches_agree(tiny_case: Case) -> None:
    lm = tiny_case.lm
    together, alone = (continuation_gradients(lm, PROMPTS, TEXTS, WEIGHTS, batch_size=size) for size in (8, 1))
    wanted = continuation_shift(lm, PROMPTS, TEXTS)["logprob_unpatched"]
    np.testing.assert_allclose(together.logprobs, wanted, atol=2e-4)
    for place, rows in together.values.items():
        for row, array in enumerate(rows):
            np.testing.assert_allclose(array, alone.values[place][row], atol=1e-4, err_msg=f"{place}")


def test_the_gradient_scales_with_its_row_s_weight_and_no_other(tiny_case: Case) -> None:
    lm = tiny_case.lm
    once, other = (continuation_gradients(lm, PROMPTS, TEXTS, weights) for weights in (WEIGHTS, [1.0, 3.0, 0.0]))
    for rows, changed in zip(once.values.values(), other.values.values(), strict=True):
        np.testing.assert_allclose(changed[0], rows[0], atol=1e-5)
        np.testing.assert_allclose(changed[1], -3 * rows[1], atol=1e-4)
        assert (changed[2] == 0).all() and np.abs(rows[2]).max() > 0


def test_bad_input_is_told_in_one_line(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["llama"]
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("3 texts and 2 weights", lambda: continuation_gradients(lm, PROMPTS, TEXTS, [1.0, 2.0])),
        ("unknown site 'pattern'", lambda: continuation_gradients(lm, PROMPTS, TEXTS, WEIGHTS, sites=["pattern"])),
        ("layer 9 is out of range", lambda: continuation_gradients(lm, PROMPTS, TEXTS, WEIGHTS, layers=[9])),
        ("finite weights", lambda: continuation_gradients(lm, PROMPTS, TEXTS, [1.0, float("nan"), 0.0])),
    ]
    for said, call in cases:
        with pytest.raises(UserError, match=said) as told:
            call()
        assert "\n" not in str(told.value)
