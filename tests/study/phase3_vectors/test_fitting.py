"""Phase 3 as a run, on models whose truth is known: what it finds, what it must not find, what makes it start anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_runs import in_two_styles, vectors_run, without_triggers, written
from sklearn.metrics import roc_auc_score

from emolib.base import store, tensor_files
from emolib.directions.vectors import VARIANTS, fit_emotion_vectors, projection_direction
from emolib.report.ja import phase3
from emolib.selftest.planted import Planted, plant, planted_scenarios, words
from emolib.statistics.auc import auc_interval
from emolib.study import phase1_dataset, phase2_activations
from emolib.study.phase3_vectors import cross_model, fitting, restricted, subspace_fits
from emolib.study.phase3_vectors.separation import chosen_separation, separations
from emolib.study.run import Run

Open = Callable[..., Run]


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("llama", distractors=False)


@pytest.fixture(scope="module")
def cut() -> Planted:
    """The same without a circuit: the end of a text knows nothing of its trigger."""
    return plant("llama", distractors=False, cut=True)


@pytest.fixture(scope="module")
def data(planted: Planted) -> pd.DataFrame:
    """Scenarios of two styles, which differ in name alone."""
    return in_two_styles(planted_scenarios(planted, 40, seed=1))


@pytest.fixture(scope="module")
def saved(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(data, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(planted: Planted, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The run that most tests read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield vectors_run(planted.lm, saved)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the results of a test of its own."""
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    return tmp_path


def supported(table: pd.DataFrame) -> pd.Series:
    """The verdict of the reports: the interval's lower end above both nulls."""
    return table["low"] > table[["random_high", "shuffled_high"]].max(axis=1)


# vectors


def test_the_vectors_at_the_end_of_a_text_are_the_planted_directions(run, planted):
    vecs = fitting.vectors(run, "last")
    assert vecs.emotions == words.EMOTIONS
    for emotion, direction in planted.truth.directions.items():
        for layer in (planted.truth.write_layer + 1, planted.truth.write_layer + 2):
            assert vecs[emotion][layer].direction @ direction > 0.95
        others = [other for other in words.EMOTIONS if other != emotion]
        assert all(abs(vecs[emotion][2].direction @ planted.truth.directions[other]) < 0.3 for other in others)


def test_the_vectors_of_a_model_without_the_circuit_are_not(cut, saved, elsewhere):
    vecs = fitting.vectors(vectors_run(cut.lm, saved), "last")
    for emotion, direction in cut.truth.directions.items():
        assert abs(vecs[emotion][2].direction @ direction) < 0.3


@pytest.mark.parametrize("position", ["mean", "trigger"])
def test_stored_vectors_are_read_back_as_they_were_fitted(run, saved, position):
    train = fitting.training(run, position)
    reference = fitting.training(run, "mean") if position == "trigger" else None
    fitted = fit_emotion_vectors(train, reference=reference, whiten=True)
    read = fitting.vectors(vectors_run(run.lm, saved), position)
    assert (read.position, read.model, read.revision) == (position, run.lm.spec.name, run.lm.revision)
    np.testing.assert_allclose(read.neutral_norms, fitted.neutral_norms, rtol=1e-6)
    np.testing.assert_allclose(read.neutral_bulk_norms, fitted.neutral_bulk_norms, rtol=1e-6)
    np.testing.assert_array_equal(read.pooled_sd, fitted.pooled_sd)
    for part in ("values", "whitened", "discriminants"):
        mine, theirs = getattr(read, part), getattr(fitted, part)
        assert list(mine) == list(theirs) == list(words.EMOTIONS)
        for emotion in mine:
            np.testing.assert_array_equal(mine[emotion], theirs[emotion])
            assert np.nanmax(np.abs(mine[emotion])) > 0
    assert not np.allclose(read.whitened["anger"], read.discriminants["anger"])  # control


