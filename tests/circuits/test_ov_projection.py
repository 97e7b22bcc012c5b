"""What heads write of what they read: found where it was planted, nowhere where the writer is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emolib.base.errors import UserError
from emolib.circuits.norm_tangents import norm_tangent
from emolib.circuits.ov_projection import OvProjection, control_directions, ov_projection
from emolib.circuits.ov_qk import head_weights
from emolib.circuits.reconstruction import model_values
from emolib.circuits.typical_inputs import typical_inputs
from emolib.directions.controls import ControlSource
from emolib.engine.extraction import extract_activations
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode
from emolib.selftest.planted import Planted, plant, planted_scenarios, words

N_CONTROLS = 39
TEXTS = ["The new shop by the old bridge", "It rained all day and all night"]


def trigger_vectors(planted: Planted) -> dict[str, np.ndarray]:
    """What tells an emotion's trigger words from fillers before the write head, its direction behind it."""
    lm, truth = planted.lm, planted.truth
    ids = lm.tokenizer.convert_tokens_to_ids
    embedding = lm.native.embedding.float().numpy()
    fillers = embedding[ids(list(words.FILLERS))].mean(0)
    found = {}
    for emotion, direction in truth.directions.items():
        apart = embedding[ids(list(truth.triggers[emotion]))].mean(0) - fillers
        found[emotion] = np.stack([apart if layer <= truth.write_layer else direction for layer in range(5)])
    return found


def projected(planted: Planted) -> OvProjection:
    data = planted_scenarios(planted, 12)
    neutral = data.loc[data["emotion"] == "neutral", "text"].tolist()
    inputs = typical_inputs(planted.lm, neutral)
    source = ControlSource(inputs.resid, extract_activations(planted.lm, data))
    controls = control_directions(source, ("covariance", "isotropic"), planted.lm.n_layers, N_CONTROLS)
    return ov_projection(planted.lm, trigger_vectors(planted), controls, inputs)


@pytest.mark.parametrize("form", ["gpt2", "llama"])
def test_the_head_that_writes_the_emotion_is_found(form: str) -> None:
    planted = plant(form)
    found = projected(planted).largest()
    truth = planted.truth
    arriving = found[(found["target"] == "next") & (found["measure"] == "gain")]
    assert len(arriving) == 2 * len(truth.directions)
    assert (arriving["layer"] == truth.write_layer).all() and (arriving["head"] == truth.write_head).all(), arriving
    assert (arriving["p"] == 1 / (1 + N_CONTROLS)).all()


def test_no_head_is_found_where_the_writer_is_cut() -> None:
    planted = plant("gpt2", cut="writer")
    result = projected(planted)
    table = result.table()
    own = table[(table["layer"] == 1) & (table["head"] == 2) & (table["target"] == "next")]
    assert (own["cosine"].abs() < 1e-6).all() and (own["dot"].abs() < 1e-6).all()
    found = result.largest()
    arriving = found[found["target"] == "next"]
    assert (
        len(arriving) == 12 and not ((arriving["layer"] == 1) & (arriving["head"] == 2) & (arriving["p"] <= 0.05)).any()
    )


def test_a_small_change_of_the_input_is_written_as_projected(tiny: LanguageModel) -> None:
    """By the model's own weights: the derivative of what a head writes, with the token fully attended to."""
    layer, head = 1, 2
    inputs = typical_inputs(tiny, TEXTS)
    rng = np.random.default_rng(0)
    vectors = {"a": rng.standard_normal((tiny.n_layers + 1, tiny.d_model))}
    controls = {"isotropic": rng.standard_normal((2, tiny.n_layers + 1, tiny.d_model))}
    table = ov_projection(tiny, vectors, controls, inputs).table()
    row = table[(table["layer"] == layer) & (table["head"] == head) & (table["target"] == "self")].iloc[0]
    weights = head_weights(tiny, layer)
    x = torch.tensor(inputs.resid[layer])
    v = torch.tensor(vectors["a"][layer]).float()
    unit = v / v.norm()

    def written(x: torch.Tensor) -> torch.Tensor:
        value = weights.values(x)[head]
        return value @ weights.output[head]

    change = torch.func.jvp(written, (x,), (unit.expand_as(x),))[1].mean(0)
    if weights.post_norm is not None:
        change = norm_tangent(weights.post_norm, inputs.attended[layer]).with_gain(change[None])[0]
    assert row["gain"] == pytest.approx(float(change @ unit), rel=1e-3, abs=1e-5)
    assert row["cosine"] == pytest.approx(float(change @ unit / change.norm()), rel=1e-3, abs=1e-4)
    assert row["dot"] == pytest.approx(row["gain"] * float(v.norm()), rel=1e-6)


def test_gemmas_norm_behind_the_heads_is_part_of_what_arrives(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["gemma3_text"]
    inputs = typical_inputs(lm, TEXTS)
    held = [model_values(lm, row)["attn_out", 1][1:] for row in encode(lm, TEXTS)]
    post = lm.native.layers[1].attn_post_norm
    found = post(torch.tensor(inputs.attended[1]))
    expected = torch.cat(held)
    order = [part[:, 0].argsort() for part in (found, expected)]
    torch.testing.assert_close(found[order[0]], expected[order[1]], atol=1e-4, rtol=1e-3)


def test_vectors_and_controls_that_do_not_fit_are_refused(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["gpt2"]
    inputs, good = typical_inputs(lm, TEXTS), np.ones((lm.n_layers + 1, lm.d_model))
    controls = {"isotropic": np.ones((2, *good.shape))}
    for vectors, families, message in (
        ({"a": good[:-1]}, controls, "vectors of a"),
        ({"a": 0 * good}, controls, "length 0"),
        ({}, controls, "at least one emotion"),
        ({"a": good}, {"isotropic": controls["isotropic"][:1]}, "at least 2"),
        ({"a": good}, {"isotropic": controls["isotropic"][..., 1:]}, "controls isotropic"),
    ):
        with pytest.raises(UserError, match=message):
            ov_projection(lm, vectors, families, inputs)
