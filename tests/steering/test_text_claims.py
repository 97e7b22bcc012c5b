"""Claims on made-up sweeps whose answer is known, each condition failed in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emolib.base.errors import UserError
from emolib.statistics import intervals
from emolib.steering.effects import control_effects, effects, specific_difference, value_of
from emolib.steering.operating_point import choose_operating_point
from emolib.steering.text_claims import claims_table, rank_bar

EMOTIONS = ("gratitude", "anger")
METRIC = {emotion: f"keywords/{emotion}" for emotion in EMOTIONS}
MEASURES = {emotion: [metric] for emotion, metric in METRIC.items()}
FAMILIES = ("isotropic", "covariance", "shuffled")
N = 24
PATTERN = np.cos(np.arange(N))  # of the scenarios


def rows(kind: str, emotion: str, index: int = 0, **values: Any) -> pd.DataFrame:
    """One text per scenario; metrics that are not given keep the baseline's values."""
    base = {METRIC["gratitude"]: 3 + PATTERN, METRIC["anger"]: 2 - PATTERN}
    table = {"scenario": [f"s{i:02d}" for i in range(N)], "kind": kind, "emotion": emotion, "index": index}
    given = {METRIC.get(name, name): value for name, value in values.items()}
    layer, alpha = (-1, 0.0) if kind == "baseline" else (6, 0.3)
    return pd.DataFrame({**table, "layer": layer, "alpha": alpha, "fluency/broken": False, **base, **given})


def sweep_of(n_controls: int = 59, families: Sequence[str] = FAMILIES, **changed: pd.DataFrame) -> pd.DataFrame:
    """Every vector adds about 1 to its own emotion's words; control directions add up to 0.4."""
    own = {"gratitude": 4 + PATTERN + 0.2 * PATTERN**2, "anger": 3 - PATTERN + 0.2 * PATTERN**2}
    parts = {"baseline": rows("baseline", "none")}
    parts |= {emotion: rows("emotion", emotion, **{emotion: own[emotion]}) for emotion in EMOTIONS}
    for family in families:
        moved = [0.4 * (i % 7) / 7 for i in range(n_controls)]
        controls = [
            rows(family, "any", i, gratitude=3 + PATTERN + by, anger=2 - PATTERN + by) for i, by in enumerate(moved)
        ]
        parts[family] = pd.concat(controls, ignore_index=True)
    return pd.concat({**parts, **changed}.values(), ignore_index=True)


def claim(sweep: pd.DataFrame, emotion: str = "gratitude", **given: Any) -> dict[str, Any]:
    given = {"measures": MEASURES, "families": FAMILIES, "n_resamples": 300, **given}
    table = claims_table(sweep, **given)
    return table.set_index("emotion").loc[emotion].to_dict()


def moved_like(table: pd.DataFrame, by: np.ndarray | float, metric: str) -> pd.DataFrame:
    return table.assign(**{metric: 3 + PATTERN + by})


# the verdict's conditions


def test_a_vector_that_beats_the_others_and_every_family_is_supported():
    table = claims_table(sweep_of(), MEASURES, families=FAMILIES, n_resamples=300)
    assert table["supported"].all() and table["beats_others"].all() and table["beats_random"].all()
    assert not table["degenerate"].any()
    assert (table[["rank_p", *(f"p_{family}" for family in FAMILIES)]] == 1 / 60).all(axis=None)
    expected = 1 + 0.2 * (PATTERN**2).mean()
    np.testing.assert_allclose(table[["own_effect", "own_effect_unfiltered", "vs_others"]], expected)
    assert (table["ci_low"] < expected).all() and (expected < table["ci_high"]).all() and (table["ci_low"] > 1).all()
    np.testing.assert_allclose(table["random_max"], 0.4 * 6 / 7)
    assert (table["wrong_way"] == 0).all() and (table["n"] == N).all() and (table["bar"] == 1 / 60).all()


def test_other_vectors_that_move_the_measure_as_much_refute_the_claim_alone():
    as_much = rows(
        "emotion",
        "anger",
        gratitude=4 + PATTERN + 0.2 * PATTERN**2 + 0.3 * np.sin(3 * np.arange(N)),
        anger=3 - PATTERN + 3 + PATTERN**2,
    )
    found = claim(sweep_of(anger=as_much))
    assert not found["supported"] and not found["beats_others"]
    assert found["beats_random"] and found["rank_p"] == 1 / 60 and not found["degenerate"]
    assert claim(sweep_of(anger=as_much), "anger")["supported"]  # the other emotion's claim is not touched


