"""Which finished phases Phase 7 reads, on made-up ones: other data, gone artifacts, none at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from stored_phases import (
    MODEL,
    add_phase3,
    add_phase5,
    open_run,
    sweep_table,
)

import emolib
from emolib.base import paths, store
from emolib.base.errors import UserError
from emolib.report.ja import phase7 as say
from emolib.study import phase7_claims as study
from emolib.study.phase7_claims import claim_sources
from emolib.study.run import Run


def test_a_model_without_phase_3_is_told_and_the_others_are_not_held_up():
    add_phase5(sweep_table())
    add_phase5(sweep_table(seed=1), "second")
    add_phase3("second")
    run = open_run()
    table = study.claims(run)
    assert set(table[table["phase"] == "phase3"]["model"]) == {"second"}
    assert set(table[table["phase"] == "phase5"]["model"]) == {MODEL, "second"}
    assert f"Phase 3 の読める記録がない `{MODEL}`" in say.environment(run).data
    add_phase3()
    assert "読める記録がない" not in say.environment(open_run()).data


def states(run: Run) -> dict[tuple[str, str], str]:
    return {(record.model, record.phase): record.state for record in study.finished_phases(run)}


def test_a_record_of_other_data_or_of_another_version_is_told_and_not_read():
    add_phase5(sweep_table())
    where = add_phase5(sweep_table({"gratitude": 3.0}, seed=1), "second")
    assert set(states(open_run()).values()) == {"current"}
    record = where.record("phase5")
    matched = store.read_manifest(record)["matched"]
    changes = [{"dataset": "another"}, {"scorers": "another"}, {"parameters": {**matched["parameters"], "gone": 1}}]
    for change in changes:
        store.write(record, store.read_json(record) and record.read_bytes(), {**matched, **change})
        run = open_run()
        assert states(run)[("second", "phase5")] == "other" and study.steered_models(run) == [MODEL]
        assert "`second` の Phase 5 は、今とは異なる" in say.environment(run).data
    store.write(record, record.read_bytes(), matched)
    assert study.steered_models(open_run()) == ["second", MODEL]


def test_a_record_whose_artifacts_were_made_anew_is_read_and_told():
    where = add_phase5(sweep_table({"gratitude": 3.0}))
    assert "古い可能性" not in say.environment(open_run()).data
    store.write(where.sweep("test"), store.table_bytes(sweep_table({"gratitude": 2.0})), {})
    run = open_run()
    assert states(run) == {(MODEL, "phase5"): "behind"} and study.steered_models(run) == [MODEL]
    assert f"`{MODEL}` の Phase 5 は、用いた成果物の一部が" in say.environment(run).data
    assert "走らせ直す" in say.next_actions(study.claims(run), study.finished_phases(run), run.params).data


def test_a_finished_phase_7_is_stale_once_there_is_more_to_read():
    add_phase3()
    run = open_run()
    study.claims(run)
    run.finish(samples=0)
    assert open_run().record.state() == "done"
    add_phase5(sweep_table())
    assert open_run().record.state() == "stale"
    assert run.record.parameters()["records"] == [f"{MODEL}_phase3", f"{MODEL}_phase5"]
    assert "records" not in say.settings(run).data


def test_a_variants_tables_are_read_where_they_lie():
    add_phase3()
    steered = emolib.open_run("quick", MODEL, "phase5", alphas=[0.25])
    path, table = steered.paths.sweep("test"), sweep_table()
    store.write(path, store.table_bytes(table), {})
    steered.artifacts.note(path)
    steered.record.write(steered.artifacts.made)
    assert study.steered_models(open_run()) == [], "the profile has no Phase 5 of its own"
    run = open_run(variant=steered.variant.name)
    assert study.steered_models(run) == study.vector_models(run) == [MODEL]
    pd.testing.assert_frame_equal(claim_sources.test_sweep(run, MODEL), table)
    assert run.record.parameters()["records"] == [f"{MODEL}_phase3", f"{MODEL}_phase5"]
    assert "variants" in run.paths.statistics("claims.csv").parts


def test_the_parameters_of_the_record_decide_and_not_those_of_the_profile():
    add_phase5(sweep_table(), n_controls=59, seed=3, vector_style="all")
    run = open_run()
    assert states(run) == {(MODEL, "phase5"): "current"}
    shown = say.table_sources(run)[MODEL]
    assert shown["Phase 5: ベクトルの文・位置"] == "全体・平均" and shown["Phase 5: 再抽出の回数・シード"] == "200・3"


def test_a_profile_without_any_record_is_told_in_one_line():
    for read in (study.effects, study.k_selection, study.claims, say.environment):
        with pytest.raises(
            UserError, match=r"expected a finished Phase 3 or Phase 5 of profile quick, found none; run"
        ):
            read(open_run())
    where = add_phase5(sweep_table())
    record = where.record("phase5")
    store.write(record, record.read_bytes(), {**store.read_manifest(record)["matched"], "dataset": "another"})
    with pytest.raises(UserError, match=rf"found none but of other data, .*\({MODEL} phase5\); run `emolib run"):
        study.effects(open_run())


def test_a_report_of_a_model_without_records_says_so_and_shows_the_others():
    add_phase5(sweep_table(), "second")
    run = open_run()
    assert set(study.claims(run)["model"]) == {"second"}
    assert f"`{MODEL}` 自身の読める記録はない" in say.environment(run).data
    add_phase5(sweep_table())
    assert "自身の読める記録はない" not in say.environment(open_run()).data


@pytest.mark.parametrize("name", ["test", "claims"])
def test_a_finished_phase_5_without_its_tables_is_told(name: str):
    where = add_phase5(sweep_table())
    where.sweep(name).unlink()
    with pytest.raises(UserError, match=f"expected the artifact .*sweep_{name}.parquet, found none") as told:
        study.claims(open_run())
    assert "\n" not in str(told.value)


def test_a_changed_table_is_refused():
    where = add_phase5(sweep_table())
    where.sweep("test").write_bytes(where.sweep("test").read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="corrupted artifact"):
        study.effects(open_run())


def test_only_models_with_the_record_of_the_phase_count_as_finished(results: Path):
    where = add_phase5(sweep_table(n=4, n_controls=2))
    assert where.finished_models("phase5") == [MODEL] and where.finished_models("phase3") == []
    shutil.rmtree(where.record("phase5").parent)
    assert where.finished_models("phase5") == []
    assert paths.display(where.statistics("claims.csv")) == "results/quick/statistics/claims.csv"
