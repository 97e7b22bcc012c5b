"""What heads write along emotions' directions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from emolib.base.errors import UserError
from emolib.circuits.direct_writes import direct_writes, head_outputs, output_matrix
from emolib.directions.vectors import fit_emotion_vectors
from emolib.engine.extraction import extract_activations
from emolib.models.language_model import LanguageModel
from emolib.selftest.planted import Planted, plant, planted_scenarios


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("gpt2", noise=0.1)


def test_the_planted_writer_writes_most_along_the_direction(planted: Planted) -> None:
    lm, data = planted.lm, planted_scenarios(planted, 40)
    train = extract_activations(lm, data[data["split"] == "train"], positions="last")
    vecs = fit_emotion_vectors(train)
    test = data[data["split"] != "train"]
    found = direct_writes(lm, test, vecs, train, n_null=59)
    last = found[(found["position"] == "last") & (found["style"] == "all")]
    writer = (planted.truth.write_layer, planted.truth.write_head)
    for _, part in last.groupby("emotion"):
        best = part.loc[part["written"].abs().idxmax()]
        assert (best["layer"], best["head"]) == writer
        assert best["written"] == pytest.approx(planted.truth.strength, rel=0.3)
        assert best["p_rotation"] == best["p_max"] == 1 / 60 and best["cosine"] > 0.8
        topic = planted.truth.distractors["topic"]
        quiet = part[(part["layer"] == topic[0]) & (part["head"] == topic[1])]
        assert quiet["p_max"].item() > 0.05
        layer, head = planted.truth.distractors["unread"]  # writes the direction, too, where nobody reads it any more
        unread = part[(part["layer"] == layer) & (part["head"] == head)]
        assert unread["written"].item() > 0.3 * planted.truth.strength


def test_nothing_is_found_where_labels_mean_nothing(planted: Planted) -> None:
    lm, data = planted.lm, planted_scenarios(planted, 40)
    data = data.assign(
        text=data.groupby("scenario")["text"].transform(lambda part: part.sample(frac=1, random_state=1))
    )
    generator = np.random.default_rng(0)
    order = np.concatenate([4 * row + generator.permutation(4) for row in range(len(data) // 4)])
    data = data.assign(text=data["text"].to_numpy()[order])
    train = extract_activations(lm, data[data["split"] == "train"], positions="last")
    found = direct_writes(lm, data[data["split"] != "train"], fit_emotion_vectors(train), train, n_null=59)
    smallest = found[found["style"] == "all"].groupby(["emotion", "position"])["p_max"].min()
    assert (smallest > 1 / 60).mean() > 0.8


def test_means_leave_out_the_first_token_and_the_words_of_the_lists(tiny: LanguageModel) -> None:
    import pandas as pd

    data = pd.DataFrame({"text": ["Thank you for the old road", "The old road by the fence"]})
    found = head_outputs(tiny, data)
    acts = {name: extract_activations(tiny, data, sites=("z",), positions=name) for name in ("mean", "last")}
    for name in ("mean", "last"):
        np.testing.assert_allclose(found.values[name], acts[name].values["z"], atol=1e-5)
    changed = np.abs(found.values["without_keywords"] - found.values["mean"]).max(axis=(0, 2, 3))
    assert found.n_keywords[0] > 0 == found.n_keywords[1]
    assert changed[0] > 1e-4 > changed[1]
    assert output_matrix(tiny, 0).shape == (tiny.n_heads, tiny.d_head, tiny.d_model)


def test_vectors_of_another_model_are_refused(planted: Planted) -> None:
    data = planted_scenarios(planted, 20)
    train = extract_activations(planted.lm, data[data["split"] == "train"], positions="last")
    vecs = dataclasses.replace(fit_emotion_vectors(train), revision="another")
    with pytest.raises(UserError, match="expected vectors of"):
        direct_writes(planted.lm, data[data["split"] != "train"], vecs, train)
