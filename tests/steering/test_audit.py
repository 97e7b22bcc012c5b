"""A vector that is numbered by another convention is told from one that is not, and from one that fits nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from refusals import refused_call

from emolib.data.activations import Activations, LayerVector
from emolib.directions.vectors import fit_emotion_vectors
from emolib.steering.audit import Convention, find_convention

N_LAYERS, D_MODEL, SCENARIOS, TURN = 8, 48, 40, 0.35
EMOTIONS = ("neutral", "gratitude", "anger")
CLAIMED = 4


def planted(seed: int = 0, *, turn: float = TURN, position: str = "mean") -> Activations:
    """Emotions along directions that turn a little from layer to layer, as those of a real model do.

    Args:
        turn: of a layer's direction against the one before, as a sine; 0 leaves it alone.
    """
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng([7, sum(map(ord, position))])  # the model: the same whatever the texts
    paths = {}
    for emotion in EMOTIONS[1:]:
        path = [fixed.standard_normal(D_MODEL)]
        for _ in range(N_LAYERS):
            fresh = fixed.standard_normal(D_MODEL)
            path.append(np.sqrt(1 - turn**2) * path[-1] + turn * fresh)
        paths[emotion] = np.stack(path)
    spread = fixed.uniform(0.3, 1.5, D_MODEL)
    spread[5] = 60  # one dimension makes up most of every norm
    rows, values = [], []
    for scenario in range(SCENARIOS):
        shared = rng.standard_normal(D_MODEL) * spread
        for emotion in EMOTIONS:
            noise = np.cumsum(rng.standard_normal((N_LAYERS + 1, D_MODEL)), axis=0) / 3 * spread
            values.append(shared + noise + paths.get(emotion, 0.0))
            rows.append({"id": f"{scenario}-{emotion}", "scenario": f"s{scenario}", "emotion": emotion})
    resid = np.stack(values, axis=1).astype(np.float32)
    norms = np.repeat(np.linalg.norm(resid, axis=2), 2, axis=1).astype(np.float32)  # two tokens each
    offsets = np.arange(0, 2 * len(rows) + 1, 2)
    return Activations({"resid_pre": resid}, pd.DataFrame(rows), norms, offsets, position, "planted", "r0")


def vector_of(acts: Activations, layer: int, emotion: str = "gratitude") -> LayerVector:
    return fit_emotion_vectors(acts)[emotion][layer]


def found(vector: LayerVector | np.ndarray, *, seed: int = 0, **settings: object) -> Convention:
    acts = settings.pop("acts", None) or {"mean": planted(seed)}
    return find_convention(vector, acts, claim="gratitude", layer=CLAIMED, n_draws=199, seed=seed, **settings)


@pytest.mark.parametrize("shift", [-2, -1, 0, 1, 2])
def test_a_vector_of_other_texts_is_found_at_its_own_layer(shift: int) -> None:
    vector = vector_of(planted(seed=50), CLAIMED + shift)
    answer = found(vector)
    assert (answer.layer, answer.shift, answer.position, answer.sign) == (CLAIMED + shift, shift, "mean", 1)
    assert answer.fit == ("as_claimed" if shift == 0 else "shifted") and answer.p <= 0.01 and answer.share >= 0.95
    assert len(answer.table) == 5 and answer.cosine == answer.table["cosine"].max()


def test_a_vector_that_points_the_other_way_is_found_with_its_sign() -> None:
    answer = found(-1 * vector_of(planted(seed=50), CLAIMED + 1))
    assert (answer.fit, answer.shift, answer.sign) == ("shifted", 1, -1)
    assert answer.cosine == answer.table["cosine"].min() < 0


def test_another_position_is_told_apart() -> None:
    acts = {name: planted(1, position=name) for name in ("mean", "last")}
    for name in acts:
        answer = found(vector_of(planted(50, position=name), CLAIMED), acts=acts)
        assert (answer.position, answer.layer) == (name, CLAIMED) and len(answer.table) == 10


def test_layers_that_are_alike_are_left_undecided() -> None:
    acts = planted(turn=0.0)
    noise = np.random.default_rng(4).standard_normal(acts.values["resid_pre"].shape).astype(np.float32)
    alike = np.repeat(acts.values["resid_pre"][:1], N_LAYERS + 1, axis=0) + 0.1 * noise
    answer = found(vector_of(planted(50, turn=0.0), CLAIMED), acts={"mean": replace(acts, values={"resid_pre": alike})})
    assert answer.fit == "undecided" and answer.share < 0.95 and answer.p <= 0.01


def test_vectors_of_nothing_fit_nothing_at_about_the_stated_rate() -> None:
    rng = np.random.default_rng(0)
    acts = {"mean": planted(2)}
    fits = [found(rng.standard_normal(D_MODEL), acts=acts, seed=i).fit for i in range(60)]
    assert fits.count("unrelated") >= 50  # 57 are expected at a level of 0.05
    assert found(vector_of(planted(50), CLAIMED), acts=acts).fit == "as_claimed"


def test_what_cannot_be_held_against_the_model_is_refused() -> None:
    acts = {"mean": planted()}
    vector = vector_of(acts["mean"], CLAIMED)
    find = find_convention
    refused_call(lambda: find(vector, {}, claim="gratitude", layer=4), ["by position"])
    refused_call(lambda: find(vector, acts, claim="joy", layer=4), ["claim", "'joy'", "gratitude"])
    refused_call(lambda: find(vector, acts, claim="gratitude", layer=9), ["layer", "0 to 8"])
    refused_call(lambda: find(np.ones(3), acts, claim="gratitude", layer=4), ["d_model 48", "3"])
    refused_call(lambda: find(np.zeros(D_MODEL), acts, claim="gratitude", layer=4), ["not zero"])
    refused_call(lambda: find(vector, acts, claim="gratitude", layer=4, n_draws=5), ["n_draws", "99"])
    refused_call(lambda: find(vector, acts, claim="gratitude", layer=4, neutral="calm"), ["'calm'"])
    assert find(vector, acts, claim="gratitude", layer=4, n_draws=99).fit == "as_claimed"
