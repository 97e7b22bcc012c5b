"""The self-test meets its bars where the pipeline is right, and misses them where it is broken on purpose."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emolib import cli
from emolib.base.errors import UserError
from emolib.directions.controls import FAMILIES
from emolib.selftest import calibration, claim_power, detectable_size, loop, run_selftest, running
from emolib.selftest.calibration import GRID, effect_of_size, sizes_over_grid
from emolib.selftest.false_claims import null_record
from emolib.selftest.loop import MEASURES, Design, Outcome, count_words, run_loop
from emolib.selftest.processes import one_by_one, one_thread, side_by_side
from emolib.selftest.rows import FULL, Row, at_least, at_most, slack, within
from emolib.selftest.truth import direction_rows, distractor_rows, effect_rows, head_rows
from emolib.statistics import intervals
from emolib.steering import sweeps
from emolib.steering.operating_point import choose_operating_point

INTACT = Design("llama", 0, 0)


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def found() -> Outcome:
    return run_loop(INTACT)


@pytest.fixture(scope="module")
def cut() -> Outcome:
    return run_loop(replace(INTACT, cut=True))


def missed(rows: Sequence[Row]) -> list[str]:
    return [row.check for row in rows if row.met is False]


def about_labels(checks: Sequence[str]) -> list[str]:
    """The checks of the two families that know nothing of the data's labels."""
    return [check for check in checks if "shuffled" not in check]


# The truth


def test_the_loop_finds_direction_layer_and_effect_of_an_intact_model_and_none_of_a_cut_one(
    found: Outcome, cut: Outcome
) -> None:
    assert not missed(direction_rows("llama", found))
    assert not about_labels(missed(effect_rows("llama", found)))
    assert found.claims["beats_others"].all()
    assert len(missed(direction_rows("llama", cut))) >= 3
    assert len(about_labels(missed(effect_rows("llama", cut)))) == 2
    assert not cut.claims["supported"].any()


def test_the_null_has_something_to_be_wrong_about(cut: Outcome) -> None:
    assert not cut.claims["degenerate"].all()
    assert np.concatenate(list(cut.claims["differences"])).std() > 0.1


def test_the_writer_is_told_from_heads_that_write_unread_or_topics(found: Outcome) -> None:
    assert not missed(head_rows("llama", found.planted, 0))
    writer = (found.planted.truth.write_layer, found.planted.truth.write_head)
    roles = {**found.planted.truth.distractors, "unread": writer}
    mistaken = replace(found.planted, truth=replace(found.planted.truth, distractors=roles))
    assert missed(head_rows("llama", mistaken, 0)) == ["unread head: the same"]


def test_the_backup_stands_in_and_attribution_misses_the_saturated_head_alone(found: Outcome) -> None:
    assert not missed(distractor_rows("llama", found.planted, 0))
    truth = found.planted.truth
    swapped = {**truth.distractors, "saturated": (truth.write_layer, truth.write_head), "backup": truth.others["said"]}
    mistaken = replace(found.planted, truth=replace(truth, distractors=swapped))
    broken = missed(distractor_rows("llama", mistaken, 0))
    assert {"both ablated: the same", "saturated head: the same"} <= set(broken)


def test_a_text_that_breaks_the_planted_grammar_counts_as_broken() -> None:
    table = count_words(["and grateful kettle with old soup", "and kettle grateful"])
    assert table["fluency/broken"].tolist() == [False, True]
    assert table["keywords/gratitude"].tolist() == [1, 1] and table["keywords/anger"].tolist() == [0, 0]


# Pipelines that are broken on purpose


def test_a_rank_p_without_the_added_one_misses_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "rank_p", lambda effect, controls: float((controls >= effect - 1e-12).mean()))
    broken = missed(effect_rows("llama", run_loop(INTACT)))
    assert {f"effect: worst rank p, {family} controls" for family in ("isotropic", "covariance")} <= set(broken)


def test_controls_of_half_the_norm_miss_their_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sweeps.control_cells

    def halved(vecs, layer, alpha, *rest):
        return whole(vecs, layer, alpha / 2, *rest)

    monkeypatch.setattr(sweeps, "control_cells", halved)
    broken = missed(effect_rows("llama", run_loop(INTACT)))
    assert [check for check in broken if "size over" in check] == [
        f"{family} controls: size over the steer's" for family in FAMILIES
    ]


