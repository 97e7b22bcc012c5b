"""Paired effects against scipy, pingouin, statsmodels and a plain loop, and effect sizes of a small sweep."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

from emolib.base.errors import UserError
from emolib.statistics import intervals
from emolib.statistics.effect_sizes import UnscoredWarning, correct, effect_sizes
from emolib.statistics.intervals import (
    bootstrap_mean,
    max_statistic_p,
    paired_effects,
    resampling_weights,
    studentise,
)
from emolib.statistics.power import achieved_power, power_table, required_scenarios


def samples() -> np.ndarray:
    """`[row, scenario]`: continuous, skewed, counts, and one row with a large mean."""
    rng = np.random.default_rng(3)
    rows = [rng.normal(0.3, 1, (3, 24)), rng.lognormal(0, 1, (3, 24)), rng.poisson(0.7, (3, 24)) - 0.0]
    return np.concatenate([*rows, 1e4 + rng.normal(size=(1, 24))])


def d_z(x: np.ndarray, axis: int = -1) -> np.ndarray:
    return x.mean(axis=axis) / x.std(axis=axis, ddof=1)


def d_z_or_zero(x: np.ndarray) -> float:
    """d_z, 0 where all are 0: a resample can miss every non-zero difference."""
    return float(d_z(x)) if x.any() else 0.0


def bca_by_loop(x: np.ndarray, weights: np.ndarray, statistic, confidence: float = 0.95) -> tuple[float, float]:
    """The definition, one resample after the other."""
    estimate = statistic(x)
    resampled = np.array([statistic(np.repeat(x, w.astype(int))) for w in weights])
    tied = np.isclose(resampled, estimate, rtol=0, atol=1e-12 * np.abs(x).max())
    z_0 = special.ndtri((((resampled < estimate) & ~tied).sum() + tied.sum() / 2) / len(weights))
    left_out = np.array([statistic(np.delete(x, i)) for i in range(len(x))])
    away = left_out.mean() - left_out
    a = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    levels = []
    for z in special.ndtri([(1 - confidence) / 2, (1 + confidence) / 2]):
        levels.append(special.ndtr(z_0 + (z_0 + z) / (1 - a * (z_0 + z))))
    return tuple(np.quantile(resampled, levels))


# intervals


def test_the_intervals_are_those_of_a_plain_loop_with_the_same_resamples():
    x, n_resamples = np.vstack([samples(), np.r_[np.zeros(19), -1, 2, 3, 4, 5]]), 400
    found = paired_effects(x, n_resamples=n_resamples, seed=5)
    assert (resampling_weights(24, n_resamples, 5)[:, 19:].sum(axis=1) == 0).any()  # nothing but zeros
    weights, others = resampling_weights(24, n_resamples, 5), resampling_weights(24, n_resamples, 6)
    for i, row in enumerate(x):
        for names, statistic in ((["ci_low", "ci_high"], np.mean), (["d_low", "d_high"], d_z_or_zero)):
            spread = found["sd"][i] if statistic is np.mean else 1.0
            expected = np.array(bca_by_loop(row, weights, statistic))
            assert np.abs(found.loc[i, names].to_numpy(float) - expected).max() < 1e-8 * spread
            assert np.abs(expected - bca_by_loop(row, others, statistic)).max() > 1e-3 * spread


def test_the_intervals_are_scipys_within_the_error_of_the_simulation():
    x = samples()[:9]
    found = paired_effects(x, n_resamples=20_000)
    for i, row in enumerate(x):
        for names, statistic in ((["ci_low", "ci_high"], np.mean), (["d_low", "d_high"], d_z)):
            ours = found.loc[i, names].to_numpy(float)
            width = ours[1] - ours[0]
            theirs = {
                method: np.array(
                    stats.bootstrap(
                        (row,), statistic, method=method, n_resamples=20_000, vectorized=True, rng=1
                    ).confidence_interval
                )
                for method in ("BCa", "basic")
            }
            assert np.abs(ours - theirs["BCa"]).max() < 0.04 * width
            if 3 <= i < 6:  # skewed, so that the methods differ
                assert np.abs(ours - theirs["basic"]).max() > 0.1 * width


def test_resamples_hold_whole_samples_and_depend_on_seed_and_size_alone():
    weights = resampling_weights(24, 500, 0)
    assert weights.shape == (500, 24) and (weights.sum(axis=1) == 24).all() and (weights == weights.round()).all()
    assert weights.mean() == 1 and weights.var() == pytest.approx(23 / 24, abs=0.05)
    assert (weights == resampling_weights(24, 500, 0)).all() and (weights != resampling_weights(24, 500, 1)).any()


def test_a_row_does_not_depend_on_the_rows_beside_it(monkeypatch: pytest.MonkeyPatch):
    x = samples()
    whole = paired_effects(x, n_resamples=200)
    monkeypatch.setattr(intervals, "BLOCK_BYTES", 8 * 200 * 3)  # blocks of three rows
    pd.testing.assert_frame_equal(paired_effects(x, n_resamples=200), whole, rtol=1e-12)
    pd.testing.assert_frame_equal(paired_effects(x[4:5], n_resamples=200), whole[4:5].reset_index(drop=True), rtol=1e-9)
    assert (paired_effects(x, n_resamples=200, seed=1)["d_low"] != whole["d_low"]).all()


def test_a_missing_scenario_is_left_out_wherever_it_lies():
    full = samples()
    gaps = np.insert(full, 7, np.nan, axis=1)
    gaps = np.insert(gaps, 0, np.nan, axis=1)
    pd.testing.assert_frame_equal(paired_effects(gaps, n_resamples=200), paired_effects(full, n_resamples=200))
    zeros = paired_effects(np.nan_to_num(gaps), n_resamples=200)  # a missing value is not a 0
    assert (zeros["n"] == 26).all() and (zeros["mean"] < paired_effects(full, n_resamples=2)["mean"].abs()).all()


def test_a_wider_confidence_gives_a_wider_interval_around_the_mean():
    narrow, wide = (paired_effects(samples(), confidence=c, n_resamples=500) for c in (0.8, 0.99))
    assert (wide["ci_low"] < narrow["ci_low"]).all() and (narrow["ci_high"] < wide["ci_high"]).all()
    assert narrow["mean"].between(narrow["ci_low"], narrow["ci_high"]).all()
    assert narrow["d_z"].between(narrow["d_low"], narrow["d_high"]).all()


def test_an_undefined_bound_is_nan_and_not_infinite():
    x = np.array([[1.0] * ones + [0.0] * (24 - ones) for ones in (23, 22, 12)])
    assert (resampling_weights(24, 2000, 0)[:, 22:].sum(axis=1) == 0).mean() > 0.05  # nothing but ones: d_z is infinite
    found = paired_effects(x)
    assert not np.isinf(found.to_numpy(float)).any() and found["d_z"].notna().all()
    assert found["ci_high"].notna().all() and found["d_high"].isna().tolist() == [True, True, False]


# effect sizes and tests


def test_effect_sizes_and_t_test_are_pingouins():
    x = samples()
    found = paired_effects(x, n_resamples=2)
    for i, row in enumerate(x):
        test = pingouin.ttest(row, 0)
        assert found["t"][i] == pytest.approx(test["T"].iloc[0]) and found["p_t"][i] == pytest.approx(
            stats.ttest_1samp(row, 0).pvalue
        )
        assert found["d_z"][i] == pytest.approx(pingouin.compute_effsize(row, 0, eftype="cohen"))
        assert found["hedges_g"][i] == pytest.approx(pingouin.compute_effsize(row, 0, eftype="hedges"))
        assert abs(found["hedges_g"][i]) < abs(found["d_z"][i])


def test_a_pairing_is_of_effect_where_scenarios_differ():
    rng = np.random.default_rng(0)
    baseline = rng.normal(0, 10, 24)
    patched = baseline + rng.normal(1, 0.5, 24)
    found = paired_effects((patched - baseline)[None], n_resamples=2).iloc[0]
    assert found["p_t"] == pytest.approx(stats.ttest_rel(patched, baseline).pvalue) and found["p_t"] < 1e-6
    assert stats.ttest_ind(patched, baseline).pvalue > 0.1
    assert found["d_z"] == pytest.approx(pingouin.compute_effsize(patched, baseline, paired=True, eftype="cohen_dz"))


def test_the_wilcoxon_p_is_pingouins_row_by_row_also_where_rows_need_different_methods():
    x = samples()
    x[0, 0] = 0.0
    assert len(set(np.abs(x[0]))) == 24  # one zero, no ties
    found = paired_effects(x, n_resamples=2)["p_wilcoxon"].to_numpy()
    expected = [pingouin.wilcoxon(row)["p_val"].iloc[0] for row in x]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    at_once = stats.wilcoxon(x, axis=1, method="asymptotic", correction=True).pvalue
    assert (np.abs(found - at_once) > 1e-12).any()  # the rows without ties are exact


# degenerate


def test_a_constant_difference_has_a_flag_and_no_effect_size():
    constant = np.full((1, 24), 0.1)  # whose standard deviation is not 0 in floating point
    assert 0 < constant.std(axis=1, ddof=1)[0] < 1e-15 and abs(d_z(constant)[0]) > 548
    undefined = ["d_z", "hedges_g", "ci_low", "ci_high", "d_low", "d_high", "t", "p_t"]
    for sd in (None, np.zeros(1), np.full(1, np.nan), np.ones(1)):
        found = paired_effects(constant, baseline_sd=sd).iloc[0]
        assert found["degenerate"] and found[undefined].isna().all()
        assert found["mean"] == pytest.approx(0.1) and found["n_nonzero"] == 24
    varied = paired_effects(constant + np.random.default_rng(0).normal(0, 0.1, (1, 24))).iloc[0]
    assert not varied["degenerate"] and varied[undefined].notna().all()


def test_a_spread_below_one_percent_of_the_baselines_is_degenerate():
    x = np.tile(5 + np.random.default_rng(0).normal(0, 1e-2, 24), (4, 1))
    assert abs(d_z(x)[0]) > 300
    sd = x[0].std(ddof=1)
    found = paired_effects(x, baseline_sd=np.array([1e3 * sd, 101 * sd, 99 * sd, np.nan]))
    assert found["degenerate"].tolist() == [True, True, False, False]
    assert found["d_z"].isna().tolist() == [True, True, False, False]


def test_fewer_than_five_nonzero_differences_are_degenerate():
    x = np.zeros((4, 24))
    for i, count in enumerate((0, 4, 5, 4)):
        x[i, :count] = np.arange(1, count + 1)
    x[3, 4:8] = np.nan
    found = paired_effects(x)
    assert found["degenerate"].tolist() == [True, True, False, True]
    assert found["n_nonzero"].tolist() == [0, 4, 5, 4] and found["n"].tolist() == [24, 24, 24, 20]
    assert found["p_wilcoxon"].isna().tolist() == [True, False, False, False]


def test_rows_without_values_and_no_rows_at_all_are_told_apart_from_effects():
    found = paired_effects(np.array([[np.nan] * 6, [1.0] + [np.nan] * 5]))
    assert found["n"].tolist() == [0, 1] and found["degenerate"].all() and found["p_t"].isna().all()
    assert np.isnan(found["mean"][0]) and found["mean"][1] == 1
    assert len(paired_effects(np.empty((0, 6)))) == 0


def test_the_index_of_a_table_stays():
    table = pd.DataFrame(samples()[:2], index=["a", "b"])
    assert list(paired_effects(table, n_resamples=2).index) == ["a", "b"]


@pytest.mark.parametrize(
    ("differences", "settings", "message"),
    [
        (np.ones(5), {}, "row, scenario"),
        (np.array([[np.inf, 1.0]]), {}, "finite"),
        (np.ones((2, 5)), {"baseline_sd": np.ones(3)}, "each of 2 rows"),
        (np.ones((2, 5)), {"baseline_sd": np.array([1.0, -1.0])}, "at least 0"),
        (np.ones((2, 5)), {"confidence": 95}, "confidence above 0 and below 1"),
        (np.ones((2, 5)), {"n_resamples": 0}, "n_resamples of at least 1"),
    ],
)
def test_wrong_input_is_refused(differences: np.ndarray, settings: dict, message: str):
    with pytest.raises(UserError, match=message):
        paired_effects(differences, **settings)


# corrections


def p_table() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    rows = [(kind, m, p) for kind in ("emotion", "other") for m in ("a", "b") for p in rng.uniform(0, 1, 6) ** 3]
    return pd.DataFrame(rows, columns=["kind", "metric", "p_t"]).sample(frac=1, random_state=0)


def test_corrections_are_those_of_statsmodels_within_each_family_and_not_across():
    table = p_table()
    found = correct(table, family=["kind", "metric"])
    assert found["family"].nunique() == 4 and (found["family_size"] == 6).all()
    assert set(found["family"]) >= {"kind=emotion, metric=a"}
    for _, part in found.groupby(["kind", "metric"]):
        assert np.allclose(part["p_bonferroni"], multipletests(part["p_t"], method="bonferroni")[1])
        assert np.allclose(part["p_fdr"], multipletests(part["p_t"], method="fdr_bh")[1])
    assert not np.allclose(found["p_fdr"], multipletests(table["p_t"], method="fdr_bh")[1])
    pd.testing.assert_frame_equal(found[list(table)], table)
    assert set(correct(table, family="kind")["family"]) == {"emotion", "other"}


def test_a_test_without_a_p_value_still_counts_in_its_family():
    table = pd.DataFrame({"kind": "emotion", "p_t": [0.01, np.nan, 0.04]})
    found = correct(table, family="kind")
    assert found["p_bonferroni"].tolist()[::2] == pytest.approx([0.03, 0.12]) and np.isnan(found["p_bonferroni"][1])
    assert found["p_fdr"].tolist()[::2] == pytest.approx([0.03, 0.06]) and np.isnan(found["p_fdr"][1])
    assert correct(table.dropna(), family="kind")["p_bonferroni"].tolist() == pytest.approx([0.02, 0.08])


def test_wrong_families_and_p_values_are_refused():
    with pytest.raises(UserError, match="did you mean 'kind'"):
        correct(p_table(), family="knd")
    with pytest.raises(UserError, match="column 'p'"):
        correct(p_table(), family="kind", p="p")
    with pytest.raises(UserError, match="at least one column"):
        correct(p_table(), family=[])
    with pytest.raises(UserError, match="from 0 to 1"):
        correct(p_table().assign(p_t=1.5), family="kind")


# the largest of many


def test_a_maximum_over_many_cells_is_compared_with_the_maximum_of_the_nulls():
    rng = np.random.default_rng(0)
    nulls, effects = rng.normal(size=(999, 50)), np.r_[rng.normal(size=49), 5.0]
    p = max_statistic_p(effects, nulls)
    expected = [(1 + sum(max(null) >= e for null in nulls)) / 1000 for e in effects]
    np.testing.assert_allclose(p, expected)
    assert p[-1] == 1 / 1000 and p[:-1].min() > 0.01
    single = [intervals.rank_p(e, nulls[:, i]) for i, e in enumerate(effects)]
    assert (p >= single).all() and min(single[:-1]) < 0.05  # uncorrected, some cell always looks special


def test_under_the_null_the_smallest_p_is_below_five_percent_in_five_percent_of_the_cases():
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(400, 200, 8)) * np.array([1] * 7 + [20])
    for settings in ({}, {"studentised": True}, {"alternative": "two-sided"}):
        share = np.mean([max_statistic_p(d[0], d[1:], **settings).min() <= 0.05 for d in draws])
        assert 0.025 < share < 0.08
    singles = np.mean([min(intervals.rank_p(d[0, c], d[1:, c]) for c in range(8)) <= 0.05 for d in draws])
    assert singles > 0.2


def test_studentised_a_wide_cell_does_not_hide_a_narrow_one():
    rng = np.random.default_rng(1)
    nulls = rng.normal(size=(199, 3)) * [1, 1, 100]
    effects = np.array([6.0, 0.0, 0.0])
    assert max_statistic_p(effects, nulls)[0] > 0.3
    p = max_statistic_p(effects, nulls, studentised=True)
    assert p[0] == 1 / 200 and p[1:].min() > 0.3
    assert max_statistic_p(-effects, nulls, studentised=True)[0] > 0.3
    off = np.array([0, 0, 1e4])
    shifted = max_statistic_p(effects + off, nulls + off, studentised=True)
    np.testing.assert_allclose(shifted, p)  # a cell whose nulls all lie high stands out no more than before
    for alternative in ("less", "two-sided"):
        assert max_statistic_p(-effects, nulls, studentised=True, alternative=alternative)[0] == 1 / 200


def test_cells_and_nulls_that_do_not_fit_are_refused():
    for nulls in (np.zeros((5, 2)), np.zeros((0, 3)), np.zeros(3)):
        with pytest.raises(UserError, match=r"nulls \[null, cell\]"):
            max_statistic_p(np.zeros(3), nulls)
    with pytest.raises(UserError, match="finite"):
        max_statistic_p(np.array([np.nan]), np.zeros((5, 1)))
    with pytest.raises(UserError, match="'two-sided'"):
        max_statistic_p(np.zeros(1), np.zeros((5, 1)), alternative="two_sided")


# power


def test_power_is_pingouins_and_the_required_number_is_the_first_that_suffices():
    for d, n in ((0.2, 24), (0.5, 34), (-0.6, 45)):
        assert achieved_power(d, n) == pytest.approx(pingouin.power_ttest(d=abs(d), n=n, contrast="paired"), abs=1e-6)
    for d, power in ((0.2, 0.8), (0.3, 0.85), (-0.5, 0.8)):
        n = required_scenarios(d, power=power)
        assert achieved_power(d, n) >= power > achieved_power(d, n - 1)


def test_the_power_table_has_the_detectable_effect_of_the_present_number():
    found = power_table(n=45, observed=0.43)
    assert len(found) == 6 and (found["n"] == 45).all()
    at_80 = found[found["power"] == 0.8].set_index("d")
    assert at_80["n_required"].to_dict() == {0.2: 199, 0.3: 90, 0.5: 34}
    assert at_80["underpowered"].to_dict() == {0.2: True, 0.3: True, 0.5: False}
    np.testing.assert_allclose(achieved_power(found["detectable_d"], found["n"]), found["power"], atol=1e-4)
    assert found["post_hoc_power"].to_numpy() == pytest.approx(achieved_power(0.43, 45))
    assert power_table(n=45)["post_hoc_power"].isna().all()
    with pytest.raises(UserError, match="n >= 2"):
        power_table(n=1)
    with pytest.raises(UserError, match="other than 0"):
        power_table((0.0,), n=24)


# a sweep


def sweep_table(n: int = 12, n_controls: int = 19, seed: int = 0) -> pd.DataFrame:
    """Steering with `joy` adds 2 words and 0.3 to its score; `fear`, random directions and the direct path nothing."""
    rng = np.random.default_rng(seed)
    topic = {f"s{i}": value for i, value in enumerate(rng.normal(0, 3, n))}
    settings = [("baseline", "none", -1, 0.0, 0)]
    settings += [("emotion", e, layer, a, 0) for e in ("joy", "fear") for layer in (3, 5) for a in (-0.2, 0.2)]
    settings += [("isotropic", "any", 5, a, i) for i in range(n_controls) for a in (-0.2, 0.2)]
    settings += [("shuffled", e, 5, 0.2, i) for e in ("joy", "fear") for i in range(n_controls)]
    settings += [("direct_path", e, 8, 0.2, 0) for e in ("joy", "fear")]
    rows = []
    for kind, emotion, layer, alpha, index in settings:
        push = np.sign(alpha) * (kind == "emotion" and emotion == "joy")
        for scenario, base in topic.items():
            noise = 0.0 if kind == "baseline" else rng.normal(0, 0.2)
            words = 3 + 2 * push + (0 if kind == "baseline" else rng.integers(-1, 2))
            rows.append((kind, emotion, layer, alpha, index, scenario, float(words), base + push + noise))
    columns = ["kind", "emotion", "layer", "alpha", "index", "scenario", "keywords/joy", "valence"]
    return pd.DataFrame(rows, columns=columns).assign(split="test", unit="resid")


METRICS = ["keywords/joy", "valence"]


def picked(table: pd.DataFrame, **where: object) -> pd.Series:
    rows = table[np.logical_and.reduce([table[name] == value for name, value in where.items()])]
    assert len(rows) == 1
    return rows.iloc[0]


def test_every_setting_has_its_paired_effect():
    sweep = sweep_table()
    found = effect_sizes(sweep, metrics=METRICS, n_resamples=200)
    assert len(found) == (8 + 2 + 2 + 2) * 2
    base = sweep[sweep["kind"] == "baseline"].set_index("scenario")["valence"]
    for emotion, layer, alpha in (("joy", 5, 0.2), ("fear", 3, -0.2)):
        rows = sweep.query("kind == 'emotion' and emotion == @emotion and layer == @layer and alpha == @alpha")
        difference = rows.set_index("scenario")["valence"] - base
        own = picked(found, kind="emotion", emotion=emotion, layer=layer, alpha=alpha, metric="valence")
        expected = paired_effects(difference.sort_index().to_numpy()[None], n_resamples=200).iloc[0]
        for name in ("mean", "d_z", "ci_low", "d_high", "p_t", "p_wilcoxon"):
            assert own[name] == pytest.approx(expected[name], rel=1e-6)
        assert own["baseline_sd"] == pytest.approx(base.std()) and own["mean"] == own["mean_unfiltered"]
    significant = found[found["p_fdr"] < 0.001]
    assert set(significant["kind"]) == {"emotion"} and set(significant["emotion"]) == {"joy"} and len(significant) == 8


def test_rank_ps_are_those_of_each_family_at_the_same_layer_and_strength():
    sweep = sweep_table()
    found = effect_sizes(sweep, metrics=METRICS, n_resamples=2)
    base = sweep.loc[sweep["kind"] == "baseline", "valence"].mean()
    isotropic = sweep.query("kind == 'isotropic' and alpha == 0.2").groupby("index")["valence"].mean() - base
    shuffled = sweep.query("kind == 'shuffled' and emotion == 'fear'").groupby("index")["valence"].mean() - base
    fear = picked(found, kind="emotion", emotion="fear", layer=5, alpha=0.2, metric="valence")
    assert fear["rank_p_isotropic"] == pytest.approx(intervals.rank_p(fear["mean"], isotropic))
    assert fear["rank_p_shuffled"] == pytest.approx(intervals.rank_p(fear["mean"], shuffled))
    assert fear["rank_p_worst"] == max(fear["rank_p_isotropic"], fear["rank_p_shuffled"]) > 0.05
    joy = picked(found, kind="emotion", emotion="joy", layer=5, alpha=0.2, metric="valence")
    assert joy["rank_p_isotropic"] == joy["rank_p_shuffled"] == 1 / 20 and joy["n_shuffled"] == 19
    suppressed = picked(found, kind="emotion", emotion="joy", layer=5, alpha=-0.2, metric="valence")
    assert np.isnan(suppressed["rank_p_shuffled"]) and suppressed["rank_p_isotropic"] == 1 / 20
    elsewhere = picked(found, kind="emotion", emotion="joy", layer=3, alpha=0.2, metric="valence")
    assert np.isnan(elsewhere["rank_p_worst"]) and elsewhere["n_isotropic"] == 0
    assert found.loc[found["kind"].isin(["isotropic", "shuffled", "direct_path"]), "rank_p_worst"].isna().all()


def test_the_direction_of_the_rank_p_is_that_of_alpha_unless_stated():
    sweep = sweep_table()
    where = {"kind": "emotion", "emotion": "joy", "layer": 5, "alpha": -0.2, "metric": "valence"}
    ranks = {}
    for direction in ("alpha", "less", "greater"):
        row = picked(effect_sizes(sweep, metrics=METRICS, direction=direction, n_resamples=2), **where)
        ranks[direction] = (row["direction"], row["rank_p_isotropic"])
    assert ranks == {"alpha": ("less", 1 / 20), "less": ("less", 1 / 20), "greater": ("greater", 1.0)}
    base = sweep.loc[sweep["kind"] == "baseline", "valence"].mean()
    controls = sweep.query("kind == 'isotropic' and alpha == -0.2").groupby("index")["valence"].mean() - base
    fear = picked(effect_sizes(sweep, metrics=METRICS, n_resamples=2), **{**where, "emotion": "fear"})
    assert fear["rank_p_isotropic"] == pytest.approx(intervals.rank_p(-fear["mean"], -controls))


def test_a_control_with_the_same_effect_counts_against_it():
    sweep = sweep_table()
    where = {"kind": "emotion", "emotion": "joy", "layer": 5, "alpha": 0.2, "metric": "valence"}
    for off, p in ((0.0, 2 / 20), (-1e-6, 1 / 20)):
        own = sweep.query("kind == 'emotion' and emotion == 'joy' and layer == 5 and alpha == 0.2")[
            "valence"
        ].to_numpy()
        tied = (sweep["kind"] == "isotropic") & (sweep["alpha"] == 0.2) & (sweep["index"] == 7)
        changed = sweep.assign(valence=sweep["valence"].mask(tied, np.nan))
        changed.loc[tied, "valence"] = own + off
        assert picked(effect_sizes(changed, metrics=METRICS, n_resamples=2), **where)["rank_p_isotropic"] == p


def test_more_rows_inside_a_scenario_narrow_no_interval():
    sweep = sweep_table()
    once = effect_sizes(sweep, metrics=METRICS, n_resamples=300)
    copies = pd.concat([sweep] * 5, ignore_index=True).sample(frac=1, random_state=0)
    found = effect_sizes(copies, metrics=METRICS, n_resamples=300)
    keys = ["kind", "emotion", "layer", "alpha", "metric"]
    numbers = ["n", "mean", "d_z", "ci_low", "ci_high", "d_low", "p_t", "p_wilcoxon", "rank_p_isotropic", "p_fdr"]
    left, right = (table.sort_values(keys).set_index(keys)[numbers] for table in (once, found))
    pd.testing.assert_frame_equal(left, right, rtol=1e-6)  # nor does the order of the rows matter
    alone = copies.assign(
        scenario=copies["scenario"] + "-" + copies.groupby([*keys[:4], "index", "scenario"]).cumcount().astype(str)
    )
    apart = effect_sizes(alone, metrics=METRICS, n_resamples=300).sort_values(keys).set_index(keys)
    width = (left["ci_high"] - left["ci_low"]).dropna()
    assert ((apart["ci_high"] - apart["ci_low"])[width.index] < 0.6 * width).all()


def test_scenarios_weigh_alike_however_many_rows_they_have():
    sweep = sweep_table()
    extra = sweep[(sweep["scenario"] == "s0") & (sweep["kind"] == "emotion")]
    more = pd.concat([sweep, *[extra] * 9], ignore_index=True)
    once, found = (effect_sizes(table, metrics=METRICS, n_resamples=2) for table in (sweep, more))
    np.testing.assert_allclose(found["mean"], once["mean"])
    by_rows = more[more["kind"] == "emotion"].groupby(["emotion", "layer", "alpha"], sort=False)["valence"].mean()
    by_rows -= more.loc[more["kind"] == "baseline", "valence"].mean()
    of_scenarios = found.query("kind == 'emotion' and metric == 'valence'")["mean"]
    assert (np.abs(by_rows.to_numpy() - of_scenarios.to_numpy()) > 1e-3).all()


def test_broken_texts_count_as_no_success_where_successes_are_counted():
    sweep = sweep_table()
    sweep["broken"] = (sweep["kind"] == "emotion") & (sweep["scenario"] == "s1")

    def success(table: pd.DataFrame, metric: str) -> pd.Series:
        return table[metric].where(~table["broken"], 0.0)

    where = {"kind": "emotion", "emotion": "joy", "layer": 5, "alpha": 0.2}
    plain = effect_sizes(sweep, metrics=METRICS, n_resamples=2)
    found = effect_sizes(sweep, metrics=METRICS, success=success, n_resamples=2)
    words, before = (picked(table, **where, metric="keywords/joy") for table in (found, plain))
    assert words["counted"] and words["mean"] < words["mean_unfiltered"] == before["mean"] and words["n"] == 12
    valence, before = (picked(table, **where, metric="valence") for table in (found, plain))
    assert not valence["counted"] and valence["mean"] == valence["mean_unfiltered"] == before["mean"]


def test_equal_means_added_up_in_another_order_are_no_difference():
    values = {"baseline": [0.1, 0.2, 0.3], "emotion": [0.3, 0.2, 0.1]}
    assert np.mean(values["baseline"]) != np.mean(values["emotion"])  # in floating point
    rows = [(kind, f"s{i}", value) for kind, three in values.items() for i in range(9) for value in three]
    sweep = pd.DataFrame(rows, columns=["kind", "scenario", "valence"]).assign(emotion="joy", layer=1, alpha=0.1)
    found = effect_sizes(sweep, metrics=["valence"]).iloc[0]
    assert found["n_nonzero"] == 0 and found["mean"] == 0 and found["degenerate"]
    sweep.loc[sweep["kind"] == "emotion", "valence"] += 1e-9
    assert effect_sizes(sweep, metrics=["valence"]).iloc[0]["n_nonzero"] == 9


def test_a_scenario_without_a_score_is_left_out_of_its_pair_alone():
    sweep = sweep_table()
    sweep.loc[(sweep["kind"] == "emotion") & (sweep["scenario"] == "s2"), "valence"] = np.nan
    with pytest.warns(UnscoredWarning) as told:
        found = effect_sizes(sweep, metrics=METRICS, n_resamples=50)
    (line,) = [str(one.message) for one in told]
    assert line.startswith(f"8 of {len(sweep)} texts have no score (NaN) in 'valence'") and told[0].filename == __file__
    assert (found.query("kind == 'emotion' and metric == 'valence'")["n"] == 11).all()
    assert (found.query("kind == 'emotion' and metric != 'valence'")["n"] == 12).all()
    dropped = effect_sizes(sweep[sweep["scenario"] != "s2"], metrics=METRICS, n_resamples=50)
    where = {"kind": "emotion", "emotion": "fear", "layer": 5, "alpha": 0.2, "metric": "valence"}
    for name in ("mean", "ci_low", "rank_p_isotropic"):  # controls too are compared over the shared scenarios
        assert picked(found, **where)[name] == pytest.approx(picked(dropped, **where)[name])


def test_families_and_the_corrected_p_can_be_chosen():
    found = effect_sizes(sweep_table(), metrics=METRICS, family="metric", p="p_wilcoxon", n_resamples=2)
    assert set(found["family"]) == set(METRICS) and (found["family_size"] == 14).all()
    expected = (found["p_wilcoxon"] * 14).clip(upper=1)
    pd.testing.assert_series_equal(found["p_bonferroni"], expected, check_names=False)
    narrow = effect_sizes(sweep_table(), metrics=METRICS, n_resamples=2)
    assert set(narrow["family"]) > {"kind=emotion, metric=valence"} and narrow["family_size"].max() == 8


def test_a_sweep_that_cannot_be_judged_is_refused():
    sweep = sweep_table()
    for value in (np.inf, -np.inf):
        infinite = sweep.assign(valence=sweep["valence"].mask(sweep.index == 7, value))
        with pytest.raises(UserError, match=f"finite scores .*'valence', got {value} in row 7 and in 1 of"):
            effect_sizes(infinite, metrics=METRICS)
    with pytest.raises(UserError, match="did you mean 'keywords/joy'"):
        effect_sizes(sweep, metrics=["keyword/joy"])
    with pytest.raises(UserError, match="one split"):
        effect_sizes(sweep.assign(split=np.where(sweep.index % 2, "test", "validation")), metrics=METRICS)
    with pytest.raises(UserError, match="one unit"):
        effect_sizes(sweep.assign(unit=np.where(sweep.index % 2, "resid", "vector")), metrics=METRICS)
    for kinds in (["baseline"], ["emotion"]):
        with pytest.raises(UserError, match="baseline rows and others"):
            effect_sizes(sweep[sweep["kind"].isin(kinds)], metrics=METRICS)
    with pytest.raises(UserError, match="no missing values"):
        effect_sizes(sweep.assign(emotion=sweep["emotion"].where(sweep["emotion"] != "any")), metrics=METRICS)
    with pytest.raises(UserError, match="'index'"):
        effect_sizes(sweep.drop(columns="index"), metrics=METRICS)
    with pytest.raises(UserError, match="known direction"):
        effect_sizes(sweep, metrics=METRICS, direction="up")
    with pytest.raises(UserError, match="at least one metric"):
        effect_sizes(sweep, metrics=[])


def test_the_resamples_of_scipy_give_the_interval_of_a_single_mean():
    x = samples()
    table = paired_effects(x, resamples="scipy", seed=7, n_resamples=500)
    shared = paired_effects(x, seed=7, n_resamples=500)
    for row, values in zip(table.to_dict("records"), x, strict=True):
        one = bootstrap_mean(values, seed=7, n_resamples=500)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((one.low, one.high), rel=1e-9)
    assert (table["ci_low"] != shared["ci_low"]).mean() > 0.5  # counts have few values
    pd.testing.assert_frame_equal(table[["mean", "d_z", "p_t"]], shared[["mean", "d_z", "p_t"]])


def test_studentised_cells_give_the_same_maximum_test():
    rng = np.random.default_rng(5)
    nulls = rng.normal(0, [1, 5, 0.1], (99, 3))
    effects = np.array([2.5, 8.0, 0.0])
    z, null_z = studentise(effects, nulls)
    assert max_statistic_p(z, null_z) == pytest.approx(max_statistic_p(effects, nulls, studentised=True))
    assert np.std(np.vstack([z, null_z]), axis=0, ddof=1) == pytest.approx(1)
    assert max_statistic_p(effects, nulls) != pytest.approx(max_statistic_p(z, null_z))
    flat, flat_nulls = studentise(np.zeros(1), np.zeros((9, 1)))
    assert not flat.any() and not flat_nulls.any()
