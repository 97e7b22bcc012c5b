"""Phase 7 on made-up sweeps and tables whose truth is known: what is supported, what is not, what could not be told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import emolib
from emolib.base import paths, store
from emolib.base.errors import UserError
from emolib.base.parameters import resolve
from emolib.base.paths import ResultPaths
from emolib.pipeline import phases
from emolib.plots.figures import Axes, Band, forest
from emolib.report.ja import phase7 as wording
from emolib.report.ja import phase7_verdicts as judging
from emolib.scoring.measures import measures
from emolib.statistics import intervals
from emolib.statistics.intervals import max_statistic_p
from emolib.steering.claims import claims_table
from emolib.steering.effects import control_effects
from emolib.steering.effects import effects as own_effects_of
from emolib.steering.findings import findings
from emolib.study.phase7_claims import study_tables, verdicts
from emolib.study.run import Run

MODEL = "smollm2_135m"
EMOTIONS = ("gratitude", "anger", "apology")
METRICS = [*(f"{kind}/{emotion}" for emotion in EMOTIONS for kind in ("keywords", "target")), "valence"]
NOTHING = dict.fromkeys(EMOTIONS, 0.0)


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOLIB_RESULTS", str(tmp_path))
    return tmp_path


def sweep_table(
    push: dict[str, float] = NOTHING, *, n: int = 24, n_controls: int = 59, seed: int = 0, layer: int = 5
) -> pd.DataFrame:
    """An emotion's vector adds `push` to the emotion's own two measures; everything else is noise of sd 1."""
    settings = [("baseline", "none", -1, 0.0, 0), *(("emotion", e, layer, 0.3, 0) for e in EMOTIONS)]
    settings += [(f, "any", layer, 0.3, i) for f in ("isotropic", "shuffled") for i in range(n_controls)]
    settings += [("direct_path", e, 8, 0.3, 0) for e in EMOTIONS]
    return rows_of(settings, push, n=n, seed=seed)


def rows_of(settings: list[tuple], push: dict[str, float], *, n: int, seed: int, first: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(settings, columns=["kind", "emotion", "layer", "alpha", "index"])
    table = table.loc[table.index.repeat(n)].reset_index(drop=True)
    table["scenario"] = [f"s{first + i:03d}" for i in range(n)] * len(settings)
    values = rng.normal(0, 1, (len(table), len(METRICS))) + 5
    table[METRICS] = values
    for emotion, size in push.items():
        own = (table["kind"].isin(["emotion", "pca", "prompting"])) & (table["emotion"] == emotion)
        table.loc[own, [f"keywords/{emotion}", f"target/{emotion}"]] += size
    return table.assign(split="test", unit="resid", **{"fluency/broken": False})


def add_record(model: str, phase: str, files: dict[Path, bytes], **params: object) -> ResultPaths:
    """Writes the files, and the record that the phase leaves when it has finished with these parameters."""
    run = Run(resolve("quick", model, phase, params))
    for path, data in files.items():
        store.write(path, data, {})
        run.artifacts.note(path)
    run.record.write(run.artifacts.made)
    return run.paths


def add_phase5(
    sweep: pd.DataFrame, model: str = MODEL, alternatives: pd.DataFrame | None = None, **params: object
) -> ResultPaths:
    """What a finished Phase 5 leaves: the sweeps, its claims and its record."""
    where = ResultPaths("quick", model)
    families = [name for name in ("isotropic", "shuffled") if (sweep["kind"] == name).any()]
    claims = claims_table(sweep, measures(sweep, EMOTIONS), families=families, n_resamples=400)
    tables = {"test": sweep, "claims": claims} | ({} if alternatives is None else {"alternatives": alternatives})
    files = {where.sweep(name): store.table_bytes(table) for name, table in tables.items()}
    return add_record(model, "phase5", files, **params)


def add_phase3(
    model: str = MODEL, *, stable: bool = True, gap: float = 0.1, found: bool = True, overlaps: bool = True
) -> ResultPaths:
    """What a finished Phase 3 leaves, with 40 / 24 / 24 scenarios."""
    where = ResultPaths("quick", model)
    tables = {where.vector_table(name): table for name, table in vector_tables(stable=stable, gap=gap).items()}
    for split in ("validation", "test") if overlaps else ():
        tables[where.subspace_table(f"overlap_{split}")] = overlap_table(0.4 if found else 0.15)
    return add_record(model, "phase3", {path: store.table_bytes(table) for path, table in tables.items()})


def vector_tables(*, stable: bool, gap: float) -> dict[str, pd.DataFrame]:
    probes, stability, information = [], [], []
    for emotion in EMOTIONS:
        for layer in range(4):
            auc = 0.9 if layer == 2 else 0.7
            for split in ("validation", "test"):
                row = {"emotion": emotion, "layer": layer, "split": split, "auc": auc}
                probes.append({**row, "shuffled_mean": 0.5, "shuffled_max": 0.6})
            low = 0.6 if stable and layer == 2 else 0.1
            null = {"shuffled": 0.0, "shuffled_high": 0.3}
            stability.append({"emotion": emotion, "layer": layer, "mean": low + 0.1, "low": low, "high": 0.8, **null})
        for source in ("residual", "words"):
            for style, count in (("all", 48), ("explicit", 24), ("implicit", 24)):
                row = {"emotion": emotion, "source": source, "style": style, "auc": 0.9, "low": 0.8, "high": 0.95}
                row |= {"shuffled_max": 0.6, "n": count, "advantage": np.nan}
                if source == "words":
                    row |= {"advantage": gap, "advantage_low": gap - 0.05, "advantage_high": gap + 0.05}
                information.append(row)
    parts = {"probes_mean": probes, "stability_mean": stability, "information": information}
    return {name: pd.DataFrame(rows) for name, rows in parts.items()}


def overlap_table(best: float) -> pd.DataFrame:
    """The excess is largest at k = 3 and within one standard error of that at k = 2."""
    excess = [best - 0.2, best - 0.01, best, best - 0.3]
    rows = [
        {"emotion": emotion, "layer": layer, "k": k + 1, "overlap": 0.3 + value, "null": 0.3, "null_high": 0.4}
        | {"null_max": 0.2, "excess": value, "se": 0.05}
        for emotion in EMOTIONS
        for layer in (1, 2)
        for k, value in enumerate(excess)
    ]
    return pd.DataFrame(rows)


def open_run(**params: object) -> Run:
    return emolib.open_run("quick", MODEL, "phase7", n_bootstrap=200, **params)


def judged(run: Run, **where: object) -> dict[str, tuple[str, str]]:
    table = verdicts.claims(run)
    for name, value in where.items():
        table = table[table[name] == value]
    return dict(zip(table["measure"], zip(table["verdict"], table["reason"], strict=True), strict=True))


# verdicts


def test_each_verdict_is_reached_and_depends_on_effect_interval_and_number():
    add_phase5(sweep_table({"gratitude": 3.0, "anger": 0.0, "apology": -3.0}))
    found = judged(open_run())
    assert found["keywords/gratitude"] == ("supported", "bar_reached")
    assert found["target/anger"] == ("not_supported", "controls_reach_it")
    assert found["keywords/apology"] == ("not_supported", "controls_reach_it")


def test_a_row_has_one_verdict_whatever_level_the_tests_of_this_phase_have():
    """The interval of a claim is a 95 % one: what it could have told does not depend on `significance`.

    At level 0.01 forty scenarios would detect d_z = 0.57 only, and a row that misses its bar would be `underpowered`.
    """
    sweep = sweep_table({"gratitude": 3.0}, n=40)
    sweep.loc[(sweep["kind"] == "emotion") & (sweep["emotion"] == "anger"), "keywords/anger"] += 0.2
    add_phase5(sweep)
    claims = store.read_table(ResultPaths("quick", MODEL).sweep("claims"))
    phase5 = findings(claims, sweep, smallest_d=0.5).set_index("metric")
    for significance in (0.05, 0.01):
        assert (
            verdicts.claims(open_run(significance=significance))
            .set_index("measure")["verdict"]
            .equals(phase5["verdict"].rename_axis("measure"))
        )


def test_with_more_scenarios_a_null_is_no_longer_underpowered():
    add_phase5(sweep_table({"gratitude": 3.0}, n=45))
    found = judged(open_run())
    assert found["target/apology"][0] == "not_supported" and found["target/gratitude"][0] == "supported"


@pytest.mark.parametrize(("size", "reason"), [({"n": 9}, "few_scenarios"), ({"n_controls": 20}, "few_controls")])
def test_a_design_that_could_not_have_told_supports_nothing(size: dict[str, int], reason: str):
    add_phase5(sweep_table(dict.fromkeys(EMOTIONS, 4.0), **size))
    assert set(judged(open_run()).values()) == {("underpowered", reason)}
    add_phase5(sweep_table(dict.fromkeys(EMOTIONS, 4.0)))
    assert {word for word, _ in judged(open_run()).values()} == {"supported"}


def test_null_sweeps_support_nothing_and_planted_ones_do():
    nulls = [f"null{i}" for i in range(12)]
    for i, model in enumerate(nulls):
        add_phase5(sweep_table(seed=i + 1), model)
    add_phase5(sweep_table({"gratitude": 2.0, "apology": 2.0}))
    claims = verdicts.claims(open_run()).set_index("model")
    assert list(claims.loc[MODEL, "verdict"].eq("supported")) == [True, True, False, False, True, True]
    assert len(claims.loc[nulls]) == 72 and (claims.loc[nulls, "verdict"] == "supported").sum() == 0
    assert (claims.loc[nulls, "max_p"] <= 0.05).mean() <= 0.05


def test_a_measure_that_hardly_ever_moves_is_degenerate_and_has_no_effect_size():
    sweep = sweep_table({"gratitude": 3.0})
    sweep["keywords/anger"] = 0.0
    add_phase5(sweep)
    run = open_run()
    assert judged(run)["keywords/anger"] == ("not_supported", "degenerate")
    row = study_tables.own_effects(run).set_index("metric").loc["keywords/anger"]
    assert row["degenerate"] and np.isnan(row["d_z"]) and np.isnan(row["p_t"])
    assert not study_tables.own_effects(run).set_index("metric").loc["keywords/gratitude", "degenerate"]


def test_the_corrected_rank_p_is_the_plain_one_for_one_cell_and_larger_for_many():
    sweep = sweep_table({"gratitude": 0.4, "apology": 0.3})
    cells = [(e, f"{kind}/{e}") for e in EMOTIONS for kind in ("keywords", "target")]
    plain = claims_table(sweep, measures(sweep, EMOTIONS), families=("isotropic", "shuffled"))["rank_p"].to_numpy()
    alone = np.array([verdicts.family_p(sweep, [cell])["max_p"][0] for cell in cells])
    assert alone == pytest.approx(plain)
    together = verdicts.family_p(sweep, cells)
    assert (together["max_p"] >= plain - 1e-12).all() and (together["max_p"] > plain).any()
    assert set(together["max_family"]) <= {"isotropic", "shuffled"} and set(together["max_at"]) <= {m for _, m in cells}
    without = verdicts.family_p(sweep[~sweep["kind"].isin(["isotropic", "shuffled"])], cells)
    assert without["max_p"].isna().all() and not without["max_left_out"].any()


def test_the_corrected_rank_p_does_not_depend_on_a_measures_unit():
    sweep = sweep_table({"gratitude": 0.4, "apology": 0.5}, seed=4)
    cells = [(e, f"{kind}/{e}") for e in EMOTIONS for kind in ("keywords", "target")]
    before = verdicts.family_p(sweep, cells)["max_p"]
    for emotion in EMOTIONS:
        sweep[f"keywords/{emotion}"] *= 1000
    assert verdicts.family_p(sweep, cells)["max_p"].tolist() == pytest.approx(before) and len(set(before)) > 3


def fluke(*, moves: bool) -> pd.DataFrame:
    """Strong effects on all but the anger words, which are 0 but for one control direction's word in one text."""
    sweep = sweep_table(dict.fromkeys(EMOTIONS, 3.0))
    sweep["keywords/anger"] = 0.0
    one = (sweep["kind"] == "isotropic") & (sweep["index"] == 7) & (sweep["scenario"] == "s003")
    sweep.loc[one, "keywords/anger"] = 1.0
    if moves:
        own = (sweep["kind"] == "emotion") & (sweep["emotion"] == "anger")
        sweep.loc[own, "keywords/anger"] = np.arange(own.sum()) % 3
    return sweep


