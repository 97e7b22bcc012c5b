"""Likelihood of continuations: the same by the engine, by the model's own code, and by a plain pass over each text."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny import Case

from emolib.engine import histories, likelihood, token_losses
from emolib.engine.histories import HistoryPass
from emolib.engine.likelihood import continuation_nll
from emolib.engine.native import NativeRunner
from emolib.engine.token_losses import log_partition
from emolib.interventions import Edits, Steer
from emolib.models.blueprint import Projection
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
    monkeypatch.setattr(likelihood, "NODES_AT_ONCE", 1)
    for name in ("ROWS_OF_ATTENTION", "TOKENS_OF_MLP"):
        monkeypatch.setattr(histories, name, 3)
    monkeypatch.setattr(token_losses, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(token_losses, "COLUMNS_AT_ONCE", {"cpu": 100})
    np.testing.assert_allclose(continuation_nll(tiny_case.lm, PROMPTS, ids), together, atol=2e-4)
    monkeypatch.setattr(likelihood, "NODES_AT_ONCE", 4096)
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


# every history once


def branching(case: Case) -> tuple[list[str], list[list[int]]]:
    """Texts of two prompts that part late, early and at once, one that is the beginning of another, and equal ones."""
    long = encode(case.lm, [" do not know, said the old man to the cat and went in"])[0]
    texts = [long, [*long[:6], long[1]], long[:5], long, [long[2]], [long[0]], [*long[:2], *long[:4]]]
    return [PROMPTS[0]] * len(texts) + [PROMPTS[1]] * len(texts), [*texts, *texts]


def test_texts_that_begin_alike_are_as_likely_as_each_alone(case: Case) -> None:
    prompts, ids = branching(case)
    alone = [float(continuation_nll(case.lm, [p], [row])[0]) for p, row in zip(prompts, ids, strict=True)]
    together = continuation_nll(case.lm, prompts, ids)
    np.testing.assert_allclose(together, alone, atol=2e-4)
    assert len({round(nll, 3) for nll in alone}) > len(ids) // 2, "texts that part are as likely as each other"


def test_what_texts_share_is_computed_once(tiny_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[int] = []
    embed = HistoryPass._embed

    def counted(self: HistoryPass, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        embedded.append(tokens.numel())
        return embed(self, tokens, places)

    monkeypatch.setattr(HistoryPass, "_embed", counted)
    prompts, ids = branching(tiny_case)
    rows = encode(tiny_case.lm, prompts)
    histories = {tuple(row + text)[:n] for row, text in zip(rows, ids, strict=True) for n in range(1, len(row + text))}
    continuation_nll(tiny_case.lm, prompts, ids)
    assert embedded == [len(histories)]
    assert len(histories) < sum(len(row + text) - 1 for row, text in zip(rows, ids, strict=True)) / 2


@pytest.mark.parametrize("engine", ["native", "bridge"])
def test_who_stops_halfway_is_left_with_gradients(tiny_case: Case, engine: str) -> None:
    prompts, ids = dict(enumerate(encode(tiny_case.lm, ["We met.", "It was so."]))), [[5, 6], [7]]
    losses = (
        likelihood._by_engine(tiny_case.lm, [0, 1], prompts, ids, [None, None])
        if engine == "native"
        else likelihood._by_network(tiny_case.lm, [0, 1], prompts, ids)
    )
    next(losses)  # held, so that it stays where it is
    assert not torch.is_inference_mode_enabled()


def test_log_partition_is_that_of_float64() -> None:
    logits = torch.randn(5, 301, generator=torch.Generator().manual_seed(0)) * 30
    expected = logits.double().logsumexp(-1)
    torch.testing.assert_close(log_partition(logits).double(), expected, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_losses_of_tokens_from_pieces_of_the_vocabulary_are_those_of_float64(
    bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces whose highest logit is above and below those before them, a last piece that is smaller, repeated rows."""
    made = torch.Generator().manual_seed(0)
    weight, hidden = torch.randn(301, 24, generator=made) * 4, torch.randn(7, 24, generator=made)
    head = Projection(weight, torch.randn(301, generator=made) if bias else None)
    row_of, tokens = torch.tensor([0, 0, 1, 3, 4, 4, 4, 6]), torch.tensor([300, 0, 7, 64, 63, 299, 5, 128])
    logits = hidden.double() @ weight.double().t() + (head.bias.double() if bias else 0)
    expected = -logits.log_softmax(-1)[row_of, tokens]
    monkeypatch.setattr(token_losses, "COLUMNS_AT_ONCE", {"cpu": 64})
    for rows in (3, 256):
        monkeypatch.setattr(token_losses, "ROWS_AT_ONCE", rows)
        found = token_losses.token_losses(head, hidden, row_of, tokens)
        torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-6)