def chance_sweep(seed: int, *, leak: bool = False) -> loop.Sweep:
    """Emotion words by chance alone, whatever is steered; with `leak` validation rows are the test rows."""

    def sweep(split: str, layers: Sequence[int], alphas: Sequence[float], n_controls: int) -> pd.DataFrame:
        rng = np.random.default_rng([seed, leak or split == "test"])
        grid = [(a, b) for a in loop.LAYERS for b in loop.ALPHAS]
        steered = dict(zip(grid, rng.poisson(0.5, (len(grid), 3, 24, 3)), strict=True))
        cells = {("baseline", "none", -1, 0.0, 0): rng.poisson(0.5, (24, 3))}
        for a, b in ((a, b) for a in layers for b in alphas):
            cells |= {("emotion", e, a, b, 0): steered[a, b][i] for i, e in enumerate(MEASURES)}
            cells |= {(f, "any", a, b, i): rng.poisson(0.5, (24, 3)) for f in FAMILIES for i in range(n_controls)}
        table = pd.DataFrame(np.repeat(np.array(list(cells), dtype=object), 24, axis=0), dtype=object)
        table.columns = ["kind", "emotion", "layer", "alpha", "index"]
        table = table.astype({"layer": int, "alpha": float, "index": int})
        table[[name for (name,) in MEASURES.values()]] = np.concatenate(list(cells.values()))
        scenarios = np.tile([f"s{i}" for i in range(24)], len(cells))
        return table.assign(scenario=scenarios, split=split, **{"fluency/broken": False})

    return sweep


def error_rows(leak: bool, n: int = 8) -> list[Row]:
    records = []
    for seed in range(n):
        _, test = loop.choose_and_test(chance_sweep(seed, leak=leak))
        records.append(null_record(loop.judged(test, seed), seed))
    return list(running.null_rows("llama", "all cut", pd.DataFrame(records)))


def test_choosing_on_the_test_rows_raises_the_error_rate_above_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LAYERS", tuple(range(1, 13)))  # many to choose from
    monkeypatch.setattr(loop, "ALPHAS", (0.1,))
    assert not missed(error_rows(leak=False))
    assert missed(error_rows(leak=True)) == ["null, all cut: data sets with any interval above 0"]


def test_test_rows_under_their_own_name_cannot_be_chosen_on() -> None:
    with pytest.raises(UserError, match="validation rows only"):
        choose_operating_point(chance_sweep(0)("test", loop.LAYERS, loop.ALPHAS, 0), MEASURES)


# Power