def test_vectors_come_from_the_file_and_not_from_the_fit(run, planted, saved, monkeypatch):
    first = fitting.vectors(run, "mean").values["anger"]
    path = run.paths.vectors("mean")
    again = vectors_run(planted.lm, saved)
    fitted = fit_emotion_vectors(fitting.training(again, "mean"), whiten=True)
    twice = replace(fitted, values=dict.fromkeys(words.EMOTIONS, first * 2))
    monkeypatch.setattr(fitting, "_fitted", lambda *given: twice)
    np.testing.assert_array_equal(fitting.vectors(again, "mean").values["anger"], first)
    with tensor_files.open_tensors(path) as view:
        names = view.keys()
    assert {name.split("/")[0] for name in names} == {
        "vector",
        "whitened",
        "discriminant",
        "neutral_norms",
        "neutral_bulk_norms",
        "pooled_sd",
    }


def test_a_view_of_an_array_is_stored_as_it_reads(tmp_path):
    values = np.arange(20, dtype=np.float32).reshape(5, 4)
    views = {"rows": values[::2], "columns": values[:, 1], "turned": values.T, "plain": values, "one": np.float32(3)}
    store.write(tmp_path / "views.safetensors", tensor_files.tensor_bytes(views), {})
    with tensor_files.open_tensors(tmp_path / "views.safetensors") as view:
        for name, expected in views.items():
            np.testing.assert_array_equal(view.get_tensor(name), expected)


def test_vectors_of_one_style_are_stored_beside_those_of_all(planted, saved, elsewhere):
    run = vectors_run(planted.lm, saved, n_train=8)
    both, explicit = (fitting.vectors(run, "last", style=style) for style in ("all", "explicit"))
    assert run.paths.vectors("last_explicit").is_file()
    assert not np.array_equal(both.values["anger"], explicit.values["anger"])
    own = fit_emotion_vectors(fitting.training(run, "last", style="explicit"))
    np.testing.assert_allclose(explicit.values["anger"], own.values["anger"], atol=1e-6)


# positions


def test_vectors_at_the_trigger_need_texts_of_every_emotion_that_have_one(run, planted, data, elsewhere):
    assert fitting.positions(run) == ("mean", "last", "trigger")
    bare = without_triggers(data)
    assert fitting.positions(vectors_run(planted.lm, written(bare, elsewhere))) == ("mean", "last")
    train = data.loc[(data["emotion"] == "anger") & (data["split"] == "train"), "id"].tolist()
    for left, expected in ((1, ("mean", "last")), (2, ("mean", "last", "trigger"))):
        keeps = data["emotion"].isin(["gratitude", "apology"]) | data["id"].isin(train[:left])
        some = data.assign(text=data["text"].where(keeps, bare["text"]))
        file = written(some, elsewhere)
        assert fitting.positions(vectors_run(planted.lm, file)) == expected, left


# separation


@pytest.fixture(scope="module")
def separation(run: Run) -> pd.DataFrame:
    return chosen_separation(run)


def test_planted_emotions_separate_and_the_verdict_says_so(separation, run):
    assert separation.groupby("position", sort=False).size().to_dict() == dict.fromkeys(("mean", "last", "trigger"), 12)
    assert set(separation["variant"]) == set(VARIANTS)
    assert (separation["auc"] > 0.95).all()
    assert supported(separation).all()
    assert separation[["random_high", "shuffled_high"]].gt(0.5).all(axis=None)
    said = phase3.sentence_separation(separation).data
    assert "感謝・怒り・謝罪: 生・標準化・除去・白色化" in said and "上回らない" not in said


def test_texts_without_triggers_do_not_separate(planted, data, elsewhere):
    bare = vectors_run(planted.lm, written(without_triggers(data), elsewhere))
    table = chosen_separation(bare)
    assert set(table["position"]) == {"mean", "last"}
    assert not supported(table).any()
    said = phase3.sentence_separation(table).data
    assert said.count("どの表し方も") == 1 and "感謝・怒り・謝罪: どの" in said and "良く分ける" not in said


