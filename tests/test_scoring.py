"""Scores: valence, keyword counts, and fluency under the unpatched model."""

import numpy as np
import pandas as pd
import pytest
import torch

from emolib.errors import UserError
from emolib.scoring import score_texts
from emolib.scoring.fluency import (
    continuation_nll,
    fluency_reference,
    is_broken,
    nll_limit,
    repetition,
)

TEXTS = ["Thank you so much, I am grateful!", "I am not sorry at all.", "I'm sorry, it was my fault.", "The bus left."]


def test_keywords_and_valence_by_hand():
    table = score_texts(TEXTS)
    assert table["keywords/gratitude"].tolist() == [2, 0, 0, 0]
    assert table["keywords/apology"].tolist() == [0, 0, 2, 0]
    assert table["sentiment/compound"][0] > 0.5 and table["sentiment/compound"][3] == 0


def test_an_unknown_backend_is_refused_and_never_replaced():
    with pytest.raises(UserError, match="unknown scoring backend 'huggingfaze'"):
        score_texts(TEXTS, backend="huggingfaze")


def test_fluency_needs_prompts_and_model_together(bundled):
    with pytest.raises(UserError, match="both"):
        score_texts(TEXTS, prompts=TEXTS)
    with pytest.raises(UserError, match="one prompt per text"):
        score_texts(TEXTS, prompts=TEXTS[:1], lm=bundled)


def test_the_likelihood_equals_a_plain_forward_pass_over_prompt_and_text(bundled):
    prompts = ["The train left at nine.", "The train left at nine.", "I like tea."]
    ids = [
        bundled.tokenizer(t, add_special_tokens=False).input_ids
        for t in (" I was late.", " Nobody", " Hot, with milk.")
    ]
    found = continuation_nll(bundled, prompts, ids)
    for prompt, row, nll in zip(prompts, ids, found, strict=True):
        head = bundled.tokenizer(prompt).input_ids
        with torch.inference_mode():
            logits = bundled.network(torch.tensor([head + row])).logits[0].log_softmax(-1)
        by_hand = -np.mean([float(logits[len(head) + i - 1, token]) for i, token in enumerate(row)])
        assert nll == pytest.approx(by_hand, abs=1e-4)


def test_nonsense_is_less_likely_than_sense_and_counts_as_broken(bundled):
    prompts = pd.DataFrame({"id": list("ab"), "emotion": ["neutral"] * 2, "text": ["The sky is blue.", "I went home."]})
    reference = fluency_reference(bundled, prompts, max_new_tokens=12)
    assert len(reference) == 2 and np.isfinite(reference["nll"]).all()
    table = score_texts(
        [" It was a sunny day and we went out.", " zebra of the the quantum lamp lamp seven if purple", ""],
        prompts=["The sky is blue."] * 3,
        lm=bundled,
        nll_limit=4.5,
    )
    assert table["fluency/broken"].tolist() == [False, True, True]
    assert table["fluency/nll"][1] > table["fluency/nll"][0]
    assert nll_limit(reference) <= reference["nll"].max()


def test_broken_follows_each_of_its_three_rules():
    good = {"fluency/nll": 2.0, "fluency/repetition": 0.1, "fluency/length": 20}
    rows = [good, {**good, "fluency/nll": 5.0}, {**good, "fluency/repetition": 0.31}, {**good, "fluency/length": 4}]
    assert is_broken(pd.DataFrame(rows), 3.0).tolist() == [False, True, True, True]


def test_repetition_counts_repeated_grams():
    assert repetition([1, 2, 3, 4, 5], 3) == 0
    assert repetition([1, 2, 3, 1, 2, 3, 1, 2, 3], 3) == pytest.approx(1 - 3 / 7)
    assert repetition([1], 3) == 0
