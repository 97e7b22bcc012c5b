"""The unit `kl`: the length at which a layer's vectors change the next token by a given amount."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.directions.vectors import EmotionVectors
from emolib.engine.generation import generate
from emolib.interventions import Decay, Steer
from emolib.models.language_model import LanguageModel
from emolib.steering import cells, sweeps
from emolib.steering.damage import next_token_kl
from emolib.steering.kl_lengths import KL_NAT, TOLERANCE, with_kl_lengths, with_lengths

PROMPTS = ["The train leaves at noon from here.", "We saw a shed near the road."]


def vectors_of(lm: LanguageModel, *, seed: int = 0, emotions: tuple[str, ...] = ("anger", "joy")) -> EmotionVectors:
    rng, layers = np.random.default_rng(seed), lm.n_layers + 1
    values = {e: rng.normal(size=(layers, lm.d_model)).astype(np.float32) for e in emotions}
    norms, sd = np.full(layers, 5.0), np.ones((layers, lm.d_model), np.float32)
    return EmotionVectors(values, norms, sd, lm.spec.name, lm.revision, "mean", neutral_bulk_norms=np.full(layers, 2.0))


def continued(lm: LanguageModel) -> list[tuple[int, ...]]:
    return [tuple(out.token_ids) for out in generate(lm, PROMPTS, max_new_tokens=6)]


def kl_by_hand(lm: LanguageModel, texts: list[tuple[int, ...]], act: Steer) -> float:
    return float(np.mean(next_token_kl(lm, PROMPTS, texts, [act] * len(PROMPTS))))


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "gpt_neo", "llama", "qwen3", "gemma3_text"])
def test_at_its_length_every_vector_changes_the_next_token_by_as_much(tiny_models, architecture: str) -> None:
    lm = tiny_models[architecture]
    texts, vecs = continued(lm), vectors_of(lm)
    found, table = with_kl_lengths(lm, vecs, [1, lm.n_layers], PROMPTS, texts)
    assert table[["layer", "emotion"]].apply(tuple, axis=1).tolist() == [
        (layer, emotion) for layer in (1, lm.n_layers) for emotion in vecs
    ]
    for row in table.dropna(subset=["length"]).itertuples():
        direction = vecs[row.emotion][row.layer].direction
        by_hand = kl_by_hand(lm, texts, Steer(row.layer, direction, row.length, unit="vector"))
        assert by_hand == pytest.approx(row.kl, rel=1e-4)
        assert by_hand == pytest.approx(KL_NAT, rel=TOLERANCE)
    assert table["length"].notna().sum() >= 3
    for layer, part in table.groupby("layer"):
        assert found.kl_lengths[layer] == pytest.approx(np.exp(np.log(part["length"].dropna()).mean()))
    assert np.isnan(found.kl_lengths[0]) and found["anger"][0].kl_length is None
    act = Steer(1, found["anger"][1], 0.5, unit="kl")
    assert np.linalg.norm(act.delta()) == pytest.approx(0.5 * found.kl_lengths[1], rel=1e-5)


def test_the_length_follows_the_window_and_the_schedule(tiny_models) -> None:
    lm = tiny_models["llama"]
    texts, vecs = continued(lm), vectors_of(lm)
    units = {
        name: with_kl_lengths(lm, vecs, [1], PROMPTS, texts, **given)[0].kl_lengths[1]
        for name, given in {"whole": {}, "fading": {"schedule": Decay(0.5)}, "one": {"window": 1}}.items()
    }
    assert units["fading"] > 1.1 * units["whole"] and units["one"] > units["whole"]


def test_a_shorter_vector_has_the_same_unit(tiny_models) -> None:
    """The unit is a length of the direction: how long the vector was fitted does not matter."""
    lm = tiny_models["llama"]
    vecs, texts = vectors_of(lm), continued(lm)
    scaled = replace(vecs, values={e: value * np.float32(7) for e, value in vecs.values.items()})
    first, second = (with_kl_lengths(lm, given, [1], PROMPTS, texts)[0].kl_lengths[1] for given in (vecs, scaled))
    assert first == pytest.approx(second, rel=1e-4)


def test_controls_and_derived_vectors_have_the_norm_of_the_steer(tiny_models) -> None:
    lm = tiny_models["llama"]
    vecs, _ = with_kl_lengths(lm, vectors_of(lm), [1], PROMPTS, continued(lm))
    settings = cells.SweepSettings(unit="kl")
    steer = cells.steer_cell("emotion", vecs, "anger", 1, 1.5, settings)
    (control,) = cells.control_cells(vecs, 1, 1.5, 0, settings)
    lengths = [np.linalg.norm(cell.act.delta()) for cell in (steer, control)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-5) == pytest.approx(1.5 * vecs.kl_lengths[1], rel=1e-5)
    table = sweeps.residual_sweep(
        lm, PROMPTS, vecs, layers=[1], alphas=[1.5], settings=replace(settings, max_new_tokens=5, backend="lexical")
    )
    assert set(table["unit"]) == {"kl"}


def test_a_layer_that_nothing_moves_is_told() -> None:
    table = pd.DataFrame({"layer": [1, 1, 2], "emotion": ["a", "b", "a"], "length": [2.0, 8.0, np.nan], "kl": 0.1})
    vecs = EmotionVectors({"a": np.ones((4, 3), np.float32)}, np.ones(4), np.ones((4, 3)), "m", "r", "mean")
    with pytest.raises(UserError, match=r"layer 2.*unit=bulk"):
        with_lengths(vecs, table)
    found, units = with_lengths(vecs, table.iloc[:2])
    assert found.kl_lengths[1] == pytest.approx(4.0) and set(units["unit"]) == {found.kl_lengths[1]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": [99]}, "layers"),
        ({"continuations": [(1, 2, 3)]}, "2 prompts and 1 continuations"),
        ({"continuations": [(1,), ()]}, "at least 3 tokens"),
        ({"vecs": "no vectors"}, "fit_emotion_vectors"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tiny_models, changes: dict, words: str) -> None:
    lm = tiny_models["llama"]
    given = {"vecs": vectors_of(lm), "layers": [1], "prompts": PROMPTS, "continuations": continued(lm), **changes}
    with pytest.raises(UserError, match=words) as caught:
        with_kl_lengths(lm, **given)
    assert len(str(caught.value).splitlines()) == 1


def test_a_vector_without_the_unit_says_who_measures_it(tiny_models) -> None:
    lm = tiny_models["llama"]
    with pytest.raises(UserError, match="with_kl_lengths"):
        Steer(1, vectors_of(lm)["anger"][1], 1.0, unit="kl")
