"""Heads read off as matrices: what they give is what the model's own code gives, in every architecture."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny import BRIDGED, Case, plain_heads, tiny_model

from emolib.base.errors import UserError
from emolib.circuits.norm_tangents import norm_tangent
from emolib.circuits.ov_qk import HeadWeights, head_weights, normalised
from emolib.circuits.reconstruction import SITES, TOLERANCE, layer_errors, model_values, reconstruction_errors
from emolib.models.blueprint import LayerNorm, RMSNorm
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode

TEXT = "The new shop by the old bridge"  # longer than the tiny models' windows


def own_errors(lm: LanguageModel, layer: int, weights: HeadWeights) -> dict[str, float]:
    held = model_values(lm, encode(lm, [TEXT])[0])
    return layer_errors(weights, {site: held[site, layer] for site in SITES})


def test_patterns_outputs_and_sums_are_rebuilt(tiny: LanguageModel) -> None:
    errors = reconstruction_errors(tiny, [TEXT, "It rained"])
    assert set(errors["check"]) == {"pattern", "z", "attn_out", "token"} and len(errors) == 4 * tiny.n_layers
    assert (errors["error"] < TOLERANCE).all(), errors


def test_values_and_patterns_are_those_of_the_plain_network(tiny_case: Case) -> None:
    lm, ids = tiny_case.lm, encode(tiny_case.lm, [TEXT])[0]
    held = model_values(lm, ids)
    for layer, (z, values, pattern) in enumerate(plain_heads(tiny_case.plain, ids)):
        weights = head_weights(lm, layer)
        resid = held["resid_pre", layer]
        torch.testing.assert_close(weights.values(resid).transpose(0, 1), values, atol=1e-4, rtol=1e-3)
        scores = weights.scores(resid, torch.arange(len(ids)))
        torch.testing.assert_close(scores.softmax(-1), pattern, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(
            (scores.softmax(-1) @ weights.values(resid)).transpose(0, 1), z, atol=1e-4, rtol=1e-3
        )


def test_a_gain_that_is_left_out_is_seen(tiny: LanguageModel) -> None:
    weights = head_weights(tiny, 1)
    gain = tiny.native.layers[1].attn_norm.weight.float()
    bare = dataclasses.replace(
        weights, value=weights.value / gain[:, None], query=weights.query / gain[:, None], key=weights.key
    )
    errors = own_errors(tiny, 1, bare)
    assert errors["pattern"] > 5 * TOLERANCE and errors["z"] > 5 * TOLERANCE and errors["token"] > 5 * TOLERANCE
    assert errors["attn_out"] < TOLERANCE  # W_O has no part in it


def test_a_head_in_anothers_place_is_seen(tiny: LanguageModel) -> None:
    weights = head_weights(tiny, 1)
    order = torch.tensor([2, 1, 0, 3])  # of different KV heads where these are grouped
    swapped = dataclasses.replace(weights, value=weights.value[order], output=weights.output[order])
    errors = own_errors(tiny, 1, swapped)
    assert errors["z"] > 5 * TOLERANCE and errors["token"] > 5 * TOLERANCE and errors["attn_out"] > 5 * TOLERANCE
    assert errors["pattern"] < TOLERANCE


def test_what_only_some_models_have_is_needed_there(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["gemma3_text"]
    weights = head_weights(lm, 1)
    assert weights.post_norm is not None and weights.query_gain is not None
    assert own_errors(lm, 1, dataclasses.replace(weights, post_norm=None))["attn_out"] > 5 * TOLERANCE
    ungained = dataclasses.replace(weights, query_gain=torch.ones_like(weights.query_gain))
    assert own_errors(lm, 1, ungained)["pattern"] > 5 * TOLERANCE
    for name in ("gpt_neox", "llama", "qwen3"):
        still = dataclasses.replace(head_weights(tiny_models[name], 1), angles=None)
        assert own_errors(tiny_models[name], 1, still)["pattern"] > 5 * TOLERANCE, name
    local = head_weights(tiny_models["gpt_neo"], 1)
    assert local.window == 8
    wide = dataclasses.replace(local, window=None)
    assert own_errors(tiny_models["gpt_neo"], 1, wide)["pattern"] > 5 * TOLERANCE


def test_factors_of_the_qk_circuit_give_scores_at_their_distance(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["gpt_neox"]
    weights = dataclasses.replace(head_weights(lm, 0))
    resid = model_values(lm, encode(lm, [TEXT])[0])["resid_pre", 0]
    flat = dataclasses.replace(
        weights, query_bias=torch.zeros_like(weights.query_bias), key_bias=torch.zeros_like(weights.key_bias)
    )
    scores, x = flat.scores(resid, torch.arange(len(resid))), normalised(weights.norm, resid)
    for distance in (0, 5):
        query, key = weights.qk_factors(2, distance)
        found = x[9] @ query @ key.T @ x[9 - distance]
        assert float(found) == pytest.approx(float(scores[2, 9, 9 - distance]), abs=1e-4)
    assert abs(float(x[9] @ query @ key.T @ x[9]) - float(scores[2, 9, 9])) > 1e-3  # another distance


@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm])
def test_the_tangent_is_the_mean_derivative(kind: type) -> None:
    rng = np.random.default_rng(0)
    gain, inputs = torch.tensor(1 + rng.random(7)).float(), torch.tensor(3 * rng.standard_normal((5, 7))).float()
    norm = LayerNorm(gain, None, 1e-5) if kind is LayerNorm else RMSNorm(gain, 1e-5)
    change = torch.tensor(rng.standard_normal((2, 7))).float()
    plain = [torch.func.jvp(norm, (x,), (change[i],))[1] for i in range(2) for x in inputs]
    expected = torch.stack(plain).view(2, 5, 7).mean(1)
    torch.testing.assert_close(norm_tangent(norm, inputs).with_gain(change), expected, atol=1e-5, rtol=1e-4)
    frozen = norm_tangent(norm, inputs, frozen=True).with_gain(change)
    assert (frozen - expected).abs().max() > 1e-2


def test_a_layer_or_a_model_that_there_is_not_is_refused(tiny_models: dict[str, LanguageModel]) -> None:
    with pytest.raises(UserError, match="layer"):
        head_weights(tiny_models["gpt2"], 3)
    assert "opt" in BRIDGED
    with pytest.raises(UserError, match="weights the engine reads"):
        head_weights(tiny_model("opt"), 0)
    with pytest.raises(UserError, match="typical inputs"):
        norm_tangent(RMSNorm(torch.ones(4), 1e-6), torch.zeros(3, 5))