def test_a_degenerate_cell_takes_no_part_in_the_maximum():
    cells = [(e, f"{kind}/{e}") for e in EMOTIONS for kind in ("keywords", "target")]
    table = verdicts.family_p(fluke(moves=False), cells).set_index(pd.Index([metric for _, metric in cells]))
    assert table.index[table["max_left_out"]].tolist() == ["keywords/anger"]
    assert np.isnan(table.loc["keywords/anger", "max_p"])
    kept = table.drop("keywords/anger")
    assert kept["max_p"].to_numpy() == pytest.approx(1 / 60) and (kept["max_z"] < 4).all()
    assert "keywords/anger" not in set(kept["max_at"])
    moved = verdicts.family_p(fluke(moves=True), cells)
    assert not moved["max_left_out"].any() and moved["max_p"].notna().all()


def test_the_fluke_of_a_degenerate_cell_would_have_beaten_every_effect():
    sweep = fluke(moves=False)
    cells = [(e, f"{kind}/{e}") for e in EMOTIONS for kind in ("keywords", "target")]
    own = np.array([own_effects_of(sweep, "emotion", *cell).mean() for cell in cells])
    nulls = pd.concat([control_effects(sweep, *cell) for cell in cells], axis=1).to_numpy()
    assert max_statistic_p(own, nulls, studentised=True).min() >= 2 / 60 - 1e-12


