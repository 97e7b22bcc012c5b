"""Split-half stability: the same number as by refitting, a null that knows no emotion, an interval that covers."""

import numpy as np
import pytest
from planted_activations import LAYERS, planted

from emolib.base.errors import UserError
from emolib.directions.stability import split_half_interval, split_half_stability
from emolib.directions.vectors import cosine, scenario_cube


def random_halves(rng: np.random.Generator, n: int, count: int) -> np.ndarray:
    return rng.permuted(np.tile(np.where(np.arange(n) < n // 2, 1.0, -1.0), (count, 1)), axis=1)


def test_split_halves_agree_where_a_direction_is_planted_and_not_under_shuffled_labels():
    table = split_half_stability(planted()[0], n_halves=10)
    inner = table[table["layer"] > 0]
    assert inner["low"].min() > 0.5
    assert table["shuffled"].abs().max() < 0.4
    assert (inner["mean"] > inner["shuffled_high"]).all()
    outer = table[table["layer"] == 0]
    assert outer["mean"].abs().max() < 0.5 and (outer["low"] < 0).all()  # nothing was planted at layer 0
    assert table["emotion"].tolist() == ["gratitude"] * (LAYERS + 1) + ["anger"] * (LAYERS + 1)


def test_means_and_null_equal_refitting_the_vectors_on_every_half():
    acts, _ = planted()
    table = split_half_stability(acts, n_halves=6, seed=3)
    cube, _, emotions = scenario_cube(acts, "neutral")
    rng = np.random.default_rng(3)
    real, null = [], []
    for _ in range(6):
        order = rng.permutation(40)
        shuffled = np.take_along_axis(cube, rng.permuted(np.tile(np.arange(3), (40, 1)), axis=1)[None, :, :, None], 2)
        for kept, values in ((real, cube), (null, shuffled)):
            first, second = (
                values[:, half, 1:].mean(1) - values[:, half, :1].mean(1) for half in (order[:20], order[20:])
            )
            kept.append(cosine(first, second))
    for i, emotion in enumerate(emotions):
        part = table[table["emotion"] == emotion]
        np.testing.assert_allclose(part["mean"], np.mean(real, 0)[:, i], atol=1e-5)
        np.testing.assert_allclose(part["shuffled"], np.mean(null, 0)[:, i], atol=1e-5)
        np.testing.assert_allclose(part["shuffled_high"], np.quantile(null, 0.975, axis=0)[:, i], atol=1e-5)


def test_the_interval_equals_one_that_recomputes_every_half_with_scenarios_left_out():
    rng = np.random.default_rng(0)
    n, halves = 9, random_halves(rng, 9, 5)
    differences = rng.standard_normal((n, 30)) + 0.5

    def z_without(*left_out: int) -> float:
        kept = [i for i in range(n) if i not in left_out]
        found = []
        for half in halves[:, kept]:
            found.append(cosine(differences[kept][half > 0].mean(0), differences[kept][half < 0].mean(0)))
        return np.arctanh(np.mean(found))

    mean, low, high = split_half_interval(differences @ differences.T, halves)
    assert np.arctanh(mean) == pytest.approx(z_without())
    one = np.array([z_without(i) for i in range(n)])
    pairs = [(i, j) for i in range(n) for j in range(i)]
    interaction = [n * z_without() - (n - 1) * (one[i] + one[j]) + (n - 2) * z_without(i, j) for i, j in pairs]
    jackknife = (n - 1) / n * ((one - one.mean()) ** 2).sum()
    excess = ((interaction - np.mean(interaction)) ** 2).sum() / n**2
    each = [cosine(differences[half > 0].mean(0), differences[half < 0].mean(0)) for half in halves]
    random_halves_share = np.var(each, ddof=1) / len(each) / (1 - mean**2) ** 2
    reach = 2.306004 * np.sqrt(max(jackknife - excess, jackknife / 2) + random_halves_share)  # t with 8 degrees
    assert (np.arctanh(low), np.arctanh(high)) == pytest.approx((np.arctanh(mean) - reach, np.arctanh(mean) + reach))


@pytest.mark.parametrize("strength", [0.0, 1.5, 15.0])
def test_the_interval_covers_the_expected_cosine_in_about_95_percent_of_data_sets(strength):
    """40 scenarios, 50 dimensions of falling variance; |μ|² is `strength` times a mean's expected squared error."""
    rng = np.random.default_rng(int(strength))
    n, sd = 40, np.arange(1, 51) ** -0.5
    mu = np.full(50, np.sqrt(strength * (sd**2).sum() / n / 50))
    halves = random_halves(rng, n, 20)
    data = mu + rng.standard_normal((2000, n, 50)) * sd
    cosines = np.stack([cosine(data[:, half > 0].mean(1), data[:, half < 0].mean(1)) for half in halves])
    truth = cosines.mean()
    intervals = np.array([split_half_interval(x @ x.T, halves) for x in data[:300]])
    covered = (intervals[:, 1] <= truth) & (truth <= intervals[:, 2])
    assert 0.91 <= covered.mean() <= 0.985
    # control: halves drawn again from the same scenarios say little about other scenarios
    reach = 1.96 * cosines[:, :300].std(0, ddof=1) / np.sqrt(len(halves))
    assert (np.abs(cosines[:, :300].mean(0) - truth) <= reach).mean() < 0.8


def test_more_scenarios_narrow_the_interval_and_more_halves_alone_do_not():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((160, 50)) + 0.3

    def width(n: int, count: int) -> float:
        _, low, high = split_half_interval(x[:n] @ x[:n].T, random_halves(rng, n, count))
        return np.arctanh(high) - np.arctanh(low)

    assert width(160, 50) < 0.75 * width(40, 50)
    assert width(40, 1000) > 0.75 * width(40, 50)


def test_pairs_are_sampled_where_there_are_very_many_with_nearly_the_same_interval(monkeypatch):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((60, 40)) + 0.1
    halves = random_halves(rng, 60, 20)
    whole = split_half_interval(x @ x.T, halves)
    monkeypatch.setattr("emolib.directions.stability.MOST_PAIRS", 500)
    sampled = split_half_interval(x @ x.T, halves)
    assert sampled != whole and sampled == pytest.approx(whole, abs=0.02)


def test_differences_of_zero_have_no_cosine_and_few_scenarios_are_refused():
    acts, _ = planted()
    acts.values["resid_pre"][0] = 1.5  # one final mark's embedding
    table = split_half_stability(acts, n_halves=4)
    empty = table["layer"] == 0
    assert table.loc[empty, ["mean", "low", "high", "shuffled"]].isna().all(axis=None)
    assert table[~empty].notna().all(axis=None)
    few = acts.where(acts.texts["scenario"].isin(["s1", "s2", "s3", "s4"]))
    assert split_half_stability(few, n_halves=8).query("layer > 0")[["low", "high"]].notna().all(axis=None)
    with pytest.raises(UserError, match="at least 4 scenarios"):
        split_half_stability(acts.where(acts.texts["scenario"].isin(["s1", "s2", "s3"])))
    with pytest.raises(UserError, match="at least 2 random halves"):
        split_half_stability(acts, n_halves=1)