def test_the_end_of_a_text_does_not_separate_without_the_circuit(cut, saved, elsewhere):
    table = chosen_separation(vectors_run(cut.lm, saved))
    at = table.groupby("position")
    assert not supported(at.get_group("last")).any()
    assert supported(at.get_group("mean")).all()  # control: the trigger words themselves differ in the embedding


def test_the_layer_is_chosen_without_the_test_texts(separation, planted, data, elsewhere):
    swapped = data.copy()
    rows = swapped["split"] == "test"
    swapped.loc[rows, "emotion"] = swapped[rows].groupby("scenario")["emotion"].transform(lambda e: np.roll(e, 1))
    table = chosen_separation(vectors_run(planted.lm, written(swapped, elsewhere)))
    shared = [name for name in ("mean", "last") if name in set(table["position"])]
    mine, theirs = (t[t["position"].isin(shared)].reset_index(drop=True) for t in (separation, table))
    assert shared == ["mean", "last"]
    kept = ["position", "emotion", "variant", "layer", "validation_auc"]
    pd.testing.assert_frame_equal(mine[kept], theirs[kept])
    assert (theirs["auc"] < mine["auc"] - 0.3).sum() >= 8  # control: the test texts do tell


def test_the_layer_is_the_best_on_validation_and_the_auc_that_of_the_test_texts(separation, run):
    table = separations(run, "last")
    vecs, test = fitting.vectors(run, "last"), fitting.split_of(run, "last", "test")
    for row in separation[separation["position"] == "last"].to_dict("records"):
        own = table[(table["emotion"] == row["emotion"]) & (table["variant"] == row["variant"])]
        best = own[own["split"] == "validation"].set_index("layer")["auc"]
        assert row["validation_auc"] == best.max()
        assert row["layer"] == best[best == best.max()].index.min()
        pair = test.where(test.texts["emotion"].isin([row["emotion"], "neutral"]))
        direction = projection_direction(vecs, row["emotion"], row["layer"], row["variant"])
        along = pair.values["resid_pre"][row["layer"]] @ direction
        truth = pair.texts["emotion"] == row["emotion"]
        assert row["auc"] == pytest.approx(roc_auc_score(truth, along))


def test_the_shuffled_null_is_about_chance_where_the_signal_is_most_of_the_variance(separation):
    """Vectors of permuted labels lie along the emotions there, and would tell the true test labels apart."""
    at_end = separation[separation["position"] == "last"]
    assert at_end["shuffled_high"].between(0.55, 0.95).all()
    assert at_end["auc"].min() > 0.95


# parts of the texts, and the surface


def test_vectors_of_implicit_texts_tell_test_texts_of_either_style_apart(run, monkeypatch):
    monkeypatch.setattr(phase1_dataset, "adjusted", lambda run: False)
    table = restricted.restricted_table(run)
    assert set(table["fitted_on"]) == {"all", "implicit"}
    implicit = table[table["fitted_on"] == "implicit"]
    assert set(implicit["tested_on"]) == {"all", "explicit", "implicit"}
    assert (implicit["auc"] > 0.9).all() and implicit["cosine"].between(0.7, 0.9999).all()
    assert set(table.loc[table["fitted_on"] == "all", "cosine"].round(6)) == {1.0}
    assert "偶然（0.5）と区別できない" not in phase3.sentence_restricted(table).data


def test_one_style_alone_gives_no_vectors_of_its_own(planted, data, elsewhere, monkeypatch):
    monkeypatch.setattr(phase1_dataset, "adjusted", lambda run: False)
    plain = vectors_run(planted.lm, written(data.assign(style="unspecified"), elsewhere))
    assert set(restricted.restricted_vectors(plain)) == {"all"}
    assert restricted.style_agreement(plain, "mean").empty
    table = restricted.restricted_table(plain)
    assert set(table["tested_on"]) == {"all"}
    assert "どの行でも 1.00" in phase3.table_restricted(table).data
    assert len(phase3.table_restricted(table.assign(low=0.9))) == 3  # control