@pytest.mark.parametrize("strong", FAMILIES)
def test_one_direction_of_one_family_refutes_the_claim_and_the_worst_family_counts(strong):
    sweep = sweep_of()
    best = (sweep["kind"] == strong) & (sweep["index"] == 20)
    sweep.loc[best, METRIC["gratitude"]] += 2
    found = claim(sweep)
    assert {family: found[f"p_{family}"] for family in FAMILIES} == {
        family: (2 if family == strong else 1) / 60 for family in FAMILIES
    }
    assert found["rank_p"] == 2 / 60 and found["random_max"] == found[f"max_{strong}"] > 2
    assert found["beats_others"] and not found["beats_random"] and not found["supported"]
    assert claim(sweep, "anger")["supported"]


def test_an_interval_that_holds_zero_refutes_the_claim_alone():
    wide = rows("emotion", "gratitude", gratitude=3 + PATTERN + 0.6 + 4 * np.sin(3 * np.arange(N)))
    found = claim(sweep_of(gratitude=wide))
    assert found["ci_low"] < 0 < found["vs_others"] < found["ci_high"]
    assert found["rank_p"] == 1 / 60 and found["beats_random"] and not found["beats_others"]
    assert not found["supported"] and not found["degenerate"]
    narrow = rows("emotion", "gratitude", gratitude=3 + PATTERN + 0.6 + 0.4 * np.sin(3 * np.arange(N)))
    assert claim(sweep_of(gratitude=narrow))["supported"]


def test_a_constant_difference_is_tested_by_its_signs_and_not_thrown_out():
    constant = claim(sweep_of(gratitude=rows("emotion", "gratitude", gratitude=3 + PATTERN + 1.0)))
    assert constant["degenerate"] and np.isnan(constant["ci_low"]) and constant["p_sign"] == 0.5**N
    assert constant["beats_others"] and constant["supported"]
    signs = np.where(np.arange(N) % 3, 1e-12, -1e-12)  # as many scenarios fall as not: no evidence
    mixed = claim(sweep_of(gratitude=rows("emotion", "gratitude", gratitude=3 + PATTERN + signs)))
    assert mixed["degenerate"] and mixed["p_sign"] > 0.05 and not mixed["beats_others"]


def test_few_differences_are_flagged_and_refuted_alone():
    by = np.where(np.arange(N) < 4, 12.0, 0.0)
    found = claim(sweep_of(gratitude=rows("emotion", "gratitude", gratitude=3 + PATTERN + by)))
    assert found["degenerate"] and not found["beats_others"] and not found["supported"]
    assert np.isnan(found["ci_low"]) and np.isnan(found["ci_high"]) and found["vs_others"] > 0.9
    assert found["beats_random"] and found["rank_p"] == 1 / 60 and found["n_nonzero"] == 4
    one_more = np.where(np.arange(N) < 5, 12.0, 0.0)
    found = claim(sweep_of(gratitude=rows("emotion", "gratitude", gratitude=3 + PATTERN + one_more)))
    assert not found["degenerate"] and found["ci_low"] > 0 and found["p_flip"] == 1 / 32
    assert not found["supported"]  # the interval alone would have said so, five equal signs do not
    two_more = np.where(np.arange(N) < 7, 12.0, 0.0)
    assert claim(sweep_of(gratitude=rows("emotion", "gratitude", gratitude=3 + PATTERN + two_more)))["supported"]


def test_broken_texts_are_no_success_but_are_shown_beside():
    sweep = sweep_of()
    own = (sweep["kind"] == "emotion") & (sweep["emotion"] == "gratitude")
    whole = claim(sweep)
    sweep.loc[own, "fluency/broken"] = True
    found = claim(sweep)
    assert found["own_effect"] == pytest.approx(-3 - PATTERN.mean())  # 0 words against the baseline's
    assert found["own_effect_unfiltered"] == pytest.approx(whole["own_effect"])
    assert found["wrong_way"] == 1 and not found["supported"] and not found["beats_random"]
    few = sweep_of()
    few.loc[few.index[own][:2], "fluency/broken"] = True
    assert whole["own_effect"] > claim(few)["own_effect"] > found["own_effect"]


def test_a_broken_control_is_no_success_either():
    sweep = sweep_of()
    best = (sweep["kind"] == "isotropic") & (sweep["index"] == 20)
    sweep.loc[best, METRIC["gratitude"]] += 2
    assert not claim(sweep)["supported"]
    sweep.loc[best, "fluency/broken"] = True
    assert claim(sweep)["supported"]