def test_the_report_says_what_the_maximum_left_out_and_where_it_lies():
    add_phase5(fluke(moves=False))
    run = open_run()
    text = judging.discussion(run, study_tables.effects(run), verdicts.claims(run)).data
    assert "縮退した怒りの語数は最大から除き、残る 5 組でとった" in text and "最大を決めた対照は" in text
    assert "支持された Phase 5 の主張 5 件すべてで 0.05 以下" in text
    assert "除外（縮退）" in judging.claim_rows(verdicts.claims(run), "phase5").to_string()
    add_phase5(fluke(moves=True))
    run = open_run()
    text = judging.discussion(run, study_tables.effects(run), verdicts.claims(run)).data
    assert "縮退した組はなく、6 組すべてでとった" in text and "最大から除き" not in text


# claims of phase 3


def test_claims_of_phase_3_come_from_its_tables_at_the_layer_chosen_on_validation():
    add_phase5(sweep_table())
    add_phase3()
    table = verdicts.claims(open_run())
    own = table[(table["phase"] == "phase3") & (table["emotion"] == "anger")].set_index("claim")
    assert list(own.index) == ["stability", "readout", "beyond_words", "beyond_words_implicit", "subspace"]
    assert (own["verdict"] == "supported").all()
    assert own.loc["stability", "measure"] == "layer 2" and own.loc["stability", "value"] == pytest.approx(0.7)
    assert own["n"].to_dict() == {
        **{"stability": 40, "readout": 24, "beyond_words": 24},
        **{"beyond_words_implicit": 12, "subspace": 24},
    }
    assert own.loc["readout", "artifact"] == f"results/quick/emotion_vectors/{MODEL}_information.parquet"


def test_failed_claims_of_phase_3_stay_in_the_table():
    add_phase5(sweep_table())
    add_phase3(stable=False, gap=-0.2, found=False)
    table = verdicts.claims(open_run())
    own = table[(table["emotion"] == "apology") & (table["phase"] == "phase3")].set_index("claim")["verdict"]
    assert own["stability"] == "not_supported"  # 40 scenarios detect d_z = 0.45
    assert own["beyond_words"] == "not_supported" and own["readout"] == "supported"
    assert own["subspace"] == "underpowered"  # 0.15 ± 0.1 holds its null of 0.2, and 24 scenarios do not detect 0.5
    add_phase3(gap=0.0)
    again = verdicts.claims(open_run())
    assert again[again["claim"] == "beyond_words"]["verdict"].eq("underpowered").all()


def test_separation_is_a_claim_where_its_table_is_stored():
    where = add_phase5(sweep_table())
    add_phase3()
    assert "separation" not in set(verdicts.claims(open_run())["claim"])
    row = {"position": "mean", "variant": "raw", "layer": 3, "auc": 0.9, "low": 0.8, "high": 0.95, "random_high": 0.7}
    rows = [{**row, "emotion": "anger", "shuffled_high": 0.75}, {**row, "emotion": "apology", "shuffled_high": 0.97}]
    rows.append({**row, "emotion": "anger", "shuffled_high": 0.1, "position": "last"})
    store.write(where.vector_table("chosen_separation"), store.table_bytes(pd.DataFrame(rows)), {})
    table = verdicts.claims(open_run())
    own = table[table["claim"] == "separation"].set_index("emotion")
    assert own["verdict"].to_dict() == {"anger": "supported", "apology": "not_supported"}
    assert own.loc["anger", "reference"] == 0.75


def test_a_model_without_phase_3_is_told_and_the_others_are_not_held_up():
    add_phase5(sweep_table())
    add_phase5(sweep_table(seed=1), "second")
    add_phase3("second")
    run = open_run()
    table = verdicts.claims(run)
    assert set(table[table["phase"] == "phase3"]["model"]) == {"second"}
    assert set(table[table["phase"] == "phase5"]["model"]) == {MODEL, "second"}
    assert f"Phase 3 の読める記録がない `{MODEL}`" in wording.environment_line(run).data
    add_phase3()
    assert "読める記録がない" not in wording.environment_line(open_run()).data


