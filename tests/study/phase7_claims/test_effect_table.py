"""Effect sizes across models, and how their files are written and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stored_phases import (
    EMOTIONS,
    METRICS,
    MODEL,
    add_phase5,
    open_run,
    rows_of,
    sweep_table,
)

import emolib
from emolib.base import store
from emolib.statistics import intervals
from emolib.steering.effects import effects as own_effects_of
from emolib.study import phase7_claims as study
from emolib.study.phase7_claims.statistics_files import csv_bytes, read_csv


def test_the_csv_has_every_model_kind_emotion_and_metric(results: Path):
    add_phase5(sweep_table({"gratitude": 3.0}))
    add_phase5(sweep_table(seed=1), "second")
    run = open_run()
    table = study.effects(run)
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
    alone = study.effects(open_run())
    family = alone[alone["family"] == f"model={MODEL}, kind=emotion, measure=keywords"]
    assert len(family) == 9 and (family["family_size"] == 9).all()
    assert family["p_bonferroni"].to_numpy() == pytest.approx(np.minimum(1, 9 * family["p_t"].to_numpy()))
    order = np.sort(family["p_t"])
    stepped = np.minimum.accumulate((order * 9 / np.arange(1, 10))[::-1])[::-1]
    assert np.sort(family["p_fdr"]) == pytest.approx(np.minimum(1, stepped))
    assert (family["p_fdr"] < family["p_bonferroni"]).any()
    add_phase5(sweep_table(seed=3), "second")
    both = study.effects(open_run())
    pd.testing.assert_frame_equal(both[both["model"] == MODEL].reset_index(drop=True), alone)
    counted = study.families(both, 0.05).set_index(["model", "kind", "measure"])
    found = counted.loc[(MODEL, "emotion", "keywords")]
    assert found["tests"] == 9 and found["p_t"] == (family["p_t"] < 0.05).sum() >= found["p_fdr"]


def test_prompting_is_compared_with_its_own_format_and_rivals_with_the_unpatched_text():
    settings = [("baseline", "none", -1, 0.0, 0), ("prompting_baseline", "none", -1, 0.0, 0)]
    settings += [(kind, e, layer, 0.2, 0) for kind, layer in (("pca", 5), ("prompting", -1)) for e in EMOTIONS]
    rivals = rows_of(settings, {"gratitude": 2.0}, n=24, seed=7)
    rivals.loc[rivals["kind"].str.startswith("prompting"), METRICS] += 50.0  # another format, another level
    add_phase5(sweep_table(), alternatives=rivals)
    table = study.effects(open_run()).set_index(["kind", "emotion", "metric"])
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
    row = study.own_effects(study.effects(open_run())).set_index("metric").loc["keywords/gratitude"]
    assert row["n"] == 24 and row["layer"] == -1 and row["alpha"] == 0.25
    assert row["rank_p_worst"] == pytest.approx(1 / 60) and row["n_isotropic"] == 59
    add_phase5(sweep.drop(columns="part"))
    apart = study.own_effects(study.effects(open_run()))
    assert list(apart[apart["metric"] == "keywords/gratitude"]["n"]) == [12, 12]


@pytest.mark.parametrize("given", [{}, {"seed": 5, "n_resamples": 300}])
def test_intervals_are_those_that_phase_5_prints(given: dict[str, int]):
    sweep = sweep_table({"gratitude": 1.0})
    sweep["keywords/gratitude"] = sweep["keywords/gratitude"].round()  # ties, as counts have
    add_phase5(sweep, **given)
    table = study.own_effects(study.effects(emolib.open_run("quick", MODEL, "phase7"))).set_index("metric")
    again = study.own_effects(study.effects(open_run())).set_index("metric")
    for metric in ("keywords/gratitude", "target/gratitude", "target/anger"):
        own = own_effects_of(sweep, "emotion", metric.split("/")[1], metric).to_numpy()
        settings = {"n_resamples": given.get("n_resamples", 2000), "seed": given.get("seed", 0)}
        expected = intervals.bootstrap_mean(own, **settings)
        assert tuple(table.loc[metric, ["ci_low", "ci_high"]]) == pytest.approx((expected.low, expected.high))
    assert not again["ci_low"].equals(table["ci_low"])  # n_bootstrap is given there


def test_what_is_finished_is_read_again_and_a_new_sweep_is_not_overlooked():
    add_phase5(sweep_table({"gratitude": 3.0}))
    run = open_run()
    first, path = study.effects(run), run.paths.statistics("effect_sizes.csv")
    before = path.stat().st_mtime_ns
    pd.testing.assert_frame_equal(study.effects(open_run()), first)
    assert path.stat().st_mtime_ns == before
    add_phase5(sweep_table({"gratitude": 1.0}))
    assert not study.effects(open_run())["mean"].equals(first["mean"])


def test_a_label_called_null_is_a_label_and_an_empty_field_is_missing(results: Path):
    table = pd.DataFrame({"emotion": ["null", "NA"], "p": [1 / 3, np.nan]})
    store.write(results / "table.csv", csv_bytes(table), {})
    pd.testing.assert_frame_equal(read_csv(results / "table.csv"), table)