def test_what_is_no_count_of_successes_is_taken_as_it_is():
    sweep = sweep_of().assign(**{"fluency/broken": True, "valence": 1.5, "target/anger": 1.5, "target_encoder/x": 1.5})
    assert (value_of(sweep, "valence") == 1.5).all()
    for counted in ("target/anger", "target_encoder/x", METRIC["anger"]):
        assert (value_of(sweep, counted) == 0).all()
        assert (value_of(sweep, counted, counted=False) > 0).all()


def test_the_direct_path_is_reported_where_there_is_one_and_decides_nothing():
    without = sweep_of()
    assert "direct_path" not in claim(without)
    direct = rows("direct_path", "gratitude", gratitude=8 + PATTERN).assign(**{"fluency/broken": True})
    found = claim(pd.concat([without, direct, direct.assign(emotion="anger")], ignore_index=True))
    assert found.pop("direct_path") == pytest.approx(5)  # every text as it is
    base = (3 + PATTERN).mean()
    assert found.pop("direct_path_counted") == pytest.approx(-base)  # all of them broken
    assert found == claim(without)


def test_one_emotion_alone_is_judged_by_its_effect_and_the_controls():
    sweep = sweep_of()
    alone = sweep[sweep["emotion"] != "anger"]
    found = claim(alone, measures={"gratitude": MEASURES["gratitude"]})
    assert found["supported"] and found["vs_others"] == pytest.approx(found["own_effect"])
    nothing = rows("emotion", "gratitude", gratitude=3 + PATTERN + 0.1 * np.sin(3 * np.arange(N)))
    still = sweep_of(gratitude=nothing)
    found = claim(still[still["emotion"] != "anger"], measures={"gratitude": MEASURES["gratitude"]})
    assert not found["supported"] and not found["beats_others"] and not found["beats_random"]


# the bar


def test_the_bar_is_one_in_sixty_and_with_a_thousand_directions_the_level_over_the_tests():
    assert rank_bar(59, 6) == rank_bar(998, 6) == rank_bar(5, 1) == 1 / 60
    assert rank_bar(999, 6) == 0.05 / 6 and rank_bar(2000, 1) == 0.05


@pytest.mark.parametrize(("above", "holds"), [(24, True), (25, False)])
def test_with_999_directions_two_tests_share_the_five_percent(above, holds):
    sweep = sweep_of(999, families=["covariance"])
    reach = sweep["kind"].eq("covariance") & (sweep["index"] < above)
    sweep.loc[reach, METRIC["gratitude"]] += 2
    found = claim(sweep, families=["covariance"])
    assert found["bar"] == 0.025 and found["rank_p"] == (1 + above) / 1000
    assert found["supported"] is holds and found["beats_random"] is holds
    few = sweep_of(59)
    few.loc[few["kind"].eq("covariance") & (few["index"] < 1), METRIC["gratitude"]] += 2
    assert not claim(few)["supported"]  # the same share of 59 directions is too many


def test_the_bar_may_be_that_of_more_tests_than_are_looked_at():
    sweep = sweep_of(999, families=["covariance"])
    assert claim(sweep, families=["covariance"])["bar"] == 0.025
    assert claim(sweep, families=["covariance"], n_tests=5)["bar"] == 0.01
    assert claim(sweep_of(), n_tests=5)["bar"] == 1 / 60  # few directions: no correction to be had


def test_too_few_directions_can_be_beaten_but_support_nothing():
    found = claim(sweep_of(9))
    assert found["rank_p"] == 1 / 10 and found["beats_random"] and found["beats_others"] and not found["supported"]


def test_a_control_that_ties_counts_against_the_claim():
    sweep = sweep_of()
    own = sweep[(sweep["kind"] == "emotion") & (sweep["emotion"] == "gratitude")][METRIC["gratitude"]].to_numpy()
    tied = (sweep["kind"] == "shuffled") & (sweep["index"] == 3)
    sweep.loc[tied, METRIC["gratitude"]] = own
    assert claim(sweep)["p_shuffled"] == 2 / 60
    sweep.loc[tied, METRIC["gratitude"]] = own - 1e-6
    assert claim(sweep)["p_shuffled"] == 1 / 60


# what effects are


