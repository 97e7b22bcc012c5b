"""Composition scores: the formula, and its null against rotations that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emolib.base.errors import UserError
from emolib.circuits.composition import KINDS, composition, composition_scores
from emolib.circuits.ov_qk import head_weights
from emolib.models.language_model import LanguageModel
from emolib.selftest.planted import plant


def test_scores_are_those_of_the_whole_matrices(tiny: LanguageModel) -> None:
    table = composition(tiny, "0:1,0:3,1:2,2:0").set_index(["layer", "head", "reader_layer", "reader_head", "kind"])
    assert len(table) == (2 + 2 + 1) * len(KINDS)  # of 0:1 and 0:3 with 1:2 and 2:0, and of 1:2 with 2:0
    early, late = head_weights(tiny, 0), head_weights(tiny, 2)
    gains = [torch.ones(tiny.d_model) if w.post_norm is None else w.post_norm.weight.float() for w in (early, late)]
    written = early.value[3] @ early.output[3] * gains[0]
    query, key = late.qk_factors(0)
    read = {"value": late.value[0] @ late.output[0] * gains[1], "key": key @ query.T, "query": query @ key.T}
    for kind, matrix in read.items():
        expected = (written @ matrix).norm() / written.norm() / matrix.norm()
        assert table.loc[(0, 3, 2, 0, kind), "score"] == pytest.approx(float(expected), rel=1e-3)


def test_the_null_is_that_of_random_rotations() -> None:
    rng = np.random.default_rng(0)
    d, rank = 24, 5
    g, h = ((part @ part.T) for part in (rng.standard_normal((d, rank)) * np.arange(1, rank + 1) for _ in range(2)))
    drawn = []
    for _ in range(4000):
        o = np.linalg.qr(rng.standard_normal((d, d)))[0]
        drawn.append(np.trace(g @ o @ h @ o.T))
    traces = [np.array([[np.trace(m), np.trace(m @ m)]]) for m in (g, h)]
    _, expected, z = composition_scores(np.array(drawn)[:, None], np.repeat(traces[0], 4000, 0), traces[1], d)
    assert expected[0, 0] == pytest.approx(d**-0.5)
    assert abs(z.mean()) < 0.06 and z.std() == pytest.approx(1, abs=0.06)


def test_a_reader_of_what_is_written_stands_out() -> None:
    planted = plant("gpt2", noise=0.0)
    truth = planted.truth
    backup = truth.distractors["backup"]
    pairs = [(truth.write_layer, truth.write_head), (0, 3), backup]
    table = composition(planted.lm, pairs)
    found = table[(table["reader_layer"] == backup[0]) & (table["kind"] == "query")].set_index("layer")
    assert found.loc[truth.write_layer, "z"] > 5  # its queries are gated by the directions
    assert found.loc[0, "z"] < 5


def test_heads_that_there_are_not_are_refused(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["gpt2"]
    for heads in ("0:9", "7:0", "a"):
        with pytest.raises(UserError, match="heads"):
            composition(lm, heads)
    assert composition(lm, "0:1,0:2").empty