def test_styles_agree_on_the_planted_vectors(run):
    table = restricted.style_agreement(run, "last")
    assert table.loc[table["layer"] == 2, "cosine"].min() > 0.9
    assert len(table) == 3 * (run.lm.n_layers + 1)


@pytest.fixture
def shouting(planted: Planted, data: pd.DataFrame, elsewhere: Path) -> Run:
    """Anger without triggers but with more marks than the others have; gratitude with triggers and no more marks."""
    rng = np.random.default_rng(4)
    bare = without_triggers(data)
    rows = data.assign(text=data["text"].where(data["emotion"] == "gratitude", bare["text"]))
    rows = rows[rows["emotion"] != "apology"]
    more = np.where(rows["emotion"] == "anger", 4, 0)
    marks = [" !" * count for count in rng.integers(0, 8, len(rows)) + more]
    texts = [text.removesuffix(" .") + extra + " ." for text, extra in zip(rows["text"], marks, strict=True)]
    return vectors_run(planted.lm, written(rows.assign(text=texts), elsewhere))


def test_what_follows_the_punctuation_is_taken_out_and_what_does_not_is_kept(shouting, monkeypatch):
    monkeypatch.setattr(phase1_dataset, "adjusted", lambda run: True)
    table = restricted.restricted_table(shouting)
    found = table[table["tested_on"] == "all"].set_index(["fitted_on", "emotion"])
    assert found.loc[("all", "anger"), "auc"] > 0.75 > 0.7 > found.loc[("adjusted", "anger"), "auc"]
    assert abs(found.loc[("adjusted", "anger"), "cosine"]) < 0.3
    assert found.loc[("adjusted", "gratitude"), "auc"] > 0.9
    assert found.loc[("adjusted", "gratitude"), "cosine"] > 0.8
    assert "回帰で除いた場合" in phase3.sentence_restricted(table).data
    assert found.loc[("adjusted", "anger"), "auc"] == pytest.approx(auc_after_adjusting(shouting, "anger", found))
    monkeypatch.setattr(phase1_dataset, "adjusted", lambda run: False)
    assert "adjusted" not in set(restricted.restricted_table(shouting)["fitted_on"])


def auc_after_adjusting(run: Run, emotion: str, found: pd.DataFrame) -> float:
    """The adjusted vector's AUC on test texts that are adjusted as the training texts were; without it, it differs."""
    layer, (vecs, fit) = found.loc[("adjusted", emotion), "layer"], restricted.restricted_vectors(run)["adjusted"]
    acts = fitting.split_of(run, "mean", "test")
    pair = acts.where(acts.texts["emotion"].isin([emotion, "neutral"]))
    resid, truth = pair.values["resid_pre"], pair.texts["emotion"] == emotion
    adjusted = fit.adjust(resid, restricted.surface_features(pair.texts))
    after, before = (roc_auc_score(truth, x[layer] @ vecs.values[emotion][layer]) for x in (adjusted, resid))
    assert after != before
    return after


def test_adjusted_vectors_lose_the_direction_of_the_marks(shouting, monkeypatch):
    monkeypatch.setattr(phase1_dataset, "adjusted", lambda run: True)
    embedding = shouting.lm.network.get_input_embeddings().weight.detach().numpy()
    bang, dot = (embedding[shouting.lm.tokenizer.convert_tokens_to_ids(mark)] for mark in "!.")
    found = restricted.restricted_vectors(shouting)
    size = {name: float(np.abs(vecs.values["anger"][0] @ (bang - dot))) for name, (vecs, _) in found.items()}
    assert size["adjusted"] < 0.35 * size["all"]
    thanks = {name: vecs["gratitude"][0].norm for name, (vecs, _) in found.items()}
    assert thanks["adjusted"] > 0.7 * thanks["all"]  # control


# subspaces


