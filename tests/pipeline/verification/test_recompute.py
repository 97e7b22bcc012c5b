"""Recomputation of a real run: it agrees, it draws from every kind and table, and it notices what is not so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from laid_runs import LaidRun
from smoke_run import MODEL, emolib_here

from emolib import open_run
from emolib.base import store
from emolib.base.errors import UserError
from emolib.pipeline.verification.check_rows import Measured, Rows, failures
from emolib.pipeline.verification.recompute import (
    recomputations,
    references,
    scores,
    stored_residuals,
    stored_vectors,
    texts,
)
from emolib.pipeline.verification.recompute.drawn_rows import Sampling
from emolib.pipeline.verification.recompute.material import Material
from emolib.pipeline.verification.recompute.texts import strata
from emolib.pipeline.verification.run_files import opened

ASK = ("verify", "--profile", "baseline_smoke")


@pytest.fixture(scope="module")
def material(smoke: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Material]:
    laid = LaidRun(smoke[0], tmp_path_factory.mktemp("recompute") / "copy")
    with pytest.MonkeyPatch.context() as patch:
        laid.here(patch)
        (run,) = opened(laid.profile, laid.model, None)
        made = Material(run, least=1)
        _ = made.run.artifacts, made.run.records, made.model, made.data
        yield made


def found(material: Material, check: Callable[[Material, Rows], None]) -> pd.DataFrame:
    rows = Rows()
    check(material, rows)
    return rows.table()


def test_everything_that_is_drawn_agrees(material: Material) -> None:
    """As Phase 9 of the run has worked it out."""
    run = open_run("baseline_smoke", MODEL, "phase9")
    assert (run.params.recompute, run.params.least) == (True, 1)
    table = store.read_table(run.paths.verification("checks"))
    assert failures(table).empty, failures(table)[["check", "file", "told"]].to_string()
    known = table[table["tolerance"].notna()]
    assert len(known) > 100 and (known["deviation"] <= known["tolerance"]).all()
    assert set(known["check"]) == {
        *("recomputed tokens", "recomputed activations", "recomputed vectors", "recomputed vector tables"),
        *("recomputed texts", "recomputed likelihoods", "recomputed strengths", "recomputed KL lengths"),
        *("recomputed scores", "recomputed shifts"),
    }
    told = known["check"] != "recomputed likelihoods"  # an empty text that is drawn has none
    shares = known["compared"] / known["of"]
    assert (shares[told] >= 0.05).all(), known[told & (shares < 0.05)].to_string()
    assert known.loc[~told, "compared"].sum() >= 0.05 * known.loc[~told, "of"].sum()
    drawn = table[table["check"] == "recomputed texts"]["file"]
    assert set(strata(material)) <= set(drawn), "every kind of every sweep"


def test_draws_follow_from_the_seed_and_are_the_share(material: Material) -> None:
    other = Material(material.run, share=0.5, seed=1)
    assert material.drawn("a", 100).tolist() == material.drawn("a", 100).tolist()
    assert len(material.drawn("a", 100)) == 5 and len(material.drawn("a", 3)) == 1 and len(other.drawn("a", 101)) == 51
    assert material.drawn("a", 100).tolist() != material.drawn("b", 100).tolist()


def test_an_altered_text_is_noticed(material: Material) -> None:
    altered = material.altered()
    for shard in altered.run.of_kind("shard"):
        table = altered.run.table(shard)
        altered.run.put(shard, table.assign(text=table["text"] + " and"))
    told = failures(found(altered, texts.check_texts))
    assert {"recomputed texts", "recomputed likelihoods"} <= set(told["check"])
    assert set(told.loc[told["check"] == "recomputed texts", "file"]) == set(strata(altered))


def test_texts_of_other_vectors_are_noticed(material: Material) -> None:
    """Activations with the labels of two emotions exchanged give other steers than the stored texts are of."""
    altered = material.altered()
    (artifact,) = altered.run.of_kind("activations texts")
    table = altered.run.table(artifact)
    swapped = table["emotion"].replace({"anger": "apology", "apology": "anger"})
    altered.run.put(artifact, table.assign(emotion=swapped))
    told = failures(found(altered, texts.check_texts))
    assert any("emotion" in name for name in told.loc[told["check"] == "recomputed texts", "file"])
    assert not any("baseline" in name for name in told["file"]), "the unpatched texts are still what they were"


def test_an_altered_activation_is_noticed_where_it_is(material: Material) -> None:
    altered = material.altered()
    (artifact, *_) = [a for a in altered.stored("resid_pre", "mean").values() if a.said["layer"] == "007"]
    held = altered.tensors(artifact)
    altered.put(artifact, {**held, "values": held["values"] * np.float32(1.01)})
    told = failures(found(altered, stored_residuals.check_activations))
    assert told["file"].str.contains("mean/resid_pre_layer007").all() and len(told)


def test_an_altered_vector_is_noticed(material: Material) -> None:
    altered = material.altered()
    artifact = altered.run.of_kind("vectors")[0]
    held = {name: value.copy() for name, value in altered.tensors(artifact).items()}
    held["vector/anger"][9] += 0.01 * np.abs(held["vector/anger"][9]).max()
    altered.put(artifact, held)
    told = failures(found(altered, stored_vectors.check_vectors))
    assert told["file"].str.endswith(artifact.path.name).all()
    assert told["told"].iloc[0].startswith("the vector of anger at layer 9")


@pytest.mark.parametrize("name", ["sentiment/compound", "fluency/repetition", "goemotions/anger", "keywords/anger"])
def test_an_altered_score_is_noticed(material: Material, name: str) -> None:
    altered = material.altered()
    for shard in altered.run.of_kind("shard"):
        table = altered.run.table(shard)
        altered.run.put(shard, table.assign(**{name: table[name] + 1}))
    told = failures(found(altered, scores.check_scores))
    assert told["told"].str.startswith(f"{name} of").any()


def test_an_altered_reference_is_noticed(material: Material) -> None:
    altered = material.altered()
    (artifact,) = altered.run.of_kind("fluency reference")
    table = altered.run.table(artifact)
    altered.run.put(artifact, table.assign(nll=table["nll"] + 0.1, text=table["text"].str.replace("the", "a")))
    assert set(failures(found(altered, references.check_references))["check"]) >= {"recomputed likelihoods"}


def test_a_deviation_that_is_no_number_fails() -> None:
    one = Measured(of=3, tolerance=0.5)
    one.add(0.4, "near")
    assert not one.problems
    one.add(float("nan"), "nothing")
    assert one.problems and one.compared == 2


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UserError, match="expected a share of rows above 0 and up to 1"):
        Sampling(share)


def test_the_command_recomputes_where_it_is_asked_to(
    smoke: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two recomputations; that all agree is Phase 9's to say, above."""
    monkeypatch.setattr(recomputations, "RECOMPUTATIONS", (stored_residuals.check_tokens, stored_vectors.check_vectors))
    laid = LaidRun(smoke[0], tmp_path / "copy")
    plain = emolib_here(laid.folder, *ASK)
    assert plain.returncode == 0 and plain.stdout.splitlines()[-1].endswith("nothing was recomputed (--recompute does)")
    assert str(laid.folder) in plain.stdout.splitlines()[0], "where the results lie"
    place = tmp_path / "found.json"
    done = emolib_here(laid.folder, *ASK, "--recompute", "--json", str(place))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "largest deviation" in done.stdout and "nothing was recomputed" not in done.stdout
    rows = json.loads(place.read_text(encoding="utf-8"))["rows"]
    assert {row["check"] for row in rows if row["tolerance"] is not None} == {"recomputed tokens", "recomputed vectors"}
    assert emolib_here(laid.folder, *ASK, "--recompute", "--share", "2").returncode == 2