def test_phase_3_alone_gives_its_claims_and_k_and_every_other_section_one_line():
    add_phase3()
    run = open_run()
    claims = verdicts.claims(run)
    assert set(claims["phase"]) == {"phase3"} and len(study_tables.k_selection(run)) == 12
    assert study_tables.effects(run).empty and study_tables.power(run).empty
    text = texts(run)
    assert "nan" not in text.lower() and "Phase 5 の読める記録がないため" in text and "操作についての主張はない" in text
    assert "Phase 5 は なし" in wording.environment_line(run).data and wording.samples(run) == 0
    assert "Phase 5 を走らせ" in judging.next_actions(run, claims).data
    assert "Phase 3 の読める記録がないため" not in text
    add_phase5(sweep_table())
    again = texts(open_run())
    assert "Phase 5 の読める記録がないため" not in again and "操作についての主張はない" not in again


def test_phase_5_alone_says_in_one_line_that_there_is_no_phase_3():
    add_phase5(sweep_table())
    text = texts(open_run())
    assert "Phase 3 の読める記録がないため" in text and "k は選ばない" in text


def test_a_figure_of_nothing_is_drawn_empty():
    add_phase3()
    settings = {"x": "d_z", "label": "label", "colour": "kind", "ends": Band("d_low", "d_high")}
    table = wording.forest_table(study_tables.effects(open_run()))
    assert not forest(table, **settings, axes=Axes("t", x="d_z")).data


# records


def states(run: Run) -> dict[tuple[str, str], str]:
    return {(record.model, record.phase): record.state for record in study_tables.records(run)}


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
        assert states(run)[("second", "phase5")] == "other" and study_tables.models(run) == [MODEL]
        assert "`second` の Phase 5 は、今とは異なる" in wording.environment_line(run).data
    store.write(record, record.read_bytes(), matched)
    assert study_tables.models(open_run()) == ["second", MODEL]


def test_a_record_whose_artifacts_were_made_anew_is_read_and_told():
    where = add_phase5(sweep_table({"gratitude": 3.0}))
    assert "古い可能性" not in wording.environment_line(open_run()).data
    store.write(where.sweep("test"), store.table_bytes(sweep_table({"gratitude": 2.0})), {})
    run = open_run()
    assert states(run) == {(MODEL, "phase5"): "behind"} and study_tables.models(run) == [MODEL]
    assert f"`{MODEL}` の Phase 5 は、用いた成果物の一部が" in wording.environment_line(run).data
    assert "走らせ直す" in judging.next_actions(run, verdicts.claims(run)).data


def test_a_finished_phase_7_is_stale_once_there_is_more_to_read():
    add_phase3()
    run = open_run()
    verdicts.claims(run)
    run.finish(samples=0)
    assert open_run().record.state() == "done"
    add_phase5(sweep_table())
    assert open_run().record.state() == "stale"
    assert run.record.parameters()["records"] == [f"{MODEL}_phase3", f"{MODEL}_phase5"]
    assert "records" not in wording.settings_table(run).data


def test_a_variants_tables_are_read_where_they_lie():
    add_phase3()
    steered = emolib.open_run("quick", MODEL, "phase5", alphas=[0.25])
    path, table = steered.paths.sweep("test"), sweep_table()
    store.write(path, store.table_bytes(table), {})
    steered.artifacts.note(path)
    steered.record.write(steered.artifacts.made)
    assert study_tables.models(open_run()) == [], "the profile has no Phase 5 of its own"
    run = open_run(variant=steered.variant.name)
    assert study_tables.models(run) == study_tables.vector_models(run) == [MODEL]
    pd.testing.assert_frame_equal(study_tables.test_sweep(run, MODEL), table)
    assert run.record.parameters()["records"] == [f"{MODEL}_phase3", f"{MODEL}_phase5"]
    assert "variants" in run.paths.statistics("claims.csv").parts


def test_the_parameters_of_the_record_decide_and_not_those_of_the_profile():
    add_phase5(sweep_table(), n_controls=59, seed=3, vector_style="all")
    run = open_run()
    assert states(run) == {(MODEL, "phase5"): "current"}
    shown = wording.source_rows(run)[MODEL]
    assert shown["Phase 5: ベクトルの文・位置"] == "全体・平均" and shown["Phase 5: 再抽出の回数・シード"] == "200・3"


# what is missing


def test_a_profile_without_any_record_is_told_in_one_line():
    for read in (study_tables.effects, study_tables.k_selection, verdicts.claims, wording.environment_line):
        with pytest.raises(
            UserError, match=r"expected a finished Phase 3 or Phase 5 of profile quick, found none; run"
        ):
            read(open_run())
    where = add_phase5(sweep_table())
    record = where.record("phase5")
    store.write(record, record.read_bytes(), {**store.read_manifest(record)["matched"], "dataset": "another"})
    with pytest.raises(UserError, match=rf"found none but of other data, .*\({MODEL} phase5\); run `emolib run"):
        study_tables.effects(open_run())


def test_a_report_of_a_model_without_records_says_so_and_shows_the_others():
    add_phase5(sweep_table(), "second")
    run = open_run()
    assert set(verdicts.claims(run)["model"]) == {"second"}
    assert f"`{MODEL}` 自身の読める記録はない" in wording.environment_line(run).data
    add_phase5(sweep_table())
    assert "自身の読める記録はない" not in wording.environment_line(open_run()).data


@pytest.mark.parametrize("name", ["test", "claims"])
def test_a_finished_phase_5_without_its_tables_is_told(name: str):
    where = add_phase5(sweep_table())
    where.sweep(name).unlink()
    with pytest.raises(UserError, match=f"expected the artifact .*sweep_{name}.parquet, found none") as told:
        verdicts.claims(open_run())
    assert "\n" not in str(told.value)


