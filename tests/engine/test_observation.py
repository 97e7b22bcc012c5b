"""What the sites hold, by the engine's own pass and by the bridge's hooks, against the plain model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import Case

from emolib.base.errors import UserError
from emolib.engine.observation import SITES, observe, places_of
from emolib.interventions import record_heads
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode, pad_left

TEXTS = ["It rained.", "The new shop by the old bridge opens again.", "I", "The kettle boiled over twice."]
RELATIVE = 1e-4  # float32, relative to the largest entry


def seen(lm: LanguageModel, places: list[tuple[str, int]], texts: list[str] = TEXTS) -> dict[tuple[str, int], list]:
    """Per place and text the value without padding; patterns `[head, pos, pos]`."""
    rows = encode(lm, texts)
    ids, mask = pad_left(rows, lm.tokenizer.pad_token_id)
    found: dict[tuple[str, int], list] = {}

    def take(site: str, layer: int, value: torch.Tensor) -> None:
        cut = [
            value[i, ..., -len(row) :, -len(row) :] if site == "pattern" else value[i, -len(row) :]
            for i, row in enumerate(rows)
        ]
        found[site, layer] = [part.float().clone().numpy() for part in cut]

    observe(lm, ids, mask, places, take)
    return found


def distance(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    """The largest difference of any text, relative to the largest entry."""
    scale = max(np.abs(part).max() for part in b)
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True)) / scale


def test_every_site_equals_what_the_models_own_code_gives(case: Case) -> None:
    lm = case.lm
    places = places_of(lm, SITES)
    mine, theirs = seen(lm, places), seen(replace(lm, blueprint=None), places)
    assert set(mine) == set(theirs) == set(places)
    wrong = {place: distance(mine[place], theirs[place]) for place in places}
    assert {place: error for place, error in wrong.items() if error > RELATIVE} == {}
    shifted = [part[::-1] for part in theirs["z", 0]]
    assert distance(mine["z", 0], shifted) > 10 * RELATIVE  # control: another order of tokens is noticed


def test_hidden_states_are_those_of_the_plain_network(case: Case) -> None:
    lm = case.lm
    found = seen(lm, places_of(lm, ["resid_pre", "resid_post"]))
    for i, ids in enumerate(encode(lm, TEXTS)):
        with torch.inference_mode():
            hidden = case.plain(torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states
        for layer in range(lm.n_layers):
            assert distance([found["resid_pre", layer][i]], [hidden[layer][0].numpy()]) < RELATIVE
        for layer in range(1, lm.n_layers + 1):
            np.testing.assert_array_equal(found["resid_pre", layer][i], found["resid_post", layer - 1][i])
        # the network's last hidden state is normalised, the final residual is not
        assert distance([found["resid_pre", lm.n_layers][i]], [hidden[-1][0].numpy()]) > 10 * RELATIVE


def test_patterns_are_rows_that_sum_to_one_and_look_at_nothing_that_comes_later(case: Case) -> None:
    for (_, _layer), parts in seen(case.lm, places_of(case.lm, ["pattern"])).items():
        for pattern in parts:
            np.testing.assert_allclose(pattern.sum(-1), 1, atol=1e-5)
            assert np.abs(np.triu(pattern, 1)).max() == 0


def test_heads_are_those_that_record_heads_keeps(case: Case) -> None:
    head = (1, case.lm.n_heads - 1)
    found = seen(case.lm, [("z", 1)])["z", 1]
    for mine, record in zip(found, record_heads(case.lm, TEXTS, [head]), strict=True):
        assert distance([mine[:, head[1]]], [record.z[head]]) < RELATIVE


def test_only_the_places_asked_for_are_given_and_later_layers_are_not_run(tiny: LanguageModel, monkeypatch) -> None:
    from emolib.engine.forward import ForwardPass

    ran = []
    mlp = ForwardPass._mlp
    monkeypatch.setattr(ForwardPass, "_mlp", staticmethod(lambda layer, hidden: ran.append(1) or mlp(layer, hidden)))
    assert set(seen(tiny, [("resid_pre", 1)])) == {("resid_pre", 1)}
    assert len(ran) == 1  # block 0 alone
    ran.clear()
    seen(tiny, [("resid_pre", tiny.n_layers)])
    assert len(ran) == tiny.n_layers  # control


def test_places_of_a_subset_of_layers_and_what_is_refused(tiny: LanguageModel) -> None:
    assert places_of(tiny, ["mlp_out"], [1]) == [("mlp_out", 1)]
    assert ("resid_pre", tiny.n_layers) in places_of(tiny, ["resid_pre", "mlp_out"])
    assert ("mlp_out", tiny.n_layers) not in places_of(tiny, ["resid_pre", "mlp_out"])
    with pytest.raises(UserError, match="unknown site 'mlp': did you mean 'mlp_out'"):
        places_of(tiny, ["mlp"])
    with pytest.raises(UserError, match="layer 99 is out of range"):
        places_of(tiny, ["z"], [99])
    with pytest.raises(UserError, match="out of range"):
        places_of(tiny, ["z"], [tiny.n_layers])


def test_long_texts_are_read_in_parts_with_the_same_result(case: Case, monkeypatch) -> None:
    from emolib.engine import observation

    whole = seen(case.lm, places_of(case.lm, ["z", "resid_post"]))
    calls = []
    attention = observation.attention
    monkeypatch.setattr(observation, "attention", lambda q, *a, **k: calls.append(q.shape[1]) or attention(q, *a, **k))
    monkeypatch.setattr(observation, "MOST_SCORES", 500)
    parts = seen(case.lm, places_of(case.lm, ["z", "resid_post"]))
    assert len(calls) > case.lm.n_layers and max(calls) < max(len(row) for row in encode(case.lm, TEXTS))
    assert max(distance(parts[place], whole[place]) for place in whole) < RELATIVE