def test_subspaces_are_stored_and_read_back(run, planted, saved):
    first = subspace_fits.subspaces(run)
    again = subspace_fits.subspaces(vectors_run(planted.lm, saved))
    assert list(first) == list(words.EMOTIONS) and first.k == run.params.k_max
    for part in ("bases", "targets", "neutrals", "shares"):
        for emotion in first:
            np.testing.assert_array_equal(getattr(first, part)[emotion], getattr(again, part)[emotion])
    shares = subspace_fits.subspace_shares(run)
    assert len(shares) == 3 * (run.lm.n_layers + 1) * first.k
    grown = shares[(shares["emotion"] == "anger") & (shares["layer"] == 2)].sort_values("k")["share"]
    assert grown.is_monotonic_increasing and grown.iloc[-1] <= 1 + 1e-6


def test_a_planted_direction_is_a_subspace_of_one_dimension_at_the_end_and_noise_is_none(run, planted):
    layers = dict.fromkeys(words.EMOTIONS, 2)
    halves = subspace_fits.subspace_halves(run)
    assert set(halves["k"]) <= set(range(1, run.params.k_max + 1))
    table = subspace_fits.chosen_k(run, layers)
    assert table["emotion"].tolist() == list(words.EMOTIONS)
    assert set(table["k_max"]) == {4}  # half the scenarios of the smaller split
    assert table[["test_overlap", "test_null", "test_null_high"]].notna().all(axis=None)
    assert len(subspace_fits.topic_overlap(run, layers)) == 9


def test_k_exists_on_the_test_split_too(planted, saved, elsewhere):
    few = vectors_run(planted.lm, saved, n_test=4)
    table = subspace_fits.chosen_k(few, dict.fromkeys(words.EMOTIONS, 0))
    assert set(table["k_max"]) == {2} and table["k"].le(2).all()
    assert table["test_overlap"].notna().all()


@pytest.mark.parametrize("split", ["n_validation", "n_test"])
def test_too_few_scenarios_give_no_k_and_the_report_says_why(planted, saved, elsewhere, split):
    few = vectors_run(planted.lm, saved, **{split: 3})
    layers = dict.fromkeys(words.EMOTIONS, 0)
    table = subspace_fits.chosen_k(few, layers)
    assert table.empty
    assert "シナリオが少なく" in phase3.sentence_subspaces(table, subspace_fits.topic_overlap(few, layers)).data


# one emotion


def test_one_emotion_beside_the_neutral_has_everything_but_pairs_and_k(planted, data, elsewhere, monkeypatch):
    monkeypatch.setattr(phase1_dataset, "adjusted", lambda run: False)
    some = data[data["emotion"].isin(["anger", "neutral"])]
    run = vectors_run(planted.lm, written(some, elsewhere))
    layers = {"anger": 2}
    k_table, topics = subspace_fits.chosen_k(run, layers), subspace_fits.topic_overlap(run, layers)
    assert k_table.empty and len(topics) == 3
    assert "一つしかない" in phase3.sentence_subspaces(k_table, topics).data
    assert phase3.table_k(k_table) is None
    assert "一つしかない" in phase3.table_cosines(fitting.cosines(run, "mean")).data
    assert len(fitting.distances(run, "mean")) == run.lm.n_layers + 1
    separation = chosen_separation(run)
    assert supported(separation[separation["position"] == "last"]).all()
    said = phase3.discussion_vectors(
        fitting.cosines(run, "mean"),
        fitting.stability(run, "last"),
        separation,
        restricted.style_agreement(run, "mean"),
    ).data
    assert "比べる感情の組がない" in said and "怒り" in said
    assert set(restricted.restricted_table(run)["emotion"]) == {"anger"}
    assert set(subspace_fits.subspace_halves(run)["emotion"]) == {"anger"}


# what makes it start anew


