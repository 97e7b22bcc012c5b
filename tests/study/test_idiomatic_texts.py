"""A text that is flagged idiomatic is left out of every result that is told of implicit texts, and of no other."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from planted_runs import in_two_styles, steering_run, vectors_run, written

from emolib.readout import label_contrasts, leaks, readings, surface, surface_gate
from emolib.report.ja import phase1 as say
from emolib.selftest.planted import Planted, plant, planted_scenarios
from emolib.study import phase1_dataset, phase2_activations, text_answers
from emolib.study.phase3_vectors import fitting, restricted
from emolib.study.phase5_steering import design
from emolib.study.run import Run

FEW = 3  # flagged implicit scenarios of every split, by one emotion's text each


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("llama", distractors=False)


@pytest.fixture(scope="module")
def plain(planted: Planted) -> pd.DataFrame:
    return in_two_styles(planted_scenarios(planted, 60, seed=1)).assign(lang="en", topic="general")


def with_flags(data: pd.DataFrame) -> pd.DataFrame:
    """One emotion's text flagged in a few scenarios of every split, of both styles."""
    first = data.drop_duplicates("scenario").groupby(["split", "style"]).head(FEW)["scenario"]
    return data.assign(idiomatic=data["scenario"].isin(first) & (data["emotion"] == "gratitude"))


@pytest.fixture(scope="module")
def flagged(plain: pd.DataFrame) -> pd.DataFrame:
    return with_flags(plain)


@pytest.fixture(scope="module")
def without(flagged: pd.DataFrame) -> pd.DataFrame:
    """The data set from which the idiomatic implicit texts are gone."""
    return flagged[~(flagged["idiomatic"] & (flagged["style"] == "implicit"))]


def scored(data: pd.DataFrame) -> pd.DataFrame:
    values = data["id"].map(lambda name: zlib.crc32(name.encode()) / 2**32)
    return data.assign(**{"target/gratitude": values, "valence": 1 - values, "politeness/score": values**2})


DRAWN = {"scorers": ("null", "seen")}  # swaps of labels are drawn for one style after the other
TABLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "leaks": lambda data: leaks.leak_table(data, n_folds=3, n_shuffles=1),
    "gates": lambda data: surface_gate.gate_table(data, "neutral", n_folds=3),
    "keywords": surface.keyword_rates,
    "score means": lambda data: phase1_dataset.score_means(scored(data), ["gratitude"]),
    "scorers": lambda data: phase1_dataset.scorer_auc(scored(data), ["gratitude"], neutral="neutral", seed=0),
}


@pytest.mark.parametrize("name", TABLES)
def test_implicit_rows_are_those_of_the_texts_without_a_flag_and_all_others_stay(name, plain, flagged, without):
    table, everything, left = (TABLES[name](data) for data in (flagged, plain, without))
    if "n" in table:
        assert not table.equals(everything)
    for style, part in table.groupby("style"):
        expected = left if style == "implicit" else everything
        expected = expected[expected["style"] == style]
        columns = [c for c in part if c not in DRAWN.get(name, ())]
        keys = list(part.select_dtypes(exclude="number"))  # labels may come in another order
        sides = [side.sort_values(keys, ignore_index=True)[columns] for side in (part, expected)]
        assert_frame_equal(*sides)


@pytest.mark.parametrize("name", TABLES)
def test_flags_that_are_all_false_change_nothing(name, plain):
    assert_frame_equal(TABLES[name](plain.assign(idiomatic=False)), TABLES[name](plain))


def test_means_of_scores_leave_flagged_implicit_texts_out(flagged):
    table = scored(flagged)
    found = phase1_dataset.score_means(table, ["gratitude"]).set_index(["style", "emotion"])["target/gratitude"]
    own = table[table["emotion"] == "gratitude"]
    implicit = own[(own["style"] == "implicit") & ~own["idiomatic"]]
    assert found["implicit", "gratitude"] == pytest.approx(implicit["target/gratitude"].mean())
    explicit = own[own["style"] == "explicit"]
    assert found["explicit", "gratitude"] == pytest.approx(explicit["target/gratitude"].mean())


def test_the_styles_that_are_told_apart_are_those_that_texts_count_in(plain):
    every = plain["style"] == "implicit"
    assert surface.styles(plain) == ["all", "explicit", "implicit"]
    assert surface.styles(plain.assign(idiomatic=every)) == ["all", "explicit"]


