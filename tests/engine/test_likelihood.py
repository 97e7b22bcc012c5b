"""Likelihood of continuations: the same by the engine, by the model's own code, and by a plain pass over each text."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny import Case

from emolib.engine import likelihood
from emolib.engine.likelihood import continuation_nll
from emolib.engine.native import NativeRunner
from emolib.interventions import Edits, Steer
from emolib.models.tokens import encode, pad_left

PROMPTS = ["The new shop by the old bridge opens again", "I", "Rain", "I"]
TEXTS = [" and we went in.", " know that it is late", "s", " do not know, said the old man to the cat"]


def by_hand(case: Case) -> list[float]:
    found = []
    for prompt, text in zip(*(encode(case.lm, texts) for texts in (PROMPTS, TEXTS)), strict=True):
        with torch.inference_mode():
            scores = case.plain(torch.tensor([prompt + text])).logits[0].log_softmax(-1)
        found.append(-np.mean([float(scores[len(prompt) + i - 1, token]) for i, token in enumerate(text)]))
    return found


def test_the_likelihood_is_that_of_a_plain_pass_over_prompt_and_text(case: Case) -> None:
    ids = encode(case.lm, TEXTS)
    expected = by_hand(case)
    np.testing.assert_allclose(continuation_nll(case.lm, PROMPTS, ids), expected, atol=2e-4)
    through_network = dataclasses.replace(case.lm, blueprint=None)
    np.testing.assert_allclose(continuation_nll(through_network, PROMPTS, ids), expected, atol=2e-4)
    shifted = continuation_nll(case.lm, PROMPTS, [row[::-1] for row in ids])
    assert np.abs(shifted - expected).max() > 0.01, "another text is as likely: nothing was compared"


def test_an_empty_continuation_has_no_likelihood_and_does_not_disturb_the_others(case: Case) -> None:
    ids = encode(case.lm, TEXTS)
    found = continuation_nll(case.lm, PROMPTS, [ids[0], [], ids[2], ids[3]])
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[[0, 2, 3]], np.array(by_hand(case))[[0, 2, 3]], atol=2e-4)
    assert np.isnan(continuation_nll(case.lm, PROMPTS[:1], [[]])).all()


def test_batches_of_any_size_agree(tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = encode(tiny_case.lm, TEXTS)
    together = continuation_nll(tiny_case.lm, PROMPTS, ids)
    monkeypatch.setattr(likelihood, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(likelihood, "TOKENS_AT_ONCE", 3)
    np.testing.assert_allclose(continuation_nll(tiny_case.lm, PROMPTS, ids), together, atol=2e-4)


@pytest.mark.parametrize("place", ["inner", "final"])
def test_reading_columns_at_once_applies_the_acts_that_steps_apply(tiny_case: Case, place: str) -> None:
    lm = tiny_case.lm
    rows = encode(lm, ["The new shop", "The new shop"])
    fed = torch.tensor([encode(lm, [" by the old bridge"])[0][:4]] * 2)
    vector = np.random.default_rng(0).standard_normal(lm.d_model).astype(np.float32)
    steer = Steer(lm.n_layers if place == "final" else 0, vector, 3.0, unit="vector")
    ids, mask = pad_left(rows, lm.tokenizer.pad_token_id)

    def runner() -> NativeRunner:
        lengths = [len(row) for row in rows]
        found = NativeRunner(lm, ids, mask, Edits(lm, [steer, None], lengths, ids.shape[1], 5), 4)
        found.start()
        return found

    with torch.inference_mode():
        by_step, at_once = runner(), runner()
        wanted = [by_step.step(column).clone() for column in fed.T]
        head = lm.blueprint.head
        logits = torch.nn.functional.linear(at_once.read(fed), head.weight, head.bias)
    np.testing.assert_allclose(logits.transpose(0, 1), torch.stack(wanted), atol=2e-3)
    assert (logits[0] - logits[1]).abs().max() > 0.1  # control: the act does something
