"""Vectors of the other style of texts: fitted on them alone, as large as the sweep's own, and judged alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_runs import in_two_styles, steering_run, written

from emolib.base.strength import UNITS
from emolib.data.styles import opposite
from emolib.directions.vectors import fit_emotion_vectors
from emolib.selftest.planted import Planted, plant, planted_scenarios
from emolib.study.phase5_steering import design, other_style, own_sweeps, results
from emolib.study.run import Run


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("llama")


@pytest.fixture(scope="module")
def saved(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(in_two_styles(planted_scenarios(planted, 30)), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=[0, 3], ids=["split", "folds"])
def run(
    request: pytest.FixtureRequest, planted: Planted, saved: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield steering_run(planted.lm, saved, layers=[2], folds=request.param)


@pytest.mark.parametrize(("own", "other"), [("explicit", "implicit"), ("all", "implicit"), ("implicit", "explicit")])
def test_the_style_is_the_one_that_the_vectors_are_not_of(own, other):
    assert opposite(own) == other


def test_the_vectors_are_fitted_on_that_style_s_training_texts_alone(run):
    for part in design.parts(run):
        acts = other_style.training(run, part)
        assert set(acts.texts["style"]) == {"implicit"} and set(acts.texts["scenario"]) <= part.train
        expected, found = fit_emotion_vectors(acts), other_style.vectors(run, part)
        for emotion in run.emotions:
            np.testing.assert_array_equal(found[emotion].values, expected[emotion].values)
            assert not np.allclose(found[emotion][2].values, design.vectors(run, part)[emotion][2].values, rtol=1e-3)


@pytest.mark.parametrize("unit", UNITS)
def test_the_steers_are_as_large_as_the_sweeps_own(planted, saved, tmp_path, monkeypatch, unit):
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    alphas = [0.5] if unit == "vector" else [0.1]
    run = steering_run(planted.lm, saved, layers=[2], alphas=alphas, unit=unit)
    both = pd.concat([own_sweeps.test_sweep(run), other_style.sweep(run)])
    sizes = both.groupby(["kind", "emotion", "scenario"])["delta_ratio"].first()
    np.testing.assert_allclose(sizes["other_style"], sizes["emotion"], rtol=1e-4)
    assert (sizes["other_style"] > 0).all()


def test_the_claims_rest_on_those_texts_and_on_the_sweeps_own_controls(run):
    test, steered = own_sweeps.test_sweep(run), other_style.sweep(run)
    own, table = results.claims(run), other_style.claims(run)
    assert table[["emotion", "metric"]].equals(own[["emotion", "metric"]])
    assert table["max_isotropic"].tolist() == own["max_isotropic"].tolist()
    base = test[test["kind"] == "baseline"].groupby("scenario")["keywords/anger"].mean()
    moved = steered[steered["emotion"] == "anger"].groupby("scenario")["keywords/anger"].mean() - base
    row = table.set_index("metric").loc["keywords/anger"]
    assert row["own_effect_unfiltered"] == pytest.approx(moved.mean())
    assert table["cosine"].between(-1, 1).all() and (table["n_fitted"] >= other_style.FEWEST_SCENARIOS).all()
    # both styles hold the trigger here, so that both vectors are the planted direction
    assert (table["cosine"] > 0.9).all()


def test_without_such_texts_there_are_no_claims(planted, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    file = written(planted_scenarios(planted, 30), tmp_path)  # explicit texts alone
    run = steering_run(planted.lm, file, layers=[2], alphas=[0.1])
    assert other_style.sweep(run) is None and other_style.claims(run) is None