def test_shared_sequences_and_cues_are_of_texts_without_a_flag(flagged, without, tmp_path):
    assert_frame_equal(
        readings.shared_sequences(flagged)["n"].to_frame(), readings.shared_sequences(without)["n"].to_frame()
    )
    lines = ["id\treader\tlabel\tcue\tremark", *(f"{name}\tA\tgratitude\tx\t" for name in flagged["id"])]
    (tmp_path / "r.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    read = readings.load_readings(tmp_path / "r.tsv", data=flagged, labels=["gratitude"])
    implicit = flagged[(flagged["style"] == "implicit") & (flagged["emotion"] == "gratitude")]
    assert readings.cue_shares(read).loc["gratitude", "n_read"] == len(implicit) - 3 * FEW


def test_phase_1_shows_how_many_are_left_out(flagged):
    table = text_answers.minimal_pairs(SimpleNamespace(data=flagged))
    assert table.loc["implicit", "idiomatic"] == 3 * FEW
    shown = say.table_minimal_pairs(table)
    assert shown.loc["暗示表現", "決まり文句の残る文"] == 3 * FEW
    assert set(shown["ミニマルペア"]) == {"記載なし"}
    paired = say.table_minimal_pairs(
        text_answers.minimal_pairs(SimpleNamespace(data=flagged.assign(minimal_pair=True)))
    )
    assert paired["ミニマルペア"].tolist() == paired["シナリオ"].tolist()


# with a model


@pytest.fixture(scope="module")
def run(planted: Planted, flagged: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("results")))
        file = written(flagged, tmp_path_factory.mktemp("data"))
        yield vectors_run(planted.lm, file, n_train=30, n_validation=12, n_test=12)


def implicit_and_flagged(texts: pd.DataFrame) -> pd.Series:
    return texts["idiomatic"] & (texts["style"] == "implicit")


def test_texts_of_the_implicit_style_are_of_scenarios_without_a_flagged_one(run):
    texts = phase2_activations.of_style(run, "implicit")
    assert len(texts) and set(texts["style"]) == {"implicit"} and not texts["idiomatic"].any()
    assert (texts.groupby("scenario")["emotion"].nunique() == run.data["emotion"].nunique()).all()
    assert phase2_activations.of_style(run, "explicit")["idiomatic"].any()
    assert implicit_and_flagged(run.texts("train")).any()


def test_vectors_and_tests_of_the_implicit_style_do_not_count_them(run):
    train, test = fitting.training(run, "mean"), fitting.split_of(run, "mean", "test")
    assert implicit_and_flagged(train.texts).any() and implicit_and_flagged(test.texts).any()
    emotion = "gratitude"
    direction = fitting.vectors(run, "mean")[emotion][2].values
    rows = {row["tested_on"]: row for row in restricted._by_style(run, test, emotion, direction, 2)}
    held = test.texts[test.texts["emotion"].isin([emotion, "neutral"])]
    assert rows["all"]["n"] == len(held)
    counted = held[(held["style"] == "implicit") & ~held["idiomatic"]]
    assert rows["implicit"]["n"] == len(counted) < (held["style"] == "implicit").sum()
    own = train.texts[(train.texts["style"] == "implicit") & ~train.texts["idiomatic"]]
    part = train.where(train.texts["id"].isin(own["id"]) & (train.texts["emotion"] == emotion))
    neutral = train.where(train.texts["id"].isin(own["id"]) & (train.texts["emotion"] == "neutral"))
    expected = part.values["resid_pre"][2].mean(0) - neutral.values["resid_pre"][2].mean(0)
    found = restricted._style_vectors(run, "mean", "implicit")
    np.testing.assert_allclose(found[emotion][2].values, expected, rtol=1e-4, atol=1e-5)


def test_probes_of_the_implicit_style_neither_learn_from_them_nor_are_tested_on_them(run):
    sets = [fitting.training(run, "mean"), *(fitting.split_of(run, "mean", s) for s in ("validation", "test"))]
    contrast = label_contrasts.contrast_of(sets, "gratitude", "neutral", 1, [0])
    for part, kept in zip(contrast.sets, contrast.of_style("implicit"), strict=True):
        assert not part.texts[kept]["idiomatic"].any() and implicit_and_flagged(part.texts).any()


def test_the_table_of_triggers_counts_them_in_neither_style(run):
    held = phase2_activations.texts_table(run)
    table = phase2_activations.trigger_table(held).set_index(["emotion", "style"])["texts"]
    own = held[(held["emotion"] == "gratitude") & (held["style"] == "implicit")]
    assert table["gratitude", "implicit"] == (~own["idiomatic"]).sum() < len(own)


@pytest.mark.parametrize("folds", [0, 3])
def test_steering_vectors_of_implicit_texts_are_not_fitted_on_them(planted, flagged, tmp_path, monkeypatch, folds):
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    given = {"layers": [2], "folds": folds, "vector_style": "implicit", "n_train": 12}
    run = steering_run(planted.lm, written(flagged, tmp_path), **given)
    for part in design.parts(run):
        texts = design.training(run, part).texts
        assert len(texts) and set(texts["style"]) == {"implicit"} and not texts["idiomatic"].any()