def test_a_changed_table_is_refused():
    where = add_phase5(sweep_table())
    where.sweep("test").write_bytes(where.sweep("test").read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="corrupted artifact"):
        study_tables.effects(open_run())


# effects


def test_the_csv_has_every_model_kind_emotion_and_metric(results: Path):
    add_phase5(sweep_table({"gratitude": 3.0}))
    add_phase5(sweep_table(seed=1), "second")
    run = open_run()
    table = study_tables.effects(run)
    wanted = ["model", "measure", "on_target", "kind", "emotion", "metric", "n", "mean", "d_z", "hedges_g"]
    wanted += ["ci_low", "ci_high", "d_low", "d_high", "p_t", "p_wilcoxon", "degenerate", "rank_p_isotropic"]
    wanted += ["rank_p_shuffled", "rank_p_worst", "family", "family_size", "p_bonferroni", "p_fdr"]
    written = pd.read_csv(run.paths.statistics("effect_sizes.csv"))
    assert set(wanted) <= set(written.columns) and len(written) == len(table)
    own = table[table["kind"].isin(["emotion", "direct_path"])]
    assert set(own.groupby(["model", "kind", "emotion"]).size()) == {len(METRICS) + 1}  # and fluency/broken
    assert set(table["model"]) == {MODEL, "second"}
    one = table[(table["model"] == MODEL) & (table["kind"] == "emotion") & (table["metric"] == "target/gratitude")]
    assert one.set_index("emotion")["on_target"].to_dict() == {"gratitude": True, "anger": False, "apology": False}
    assert one.set_index("emotion")["mean"]["gratitude"] == pytest.approx(3, abs=0.7)


def test_p_values_are_corrected_within_their_family_and_models_do_not_touch_each_other():
    add_phase5(sweep_table({"gratitude": 1.0}))
    alone = study_tables.effects(open_run())
    family = alone[alone["family"] == f"model={MODEL}, kind=emotion, measure=keywords"]
    assert len(family) == 9 and (family["family_size"] == 9).all()
    assert family["p_bonferroni"].to_numpy() == pytest.approx(np.minimum(1, 9 * family["p_t"].to_numpy()))
    order = np.sort(family["p_t"])
    stepped = np.minimum.accumulate((order * 9 / np.arange(1, 10))[::-1])[::-1]
    assert np.sort(family["p_fdr"]) == pytest.approx(np.minimum(1, stepped))
    assert (family["p_fdr"] < family["p_bonferroni"]).any()
    add_phase5(sweep_table(seed=3), "second")
    both = study_tables.effects(open_run())
    pd.testing.assert_frame_equal(both[both["model"] == MODEL].reset_index(drop=True), alone)
    counted = study_tables.families(both, 0.05).set_index(["model", "kind", "measure"])
    found = counted.loc[(MODEL, "emotion", "keywords")]
    assert found["tests"] == 9 and found["p_t"] == (family["p_t"] < 0.05).sum() >= found["p_fdr"]


def test_prompting_is_compared_with_its_own_format_and_rivals_with_the_unpatched_text():
    settings = [("baseline", "none", -1, 0.0, 0), ("prompting_baseline", "none", -1, 0.0, 0)]
    settings += [(kind, e, layer, 0.2, 0) for kind, layer in (("pca", 5), ("prompting", -1)) for e in EMOTIONS]
    rivals = rows_of(settings, {"gratitude": 2.0}, n=24, seed=7)
    rivals.loc[rivals["kind"].str.startswith("prompting"), METRICS] += 50.0  # another format, another level
    add_phase5(sweep_table(), alternatives=rivals)
    table = study_tables.effects(open_run()).set_index(["kind", "emotion", "metric"])
    for kind in ("prompting", "pca"):
        assert table.loc[(kind, "gratitude", "target/gratitude"), "mean"] == pytest.approx(2, abs=0.8)
        assert table.loc[(kind, "anger", "target/anger"), "mean"] == pytest.approx(0, abs=0.8)
    assert not {"prompting_baseline", "baseline"} & set(table.index.get_level_values("kind"))


def test_the_points_of_a_cross_fitted_design_count_as_one_setting():
    parts = [sweep_table({"gratitude": 3.0}, n=12, seed=i, layer=4 + i).assign(part=f"fold{i}") for i in range(2)]
    parts[1]["scenario"] = "t" + parts[1]["scenario"]
    parts[1].loc[parts[1]["kind"] != "baseline", "alpha"] = 0.2
    sweep = pd.concat(parts, ignore_index=True)
    add_phase5(sweep)
    row = study_tables.own_effects(open_run()).set_index("metric").loc["keywords/gratitude"]
    assert row["n"] == 24 and row["layer"] == -1 and row["alpha"] == 0.25
    assert row["rank_p_worst"] == pytest.approx(1 / 60) and row["n_isotropic"] == 59
    add_phase5(sweep.drop(columns="part"))
    apart = study_tables.own_effects(open_run())
    assert list(apart[apart["metric"] == "keywords/gratitude"]["n"]) == [12, 12]


@pytest.mark.parametrize("given", [{}, {"seed": 5, "n_resamples": 300}])
def test_intervals_are_those_that_phase_5_prints(given: dict[str, int]):
    sweep = sweep_table({"gratitude": 1.0})
    sweep["keywords/gratitude"] = sweep["keywords/gratitude"].round()  # ties, as counts have
    add_phase5(sweep, **given)
    table = study_tables.own_effects(emolib.open_run("quick", MODEL, "phase7")).set_index("metric")
    again = study_tables.own_effects(open_run()).set_index("metric")
    for metric in ("keywords/gratitude", "target/gratitude", "target/anger"):
        own = own_effects_of(sweep, "emotion", metric.split("/")[1], metric).to_numpy()
        settings = {"n_resamples": given.get("n_resamples", 2000), "seed": given.get("seed", 0)}
        expected = intervals.bootstrap_mean(own, **settings)
        assert tuple(table.loc[metric, ["ci_low", "ci_high"]]) == pytest.approx((expected.low, expected.high))
    assert not again["ci_low"].equals(table["ci_low"])  # n_bootstrap is given there


