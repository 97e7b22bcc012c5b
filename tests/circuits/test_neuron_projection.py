"""Neurons: they sum to their MLP, and those that carry a planted effect are found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emolib.base.errors import UserError
from emolib.circuits.neuron_projection import neuron_activations, neuron_differences, neuron_projection
from emolib.circuits.typical_inputs import typical_inputs
from emolib.engine.extraction import extract_activations
from emolib.models.language_model import LanguageModel
from emolib.selftest.planted import plant, planted_scenarios, words

TEXTS = ["The new shop by the old bridge", "It rained all day and all night", "Rain"]


def test_neurons_sum_to_what_the_mlp_adds(tiny: LanguageModel) -> None:
    found = neuron_activations(tiny, TEXTS)
    own = extract_activations(tiny, TEXTS, sites=("mlp_out",), positions="last")
    for layer, block in enumerate(tiny.native.layers):
        summed = torch.tensor(found[layer]) @ block.down.weight.float().T
        summed = summed if block.down.bias is None else summed + block.down.bias
        added = summed if block.mlp_post_norm is None else block.mlp_post_norm(summed)
        torch.testing.assert_close(added.numpy(), own.layer("mlp_out", layer), atol=1e-4, rtol=1e-3)
        if block.mlp_post_norm is not None:
            assert np.abs(summed.numpy() - own.layer("mlp_out", layer)).max() > 1e-2


def test_the_planted_readers_are_found() -> None:
    """The drive is what the readers write; texts end before a describing word, where the readers speak."""
    planted = plant("gpt2", effect=2.0)
    lm, truth = planted.lm, planted.truth
    data = planted_scenarios(planted, 8)
    texts = {
        emotion: tuple(
            [f"{text} {words.LINKS[0]}" for text in data.loc[data["emotion"] == label, "text"]]
            for label in (emotion, "neutral")
        )
        for emotion in truth.directions
    }
    ids = lm.tokenizer.convert_tokens_to_ids
    unembedding = lm.native.head.weight.float().numpy()
    inputs = typical_inputs(lm, texts["anger"][1])
    plain = unembedding[ids(list(words.PLAIN))].mean(0)
    vectors = {
        emotion: np.tile(unembedding[ids(list(truth.outputs[emotion]))].mean(0) - plain, (lm.n_layers + 1, 1))
        for emotion in texts
    }
    controls = {"isotropic": np.random.default_rng(0).standard_normal((39, lm.n_layers + 1, lm.d_model))}
    differences = {emotion: neuron_differences(lm, *pair) for emotion, pair in texts.items()}
    found = neuron_projection(lm, vectors, controls, inputs, differences)
    for emotion in texts:
        mine = found.neurons[found.neurons["emotion"] == emotion]
        best = mine.iloc[0]
        assert best["layer"] == truth.read_layer and best["neuron"] in truth.readers[emotion], emotion
        mlps = found.mlps[found.mlps["emotion"] == emotion].set_index("layer")
        assert mlps["contribution"].idxmax() == truth.read_layer
        assert mlps.loc[truth.read_layer, "p_isotropic"] == 1 / 40
        assert (mlps.drop(truth.read_layer)["p_isotropic"] > 0.05).all()


def test_partners_that_do_not_fit_are_refused(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["gpt2"]
    inputs, good = typical_inputs(lm, TEXTS), np.ones((lm.n_layers + 1, lm.d_model))
    with pytest.raises(UserError, match="neutral partners"):
        neuron_differences(lm, TEXTS, TEXTS[:1])
    with pytest.raises(UserError, match="a has none"):
        neuron_projection(lm, {"a": good}, {}, inputs, {})
