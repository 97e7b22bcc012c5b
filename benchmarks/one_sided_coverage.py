"""How often each side of an interval errs, and what a permutation does in its place.

Simulated differences of known mean, one per scenario: in what share of data sets the mean lies below a 95 % BCa
interval (its lower side errs: an effect of 0 would be called one above 0) and above it, and in what share the
permutation of signs gives p <= 0.025 where the mean is 0, and both say the same, one side after the other. A normal,
an exponential, and a lognormal distribution whose long tail lies on the right or on the left, each with its mean taken
off.

Then two scores of equal worth, near the ceiling of the AUC: in what share of data sets the interval of the difference
lies above 0, and the permutation of the two scores' ranks gives p <= 0.025. 2.5 % is meant everywhere.

    python benchmarks/one_sided_coverage.py --json benchmarks/results/NAME.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from measuring import described, run_main, table, write_json

from emolib.base.errors import UserError
from emolib.statistics.auc import auc_difference, auc_interval, auc_swap_p
from emolib.statistics.exact_tests import sign_flip_p
from emolib.statistics.intervals import paired_effects

CPU = torch.device("cpu")
MEANT = 0.025
CHUNK = 50  # data sets that share their resamples
LOGNORMAL_MEAN = float(np.exp(0.5))
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(0, 1, shape),
    "lognormal, tail on the left": lambda rng, shape: LOGNORMAL_MEAN - rng.lognormal(0, 1, shape),
    "lognormal, tail on the right": lambda rng, shape: rng.lognormal(0, 1, shape) - LOGNORMAL_MEAN,
    "exponential": lambda rng, shape: rng.exponential(1, shape) - 1.0,
}
SCENARIOS = (24, 45)
STRENGTHS = {"0.76": 1.0, "0.92": 2.0, "0.98": 2.9, "0.99": 3.3}  # of both scores; named by the AUC that they have


def intervals(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per distribution and number of scenarios."""
    rows = []
    for place, (name, draw) in enumerate(DISTRIBUTIONS.items()):
        for n in SCENARIOS:
            rng = np.random.default_rng([arguments.seed, place, n])
            below, above, flips = [], [], []
            for chunk in range(0, arguments.data_sets, CHUNK):
                values = draw(rng, (min(CHUNK, arguments.data_sets - chunk), n))
                found = paired_effects(values, n_resamples=arguments.resamples, seed=chunk)
                below.append(found["ci_low"].to_numpy() > 0)
                above.append(found["ci_high"].to_numpy() < 0)
                flips.append([sign_flip_p(sign * values, alternative="greater") <= MEANT for sign in (1, -1)])
            flipped = np.concatenate(flips, axis=1)
            by_flip, sides = flipped.mean(axis=1), (np.concatenate(below), np.concatenate(above))
            both = [float((side & flip).mean()) for side, flip in zip(sides, flipped, strict=True)]
            row = {"differences": name, "scenarios": n, "data_sets": arguments.data_sets}
            row |= {"lower_side_errs": share(below), "upper_side_errs": share(above)}
            row |= {"flip_says_above": float(by_flip[0]), "flip_says_below": float(by_flip[1])}
            rows.append(row | {"both_say_above": both[0], "both_say_below": both[1]})
    return rows


def auc_differences(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per AUC and number of scenarios, each with a text of either label."""
    rows = []
    for place, strength in enumerate(STRENGTHS.values()):
        for n in SCENARIOS:
            rng = np.random.default_rng([arguments.seed, 10 + place, n])
            truth, names = np.tile([True, False], n), np.repeat(np.arange(n), 2)
            above, swaps, worth = [], [], []
            for number in range(arguments.auc_data_sets):
                common = rng.normal(size=2 * n)
                one, other = (strength * truth + (common + rng.normal(size=2 * n)) / np.sqrt(2) for _ in range(2))
                given = {"n_resamples": arguments.resamples, "seed": number // CHUNK}
                above.append([auc_difference(one, other, truth, names, **given)[1] > 0])
                swaps.append([auc_swap_p(one, other, truth, names) <= MEANT])
                worth.append(auc_interval(one, truth, names, n_resamples=1)[0])
            row = {"auc": float(np.mean(worth)), "scenarios": n, "data_sets": arguments.auc_data_sets}
            rows.append(row | {"interval_says_above": share(above), "swap_says_above": share(swaps)})
    return rows


def share(flags: list[Any]) -> float:
    return float(np.concatenate(flags).mean())


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-sets", type=int, default=4000, help="per row of the first table")
    parser.add_argument("--auc-data-sets", type=int, default=2000, help="per row of the second table")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="where the result goes; printed when left out")
    arguments = parser.parse_args()
    for name in ("data_sets", "auc_data_sets", "resamples"):
        if getattr(arguments, name) < 1:
            raise UserError(f"expected --{name.replace('_', '-')} of at least 1, got {getattr(arguments, name)}")
    return arguments


def main() -> None:
    arguments = parsed()
    result = {"intervals": intervals(arguments), "auc_differences": auc_differences(arguments)}
    about = described(CPU)
    about["versions"] |= {package: version(package) for package in ("scipy", "pandas")}
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    write_json(arguments.json, {"benchmark": "one-sided coverage", **about, "settings": settings, **result})
    for rows in result.values():
        print(table(rows))


if __name__ == "__main__":
    run_main(main)
