"""Seconds for the effect sizes and bootstrap intervals of many rows, and how often the intervals cover.

One run, the same rows, one way after the other in every repeat; the median of the repeats:
- emolib: `paired_effects`, whole scenarios resampled: effect sizes, BCa intervals of the mean and of d_z, t and
  Wilcoxon tests of every row;
- a plain loop over rows with the same resamples: BCa intervals of the mean and of d_z by definition, nothing else;
- a loop over rows with `scipy.stats.bootstrap` (BCa of the mean and of d_z, resamples of its own), nothing else.
The loops run on the first rows only; their time for all rows is extrapolated, and the result says so.

`--coverage` adds a simulation: in how many data sets of known mean the 95 % interval covers it.

    python benchmarks/paired_effects.py --coverage --json benchmarks/results/NAME.json
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from measuring import described, forget_peak, resident_bytes, run_main, seconds, table, write_json
from scipy import special, stats

from emolib.base.errors import UserError
from emolib.statistics.intervals import paired_effects, resampling_weights

CPU = torch.device("cpu")
TEXTS = 3  # per scenario
TARGET_SECONDS, TARGET_BYTES = 10.0, 300e6  # for 20,000 rows, on two CPU cores
TARGET_COVERAGE, TARGET_N = 0.93, 45
EQUAL_WITHIN = 1e-8  # of an interval's width, with the same resamples
SIMILAR_WITHIN = 0.05  # of an interval's width, the median difference with other resamples
BOUNDS = ["ci_low", "ci_high", "d_low", "d_high"]
CHUNK = 100  # data sets of the simulation that share their resamples


# data


@dataclass(frozen=True)
class Distribution:
    """How a scenario's effect varies, and the texts within it.

    Attributes:
        draw: `(rng, shape) → [..., scenario]`, the scenario's expected effect.
        mean, variance: those of the expected effect.
        within: variance of a text around its scenario's expected effect, averaged over scenarios.
        counts: texts are Poisson counts around their scenario's effect; else normal.
    """

    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    mean: float
    variance: float
    within: float
    counts: bool = False

    def texts(self, rng: np.random.Generator, n_rows: int, n: int, n_texts: int) -> np.ndarray:
        """`[row, scenario, text]`."""
        effect = np.repeat(self.draw(rng, (n_rows, n))[..., None], n_texts, axis=2)
        return rng.poisson(effect) * 1.0 if self.counts else rng.normal(effect, np.sqrt(self.within))

    def d_z(self, n_texts: int) -> float:
        return self.mean / np.sqrt(self.variance + self.within / n_texts)


DISTRIBUTIONS = {
    "normal": Distribution(lambda rng, shape: rng.normal(0.5, 1, shape), 0.5, 1.0, 0.0),
    "exponential": Distribution(lambda rng, shape: rng.exponential(1, shape), 1.0, 1.0, 0.0),
    "lognormal": Distribution(
        lambda rng, shape: rng.lognormal(0, 1, shape), float(np.exp(0.5)), float((np.e - 1) * np.e), 0.0
    ),
    "zero-inflated counts": Distribution(
        lambda rng, shape: 2.0 * (rng.random(shape) < 0.4), 0.8, 0.96, 0.8, counts=True
    ),
}


def noisy(distribution: Distribution) -> Distribution:
    """The same with texts that differ within a scenario."""
    values = distribution.__dict__
    return distribution if distribution.counts else Distribution(**{**values, "within": 0.25})


def made_rows(n_rows: int, n: int, seed: int = 0) -> np.ndarray:
    """`[row, scenario, text]`, the four distributions in turn."""
    rng = np.random.default_rng(seed)
    kinds = [noisy(distribution) for distribution in DISTRIBUTIONS.values()]
    texts = np.empty((n_rows, n, TEXTS))
    for i, kind in enumerate(kinds):
        texts[i :: len(kinds)] = kind.texts(rng, len(texts[i :: len(kinds)]), n, TEXTS)
    return texts


# the ways


def d_z(x: np.ndarray, axis: int = -1) -> np.ndarray:
    return x.mean(axis=axis) / x.std(axis=axis, ddof=1)


def bca_of_row(x: np.ndarray, counts: np.ndarray, statistic: Callable[..., Any]) -> np.ndarray:
    """BCa bounds by definition: every resample built, every scenario left out in turn."""
    estimate = statistic(x)
    resampled = np.array([statistic(np.repeat(x, count)) for count in counts])
    tied = np.abs(resampled - estimate) <= 1e-12 * np.abs(x).max()
    below = (((resampled < estimate) & ~tied).sum() + tied.sum() / 2) / len(counts)
    z_0, z = special.ndtri(below), special.ndtri(np.array([0.025, 0.975]))
    left_out = np.array([statistic(np.delete(x, i)) for i in range(len(x))])
    away = left_out.mean() - left_out
    a = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    return np.quantile(resampled, special.ndtr(z_0 + (z_0 + z) / (1 - a * (z_0 + z))))


def by_loop(rows: np.ndarray, n_resamples: int) -> np.ndarray:
    """`[row, 4]`: mean and d_z, with emolib's resamples."""
    counts = resampling_weights(rows.shape[1], n_resamples, 0).astype(int)
    return np.array([np.concatenate([bca_of_row(x, counts, one) for one in (np.mean, d_z)]) for x in rows])