def test_what_is_finished_is_read_again_and_a_new_sweep_is_not_overlooked():
    add_phase5(sweep_table({"gratitude": 3.0}))
    run = open_run()
    first, path = study_tables.effects(run), run.paths.statistics("effect_sizes.csv")
    before = path.stat().st_mtime_ns
    pd.testing.assert_frame_equal(study_tables.effects(open_run()), first)
    assert path.stat().st_mtime_ns == before
    add_phase5(sweep_table({"gratitude": 1.0}))
    assert not study_tables.effects(open_run())["mean"].equals(first["mean"])


def test_a_label_called_null_is_a_label_and_an_empty_field_is_missing(results: Path):
    table = pd.DataFrame({"emotion": ["null", "NA"], "p": [1 / 3, np.nan]})
    store.write(results / "table.csv", study_tables.csv_bytes(table), {})
    pd.testing.assert_frame_equal(study_tables.read_csv(results / "table.csv"), table)


# power


def test_the_power_table_has_known_numbers_and_names_what_only_describes():
    sweep = sweep_table({"gratitude": 1.5})
    sweep["keywords/anger"] = 0.0
    add_phase5(sweep)
    run = open_run()
    table = study_tables.power(run)
    needed = table[table["metric"] == "target/anger"].set_index(["d", "power"])["n_required"].to_dict()
    expected = {0.2: (199, 227), 0.3: (90, 102), 0.5: (34, 38)}
    assert needed == {(d, power): n for d, pair in expected.items() for power, n in zip((0.8, 0.85), pair, strict=True)}
    assert table["detectable_d"].round(2).unique().tolist() == [0.6, 0.64] and (table["n"] == 24).all()
    assert len(table) == 6 * len(needed)
    assert "post_hoc_power_descriptive" in table and "post_hoc_power" not in table
    record = json.loads(run.paths.statistics("power_analysis.json").read_text())
    assert len(record["designs"]) == 6 and len(record["observed"]) == 6
    seen = {row["metric"]: row for row in record["observed"]}
    assert seen["keywords/anger"]["observed_d"] is None
    assert seen["keywords/gratitude"]["post_hoc_power_descriptive"] > 0.9
    assert "decides nothing" in record["post_hoc_power_descriptive"]


# k


def test_the_k_table_has_the_overlaps_the_choice_and_the_rule():
    add_phase5(sweep_table())
    add_phase3()
    run = open_run()
    table = study_tables.k_selection(run)
    assert list(table.columns) == list(study_tables.K_COLUMNS) and set(table["layer"]) == {2}  # the probe's best
    one = table[table["emotion"] == "gratitude"]
    assert one["k"].tolist() == [1, 2, 3, 4] and one["chosen"].tolist() == [False, True, False, False]
    assert (one["chosen_k"] == 2).all() and (one["best_k"] == 3).all() and one["found"].all()
    assert "one standard error" in one["rule"].iloc[0]
    assert pd.read_csv(run.paths.statistics("k_selection.csv"))["chosen_k"].eq(2).all()
    add_phase3(found=False)
    again = study_tables.k_selection(open_run())
    assert (again["chosen_k"] == 2).all() and not again["found"].any()
    assert "k に意味はない" in wording.k_sentence(again).data and "k に意味はない" not in wording.k_sentence(table).data


def k_table(test_overlap: float, test_null_high: float = 0.5, *, excess: float = 0.1) -> pd.DataFrame:
    """One emotion whose chosen k is 1 with an excess of 0.4 on both splits; the next k as given."""
    row = {"model": MODEL, "emotion": "anger", "layer": 2, "overlap": 0.7, "null": 0.3, "null_high": 0.4, "se": 0.1}
    row |= {"null_max": 0.2, "chosen_k": 1, "best_k": 1, "best_excess": 0.4, "best_se": 0.1, "found": True, "rule": ""}
    first = {"k": 1, "excess": 0.4, "test_overlap": 0.7, "test_null": 0.3, "test_null_high": 0.4, "test_excess": 0.4}
    second = {
        "k": 2,
        "excess": excess,
        "test_overlap": test_overlap,
        "test_null": 0.3,
        "test_null_high": test_null_high,
    }
    second["test_excess"] = test_overlap - 0.3
    rows = [{**row, **first, "chosen": True}, {**row, **second, "chosen": False}]
    return pd.DataFrame(rows)[list(study_tables.K_COLUMNS)]


def test_the_next_direction_is_told_with_its_test_values_and_its_absence_is_not_claimed():
    text = wording.k_sentence(k_table(0.6)).data
    assert "k = 2 まで広げても帰無に対する超過は増えない（0.40 → 0.10）" in text
    assert "テストでの超過も増えない（0.40 → 0.30）" in text and "方向がないことの検定ではない" in text
    assert "ただしテストの k = 2 の重なり 0.60 は帰無の 97.5 % 点 0.50 を上回り" in text and "証拠はない" not in text
    assert "0.45 は帰無の 97.5 % 点 0.50 を超えない" in wording.k_sentence(k_table(0.45)).data
    grown = wording.k_sentence(k_table(0.9, excess=0.45)).data
    assert "増えるが（0.40 → 0.45）、1 標準誤差に収まる" in grown and "テストでの超過も増える（0.40 → 0.60）" in grown
    rows = wording.test_overlap_rows(k_table(0.6))
    assert rows.index.get_level_values("k").tolist() == ["1（選んだ k）", "2（次）"]
    assert rows["重なり"].tolist() == ["0.70", "0.60"] and rows["帰無の 97.5 %"].tolist() == ["0.40", "0.50"]


