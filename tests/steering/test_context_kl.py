"""The KL of words before a prompt by the model's own logits, and which number of examples comes nearest to a KL."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import Case

from emolib.base.errors import UserError
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode
from emolib.steering.context_kl import context_kl, nearest_dose
from emolib.steering.few_shot import asked_template, example_scenarios

PROMPTS, TEXTS = ["The bus was late.", "Rain"], [" It came at noon.", " We saw it"]


def plain_kl(lm: LanguageModel, prompt: str, asked: str, ids: list[int]) -> float:
    """By two passes of the model's own code, without padding."""
    logprobs = []
    for context in encode(lm, [prompt, asked]):
        fed = torch.tensor([[*context, *ids[:-1]]])
        with torch.no_grad():
            logprobs.append(lm.network(fed, use_cache=False).logits[0, len(context) - 1 :].log_softmax(-1))
    return float((logprobs[0].exp() * (logprobs[0] - logprobs[1])).sum(-1).mean())


def test_the_kl_of_a_context_is_that_of_the_model_s_own_logits(tiny_case: Case) -> None:
    lm = tiny_case.lm
    ids = [lm.tokenizer(text, add_special_tokens=False).input_ids for text in TEXTS]
    asked = [
        asked_template(["Thank you so.", "No."][: i + 1], "{text}").replace("{text}", p) for i, p in enumerate(PROMPTS)
    ]
    found = context_kl(lm, PROMPTS * 2, [*asked, *PROMPTS], ids * 2)
    wanted = [plain_kl(lm, *row) for row in zip(PROMPTS, asked, ids, strict=True)]
    assert found[:2] == pytest.approx(wanted, abs=1e-4) and min(wanted) > 0.05
    assert np.abs(found[2:]).max() < 1e-4


def test_the_number_of_examples_is_the_nearest_by_ratio() -> None:
    table = pd.DataFrame({"emotion": "joy", "n_examples": [4, 2, 1], "kl": [0.8, 0.4, 0.1]})
    chosen = [int(nearest_dose(table, {"joy": wanted})["n_examples"][0]) for wanted in (0.01, 0.19, 0.21, 9.0)]
    assert chosen == [1, 1, 2, 4]
    with pytest.raises(UserError, match="KLs above 0 of anger"):
        nearest_dose(table, {"anger": 0.1})


def test_examples_share_no_scenario_and_no_triple_of_their_label_alone_with_test_texts() -> None:
    rows = [
        ("met", "joy", "We danced all night long."),
        ("tested", "joy", "A quiet morning."),
        ("shared", "joy", "It was so very late."),
        ("free", "joy", "Bells rang over town."),
        ("half", "joy", "She sang to us."),
    ]
    angry = [(name, "anger", f"Nobody asked {name}.") for name in ("met", "tested", "shared", "free")]
    data = pd.DataFrame(
        [*rows, *angry, ("x", "neutral", "I was so very late.")], columns=["scenario", "emotion", "text"]
    )
    test = pd.DataFrame(
        [
            ("tested", "joy", "Then danced all night we."),
            ("tested", "joy", "He was so very late."),
            ("t", "anger", "No."),
        ],
        columns=data.columns,
    )
    assert example_scenarios(data, data, test, emotions=["joy", "anger"]) == ["shared", "free"]
    blind = test.assign(emotion="anger")  # the words of another label's test texts do not count
    assert example_scenarios(data, data, blind, emotions=["joy", "anger"]) == ["met", "shared", "free"]