def test_power_grows_with_the_planted_size(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = {(0, emotion): [1.2 * effect for effect in GRID] for emotion in MEASURES}
    power = importlib.import_module("emolib.selftest.claim_power")  # the package has a function of that name
    monkeypatch.setattr(power, "sizes_over_grid", lambda *given: grid)
    table = claim_power("llama", [0.0, 1.4], repeats=1)
    assert table["measured"].diff().iloc[1] > 0.7
    assert table["interval"].tolist() == [0, 1] and table["t_test"].tolist() == [0, 1]
    assert (table["claim"] == table[["interval", *FAMILIES]].min(axis=1)).all()


def test_a_wanted_size_is_read_off_the_curve_and_one_out_of_reach_is_refused() -> None:
    sizes = [0.1 + effect**1.5 for effect in GRID]
    assert 0.1 + effect_of_size(0.8, sizes) ** 1.5 == pytest.approx(0.8, abs=0.03)
    with pytest.raises(UserError, match=r"expected d_z from .* got 5"):
        effect_of_size(5, sizes)


@pytest.mark.parametrize("apart", [-1e-15, -1e-17, 0.0, 1e-17, 1e-15])
def test_a_wanted_size_within_rounding_of_the_curves_ends_is_at_its_ends(apart: float) -> None:
    sizes = [1.2 * effect for effect in GRID]
    assert effect_of_size(apart, sizes) == GRID[0]
    assert effect_of_size(sizes[-1] + apart, sizes) == GRID[-1]
    with pytest.raises(UserError, match="expected d_z from"):
        effect_of_size(-1e-4, sizes)


def test_sizes_are_those_at_the_points_that_data_sets_choose_not_at_the_best_strength(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibration, "GRID", (0.6,))
    monkeypatch.setattr(calibration, "N_SETS", 4)
    design = Design("llama", 0, calibration.DATA_SEEDS, effect=0.6)
    found = sizes_over_grid("llama", [0], one_by_one)
    monkeypatch.setattr(loop, "ALPHAS", (0.01,))  # hardly a steer, which every data set now has to choose
    weak = sizes_over_grid("llama", [0], one_by_one)
    assert all(found[0, emotion][0] > weak[0, emotion][0] + 0.3 for emotion in MEASURES)
    data = calibration._scenarios(design.plant(), design.data_seed)
    assert data.groupby("split")["scenario"].nunique().to_dict() == {"train": 72, "validation": 24, "test": 96}
    assert (data.groupby("scenario")["split"].nunique() == 1).all()


def test_the_detectable_size_lies_between_sizes_and_is_missing_where_none_reaches_the_power() -> None:
    table = pd.DataFrame({"measured": [0.4, 0.6, 0.8], "claim": [0.3, 0.7, 0.9], "shuffled": [0.3, 0.4, 0.5]})
    assert detectable_size(table) == pytest.approx(0.7)
    assert np.isnan(detectable_size(table, condition="shuffled"))


def test_power_rows_have_their_bars() -> None:
    shares = dict.fromkeys(("t_test", "interval", *FAMILIES), 0.8)
    good = pd.DataFrame([{"d_z": 0.8, "measured": 0.8, "n": FULL, **shares, "claim": 0.9}])
    assert not missed(list(running.power_rows("llama", good)))
    assert missed(list(running.power_rows("llama", good.assign(claim=0.89)))) == ["d_z 0.80: share that passes, claim"]
    small = good.assign(d_z=0.6, claim=0.74)
    assert not missed(list(running.power_rows("llama", small)))
    for condition in ("t_test", "claim"):
        for value in (0.72, 0.88):
            assert len(missed(list(running.power_rows("llama", small.assign(**{condition: value}))))) == 1


# The table and the command


def test_bars_give_way_by_binomial_error_with_few_repeats() -> None:
    assert slack(0.05, FULL) == slack(0.05, 10 * FULL) == 0
    assert slack(0.05, 20) == pytest.approx(1.96 * np.sqrt(0.05 * 0.95) * (20**-0.5 - 200**-0.5))
    assert at_most("llama", "a", 0.08, 0.08).met and not at_most("llama", "a", 0.09, 0.08).met
    assert at_least("llama", "a", 0.9, 0.9).met and not at_least("llama", "a", 0.89, 0.9).met
    assert within("llama", "a", 0.87, 0.8, 0.07).met and not within("llama", "a", 0.72, 0.8, 0.07).met


def test_the_closing_line_says_which_bars_give_way() -> None:
    rows = [at_most("llama", "a", 0.01, 0.045)]
    assert "give way as with 60 repeats" in running.closing_line(rows, 200)
    assert "generated texts" not in running.closing_line(rows, 700)


def test_a_part_measures_its_own_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_shift_rows", lambda form, *given: iter([Row(form, "by S", 0.0)]))
    monkeypatch.setattr(running, "_text_rows", lambda form, n, *given: iter([Row(form, "texts", float(n))]))
    found = {
        part: [(row.check, row.value) for row in run_selftest(["llama"], repeats=20, processes=1, part=part)]
        for part in running.PARTS
    }
    assert found["shift"] == [("by S", 0)] and found["texts"] == [("texts", 6)]
    assert found["all"] == found["shift"] + found["texts"]


def test_processes_give_the_same_as_one() -> None:
    with side_by_side(1) as alone, side_by_side(2) as two:
        assert alone is one_by_one
        assert two(abs, [-3, 2, -1]) == alone(abs, [-3, 2, -1]) == [3, 2, 1]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["emolib", "selftest", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.mark.parametrize(("value", "code"), [(0.9, 0), (0.5, 1)])
def test_the_command_prints_the_table_and_exits_with_one_where_a_bar_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path, value: float, code: int
) -> None:
    def rows(forms: Sequence[str], **given: int) -> Iterator[Row]:
        yield Row("llama", "only reported", given["repeats"])
        yield at_least("llama", "a share", value, 0.8)

    monkeypatch.setattr(running, "run_selftest", rows)
    file = tmp_path / "table.json"
    assert command(monkeypatch, "--repeats", "30", "--json", str(file)) == code
    out = capsys.readouterr().out
    assert ("MISSED" in out) == bool(code) and "--repeats 200 is the full check" in out
    assert [row["met"] for row in json.loads(file.read_text())["rows"]] == [None, not code]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--form", "lama"], "'llama'"),
        (["--repeats", "2"], "from 6 to"),
        (["--seed", "-1"], "seed"),
        (["--part", "shifts"], "'shifts'"),
        (["--json", "nowhere/x.json"], "make the folder"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, arguments: list[str], word: str
) -> None:
    assert command(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert word in captured.err and not captured.out and len(captured.err.strip().splitlines()) == 1


def test_forms_are_checked_at_the_call() -> None:
    with pytest.raises(UserError, match="unknown form"):
        run_selftest(["bert"])