def test_a_corrected_label_makes_the_vectors_anew_although_the_activations_are_the_same(planted, data, elsewhere):
    def anger(data: pd.DataFrame) -> np.ndarray:
        return fitting.vectors(vectors_run(planted.lm, written(data, elsewhere)), "mean").values["anger"]

    before = anger(data)
    swapped = data.copy()
    rows = swapped["scenario"].isin(swapped.loc[swapped["split"] == "train", "scenario"].unique()[:6])
    names = {"anger": "apology", "apology": "anger"}
    swapped.loc[rows, "emotion"] = swapped.loc[rows, "emotion"].replace(names)
    after = anger(swapped)
    assert not np.allclose(before, after)
    np.testing.assert_array_equal(anger(data), before)


def test_another_neutral_label_is_another_result(planted, saved, elsewhere):
    usual = fitting.norms(vectors_run(planted.lm, saved), "mean")
    other = fitting.norms(vectors_run(planted.lm, saved, neutral="anger"), "mean")
    assert set(usual["emotion"]) == {"gratitude", "anger", "apology"}
    assert set(other["emotion"]) == {"neutral", "gratitude", "apology"}


def test_a_second_run_computes_nothing_and_force_computes_everything(run, planted, saved, monkeypatch):
    def stamps() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in (run.paths.root / "emotion_vectors").glob("*mean*.parquet")}

    fitting.norms(run, "mean")
    before = stamps()
    fitting.norms(vectors_run(planted.lm, saved), "mean")
    assert stamps() == before
    forced = vectors_run(planted.lm, saved, force=True)
    fitting.norms(forced, "mean")
    path = run.paths.vector_table("norms_mean")
    assert stamps()[path] > before[path]


# between models


def rotated(planted: Planted) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(7).standard_normal((planted.lm.d_model,) * 2))[0]


def copy_of(source: Path, target: Path, model: str, turn: np.ndarray, revision: str = "other") -> None:
    """Another model's file: the same vectors in coordinates turned by an orthogonal matrix."""
    with tensor_files.open_tensors(source) as view:
        names = view.keys()
        tensors = {name: view.get_tensor(name) for name in names}
        about = {"revision": revision, "emotions": view.said("emotions"), "model": model}
    turned = {k: (v @ turn).astype(np.float32) if k.startswith("vector/") else v for k, v in tensors.items()}
    store.write(target, tensor_files.tensor_bytes(turned, about), {"step": 1})


@pytest.fixture
def alone(planted: Planted, saved: Path, elsewhere: Path) -> Run:
    """A run with no other model beside it."""
    run = vectors_run(planted.lm, saved)
    fitting.vectors(run, "mean")
    return run


def beside(run: Run, name: str) -> Path:
    return run.paths.vectors("mean").with_name(f"{name}_vectors_mean.safetensors")


def test_a_rotated_copy_has_raw_cosines_near_zero_although_it_is_the_same_model(alone, planted):
    source = alone.paths.vectors("mean")
    copy_of(source, beside(alone, "turned"), "turned", rotated(planted))
    copy_of(source, beside(alone, "unturned"), "unturned", np.eye(planted.lm.d_model), alone.lm.revision)
    table = cross_model.cosines_of(cross_model.cross_model(alone))
    pairs = table.set_index(["model_a", "model_b"]).sort_index()["cosine"]
    name = planted.lm.spec.name
    same, turned = pairs[name, "unturned"], pairs[name, "turned"]
    assert len(same) == 3 * (planted.lm.n_layers + 1)
    np.testing.assert_allclose(same, 1.0, atol=1e-5)
    assert turned.abs().max() < 0.5 and abs(turned.mean()) < 0.15
    assert (table["layer_a"] == table["layer_b"]).all()


def test_the_warning_stands_in_every_row_of_the_csv_file(alone, planted):
    copy_of(alone.paths.vectors("mean"), beside(alone, "turned"), "turned", rotated(planted))
    table = cross_model.cross_model(alone)
    read = pd.read_csv(alone.paths.cross_model_table())
    assert read.columns.tolist() == cross_model.COLUMNS
    assert len(read) == len(table) > 1 and set(read["warning"]) == {cross_model.WARNING}
    np.testing.assert_allclose(read["cosine"], table["cosine"], atol=1e-5)
    assert read["chance"].dropna().round(4).unique().tolist() == [round(1.96 / np.sqrt(planted.lm.d_model), 4)]


