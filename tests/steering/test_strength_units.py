"""What alpha counts in: the bulk norm, the residual norm, or the vector itself."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest

from emolib.base.errors import UserError
from emolib.base.parameters import PatchingParameters
from emolib.base.strength import DEFAULT_UNIT, STUDY_UNIT, UNITS
from emolib.data.activations import LayerVector
from emolib.directions.rivals import alternative_vectors
from emolib.directions.vectors import EmotionVectors, fit_emotion_vectors
from emolib.interventions import Steer
from emolib.steering import cells
from tests.planted_activations import planted, with_massive_dimension


def fitted(size: float) -> EmotionVectors:
    return fit_emotion_vectors(with_massive_dimension(size))


def length(act: Steer) -> float:
    return float(np.linalg.norm(act.delta()))


def test_the_unit_of_a_layer_is_the_median_bulk_norm_of_neutral_tokens_but_the_first() -> None:
    acts, _ = planted()
    vecs = fit_emotion_vectors(acts)
    neutral = acts.where(acts.texts["emotion"] == "neutral")
    later = np.setdiff1d(np.arange(neutral.offsets[-1]), neutral.offsets[:-1])
    by_hand = np.median(neutral.bulk_norms[:, later], axis=1)
    np.testing.assert_array_equal(vecs.neutral_bulk_norms, by_hand)
    vector = vecs["anger"][2]
    assert vector.neutral_bulk_norm == pytest.approx(by_hand[2])
    assert length(Steer(2, vector, 0.5, unit="bulk")) == pytest.approx(0.5 * by_hand[2], rel=1e-5)
    assert length(Steer(2, vector, 0.5, unit="resid")) != pytest.approx(0.5 * by_hand[2], rel=1e-2)
    for derived in (2 * vector, vector + vecs["gratitude"][2]):
        assert derived.neutral_bulk_norm == vector.neutral_bulk_norm


def test_a_massive_dimension_moves_a_steer_in_resid_and_not_in_bulk() -> None:
    small, large = fitted(30.0)["gratitude"][1], fitted(3000.0)["gratitude"][1]
    sizes = {unit: [length(Steer(1, v, 0.3, unit=unit)) for v in (small, large)] for unit in ("bulk", "resid")}
    assert sizes["bulk"][1] == pytest.approx(sizes["bulk"][0], rel=0.03)
    assert sizes["resid"][1] > 50 * sizes["resid"][0]


def test_a_bare_array_takes_its_unit_as_an_argument() -> None:
    values = np.array([3.0, 4.0])
    act = Steer(1, values, 0.5, unit="bulk", bulk_norm=10.0)
    assert act.delta() == pytest.approx([3.0, 4.0], rel=1e-6)
    assert act.fingerprint() == Steer(1, values, 0.5, unit="resid", resid_norm=10.0).fingerprint()  # the same change
    assert act.fingerprint() != Steer(1, values, 0.5, unit="bulk", bulk_norm=11.0).fingerprint()
    own = LayerVector(values.astype(np.float32), "m", "r", 1, "mean", 7.0, neutral_bulk_norm=10.0)
    assert Steer(1, own, 0.5, unit="bulk").fingerprint() == act.fingerprint()


BARE = LayerVector(np.ones(4, np.float32), "m", "r", 1, "mean", 2.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["'bulk'", "neutral_bulk_norm", "bulk_norm=", "unit='vector'"]),
        ({"vector": np.ones(4)}, ["'bulk'", "bulk_norm=", "unit='vector'"]),
        ({"bulk_norm": 0.0}, ["bulk norm", "got 0.0"]),
        ({"bulk_norm": float("nan")}, ["bulk norm", "got nan"]),
        ({"bulk_norm": 1e39}, ["1e+12", "bulk_norm"]),
        ({"bulk_norm": 1.0, "alpha": 1e5}, ["-1000 to 1000"]),
        ({"unit": "norm"}, ["unknown unit 'norm'", "bulk", "resid", "vector"]),
    ],
)
def test_a_steer_without_its_unit_is_refused_in_one_line(given: dict, words: list[str]) -> None:
    whole = {"layer": 1, "vector": BARE, "alpha": 0.5, "unit": "bulk", **given}
    with pytest.raises(UserError) as caught:
        Steer(**whole)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


def test_controls_and_rivals_are_as_long_as_the_steer_in_every_unit() -> None:
    acts, _ = planted()
    fitted = fit_emotion_vectors(acts)
    vecs = replace(fitted, kl_lengths=0.3 * fitted.neutral_norms)
    other = alternative_vectors("pca", acts, vecs, layers=[2])
    for unit in UNITS:
        settings = cells.SweepSettings(unit=unit)
        own = cells.steer_cell("emotion", vecs, "anger", 2, 0.4, settings)
        drawn = cells.control_cells(vecs, 2, 0.4, 0, settings)
        assert [c.emotion for c in drawn] == (list(vecs) if unit == "vector" else ["any"])
        controls = [c for c in drawn if c.emotion in ("any", "anger")]
        for cell in (*controls, cells.steer_cell("pca", other, "anger", 2, 0.4, settings)):
            assert length(cell.act) == pytest.approx(length(own.act), rel=1e-5)
    settings = cells.SweepSettings(unit="bulk")
    with pytest.raises(UserError, match="neutral_bulk_norm"):
        cells.control_cells(replace(vecs, neutral_bulk_norms=None), 2, 0.4, 0, settings)


def test_one_constant_is_the_default_of_steers_and_sweeps_another_that_of_a_study() -> None:
    assert DEFAULT_UNIT in UNITS
    assert inspect.signature(Steer).parameters["unit"].default == DEFAULT_UNIT
    assert cells.SweepSettings().unit == DEFAULT_UNIT
    assert PatchingParameters.model_fields["unit"].default == STUDY_UNIT