def by_scipy(rows: np.ndarray, n_resamples: int) -> np.ndarray:
    """`[row, 4]`: mean and d_z by `scipy.stats.bootstrap`, its vectorised way within a row."""
    rng = np.random.default_rng(1)
    settings = {"method": "BCa", "n_resamples": n_resamples, "vectorized": True, "rng": rng}
    return np.array(
        [
            np.concatenate([stats.bootstrap((x,), one, **settings).confidence_interval for one in (np.mean, d_z)])
            for x in rows
        ]
    )


def emolib_way(texts: np.ndarray, n_resamples: int) -> np.ndarray:
    """`[row, 4]`: texts averaged within their scenario, then every statistic of every row."""
    return paired_effects(texts.mean(axis=2), n_resamples=n_resamples)[BOUNDS].to_numpy()


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every way's time and numbers, on the same rows."""
    texts = made_rows(arguments.rows, arguments.scenarios)
    rows, few = texts.mean(axis=2), arguments.loop_rows
    if not 4 <= few <= len(rows):
        raise UserError(f"expected loops over 4 to {len(rows)} rows, got {few}")
    emolib_way(texts[:few], arguments.resamples)  # warm-up
    ways = {
        "emolib": (len(rows), lambda: emolib_way(texts, arguments.resamples)),
        "plain loop, same resamples": (few, lambda: by_loop(rows[:few], arguments.resamples)),
        "loop over scipy.stats.bootstrap": (few, lambda: by_scipy(rows[:few], arguments.resamples)),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    outs, extra = {}, 0
    for _ in range(arguments.repeats):
        for name, (_, work) in ways.items():
            before = resident_bytes()
            forget_peak()
            spent, outs[name] = seconds(work, CPU)
            taken[name].append(spent)
            extra = max(extra, resident_bytes(peak=True) - before) if name == "emolib" else extra
    return {
        "ways": {name: timing(taken[name], n, len(rows)) for name, (n, _) in ways.items()},
        "extra_memory_bytes": extra,
        "equal": equalities(outs, few),
        "rows_without_interval": int(np.isnan(outs["emolib"][:, 0]).sum()),
    }


def timing(taken: list[float], n_measured: int, n_rows: int) -> dict[str, Any]:
    whole = [value * n_rows / n_measured for value in taken]
    return {
        "seconds": statistics.median(whole),
        "repeats": whole,
        "measured_rows": n_measured,
        "extrapolated": n_measured < n_rows,
    }


def equalities(outs: dict[str, np.ndarray], few: int) -> dict[str, Any]:
    """Each loop's bounds beside emolib's in units of the interval's width, and as a control beside the next row's of
    the same distribution, which must not pass.
    """
    ours = outs["emolib"][:few]
    width = np.repeat(ours[:, 1::2] - ours[:, ::2], 2, axis=1)
    checks = {}
    for name, limit, summary in (
        ("plain loop, same resamples", EQUAL_WITHIN, np.nanmax),
        ("loop over scipy.stats.bootstrap", SIMILAR_WITHIN, np.nanmedian),
    ):
        difference = float(summary(np.abs(outs[name] - ours) / width))
        control = float(summary(np.abs(outs[name] - np.roll(ours, len(DISTRIBUTIONS), axis=0)) / width))
        checks[name] = {"difference": difference, "summary": summary.__name__, "limit": limit}
        checks[name] |= {"between_different_rows": control, "met": difference < limit < control}
    return checks


# coverage


def coverage(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per distribution × number of scenarios × (one text per scenario, or several averaged, or several taken as
    if each were a scenario of its own)."""
    rows = []
    for name, distribution in DISTRIBUTIONS.items():
        for n in (24, TARGET_N):
            for n_texts, design in ((1, "one text"), (TEXTS, "averaged"), (TEXTS, "as if independent")):
                kind = noisy(distribution) if n_texts > 1 else distribution
                found = covered(kind, n, n_texts, arguments, averaged=design != "as if independent")
                rows.append({"distribution": name, "scenarios": n, "texts": n_texts, "design": design, **found})
    return rows


def covered(
    kind: Distribution, n: int, n_texts: int, arguments: argparse.Namespace, *, averaged: bool
) -> dict[str, Any]:
    """How often the true value lies inside, below and above the interval, among data sets that have one."""
    rng = np.random.default_rng([n, n_texts, *f"{kind.mean:.6f}".encode()])
    truth, parts = kind.d_z(n_texts if averaged else 1), []
    for chunk in range(-(-arguments.data_sets // CHUNK)):
        texts = kind.texts(rng, min(CHUNK, arguments.data_sets - chunk * CHUNK), n, n_texts)
        values = texts.mean(axis=2) if averaged else texts.reshape(len(texts), -1)
        parts.append(paired_effects(values, n_resamples=arguments.resamples, seed=chunk))
    every = pd.concat(parts, ignore_index=True)
    found = every.dropna(subset=BOUNDS)
    half = stats.t.ppf(0.975, found["n"] - 1) * found["sd"] / np.sqrt(found["n"])
    share = float(found["ci_low"].le(kind.mean).mul(found["ci_high"].ge(kind.mean)).mean())
    return {
        "data_sets": len(every),
        "without_interval": len(every) - len(found),
        "covered": share,
        "error": float(np.sqrt(share * (1 - share) / len(found))),
        "true_mean_below": float((found["ci_low"] > kind.mean).mean()),
        "true_mean_above": float((found["ci_high"] < kind.mean).mean()),
        "covered_by_t_interval": float(((found["mean"] - kind.mean).abs() <= half).mean()),
        "d_z_covered": float(found["d_low"].le(truth).mul(found["d_high"].ge(truth)).mean()),
    }


def targets(result: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """What was to be reached and was; of the coverage, less the simulation's standard error."""
    taken = result["ways"]["emolib"]["seconds"] * 20_000 / arguments.rows
    extra = result["extra_memory_bytes"]
    found = {
        "seconds for 20,000 rows": {"most": TARGET_SECONDS, "reached": taken, "met": taken <= TARGET_SECONDS},
        "extra memory in MB": {"most": TARGET_BYTES / 1e6, "reached": extra / 1e6, "met": extra <= TARGET_BYTES},
    }
    for row in result.get("coverage", []):
        judged = row["distribution"] in ("normal", "exponential") and row["scenarios"] == TARGET_N
        if judged and row["design"] != "as if independent":
            least = TARGET_COVERAGE - row["error"]
            name = f"coverage, {row['distribution']}, {TARGET_N} scenarios, {row['design']}"
            found[name] = {"least": least, "reached": row["covered"], "met": row["covered"] >= least}
    return found


def shown(result: dict[str, Any]) -> str:
    """Every way's seconds, and how many times as long as emolib it takes."""
    own = result["ways"]["emolib"]["seconds"]
    rows = [
        {
            "way": name,
            "rows measured": way["measured_rows"],
            "seconds for all rows": way["seconds"],
            "extrapolated": str(way["extrapolated"]),
            "× emolib": way["seconds"] / own,
        }
        for name, way in result["ways"].items()
    ]
    return table(rows)


def verdict(met: bool) -> str:
    return "met" if met else "NOT met"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--scenarios", type=int, default=45)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument(
        "--loop-rows", type=int, default=40, help="so many of the rows by the loops, since they are slow"
    )
    parser.add_argument("--repeats", type=int, default=3, help="the median counts")
    parser.add_argument("--coverage", action="store_true", help="also simulate how often the intervals cover")
    parser.add_argument("--data-sets", type=int, default=2000, help="of the simulation, per row of its table")
    parser.add_argument("--json", help="where the result goes; printed when left out")
    arguments = parser.parse_args()
    for name, least in {"rows": 4, "scenarios": 5, "resamples": 1, "repeats": 1, "data_sets": 1}.items():
        if getattr(arguments, name) < least:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"expected {option} of at least {least}, got {getattr(arguments, name)}")
    return arguments


def main() -> None:
    arguments = parsed()
    result = speed(arguments)
    if arguments.coverage:
        result["coverage"] = coverage(arguments)
    result["targets"] = targets(result, arguments)
    about = described(CPU)
    about["versions"] |= {package: version(package) for package in ("scipy", "pandas")}
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    write_json(arguments.json, {"benchmark": "paired effects", **about, "settings": settings, **result})
    print(shown(result))
    if arguments.coverage:
        print(table(result["coverage"]))
    for name, check in result["equal"].items():
        compared = f"{check['difference']:.2g} of an interval's width ({check['summary']}, below {check['limit']:g})"
        print(f"{name} against emolib's bounds: {compared} {verdict(check['met'])}")
    for name, target in result["targets"].items():
        bound = f"at most {target['most']:g}" if "most" in target else f"at least {target['least']:.4f}"
        print(f"{name}: {target['reached']:.4g} ({bound}) {verdict(target['met'])}")


if __name__ == "__main__":
    run_main(main)
