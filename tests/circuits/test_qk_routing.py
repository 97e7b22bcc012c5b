"""Routing to an emotion's word: the model's own scores, found where planted and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from emolib.base.errors import UserError
from emolib.circuits.qk_routing import RoutingPair, qk_routing, routing_max_p
from emolib.circuits.reconstruction import model_values
from emolib.models.language_model import LanguageModel
from emolib.models.tokens import encode
from emolib.selftest.planted import plant, words

A, B = "The red shop by the old bridge", "The sad shop by the old bridge"


def pair_of(lm: LanguageModel, key: int = 5, query: int = -1) -> RoutingPair:
    """Two texts of bytes that differ in one token."""
    own, other = (list(row) for row in encode(lm, [A, A]))
    other[key] = encode(lm, [B])[0][4]
    return RoutingPair(tuple(own), tuple(other), key, query % len(own), "anger", "one", ("red", "rsd"))


def test_attention_is_the_models_own(tiny: LanguageModel) -> None:
    pair = pair_of(tiny)
    near = pair_of(tiny, key=25)
    table = qk_routing(tiny, [pair, near]).set_index(["layer", "head", "pair"])
    held, other = (model_values(tiny, list(ids)) for ids in (near.ids, near.matched_ids))
    for layer in range(tiny.n_layers):
        pattern = held["pattern", layer]
        for head in range(tiny.n_heads):
            row = table.loc[(layer, head, 1)]
            assert row["attention"] == pytest.approx(float(pattern[head, near.query, near.key]), abs=1e-4)
            weight, before = row["attention"], row["attention_matched"]
            odds = np.log(weight / (1 - weight)) - np.log(before / (1 - before))
            assert row["score"] - row["score_matched"] == pytest.approx(odds, abs=1e-2)
    assert not np.allclose(held["pattern", 1], other["pattern", 1], atol=1e-3)
    local = [layer for layer, block in enumerate(tiny.native.layers) if block.window is not None]
    for layer in local:  # the first pair's word lies beyond the window
        assert np.isnan(table.loc[(layer, 0, 0), "score"]) and table.loc[(layer, 0, 0), "attention"] == 0


@pytest.mark.parametrize("cut", [False, True])
def test_the_head_that_looks_for_triggers_is_found(cut: bool) -> None:
    planted = plant("llama")
    lm, truth = planted.lm, planted.truth
    rng = np.random.default_rng(0)
    ids = lm.tokenizer.convert_tokens_to_ids
    pairs = []
    for i in range(10):
        frame = [*rng.choice(words.NOUNS["kitchen" if "kitchen" in words.NOUNS else next(iter(words.NOUNS))], 4)]
        emotion = list(truth.directions)[i % 3]
        pool = words.FILLERS if cut else truth.triggers[emotion]  # the control: another filler in a filler's place
        own, other = rng.choice(pool), rng.choice(list(words.FILLERS))
        if own == other:
            other = words.FILLERS[(list(words.FILLERS).index(own) + 1) % len(words.FILLERS)]
        text, matched = ([begin_id(lm), *ids([*frame[:2], word, *frame[2:]])] for word in (own, other))
        pairs.append(RoutingPair(tuple(text), tuple(matched), 3, 5, emotion, f"s{i}", (own, other)))
    found = routing_max_p(qk_routing(lm, pairs), n_flips=199)
    looking = found[found["p"] <= 0.05]
    heads = set(zip(looking["layer"], looking["head"], strict=True))
    if cut:
        assert (truth.write_layer, truth.write_head) not in heads and len(heads) <= 1
    else:
        assert (truth.write_layer, truth.write_head) in heads and truth.distractors["unread"] in heads
        assert len(heads) <= 6


def begin_id(lm: LanguageModel) -> int:
    return encode(lm, ["kettle"])[0][0]


def test_texts_that_differ_elsewhere_are_refused(tiny_models: dict[str, LanguageModel]) -> None:
    lm = tiny_models["gpt2"]
    pair = pair_of(lm)
    with pytest.raises(UserError, match="differ at token 4 alone"):
        RoutingPair(pair.ids, pair.matched_ids, 4, pair.query, "anger", "one", pair.words)
    with pytest.raises(UserError, match="query behind the key"):
        RoutingPair(pair.ids, pair.matched_ids, pair.key, pair.key, "anger", "one", pair.words)
    with pytest.raises(UserError, match="at least one pair"):
        qk_routing(lm, [])