def untidy(seed: int = 0) -> pd.DataFrame:
    """Several samples, broken texts, one scenario without a baseline, rows in no order."""
    rng = np.random.default_rng(seed)
    table = pd.concat([sweep_of(5).assign(sample=s) for s in range(2)], ignore_index=True)
    for metric in METRIC.values():
        table[metric] = rng.poisson(2, len(table))
    table["fluency/broken"] = rng.random(len(table)) < 0.2
    table = table[~((table["kind"] == "baseline") & (table["scenario"] == "s05"))]
    return table.sample(frac=1, random_state=seed).reset_index(drop=True)


def by_loop(table: pd.DataFrame, metric: str, counted: bool, **where: Any) -> dict[str, float]:
    """Patched minus baseline per scenario, one row after the other."""
    sums: dict[tuple[bool, str], list[float]] = {}
    for row in table.to_dict("records"):
        value = 0.0 if counted and row["fluency/broken"] else float(row[metric])
        chosen = all(row[key] == wanted for key, wanted in where.items())
        if chosen or row["kind"] == "baseline":
            sums.setdefault((chosen, row["scenario"]), []).append(value)
    mean = {key: sum(values) / len(values) for key, values in sums.items()}
    return {s: mean[True, s] - mean[False, s] for chosen, s in mean if chosen and (False, s) in mean}


@pytest.mark.parametrize("counted", [True, False])
def test_effects_are_those_of_a_plain_loop(counted):
    table, metric = untidy(), METRIC["anger"]
    found = effects(table, "emotion", "gratitude", metric, counted=counted)
    expected = by_loop(table, metric, counted, kind="emotion", emotion="gratitude")
    assert len(found) == N - 1 and found.to_dict() == pytest.approx(expected)
    assert found.to_dict() != pytest.approx(by_loop(table, metric, not counted, kind="emotion", emotion="gratitude"))
    for family in FAMILIES:
        drawn = control_effects(table, "gratitude", metric, family=family, counted=counted)
        loops = [by_loop(table, metric, counted, kind=family, index=i) for i in range(5)]
        np.testing.assert_allclose(drawn, [np.mean(list(one.values())) for one in loops])


def test_controls_of_another_emotions_norm_are_left_out():
    table = sweep_of(4)
    named = table["kind"] == "isotropic"
    table.loc[named, "emotion"] = np.where(table.loc[named, "index"] < 2, "gratitude", "anger")
    assert list(control_effects(table, "gratitude", METRIC["gratitude"]).index) == [0, 1]
    assert list(control_effects(table, "anger", METRIC["gratitude"]).index) == [2, 3]
    assert len(control_effects(table, "anger", METRIC["gratitude"], family="shuffled")) == 4  # for any emotion


def test_the_interval_is_that_of_the_paired_differences():
    sweep = sweep_of()
    found = claim(sweep, seed=4)
    own, other = (
        sweep[(sweep["kind"] == "emotion") & (sweep["emotion"] == e)].set_index("scenario")[METRIC["gratitude"]]
        for e in EMOTIONS
    )
    interval = intervals.bootstrap_mean((own - other).to_numpy(), n_resamples=300, seed=4)
    assert (found["ci_low"], found["ci_high"]) == (interval.low, interval.high)
    assert (found["ci_low"], found["ci_high"]) != (claim(sweep, seed=5)["ci_low"], claim(sweep, seed=5)["ci_high"])


# choosing


def validation_of(moves: dict[tuple[int, float], np.ndarray]) -> pd.DataFrame:
    parts = [rows("baseline", "none")]
    for (layer, alpha), by in moves.items():
        for emotion, base in (("gratitude", 3 + PATTERN), ("anger", 2 - PATTERN)):
            parts.append(rows("emotion", emotion, **{emotion: base + by}).assign(layer=layer, alpha=alpha))
    return pd.concat(parts, ignore_index=True).assign(split="validation")


def test_a_difference_without_spread_is_not_divided_by_rounding():
    """0.3 added to different numbers is not quite the same difference."""
    table = validation_of({(4, 0.2): np.full(N, 0.3), (6, 0.2): 1 + 0.2 * PATTERN**2})
    point = choose_operating_point(table, MEASURES)
    spread = specific_difference(table[table["layer"] == 4], "gratitude", METRIC["gratitude"], EMOTIONS).std()
    assert 0 < spread < 1e-12
    scores = point.table.set_index("layer")["score"]
    assert (point.layer, scores[4]) == (6, 0) and 10 < scores[6] < 100


def test_a_sweep_without_steered_rows_has_nothing_to_choose_from():
    with pytest.raises(UserError, match="give an alpha other than 0") as found:
        choose_operating_point(validation_of({}), MEASURES)
    assert "\n" not in str(found.value)
