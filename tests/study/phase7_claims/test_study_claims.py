"""Claims of phases 3 and 5 on made-up sweeps and tables whose truth is known, and which files are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stored_phases import (
    EMOTIONS,
    MODEL,
    add_phase3,
    add_phase5,
    open_run,
    shift_table,
    sweep_table,
)

from emolib.base import store
from emolib.base.errors import UserError
from emolib.base.parameters import check_known, resolve
from emolib.base.paths import ResultPaths
from emolib.pipeline import phases
from emolib.steering.findings import findings
from emolib.study import phase7_claims as study
from emolib.study.run import Run


def judged(run: Run, **where: object) -> dict[str, tuple[str, str]]:
    table = study.claims(run)
    for name, value in where.items():
        table = table[table[name] == value]
    return dict(zip(table["measure"], zip(table["verdict"], table["reason"], strict=True), strict=True))


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
            study.claims(open_run(significance=significance))
            .set_index("measure")["verdict"]
            .equals(phase5["verdict"].rename_axis("measure"))
        )


@pytest.mark.parametrize("verdict", ["supported", "instruments_missing", "not_measurable", "underpowered"])
def test_a_claim_of_the_continuation_shift_has_phase_5_s_verdict(verdict: str):
    shift = shift_table(verdict)
    add_phase5(sweep_table(), shift=shift)
    rows = study.claims(open_run())
    found = rows[rows["claim"] == "shift"].set_index(["measure", "emotion"])
    held = shift.assign(measure="shift/" + shift["style"]).set_index(["measure", "emotion"])
    for name, other in {
        "verdict": "verdict",
        "reason": "reason",
        "value": "mean",
        "p": "p",
        "rank_p": "rank_p",
    }.items():
        assert found[name].tolist() == held.loc[found.index, other].tolist(), name
    assert (rows.loc[rows["claim"] == "steering", "family"] == "exploration").all() and len(found) == 6
    assert "supported" not in set(found["verdict"]) or verdict == "supported"


def test_the_families_are_over_emotions_and_real_models_each_style_its_own():
    add_phase5(sweep_table(), shift=shift_table(p=0.01))
    add_phase5(sweep_table(seed=1), "other", shift=shift_table(p=0.04))
    add_phase5(sweep_table(seed=2), "random", shift=shift_table(p=0.0001), random_weights=True)
    rows = study.claims(open_run())
    found = rows[rows["claim"] == "shift"].set_index(["model", "family"])
    for family in ("implicit", "explicit"):
        assert found.loc[(MODEL, family), "p_holm"].tolist() == pytest.approx([6 * 0.01] * 3)
        assert found.loc[("other", family), "p_holm"].tolist() == pytest.approx([3 * 0.04] * 3)
    assert found.loc["random"].index.unique().tolist() == ["exploration"]
    assert found.loc["random", "p_holm"].isna().all() and rows.loc[rows["claim"] != "shift", "p_holm"].isna().all()


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
    claims = study.claims(open_run()).set_index("model")
    assert list(claims.loc[MODEL, "verdict"].eq("supported")) == [True, True, False, False, True, True]
    assert len(claims.loc[nulls]) == 72 and (claims.loc[nulls, "verdict"] == "supported").sum() == 0
    assert (claims.loc[nulls, "max_p"] <= 0.05).mean() <= 0.05


def test_a_measure_that_hardly_ever_moves_is_degenerate_and_has_no_effect_size():
    sweep = sweep_table({"gratitude": 3.0})
    sweep["keywords/anger"] = 0.0
    add_phase5(sweep)
    run = open_run()
    assert judged(run)["keywords/anger"] == ("not_supported", "few_nonzero")
    row = study.own_effects(study.effects(run)).set_index("metric").loc["keywords/anger"]
    assert row["degenerate"] and np.isnan(row["d_z"]) and np.isnan(row["p_t"]) and row["p_paired"] == 1
    assert not study.own_effects(study.effects(run)).set_index("metric").loc["keywords/gratitude", "degenerate"]


def test_claims_of_phase_3_come_from_its_tables_at_the_layer_chosen_on_validation():
    add_phase5(sweep_table())
    add_phase3()
    table = study.claims(open_run())
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
    table = study.claims(open_run())
    own = table[(table["emotion"] == "apology") & (table["phase"] == "phase3")].set_index("claim")["verdict"]
    assert own["stability"] == "not_supported"  # 40 scenarios detect d_z = 0.45
    assert own["beyond_words"] == "not_supported" and own["readout"] == "supported"
    assert own["subspace"] == "underpowered"  # 0.15 ± 0.1 holds its null of 0.2, and 24 scenarios do not detect 0.5
    add_phase3(gap=0.0)
    again = study.claims(open_run())
    assert again[again["claim"] == "beyond_words"]["verdict"].eq("underpowered").all()


def test_separation_is_a_claim_where_its_table_is_stored():
    where = add_phase5(sweep_table())
    add_phase3()
    assert "separation" not in set(study.claims(open_run())["claim"])
    row = {"position": "mean", "variant": "raw", "layer": 3, "auc": 0.9, "low": 0.8, "high": 0.95, "random_high": 0.7}
    rows = [{**row, "emotion": "anger", "shuffled_high": 0.75}, {**row, "emotion": "apology", "shuffled_high": 0.97}]
    rows.append({**row, "emotion": "anger", "shuffled_high": 0.1, "position": "last"})
    store.write(where.vector_table("chosen_separation"), store.table_bytes(pd.DataFrame(rows)), {})
    table = study.claims(open_run())
    own = table[table["claim"] == "separation"].set_index("emotion")
    assert own["verdict"].to_dict() == {"anger": "supported", "apology": "not_supported"}
    assert own.loc["anger", "reference"] == 0.75
    stable = table[table["claim"] == "stability"].set_index("emotion")  # at the vector's own layer, not at the probe's
    assert stable["measure"].to_dict() == {"gratitude": "layer 2", "anger": "layer 3", "apology": "layer 3"}
    assert stable["verdict"].to_dict() == {
        "gratitude": "supported",
        "anger": "not_supported",
        "apology": "not_supported",
    }


def test_only_the_chosen_modes_are_written_and_the_claims_do_not_depend_on_them():
    add_phase5(sweep_table({"gratitude": 3.0}))
    add_phase3()
    run = open_run(modes="k")
    assert run.params.modes == ("k",)
    few = study.claims(run)
    study.power(run)
    folder = run.paths.statistics("any").parent
    written = {path.name for path in Path(folder).glob("*") if "manifest" not in path.name}
    assert written == {"k_selection.csv", "claims.csv"}
    everything = open_run()
    pd.testing.assert_frame_equal(study.claims(everything), few)
    study.power(everything)
    folder = everything.paths.statistics("any").parent
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
    check_known(given, phases.phases_in_order())
    assert phases.overrides_for("phase7", given) == {"significance": 0.01}
    assert phases.overrides_for("phase5", given) == {"n_test": 10}
