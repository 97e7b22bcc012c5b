"""The continuation shift as a stage of a run on a planted model: what follows what, what is kept, what comes out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_runs import in_two_styles, steering_run, written

from emolib.base.errors import UserError
from emolib.engine.continuation import continuation_shift
from emolib.selftest.planted import Planted, plant, planted_scenarios
from emolib.steering.cells import control_cells, steer_cell
from emolib.steering.claims import INSTRUMENTS_MISSING, MEASURES
from emolib.steering.shift_tables import KEYS
from emolib.study.phase5_steering import (
    design,
    judging,
    own_sweeps,
    shift_cost,
    shift_design,
    shift_results,
    shift_sweeps,
    validation_sweeps,
)
from emolib.study.phase5_steering.strengths import vectors
from emolib.study.phase5_steering.sweep_settings import settings
from emolib.study.run import Run

LAYERS, ALPHAS, CONTROLS = [1, 2], [0.3, 0.6], 3


@pytest.fixture(scope="module")
def planted() -> Planted:
    return plant("llama", distractors=False)


@pytest.fixture(scope="module")
def data(planted: Planted) -> pd.DataFrame:
    return in_two_styles(planted_scenarios(planted, 30, seed=1))


@pytest.fixture(scope="module")
def saved(data: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(data, tmp_path_factory.mktemp("data"))


def opened(planted: Planted, saved: Path, **params: object) -> Run:
    """Vectors fitted on eight explicit scenarios, so that some of the training scenarios are left over."""
    given = {"layers": LAYERS, "alphas": ALPHAS, "n_controls": CONTROLS, "n_train": 8, "vector_style": "explicit"}
    return steering_run(planted.lm, saved, **{**given, **params})


def whole(run: Run) -> None:
    shift_results.save(run)


@pytest.fixture(scope="module")
def run(planted: Planted, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A finished stage over the data set's own split."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("own")))
        finished = opened(planted, saved)
        whole(finished)
        yield finished


@pytest.fixture(scope="module")
def folded(planted: Planted, saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOLIB_RESULTS", str(tmp_path_factory.mktemp("folds")))
        yield opened(planted, saved, folds=3, n_validation=6, n_test=6, vector_style="all")


def shards(run: Run) -> dict[str, bytes]:
    """Every artifact of the stage."""
    folder = run.paths.shift("x").parent
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


# the design


def test_prompts_and_texts_are_of_the_scenarios_that_they_should_be(run: Run, data: pd.DataFrame) -> None:
    (part,) = design.parts(run)
    split = data.drop_duplicates("scenario").set_index("scenario")["split"]
    wanted = {
        "validation": ("train", "validation"),
        "test": ("validation", "test"),
        "training": ("validation", "train"),
    }
    for name, (of_prompts, of_texts) in wanted.items():
        found = shift_design.shift_design(run, part, name)
        assert set(split[found.cells["prompt"]]) == {of_prompts} and set(split[found.cells["text"]]) == {of_texts}
        assert set(found.texts["label"]) == {*run.emotions, "neutral"}
    texts = data.set_index(["scenario", "emotion"])["text"]
    assert all(found.prompts[name] == texts[name, "neutral"] for name in set(found.cells["prompt"]))
    assert set(shift_design.shift_design(run, part, "test").cells["text"]) == part.test


def test_prompts_are_of_scenarios_that_no_vector_was_fitted_on_while_there_are_any(run: Run) -> None:
    (part,) = design.parts(run)
    fitted = set(design.training(run, part).texts["scenario"])
    used = set(shift_design.shift_design(run, part, "validation").cells["prompt"])
    assert len(fitted) == 8 and not used & fitted


@pytest.mark.parametrize("which", ["run", "folded"])
def test_every_style_is_balanced_over_all_parts(which: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(which)
    for split, per_text in (("validation", 1), ("test", 4), ("training", 1)):
        cells = pd.concat([shift_design.shift_design(run, part, split).cells for part in design.parts(run)])
        for _, style in cells.groupby("style"):
            counts = style["text"].value_counts()
            assert counts.nunique() == style["prompt"].value_counts().nunique() == 1
            assert counts.iloc[0] == per_text or which == "folded"  # a fold of six scenarios has few of a style
    for part in design.parts(run):
        cells = shift_design.shift_design(run, part, "test").cells
        once, few = shift_design.dose_design(run, part).cells, shift_design.control_design(run, part).cells
        assert once["text"].is_unique and len(once.merge(cells)) == len(once) == cells["text"].nunique()
        assert few["text"].is_unique and len(few.merge(cells)) == len(few)
        assert few["style"].value_counts().max() <= shift_design.CONTROL_TEXTS
        for design_ in (once, few):
            assert all(style["prompt"].value_counts().nunique() == 1 for _, style in design_.groupby("style"))


def test_two_emotions_have_every_text_under_the_directions_that_their_own_contrast_stands_against(
    planted: Planted, data: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    run = opened(planted, written(data[data["emotion"] != "apology"], tmp_path))
    (part,) = design.parts(run)
    assert set(shift_design.control_design(run, part).cells["text"]) == part.test
    found = shift_results.conditions(run).set_index(["style", "emotion", "measure"])
    assert len(found) == 2 * 2 * 4
    table = shift_sweeps.test_shifts(run)
    wide = table[table["style"] == "implicit"].pivot_table(
        index=["text", "prompt"], columns=["act", "label"], values="shift"
    )
    drawn = sorted({act for act, _ in wide.columns} - {"gratitude", "anger", "zero"})
    held = wide[[(act, label) for act in [*drawn, "anger"] for label in ("anger", "gratitude")]].dropna()
    contrast = {act: held[act, "anger"] - held[act, "gratitude"] for act in [*drawn, "anger"]}
    mine = contrast["anger"] - pd.concat([contrast[act] for act in drawn], axis=1).mean(axis=1)
    assert len(drawn) == 3 * CONTROLS and found.loc[("implicit", "anger", "own"), "mean"] == pytest.approx(mine.mean())


def test_what_has_no_s_says_why_and_its_texts_choose(
    planted: Planted, data: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "results"))
    lone = data[data["emotion"].isin(["anger", "neutral"])]
    cases: dict[str, tuple[pd.DataFrame, dict[str, int]]] = {
        "one_emotion": (lone, {}),
        "few_scenarios": (data, {"n_test": 2}),
    }
    for why, (texts, params) in cases.items():
        (tmp_path / why).mkdir()
        run = opened(planted, written(texts, tmp_path / why), **params)
        assert shift_design.unmeasurable(run) == why and judging.shift_outcome(run) is None
        with pytest.raises(UserError, match="expected"):
            shift_sweeps.validation_shifts(run)
    run = opened(planted, tmp_path / "one_emotion" / "texts.jsonl")
    point, by_texts = own_sweeps.operating_point(run), validation_sweeps.text_points(run)[""]
    assert (point.layer, point.alpha, point.score) == (by_texts.layer, by_texts.alpha, by_texts.score)


@pytest.mark.parametrize("per_text", [1, 4])
def test_any_numbers_of_texts_and_prompts_are_balanced(per_text: int) -> None:
    for n_texts in range(1, 30):
        for n_pool in range(1, 30):
            texts, prompts = shift_design.balanced_shape([n_texts], [n_pool], per_text)
            used = n_texts - n_texts % max(1, prompts // texts)
            assert used > 0.5 * n_texts and used * texts % prompts == 0
            assert texts <= used * texts // prompts <= n_pool, (n_texts, n_pool)
    assert shift_design.balanced_shape([12], [45], 4) == (4, 2), "24 prompts"


def test_fewer_texts_per_style_are_the_first_ones_and_balanced(run: Run) -> None:
    (part,) = design.parts(run)
    found = shift_design.shift_design(run, part, "test")
    few = found.once(2).cells
    assert few.groupby("style")["text"].nunique().tolist() == [2, 2]
    assert few["prompt"].value_counts().groupby(level=0).max().max() <= 2
    assert len(few.merge(found.cells)) == len(few) == 4


def test_a_scenario_with_a_stock_phrase_is_idiomatic(planted: Planted, data: pd.DataFrame, tmp_path: Path) -> None:
    implicit = data[(data["split"] == "test") & (data["style"] == "implicit")]["scenario"].unique()
    flagged = (data["scenario"] == implicit[0]) & (data["emotion"] == "anger")
    run = opened(planted, written(data.assign(idiomatic=flagged, minimal_pair=False), tmp_path))
    (part,) = design.parts(run)
    styles = shift_design.shift_design(run, part, "test").cells.groupby("text")["style"].first()
    assert styles[implicit[0]] == "idiomatic" and (styles == "idiomatic").sum() == 1


# what is read


def direct(run: Run, design_: shift_design.ShiftDesign, labels: tuple[str, ...], cell: object) -> pd.Series:
    """The shift of every text of a design under one act, by a plain call."""
    rows = design_.cells.merge(design_.texts, left_on="text", right_on="scenario", suffixes=("", "_of_text"))
    rows = rows[rows["label"].isin(labels)]
    prompts = [design_.prompts[name] for name in rows["prompt"]]
    found = continuation_shift(run.lm, prompts, rows["words"].tolist(), [cell.act] * len(rows))
    return found.set_index(pd.MultiIndex.from_frame(rows[["prompt", "text", "label"]]))["shift"]


def test_shifts_are_those_of_the_sweeps_own_steers(run: Run) -> None:
    (part,) = design.parts(run)
    vecs, given = vectors(run, part), settings(run, part)
    point = shift_sweeps.shift_points(run)[""]
    validation, test = shift_sweeps.validation_shifts(run), shift_sweeps.test_shifts(run)
    grid = shift_design.grid_design(run, part)
    assert len(validation) == len(LAYERS) * len(ALPHAS) * 3 * len(grid.cells) * 3
    source = design.controls(run, part, (point.layer,))
    drawn = control_cells(vecs, point.layer, point.alpha, 2, given, "shuffled", source)[0]
    cases = [
        (validation, grid, run.emotions, steer_cell("emotion", vecs, "anger", 1, ALPHAS[1], given), "anger"),
        (
            test,
            shift_design.shift_design(run, part, "test"),
            (*run.emotions, "neutral"),
            steer_cell("emotion", vecs, "apology", point.layer, point.alpha, given),
            "apology",
        ),
        (test, shift_design.control_design(run, part), run.emotions, drawn, "shuffled 2"),
    ]
    for table, of_cells, labels, cell, act in cases:
        mine = table[(table["act"] == act) & (table["layer"] == cell.layer) & (table["alpha"] == cell.alpha)]
        wanted = direct(run, of_cells, labels, cell)
        found = mine.set_index(["prompt", "text", "label"])["shift"].reindex(wanted.index)
        assert len(mine) == len(wanted) and wanted.abs().max() > 1e-3
        np.testing.assert_allclose(found, wanted, atol=5e-5)
    assert not test.duplicated(KEYS).any()


def test_strength_zero_shifts_nothing_at_all(run: Run) -> None:
    table = shift_sweeps.test_shifts(run)
    zero = table[table["kind"] == "zero"]
    assert len(zero) and (zero[["shift", "shift_sum", "shift_per_character"]] == 0).all(axis=None)
    assert (table.loc[table["kind"] != "zero", "shift"] != 0).mean() > 0.9, "control"


def test_texts_are_generated_at_the_point_that_s_chose_and_the_texts_criterion_stands_beside(run: Run) -> None:
    (chosen,), (point,) = shift_sweeps.shift_points(run).values(), own_sweeps.operating_points(run).values()
    assert (point.layer, point.alpha, point.score) == (chosen.layer, chosen.alpha, chosen.score)
    test = own_sweeps.test_sweep(run)
    steered = test[test["kind"].isin(["emotion", "isotropic"])]
    assert set(zip(steered["layer"], steered["alpha"], strict=True)) == {(chosen.layer, chosen.alpha)}
    by_texts = validation_sweeps.text_points(run)[""].table
    assert point.table["text_score"].tolist() == by_texts["score"].tolist()


def test_the_point_is_one_that_was_tried_and_keeps_the_fluency_rule(run: Run) -> None:
    (point,) = shift_sweeps.shift_points(run).values()
    assert len(point.table) == len(LAYERS) * len(ALPHAS) and point.layer in LAYERS and point.alpha in ALPHAS
    assert point.score == point.table.loc[point.table["eligible"], "score"].max()


def test_s_can_be_measured_at_the_points_alone_that_broken_texts_leave(
    run: Run, planted: Planted, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = validation_sweeps.validation_sweep(run)
    broken = sweep.assign(**{"fluency/broken": sweep["layer"] == 2})
    shutil.copytree(run.paths.results, tmp_path / "copy")
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "copy"))
    monkeypatch.setattr(shift_sweeps, "GRID_POINTS", "choosable")
    monkeypatch.setattr(shift_sweeps, "validation_sweep", lambda run: broken)
    few = opened(planted, saved, broken_margin=0.5)
    whole, found = (shift_sweeps.validation_shifts(one) for one in (run, few))
    assert set(whole["layer"]) == {1, 2} and shift_sweeps.shift_points(few)[""].layer == 1
    pd.testing.assert_frame_equal(found, whole[whole["layer"] == 1].reset_index(drop=True), check_exact=True)


# what comes out


def test_the_raw_measure_is_s_and_its_conditions_are_there_for_every_pair_and_style(run: Run) -> None:
    found = shift_results.conditions(run)
    assert len(found) == 2 * 6 * 4 and set(found["measure"]) == set(MEASURES)
    cells = shift_results.specific_cells(run)
    table = shift_sweeps.test_shifts(run)
    mine = table[(table["style"] == "implicit") & (table["kind"] == "emotion")]
    means = mine.groupby(["act", "label"])["shift"].mean()
    own, other = (means[act, "anger"] - means[act, "apology"] for act in ("anger", "apology"))
    row = found[(found["style"] == "implicit") & (found["measure"] == "raw") & (found["emotion"] == "anger")]
    assert row.set_index("other")["mean"]["apology"] == pytest.approx(own - other)
    assert len(cells) == 4 * 6 * 6 * 4
    claims = shift_results.claims(run)
    assert set(claims["verdict"]) == {INSTRUMENTS_MISSING} and len(claims) == 2 * 3
    assert (shift_results.ranks(run)["n_controls"] == CONTROLS).all()


def test_implicit_texts_come_first(run: Run) -> None:
    for table in (shift_results.conditions(run), shift_results.ranks(run), shift_results.shift_doses(run)):
        assert list(dict.fromkeys(table["style"])) == ["implicit", "explicit"]
    assert list(dict.fromkeys(shift_results.claims(run)["style"])) == ["implicit", "explicit"]


def test_doses_hold_every_strength_and_its_own_kl(run: Run) -> None:
    found = shift_results.shift_doses(run)
    (point,) = shift_sweeps.shift_points(run).values()
    assert set(found["alpha"]) == {-point.alpha, *ALPHAS} and found["kl"].gt(0).all()
    by_dose = found.groupby("alpha")["kl"].mean()
    assert by_dose[ALPHAS[1]] > by_dose[ALPHAS[0]]


# artifacts


class Killed(BaseException):
    """What ends a run from outside."""


def killed_after(count: int, function: Callable[..., pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    calls = []

    def called(*args: object, **given: object) -> pd.DataFrame:
        calls.append(1)
        if len(calls) > count:
            raise Killed
        return function(*args, **given)

    return called


def test_a_killed_stage_resumes_and_ends_with_the_same_bytes(
    run: Run, planted: Planted, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    for count in (1, 4):
        with monkeypatch.context() as patch:
            patch.setattr(shift_sweeps, "continuation_shift", killed_after(count, continuation_shift))
            with pytest.raises(Killed):
                whole(opened(planted, saved))
    kept = shards(opened(planted, saved))
    resumed = opened(planted, saved)
    whole(resumed)
    assert 3 <= len(kept) < len(shards(run)) and shards(resumed) == shards(run)
    assert {path.name for path in resumed.artifacts.computed} & set(shards(run)) == set(shards(run)) - set(kept)


def test_a_finished_stage_is_found_again_and_another_window_is_not_taken_for_it(
    run: Run, planted: Planted, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run.paths.results, tmp_path / "copy")
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path / "copy"))

    def none(*args: object, **given: object) -> pd.DataFrame:
        raise Killed

    monkeypatch.setattr(shift_sweeps, "continuation_shift", none)
    again = opened(planted, saved)
    whole(again)
    assert not {path for path in again.artifacts.computed if "_shift_" in path.name}
    with pytest.raises(Killed):
        shift_sweeps.validation_shifts(opened(planted, saved, window=1))


def test_the_other_artifacts_of_the_phase_are_not_named_like_the_stages(run: Run) -> None:
    made = {path.name for path in run.artifacts.made}
    own = {name for name in made if "_shift_" in name}
    assert own and not any("_sweep_" in name for name in own)
    assert all(path.parent.name == "shift" for path in run.artifacts.made if path.name in own)


# folds and cost


def test_folds_test_every_scenario_once_with_their_own_points(folded: Run) -> None:
    table = shift_sweeps.test_shifts(folded)
    own = table[table["kind"] == "emotion"]
    assert set(own["part"]) == {"fold0", "fold1", "fold2"}
    assert own.groupby("text")["part"].nunique().eq(1).all()
    assert set(own["text"]) == set().union(*(part.test for part in design.parts(folded)))
    found = shift_results.conditions(folded)
    assert (found["n_texts"] == own.groupby("style")["text"].nunique()[found["style"]].to_numpy()).all()


@pytest.mark.parametrize("which", ["run", "folded"])
def test_the_rows_that_are_counted_are_the_rows_that_are_read(which: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(which)
    work = shift_cost.shift_work(run, lengths=lambda texts: [len(t.split()) for t in texts], n_layers=run.lm.n_layers)
    counted = work.set_index("work")["rows"]
    test = shift_sweeps.test_shifts(run)
    read = test.groupby("kind").size()
    assert counted["validation/emotion"] == len(shift_sweeps.validation_shifts(run))
    assert all(counted[f"test/{kind}"] == size for kind, size in read.items())
    assert counted["test/training"] == sum(map(len, training_rows(run)))
    doses = shift_sweeps.dose_shifts(run)
    chosen = doses["part"].map({name: point.alpha for name, point in shift_sweeps.shift_points(run).items()})
    assert counted["test/dose"] == (doses["alpha"] != chosen).sum()
    assert (work[["layer_tokens", "head_tokens"]] > 0).all(axis=None)


def training_rows(run: Run) -> list[pd.DataFrame]:
    return [shift_sweeps.emotion_shard(run, part, "training").rows for part in design.parts(run)]


def test_the_generated_sweeps_are_left_as_they_are(run: Run) -> None:
    sweep = validation_sweeps.validation_sweep(run)
    assert set(sweep["kind"]) == {"baseline", "emotion"} and not {"shift", "act"} & set(sweep)
