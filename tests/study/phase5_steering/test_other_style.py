"""Vectors of the other style of texts: fitted on them alone, as large as the sweep's own, and judged alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_runs import in_two_styles, steering_run, written

from emolib.directions.vectors import fit_emotion_vectors
from emolib.report.ja import phase5_other_style as wording
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
def test_the_style_is_the_one_that_the_vectors_are_not_of(planted, saved, own, other):
    assert other_style.style(steering_run(planted.lm, saved, vector_style=own)) == other


def test_the_vectors_are_fitted_on_that_style_s_training_texts_alone(run):
    for part in design.parts(run):
        acts = other_style.training(run, part)
        assert set(acts.texts["style"]) == {"implicit"} and set(acts.texts["scenario"]) <= part.train
        expected, found = fit_emotion_vectors(acts), other_style.vectors(run, part)
        for emotion in run.emotions:
            np.testing.assert_array_equal(found[emotion].values, expected[emotion].values)
            assert not np.allclose(found[emotion][2].values, design.vectors(run, part)[emotion][2].values, rtol=1e-3)


@pytest.mark.parametrize("unit", ["resid", "vector"])
def test_the_steers_are_as_large_as_the_sweeps_own(planted, saved, tmp_path, monkeypatch, unit):
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    alphas = [0.1] if unit == "resid" else [0.5]
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


def test_without_such_texts_the_section_says_so(planted, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    file = written(planted_scenarios(planted, 30), tmp_path)  # explicit texts alone
    run = steering_run(planted.lm, file, layers=[2], alphas=[0.1])
    assert other_style.sweep(run) is None and other_style.claims(run) is None
    own = pd.DataFrame({"emotion": ["anger"], "supported": [True]})
    assert "足りず" in wording.other_style_sentence(run, None, own).data
    assert len(wording.other_style_rows(None, own)) == 1


def claims_of(**columns: object) -> pd.DataFrame:
    start = {"metric": ["keywords/anger", "target/anger"], "emotion": "anger", "own_effect": [0.5, 0.2]}
    start |= {"vs_others": 0.3, "ci_low": 0.1, "ci_high": 0.5, "degenerate": False, "rank_p": 1 / 60, "supported": True}
    return pd.DataFrame(start | {"broken": 0.25, "cosine": 0.5, "n_fitted": 12} | columns)


def test_the_sentence_says_whether_a_supported_effect_survives(run):
    own = claims_of()
    assert "文体に依らない" in wording.other_style_sentence(run, claims_of(), own).data
    lost = wording.other_style_sentence(run, claims_of(supported=[True, False], rank_p=[1 / 60, 0.4]), own).data
    assert "ベクトルについてのものにとどまる" in lost and "依らない" not in lost and "0.400" in lost
    nothing = wording.other_style_sentence(run, claims_of(), claims_of(supported=False)).data
    assert "支持された感情がない" in nothing
    rows = wording.other_style_rows(claims_of(supported=[True, False]), own)
    assert rows["二条件"].tolist() == ["満たす", "満たさない"] and rows["破綻率"].tolist() == ["25%", "25%"]