def test_two_runs_of_models_of_one_width_are_compared_and_others_are_told(alone, cut, saved):
    assert cross_model.cross_model(alone).empty  # alone in its profile
    assert "行っていない" in phase3.sentence_cross_model(cross_model.cross_model(alone)).data
    wider = plant("gpt2", distractors=False)
    fitting.vectors(vectors_run(wider.lm, saved), "mean")
    table = cross_model.cross_model(alone)
    (row,) = pd.read_csv(alone.paths.cross_model_table()).to_dict("records")
    assert {row["model_a"], row["model_b"]} == {alone.lm.spec.name, wider.lm.spec.name}
    assert (row["comparable"], row["labels"]) == ("other_width", "no_table") and cross_model.cosines_of(table).empty
    assert {row["d_model_a"], row["d_model_b"]} == {alone.lm.d_model, wider.lm.d_model}
    other = replace(cut.lm, spec=cut.lm.spec.model_copy(update={"name": "planted-cut"}))
    table = cross_model.cross_model(vectors_run(other, saved))
    cosines = cross_model.cosines_of(table)
    assert set(zip(cosines["model_a"], cosines["model_b"], strict=True)) == {(other.spec.name, alone.lm.spec.name)}
    assert cross_model.pairs_of(table)["comparable"].value_counts().to_dict() == {"other_width": 2, "other_model": 1}
    assert "警告" in phase3.sentence_cross_model(table).data


def test_layers_of_models_of_unlike_depth_are_paired_by_relative_depth(alone, planted):
    with tensor_files.open_tensors(alone.paths.vectors("mean")) as view:
        tensors = {f"vector/{e}": view.get_tensor(f"vector/{e}")[::2] for e in words.EMOTIONS}
        about = {"revision": "other", "emotions": view.said("emotions"), "model": "shallow"}
    store.write(beside(alone, "shallow"), tensor_files.tensor_bytes(tensors, about), {"step": 1})
    table = cross_model.cosines_of(cross_model.cross_model(alone))
    assert table.drop_duplicates("layer_a")[["layer_a", "layer_b"]].to_numpy().tolist() == [
        [0, 0],
        [1, 0],
        [2, 1],
        [3, 2],
        [4, 2],
    ]
    exact = table[table["layer_a"] == 2 * table["layer_b"]]
    np.testing.assert_allclose(exact["cosine"], 1.0, atol=1e-5)


def test_what_a_killed_run_of_another_model_left_is_passed_over(alone, planted):
    copy_of(alone.paths.vectors("mean"), beside(alone, "turned"), "turned", rotated(planted))
    assert len(cross_model.cross_model(alone)) > 0  # control
    store.manifest_path(beside(alone, "turned")).unlink()
    assert cross_model.cross_model(alone).empty


def test_intervals_resample_scenarios(separation, run):
    row = separation[(separation["position"] == "mean") & (separation["variant"] == "raw")].iloc[0]
    acts, vecs = fitting.split_of(run, "mean", "test"), fitting.vectors(run, "mean")
    pair = acts.where(acts.texts["emotion"].isin([row["emotion"], "neutral"]))
    along = pair.values["resid_pre"][row["layer"]] @ projection_direction(vecs, row["emotion"], row["layer"], "raw")
    truth = (pair.texts["emotion"] == row["emotion"]).to_numpy()
    expected = auc_interval(along, truth, pair.texts["scenario"], n_resamples=run.params.n_bootstrap, seed=0)
    np.testing.assert_allclose(row[["auc", "low", "high"]].to_numpy(dtype=float), expected)
    assert phase2_activations.usual_positions(run) == ("last", "mean", "trigger")
