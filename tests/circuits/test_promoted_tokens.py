"""Promoted tokens: the logits of a head's direct path, and lists against others as frequent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from emolib.base.errors import UserError
from emolib.circuits.norm_tangents import norm_tangent
from emolib.circuits.ov_qk import head_weights
from emolib.circuits.promoted_tokens import MatchedLists, matched_lists, promoted_tokens, token_log_frequencies
from emolib.circuits.typical_inputs import typical_inputs
from emolib.models.language_model import LanguageModel

TEXTS = ["The new shop by the old bridge", "It rained all day and all night"]


def lists(ids: list[int], vocabulary: int) -> dict[str, MatchedLists]:
    draws = np.random.default_rng(0).integers(0, vocabulary, (19, len(ids)))
    return {"a": MatchedLists(np.array(ids), draws, 0.0)}


def test_the_largest_logits_are_promoted(tiny: LanguageModel) -> None:
    inputs = typical_inputs(tiny, TEXTS)
    vectors = {"a": np.random.default_rng(1).standard_normal((tiny.n_layers + 1, tiny.d_model))}
    found = promoted_tokens(tiny, vectors, inputs, lists([3, 5], 257), n_top=3)
    weights = head_weights(tiny, 2)
    net = tiny.native
    unit = torch.tensor(vectors["a"][2]).float()
    written = weights.through_ov(norm_tangent(weights.norm, inputs.resid[2])((unit / unit.norm())[None]), 1)
    if weights.post_norm is not None:
        written = norm_tangent(weights.post_norm, inputs.attended[2]).with_gain(written)
    logits = norm_tangent(net.final_norm, inputs.resid[tiny.n_layers]).with_gain(written)[0] @ net.head.weight.T
    logits = logits - logits.mean()
    top = found.top[(found.top["layer"] == 2) & (found.top["head"] == 1)]
    assert top["token_id"].tolist() == logits.topk(3).indices.tolist()
    row = found.lists[(found.lists["layer"] == 2) & (found.lists["head"] == 1)].iloc[0]
    assert row["logit"] == pytest.approx(float(logits[[3, 5]].mean()), rel=1e-3, abs=1e-5)


def test_a_list_of_what_a_head_promotes_stands_out_and_a_random_one_does_not(
    tiny_models: dict[str, LanguageModel],
) -> None:
    lm = tiny_models["llama"]
    inputs = typical_inputs(lm, TEXTS)
    vectors = {"a": np.random.default_rng(1).standard_normal((lm.n_layers + 1, lm.d_model))}
    top = promoted_tokens(lm, vectors, inputs, lists([3], 257), n_top=8).top
    best = top[(top["layer"] == 1) & (top["head"] == 0)]["token_id"].tolist()
    own, other = (
        promoted_tokens(lm, vectors, inputs, lists(ids, 257)).lists.sort_values("z", ascending=False).iloc[0]
        for ids in (best, [7, 60, 90, 120, 150, 33, 200, 18])
    )
    assert (own["layer"], own["head"]) == (1, 0) and own["p"] == 0.05 and other["p"] > 0.05


def test_draws_are_as_frequent_and_no_emotions_words() -> None:
    names = ["thanks", "grateful", "furious", "lamp", "table", "green", "paper", "quiet"]
    words = pd.DataFrame({"token_id": np.arange(8), "word": names})
    frequencies = np.array([0.0, 5.0, 1.0, 0.0, 5.0, 5.0, 0.0, 5.0])
    found = matched_lists(words, ["gratitude"], frequencies, n_draws=50)["gratitude"]
    assert found.ids.tolist() == [0, 1] and set(found.draws.ravel()) <= {3, 4, 5, 6, 7}
    many = pd.DataFrame({"token_id": np.arange(102), "word": ["thanks", "grateful"] + ["lamp"] * 100})
    apart = np.array([0.0, 5.0] + [0.0] * 50 + [5.0] * 50)
    close = matched_lists(many, ["gratitude"], apart)["gratitude"]
    assert close.distance == 0 and (apart[close.draws] == apart[[0, 1]]).all()
    with pytest.raises(UserError, match="one token each"):
        matched_lists(words, ["apology"], frequencies)


def test_frequent_tokens_are_counted(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["gpt2"]
    found = token_log_frequencies(lm, ["aab"])
    ids = lm.tokenizer.convert_tokens_to_ids
    assert found[ids("a")] == pytest.approx(np.log(3 / 4)) and found[ids("c")] == pytest.approx(np.log(1 / 4))