def test_without_overlaps_no_k_is_chosen_and_the_report_says_so():
    add_phase5(sweep_table())
    add_phase3(overlaps=False)
    run = open_run()
    table = study_tables.k_selection(run)
    assert table.empty and "subspace" not in set(verdicts.claims(run)["claim"])
    for rows in (wording.k_rows, wording.overlap_rows, wording.test_overlap_rows):
        assert "重なりの表がないため" in rows(table).to_string()
    assert "k は選ばない" in wording.k_sentence(table).data
    assert wording.excess_table(table).empty


# parameters


def test_only_the_chosen_modes_are_written_and_the_claims_do_not_depend_on_them():
    add_phase5(sweep_table({"gratitude": 3.0}))
    add_phase3()
    run = open_run(modes="k")
    assert run.params.modes == ("k",)
    few = verdicts.claims(run)
    study_tables.power(run)
    folder = run.paths.statistics("")
    written = {path.name for path in Path(folder).glob("*") if "manifest" not in path.name}
    assert written == {"k_selection.csv", "claims.csv"}
    everything = open_run()
    pd.testing.assert_frame_equal(verdicts.claims(everything), few)
    study_tables.power(everything)
    folder = everything.paths.statistics("")
    written = {path.name for path in Path(folder).glob("*") if "manifest" not in path.name}
    assert written >= {"effect_sizes.csv", "power_analysis.csv", "power_analysis.json"}


def test_modes_are_given_as_a_list_or_with_commas_and_unknown_ones_are_refused():
    assert resolve("quick", MODEL, "phase7", {"modes": "effect, k"}).modes == ("effect", "k")
    assert resolve("quick", MODEL, "phase7", {"modes": ["power"]}).modes == ("power",)
    for wrong in ("efect", [], {"ds": [0.0]}):
        with pytest.raises(UserError):
            resolve("quick", MODEL, "phase7", wrong if isinstance(wrong, dict) else {"modes": wrong})


def test_parameters_of_other_phases_are_refused_here_and_come_from_the_profile_for_them():
    params = resolve("quick", MODEL, "phase7")
    dumped = params.model_dump()
    for name in ("n_train", "n_test", "dataset", "neutral", "device", "dtype", "random_weights", "backend", "seed"):
        assert name not in dumped
        with pytest.raises(UserError, match=f"unknown parameter '{name}' of phase7"):
            resolve("quick", MODEL, "phase7", {name: 10})
    given = {"n_test": 10, "significance": 0.01}
    phases.check_parameters(phases.phases_in_order(), given)
    assert phases.overrides_for("phase7", given) == {"significance": 0.01}
    assert phases.overrides_for("phase5", given) == {"n_test": 10}


# the report


def texts(run: Run) -> str:
    effects, power, k, claims = (
        study_tables.effects(run),
        study_tables.power(run),
        study_tables.k_selection(run),
        verdicts.claims(run),
    )
    params = run.params
    tables = [wording.source_rows(run), wording.effect_rows(effects), wording.test_rows(effects)]
    tables += [wording.rival_effect_rows(effects), wording.rival_test_rows(effects), wording.rank_rows(effects)]
    tables += [wording.test_overlap_rows(k), judging.place_rows(run)]
    tables += [wording.family_rows(effects, params.significance), wording.required_rows(power)]
    tables += [wording.detectable_rows(power), wording.observed_rows(power), wording.k_rows(k), wording.overlap_rows(k)]
    tables += [judging.claim_rows(claims, phase) for phase in ("phase3", "phase5")]
    said = [wording.power_sentence(power, params.smallest_d, params.significance), wording.k_sentence(k)]
    said += [judging.bar_rows(claims), judging.discussion(run, effects, claims), judging.next_actions(run, claims)]
    said += [judging.limits(run), wording.settings_table(run), wording.environment_line(run)]
    return "\n".join([*(table.to_string() for table in tables), *(one.data for one in said)])


def test_the_report_counts_every_verdict_and_prints_no_nan():
    sweep = sweep_table({"gratitude": 3.0, "apology": -3.0})
    sweep["keywords/anger"] = 0.0
    add_phase5(sweep)
    add_phase3(gap=0.0)
    run = open_run()
    text = texts(run)
    assert "nan" not in text.lower() and "-0.00 " not in text and "None" not in text
    assert "支持 2（感謝の語数・感謝の確率）、不支持 4（怒りの語数・怒りの確率・謝罪の語数・謝罪の確率）" in text
    assert "bag-of-words を超える情報をもつ（全体） — 検出力不足 3（感謝・怒り・謝罪）" in text
    assert f"{len(verdicts.claims(run))} 件の判定" not in text and "合計は示さない" in text
    assert "効果がないことの証明ではない" in text and "34 シナリオ" in text


def test_a_study_without_support_does_not_speak_of_any():
    add_phase5(sweep_table(seed=2))
    run = open_run()
    text = judging.discussion(run, study_tables.effects(run), verdicts.claims(run)).data
    assert "— 不支持 6（" in text and "支持されたものはない" in text and "大きめに出やすい" not in text
    add_phase5(sweep_table({"gratitude": 3.0}, seed=2))
    run = open_run()
    text = judging.discussion(run, study_tables.effects(run), verdicts.claims(run)).data
    assert "支持されたものはない" not in text and "大きめに出やすい" in text


def caveats(run: Run) -> dict[str, str]:
    lines = judging.discussion(run, study_tables.effects(run), verdicts.claims(run)).data.splitlines()
    return {claim: line for claim, name in judging.CLAIMS.items() for line in lines if f"- {name} — " in line}


def test_supported_claims_stand_beside_what_weakens_them():
    add_phase3()
    found = caveats(open_run())
    assert (
        "テスト文の 50 % は感情語を含む明示文" in found["readout"] and "bag-of-words の AUC も 0.90" in found["readout"]
    )
    assert (
        "支持した区間の下限は 0.050・0.050・0.050" in found["beyond_words"]
        and "（検定は 3 件）" in found["beyond_words"]
    )
    assert "一つも示せていない" not in found["beyond_words_implicit"]
    assert "基準値を含む" not in found["subspace"]  # 0.4 ± 0.1 and a bar of 0.2
    add_phase3(gap=0.0)
    found = caveats(open_run())
    assert "下限" not in found["beyond_words"] and "一つも示せていない" in found["beyond_words_implicit"]
    where = ResultPaths("quick", MODEL)
    files = {where.subspace_table(f"overlap_{split}"): overlap_table(0.25) for split in ("validation", "test")}
    for path, table in files.items():
        store.write(path, store.table_bytes(table), {})
    assert "支持した 3 件すべてで、95 % 区間は基準値を含む" in caveats(open_run())["subspace"]


