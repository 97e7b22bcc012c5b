"""The labels' geometry as a run, on a tiny seeded model with the project's own texts, and what its tables say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_runs import opened_run, vectors_run, written
from tiny import tiny_model

from emolib.engine.embeddings import mean_embeddings
from emolib.engine.extraction import extract_activations
from emolib.selftest.planted import plant, planted_scenarios
from emolib.study.phase3_vectors import companion_activations, geometry
from emolib.study.phase3_vectors.geometry import EMBEDDING
from emolib.study.phase3_vectors.geometry_answers import dissimilarity_finding, likeness_codes, valence_finding
from emolib.study.run import Run

SMALL = {"sites": ["resid_pre"], "n_geometry": 4, "n_train": 4, "backend": "lexical"}
ROW = {"layer": 2, "pearson": 0.8, "low": 0.6, "high": 0.9, "p": 0.001, "reliability": 0.9}
ROW |= {"embedding_reliability": 0.9, "difference_low": 0.1, "difference_high": 0.4, "n_labels": 20}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield opened_run(tiny_model("llama"), "phase3", **SMALL)


def test_texts_are_crossed_and_of_training_scenarios_alone(run: Run) -> None:
    many, like = companion_activations.chosen(run, "fifteen"), companion_activations.chosen(run, "five")
    assert many is not None and like is not None
    assert (many["emotion"].nunique(), many["scenario"].nunique(), len(many)) == (24, 4, 96)
    assert (like["emotion"].nunique(), like["scenario"].nunique(), len(like)) == (9, 4, 36)
    assert set(many["split"]) == set(like["split"]) == {"train"}


def test_tables_hold_the_embedding_and_every_layer(run: Run) -> None:
    table, unlike = geometry.valence_table(run), geometry.label_dissimilarities(run)
    assert table is not None and unlike is not None
    assert table["layer"].tolist() == [EMBEDDING, 0, 1, 2, 3]
    assert table.loc[0, ["difference", "difference_low", "difference_high"]].tolist() == [0, 0, 0]
    assert table["embedding_pearson"].nunique() == 1 and (table["n_labels"] >= 18).all()
    assert len(unlike) == 5 * 276 and unlike.groupby("layer")["reliability"].nunique().eq(1).all()
    assert unlike["dissimilarity"].between(0, 2).all()


def test_without_positions_layer_0_is_the_embedding(run: Run) -> None:
    """A Llama adds no positions to its embeddings, a GPT-2 does: only there do the two differ."""
    table = geometry.valence_table(run)
    assert table is not None and table.loc[0, "pearson"] == pytest.approx(table.loc[1, "pearson"], abs=1e-5)
    texts = ["Thank you for the soup.", "No"]
    for name, alike in (("llama", True), ("gpt2", False)):
        lm = tiny_model(name)
        first = extract_activations(lm, texts, sites=("resid_pre",), positions="mean", layers=[0])
        assert np.allclose(first.values["resid_pre"][0], mean_embeddings(lm, texts), atol=1e-5) == alike


def test_a_second_run_finds_everything_and_other_texts_make_it_anew(run: Run) -> None:
    geometry.valence_table(run)
    geometry.likeness(run)
    geometry.companion_vectors(run)
    again = opened_run(run.lm, "phase3", **SMALL)
    geometry.valence_table(again)
    geometry.likeness(again)
    geometry.companion_vectors(again)
    assert not again.artifacts.computed
    more = opened_run(run.lm, "phase3", **{**SMALL, "n_geometry": 5})
    table = geometry.valence_table(more)
    assert table is not None and set(table["n_scenarios"]) == {5} and more.artifacts.computed


def test_vectors_of_like_valence_are_stored_as_others_are(run: Run) -> None:
    vecs, table = geometry.companion_vectors(run), geometry.likeness(run)
    assert vecs is not None and table is not None
    assert set(vecs.emotions) == {*run.emotions, *geometry.companion_labels(run)}
    assert vecs["joy"].shape == (4, 48) and len(table) == 15 * 3
    row = table[(table["emotion"] == "gratitude") & (table["companion"] == "joy") & (table["layer"] == 2)].iloc[0]
    assert row["plain"] == pytest.approx(vecs["gratitude"][2].cosine(vecs["joy"][2]), abs=1e-4)


def test_another_data_set_has_no_companions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    planted = plant("llama", distractors=False)
    own = vectors_run(planted.lm, written(planted_scenarios(planted, 40, seed=1), tmp_path))
    assert geometry.valence_table(own) is None and geometry.label_places(own) is None
    assert geometry.label_dissimilarities(own) is None and geometry.likeness(own) is None
    assert valence_finding(None, 1).code == dissimilarity_finding(None, 1).code == "not_applicable"
    assert not own.artifacts.made


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, "beyond_embedding"),
        ({"difference_low": -0.1}, "as_embedding"),
        ({"difference_low": -0.4, "difference_high": -0.1}, "below_embedding"),
        ({"embedding_reliability": 0.5}, "null_unmeasurable"),
        ({"p": 0.06}, "no_valence"),
        ({"low": -0.01}, "no_valence"),
        ({"reliability": 0.69}, "unmeasurable"),
        ({"reliability": np.nan}, "unmeasurable"),
    ],
)
def test_a_claim_needs_the_reliability_the_correlation_and_the_difference(changed: dict, code: str) -> None:
    table = pd.DataFrame([{**ROW, "layer": 1, "p": 0.5}, {**ROW, **changed}])
    assert valence_finding(table, 2).code == code


def test_so_few_labels_tell_only_large_correlations_from_none() -> None:
    assert valence_finding(pd.DataFrame([ROW]), 2).smallest == pytest.approx(0.444, abs=1e-3)


def test_a_table_of_dissimilarities_is_judged_by_its_reliability() -> None:
    table = pd.DataFrame({"layer": [-1, -1, 0, 0, 1, 1], "reliability": [0.9, 0.9, 0.5, 0.5, 0.8, 0.8]})
    assert (dissimilarity_finding(table, 0).code, dissimilarity_finding(table, 1).code) == ("unmeasurable", "reliable")
    found = dissimilarity_finding(table, 1)
    assert (found.embedding, found.n_reliable, found.n_layers) == (0.9, 1, 2)


def test_vectors_are_told_apart_by_the_upper_end_without_noise() -> None:
    rows = [(0.8, 0.7, 0.9, 0.9), (0.9, 0.7, 1.1, 0.9), (0.8, 0.7, 0.9, 0.3), (np.nan, np.nan, np.nan, 0.9)]
    table = pd.DataFrame(rows, columns=["corrected", "low", "high", "reliability"]).assign(layer=1)
    assert likeness_codes(table, 1)["code"].tolist() == ["differs", "not_told_apart", "unmeasurable", "unmeasurable"]
