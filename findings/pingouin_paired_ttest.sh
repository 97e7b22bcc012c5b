#!/usr/bin/env bash
# pingouin 0.7.0: what stands beside a paired t test belongs to another effect size than the test's.
#
# `ttest(x, y, paired=True)` tests the mean of the differences over *their* standard deviation (d_z). The columns
# `cohen_d` and `power` of the same row use the mean over the standard deviations of x and y (d_av), without its sign:
# swapping x and y changes the sign of T alone, and the power is that of a test which was not made. With unrelated
# x and y it is far too high, with closely related ones far too low.
set -euo pipefail
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet pingouin==0.7.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
cd "$home"
"$home/venv/bin/python" - <<'PY'
import numpy as np
import pingouin as pg
from scipy import stats

N, MEAN = 24, 0.6


def pairs(correlation, rng, repeats):
    """Pairs of normal numbers with sd 1, whose first lies MEAN above the second: d_av is 0.6 whatever the correlation."""
    covariance = [[1, correlation], [correlation, 1]]
    return rng.multivariate_normal([MEAN, 0], covariance, size=(repeats, N))


def exact(data, correlation):
    """One data set moved and scaled so that means, deviations and correlation are exactly those of the population."""
    centred = data - data.mean(axis=0)
    white = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred.T))).T
    return white @ np.linalg.cholesky([[1, correlation], [correlation, 1]]).T + [MEAN, 0]


print(f"pingouin {pg.__version__}, {N} pairs, d_av = {MEAN}")
seen = {}
for correlation in (0.0, 0.9):
    rng = np.random.default_rng(0)
    x, y = exact(pairs(correlation, rng, 1)[0], correlation).T
    row, swapped = (pg.ttest(*both, paired=True).iloc[0] for both in ((x, y), (y, x)))
    d_z = (x - y).mean() / (x - y).std(ddof=1)
    draws = pairs(correlation, rng, 20_000)
    true = (stats.ttest_rel(draws[..., 0], draws[..., 1], axis=1).pvalue < 0.05).mean()
    seen[correlation] = (row, swapped, d_z, true)
    print(f"correlation {correlation}: T {row['T']:+.2f}, swapped {swapped['T']:+.2f}; "
          f"cohen_d {row['cohen_d']:+.2f}, swapped {swapped['cohen_d']:+.2f}; d_z {d_z:+.2f}; "
          f"power reported {row['power']:.2f}, share of 20,000 samples found {true:.2f}")

for row, swapped, _, _ in seen.values():
    assert row["T"] > 0 > swapped["T"], "the test itself knows which is larger"
    assert row["cohen_d"] == swapped["cohen_d"] > 0, "the effect size does not"
    assert abs(row["cohen_d"] - MEAN) < 1e-6, "and is the mean over the deviations of x and y"
assert abs(seen[0.0][0]["power"] - seen[0.9][0]["power"]) < 1e-6, "one power whatever the pairs have in common"
assert seen[0.0][0]["power"] - seen[0.0][3] > 0.2, "unrelated pairs: 0.80 reported, about 0.5 true"
assert seen[0.9][3] - seen[0.9][0]["power"] > 0.15, "related pairs: 0.80 reported, about 1 true"
PY
echo "as described"