def test_counts_read_naturally():
    assert [judging._of(*pair) for pair in ((4, 4), (1, 1), (3, 4))] == ["4 件すべて", "1 件", "4 件のうち 3 件"]


def test_the_report_tells_which_vectors_the_claims_are_about():
    add_phase3()
    add_phase5(sweep_table(layer=3))
    text = judging.limits(open_run()).data
    assert "層（Phase 3 のプローブは 2、操作は 3）と文（Phase 3 は全体、操作は明示文だけ）が違う" in text
    assert "分割半コサインは 感謝 0.20、怒り 0.20、謝罪 0.20" in text
    rows = judging.place_rows(open_run())
    assert rows["Phase 3 の層（プローブ）"].tolist() == [2, 2, 2] and rows["Phase 5 の層"].tolist() == [3, 3, 3]
    add_phase5(sweep_table(layer=2), vector_style="all")
    text = judging.limits(open_run()).data
    assert "同じ層・文・位置" in text and "違う" not in text


def test_only_the_emotions_own_vectors_stand_in_the_main_tables():
    add_phase5(sweep_table({"gratitude": 3.0}))
    effects = study_tables.effects(open_run())
    for main, other in (
        (wording.effect_rows, wording.rival_effect_rows),
        (wording.test_rows, wording.rival_test_rows),
    ):
        assert len(main(effects)) == 6 and len(other(effects)) == 6
        assert other(effects).columns.tolist() == ["直接経路"]
    own = effects[effects["kind"] == "emotion"]
    assert (
        "該当" not in str(wording.effect_rows(own)) and "示すものがない" in wording.rival_effect_rows(own).to_string()
    )


def test_the_power_section_says_that_a_claim_needs_more_than_the_t_test():
    add_phase5(sweep_table())
    text = wording.power_sentence(study_tables.power(open_run()), 0.5, 0.05).data
    assert "t 検定だけの値" in text and "`docs/selftest.md`" in text


def test_small_designs_are_told_to_grow():
    add_phase5(sweep_table(n=4, n_controls=5))
    text = texts(open_run())
    assert "nan" not in text.lower() and "inf" not in text.lower() and "`quick` 以上" in text
    add_phase5(sweep_table(n_controls=5))
    text = texts(open_run())
    assert "`n_controls` を増やす" in text and "`quick` 以上" not in text


def test_a_claim_that_its_correction_does_not_carry_is_named():
    row = {"claim": "steering", "model": MODEL, "measure": "target/anger", "emotion": "anger", "verdict": "supported"}
    row |= {"max_left_out": False, "max_family": "isotropic", "max_at": "target/anger", "max_z": 3.0}
    table = pd.DataFrame([{**row, "max_p": 0.2}, {**row, "measure": "keywords/anger", "max_p": 0.01}])
    line, largest = judging._correction_lines(table, 0.05)
    assert "怒りの確率は補正後の水準に届かず" in line and "怒りの語数は" not in line and "2 件のうち 1 件" in line
    assert "等方的な乱数方向、指標は怒りの確率（z = 3.0）" in largest
    (line, _) = judging._correction_lines(table[1:], 0.05)
    assert "届かず" not in line


# the figure


def test_the_forest_has_a_point_with_whiskers_per_row_and_kind():
    add_phase5(sweep_table({"gratitude": 3.0}))
    table = wording.forest_table(study_tables.effects(open_run()))
    settings = {"x": "d_z", "label": "label", "colour": "kind", "ends": Band("d_low", "d_high")}
    fig = forest(table, **settings, axes=Axes("t", x="d_z"))
    assert [trace.name for trace in fig.data] == ["感情ベクトル", "直接経路"]
    own = table[table["kind"] == "感情ベクトル"]
    assert list(fig.data[0].x) == pytest.approx(own["d_z"].tolist()) and len(own) == 6
    ends = np.array(fig.data[0].x) + np.array(fig.data[0].error_x.array)
    assert ends == pytest.approx(own["d_high"].to_numpy())
    assert list(fig.layout.yaxis.ticktext) == own["label"].tolist()
    with pytest.raises(UserError, match="one point per label and kind"):
        forest(pd.concat([table, table[:1]]), **settings, axes=Axes("t", x="d_z"))
    with pytest.raises(UserError, match="columns"):
        forest(table.drop(columns="d_low"), **settings, axes=Axes("t", x="d_z"))


def test_a_row_without_an_effect_size_is_drawn_empty_and_breaks_nothing():
    table = pd.DataFrame({"label": ["a", "b"], "kind": "x", "d": [np.nan, 1.0], "low": [np.nan, 0.5], "high": np.nan})
    fig = forest(table, "d", "label", "kind", Axes("t", x="d"), ends=Band("low", "high"))
    assert np.isnan(fig.data[0].x[0]) and fig.data[0].x[1] == 1.0
    assert list(fig.data[0].error_x.array) == [0.0, 0.0] and fig.data[0].error_x.arrayminus[1] == 0.5


# places


def test_only_models_with_the_record_of_the_phase_count_as_finished(results: Path):
    where = add_phase5(sweep_table(n=4, n_controls=2))
    assert where.finished_models("phase5") == [MODEL] and where.finished_models("phase3") == []
    shutil.rmtree(where.record("phase5").parent)
    assert where.finished_models("phase5") == []
    assert paths.display(where.statistics("claims.csv")) == "results/quick/statistics/claims.csv"
