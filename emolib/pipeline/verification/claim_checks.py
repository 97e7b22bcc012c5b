"""The claims worked out a second time, in plain pandas and numpy, from the rows of the sweeps.

Nothing here imports what made the claims (`emolib.steering`, `emolib.statistics`): the rules are written anew from what
docs and docstrings say of them. A scenario's texts are averaged first; a broken text counts as 0; the interval is BCa
(Efron 1987) over scenarios with the resamples of the stated seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from emolib.pipeline.verification.check_rows import Rows, careful
from emolib.pipeline.verification.run_files import Artifact, RunFiles
from emolib.pipeline.verification.shift_checks import shift_point
from emolib.pipeline.verification.sweep_checks import FAMILIES

TOLERANCE = 1e-9
BESIDE = (
    *("vs_others", "ci_low", "ci_high", "degenerate", "n_nonzero", "p_sign", "p_flip", "rank_p", "random_max"),
    *("beats_others", "supported"),
)


def check_claims(run: RunFiles, rows: Rows) -> None:
    """The stored claims are what the rows of the test sweep give."""
    rows.check = "claims"
    sweeps = {a.said["whole"]: a for a in run.artifacts if a.said.get("whole")}
    if "test" not in sweeps:
        return
    test = run.table(sweeps["test"])
    for artifact in run.of_kind("claims"):
        problems = careful(lambda: list(_claim_problems(run, run.table(artifact), test, raw=True)))  # noqa: B023
        rows.judged(artifact.path, problems, run.table(artifact).size)
    for artifact in run.of_kind("claims of the other style"):
        if "other_style" not in sweeps:
            rows.failed(artifact.path, "the sweep that it is about is missing")
            continue
        steered = run.table(sweeps["other_style"]).assign(kind="emotion")
        swapped = pd.concat([test[test["kind"] != "emotion"], steered], ignore_index=True)
        problems = careful(lambda: list(_claim_problems(run, run.table(artifact), swapped)))  # noqa: B023
        rows.judged(artifact.path, problems, run.table(artifact).size)


def _claim_problems(run: RunFiles, held: pd.DataFrame, sweep: pd.DataFrame, raw: bool = False) -> Iterator[str]:
    given = run.records["phase5"].parameters if "phase5" in run.records else {}
    settings = {"n_resamples": int(given.get("n_resamples", 2000)), "seed": int(given.get("seed", 0))}
    found = claims(sweep, **settings)
    if raw:
        unbroken = sweep.assign(**{"fluency/broken": False})
        found = pd.concat([found, claims(unbroken, **settings)[list(BESIDE)].add_prefix("unfiltered_")], axis=1)
    named = ["emotion", "metric"]
    if held[named].to_numpy().tolist() != found[named].to_numpy().tolist():
        yield "its emotions and measures are not those of the sweep"
        return
    for name in found.columns.drop(named):
        if name not in held:
            continue
        ours, theirs = held[name].to_numpy(dtype=float), found[name].to_numpy(dtype=float)
        wrong = ~np.isclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        if wrong.any():
            at = int(wrong.argmax())
            row = f"{held['emotion'][at]}, {held['metric'][at]}"
            yield f"{name} of {row} is {ours[at]:.6g}, the sweep's rows give {theirs[at]:.6g}"


def claims(sweep: pd.DataFrame, *, n_resamples: int, seed: int) -> pd.DataFrame:
    """Every emotion and measure of a test sweep, one row each.

    Args:
        sweep: rows of the kinds baseline, emotion, direct_path and of the families of controls.

    Returns:
        emotion, metric, own_effect, own_effect_unfiltered, wrong_way, wrong_way_unfiltered, n, direct_path,
        direct_path_counted, vs_others, ci_low, ci_high, degenerate, n_nonzero, p_sign, p_flip, beats_others, p_ and
        max_ of every family, rank_p, random_max, bar, beats_random, supported, median.
    """
    emotions = list(dict.fromkeys(sweep.loc[sweep["kind"] == "emotion", "emotion"]))
    cells = [(e, f"{family}/{e}") for e in emotions for family in ("keywords", "target") if f"{family}/{e}" in sweep]
    directions = min(sweep.loc[sweep["kind"] == family, "index"].nunique() for family in FAMILIES)
    bar = 0.05 / len(cells) if directions >= 999 else 1 / 60
    rows = []
    for emotion, metric in cells:
        means, plain = (_scenario_means(sweep, metric, counted) for counted in (True, False))
        row = {"emotion": emotion, "metric": metric, **_effects(means, plain, emotion)}
        reference = _counted(sweep[sweep["kind"] == "baseline"], metric).std(ddof=1)
        row |= _specific(means, emotion, emotions, reference, n_resamples, seed)
        row |= _ranks(means, emotion, row["own_effect"])
        row["bar"] = bar
        row["beats_random"] = row["rank_p"] <= max(bar, 1 / (1 + directions)) + 1e-12
        row["supported"] = row["beats_others"] and row["rank_p"] <= bar + 1e-12
        rows.append(row)
    return pd.DataFrame(rows)


def _counted(sweep: pd.DataFrame, metric: str) -> pd.Series:
    values = sweep[metric].astype(float)
    return values.mask(sweep["fluency/broken"].astype(bool), 0.0)


def _scenario_means(sweep: pd.DataFrame, metric: str, counted: bool) -> pd.DataFrame:
    """(kind, emotion, index) × scenario: the mean over samples."""
    value = _counted(sweep, metric) if counted else sweep[metric].astype(float)
    keys = [sweep[name] for name in ("kind", "emotion", "index", "scenario")]
    return value.groupby(keys).mean().unstack("scenario")


def _baseline(means: pd.DataFrame) -> pd.Series:
    return means.loc["baseline"].iloc[0]


def _of(means: pd.DataFrame, kind: str, emotion: str) -> pd.Series:
    return pd.Series(means.xs(kind, level="kind").xs(emotion, level="emotion").mean())


def _effects(means: pd.DataFrame, plain: pd.DataFrame, emotion: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for table, ending in ((means, ""), (plain, "_unfiltered")):
        change = (_of(table, "emotion", emotion) - _baseline(table)).dropna()
        row |= {f"own_effect{ending}": change.mean(), f"wrong_way{ending}": (change < 0).mean()}
        row |= {"n": len(change), "median": change.median()} if not ending else {}
    if "direct_path" in means.index.get_level_values("kind"):
        for table, ending in ((plain, ""), (means, "_counted")):
            row[f"direct_path{ending}"] = (_of(table, "direct_path", emotion) - _baseline(table)).dropna().mean()
    return row


def _specific(
    means: pd.DataFrame, emotion: str, emotions: list[str], reference: float, n_resamples: int, seed: int
) -> dict[str, Any]:
    """The emotion's own vector against the mean of the others', with the 95 % BCa interval over scenarios."""
    own = _of(means, "emotion", emotion)
    others = [_of(means, "emotion", other) for other in emotions if other != emotion]
    beside = pd.concat(others, axis=1).mean(axis=1) if others else _baseline(means)
    difference = (own - beside).dropna().to_numpy()
    few = np.count_nonzero(difference) < 5
    spread = difference.std(ddof=1)
    flat = spread <= 1e-9 * np.abs(difference).max() or (bool(reference) and spread < 0.01 * reference)
    degenerate = bool(few or flat)
    low, high = (np.nan, np.nan) if degenerate else bca(difference, n_resamples=n_resamples, seed=seed)
    row = {"vs_others": difference.mean(), "ci_low": low, "ci_high": high, "degenerate": degenerate}
    signs, flips = sign_test(difference), flipped_signs(difference, seed)
    beats = signs <= 0.025 if degenerate else low > 0 and not flips > 0.025
    row |= {"n_nonzero": np.count_nonzero(difference), "p_sign": signs, "p_flip": flips}
    return row | {"beats_others": bool(beats)}


def sign_test(values: np.ndarray) -> float:
    """One-sided: the chance of so many positive ones among those that are not 0.

    >>> sign_test(np.array([1.0, 2.0, 0.0, 3.0]))
    0.125
    """
    moved = values[values != 0]
    return (
        float(stats.binomtest(int((moved > 0).sum()), len(moved), alternative="greater").pvalue) if len(moved) else 1.0
    )


def flipped_signs(values: np.ndarray, seed: int) -> float:
    """One-sided: the share of choices of signs with so large a sum; all of up to 30 non-zero ones, else 9,999 drawn.

    All of them are counted by what they take off: of the sum of sizes twice those with a minus.

    >>> flipped_signs(np.array([1.0, 2.0, 3.0]), 0), flipped_signs(np.array([1.0, 2.0, -3.0]), 0)
    (0.125, 0.625)
    """
    if len(values) > 45:
        return float("nan")
    moved = values[values != 0]
    rounding = 1e-12 * np.abs(moved).sum()
    if len(moved) > 30:
        drawn = np.random.default_rng(np.random.SeedSequence([seed, len(moved)])).integers(0, 2, (9_999, len(moved)))
        return float((1 + ((2.0 * drawn - 1.0) @ moved >= moved.sum() - rounding).sum()) / 10_000)
    allowed = (np.abs(moved).sum() - moved.sum() + rounding) / 2  # what those with a minus may add up to
    taken: list[np.ndarray] = []
    for some in (np.abs(moved)[::2], np.abs(moved)[1::2]):
        chosen = (np.arange(2 ** len(some))[:, None] >> np.arange(len(some))) & 1
        taken.append(chosen @ some)
    ordered = np.sort(taken[1])
    within = np.searchsorted(ordered, allowed - taken[0], side="right").sum()
    return float(within / 2.0 ** len(moved))


def bca(values: np.ndarray, *, n_resamples: int, seed: int) -> tuple[float, float]:
    """The 95 % BCa interval of a mean (Efron 1987, eq. 2.3; acceleration from the jackknife).

    >>> low, high = bca(np.arange(20.0), n_resamples=2000, seed=0)
    >>> 6 < low < 8 and 11 < high < 13
    True
    """
    n = len(values)
    drawn = np.random.default_rng(seed).integers(0, n, (n_resamples, n))
    means, mean = values[drawn].mean(axis=-1), values.mean()
    below = ((means < mean).sum() + (means <= mean).sum()) / (2 * n_resamples)
    left_out = (values.sum() - values) / (n - 1)
    lean = (n - 1) * (left_out.mean() - left_out)
    acceleration = (lean**3).sum() / (6 * (lean**2).sum() ** 1.5)
    shift = stats.norm.ppf(below)
    z = shift + stats.norm.ppf([0.025, 0.975])
    levels = stats.norm.cdf(shift + z / (1 - acceleration * z))
    low, high = np.quantile(means, levels)
    return float(low), float(high)


def _ranks(means: pd.DataFrame, emotion: str, own: float) -> dict[str, float]:
    """One-sided rank of the own effect among the directions of each family."""
    row: dict[str, float] = {}
    for family in FAMILIES:
        drawn = means.loc[family]
        drawn = drawn[drawn.index.get_level_values("emotion").isin(["any", emotion])].groupby(level="index").mean()
        effects = pd.Series((drawn - _baseline(means)).T.mean())
        row[f"p_{family}"] = (1 + (effects >= own - 1e-12).sum()) / (1 + len(effects))
        row[f"max_{family}"] = effects.max()
    row["rank_p"] = max(row[f"p_{family}"] for family in FAMILIES)
    row["random_max"] = max(row[f"max_{family}"] for family in FAMILIES)
    return row


# the operating point


def check_operating_point(run: RunFiles, rows: Rows) -> None:
    """The layer and strength on test are those that the validation rows choose by the stated rule."""
    rows.check = "operating point"
    sweeps = {a.said["whole"]: a for a in run.artifacts if a.said.get("whole")}
    if not {"validation", "test"} <= sweeps.keys():
        return
    artifact = sweeps["test"]
    rows.judged(
        artifact.path, careful(lambda: list(_point_problems(run, sweeps))), len(run.table(sweeps["validation"]))
    )


def _point_problems(run: RunFiles, sweeps: dict[str | None, Artifact]) -> Iterator[str]:
    record = run.records.get("phase5")
    margin = float(record.parameters.get("broken_margin", 0.1)) if record else 0.1
    validation, test = run.table(sweeps["validation"]), run.table(sweeps["test"])
    shifts = _validation_shifts(run)
    for part, table in validation.groupby("part"):
        by_shift = shifts.get(str(part))
        chosen = operating_point(table, margin) if by_shift is None else shift_point(by_shift, table, margin)
        steered = test[(test["kind"] == "emotion") & (test["part"] == part)]
        for layer, alpha in steered[["layer", "alpha"]].drop_duplicates().itertuples(index=False):
            if (layer, alpha) != chosen:
                where = f" in {part!s}" if part else ""
                yield f"it steers at layer {layer}, α {alpha:g}{where}; validation chooses {chosen[0]}, α {chosen[1]:g}"


def _validation_shifts(run: RunFiles) -> dict[str, pd.DataFrame]:
    """The continuation shifts of validation texts by part; none where S could not be measured."""
    found: dict[str, list[pd.DataFrame]] = {}
    for artifact in run.of_kind("shift shard"):
        if (artifact.said["shift_shard"] or "").startswith("validation_layer"):
            found.setdefault(artifact.said["shift_part"] or "", []).append(run.table(artifact))
    return {part: pd.concat(tables, ignore_index=True) for part, tables in found.items()}


def operating_point(validation: pd.DataFrame, margin: float) -> tuple[int, float]:
    """The candidate with the largest mean standardised [own − others] among those that break few enough texts."""
    steered, base = (validation[validation["kind"] == kind] for kind in ("emotion", "baseline"))
    emotions = list(dict.fromkeys(steered["emotion"]))
    limit = base["fluency/broken"].mean() + margin + 1e-9
    rows = []
    for (layer, alpha), cell in steered.groupby(["layer", "alpha"]):
        terms = [
            _standardised(cell, e, f"{f}/{e}") for e in emotions for f in ("keywords", "target") if f"{f}/{e}" in cell
        ]
        broken = cell.groupby("emotion")["fluency/broken"].mean().max()
        rows.append((layer, alpha, np.mean(terms), broken))
    table = pd.DataFrame(rows, columns=["layer", "alpha", "score", "broken"])
    allowed = table[table["broken"] <= limit]
    pool = allowed if len(allowed) else table[table["broken"] == table["broken"].min()]
    best = pool.sort_values(["score", "alpha", "layer"], ascending=[False, True, True], kind="stable").iloc[0]
    return int(best["layer"]), float(best["alpha"])


def _standardised(cell: pd.DataFrame, emotion: str, metric: str) -> float:
    wide = _counted(cell, metric).groupby([cell["scenario"], cell["emotion"]]).mean().unstack()
    others = wide.drop(columns=emotion)
    difference = wide[emotion] - others.mean(axis=1) if len(others.columns) else wide[emotion]
    spread = difference.std(ddof=1)
    if not spread > 1e-9 * difference.abs().max():
        return 0.0
    return float(difference.mean() / spread * np.sqrt(len(difference)))


# Phase 7's table of claims


def check_study_claims(run: RunFiles, rows: Rows) -> None:
    """Phase 7's rows on steering hold Phase 5's numbers, and every verdict follows from its row."""
    rows.check = "verdicts"
    record = run.records.get("phase7")
    smallest = float(record.parameters.get("smallest_d", 0.5)) if record else 0.5
    for artifact in run.of_kind("statistics claims"):
        table = run.table(artifact)
        problems = careful(lambda: list(_verdict_problems(table, smallest)))  # noqa: B023
        for stored in run.of_kind("claims"):
            problems += careful(lambda: list(_steering_problems(run, table, run.table(stored))))  # noqa: B023
        for stored in run.of_kind("shift claims"):
            problems += careful(lambda: list(_shift_problems(run, table, run.table(stored))))  # noqa: B023
        rows.judged(artifact.path, problems, len(table))


def _shift_problems(run: RunFiles, table: pd.DataFrame, held: pd.DataFrame) -> Iterator[str]:
    """A claim of the continuation shift has Phase 5's numbers and verdict, in the family of its style."""
    rows = table[(table["claim"] == "shift") & (table["model"] == run.model)]
    named = held.assign(measure="shift/" + held["style"])
    both = named.merge(rows, on=["emotion", "measure"], suffixes=("_held", ""))
    if len(both) != len(held) or len(rows) != len(held):
        yield f"it has {len(rows)} claims of the continuation shift, Phase 5 {len(held)}"
        return
    for name, other in {"value": "mean", "low": "low_held", "high": "high_held", "p": "p_held", "n": "n_texts"}.items():
        if not np.allclose(both[name].astype(float), both[other].astype(float), rtol=1e-12, atol=1e-15):
            yield f"{name} of a claim of the continuation shift is not Phase 5's"
    if (both["verdict"] != both["verdict_held"]).any() or (both["reason"] != both["reason_held"]).any():
        yield "a verdict of the continuation shift is not Phase 5's"


def _steering_problems(run: RunFiles, table: pd.DataFrame, held: pd.DataFrame) -> Iterator[str]:
    named = {"value": "vs_others", "low": "ci_low", "high": "ci_high", "rank_p": "rank_p", "rank_bar": "bar", "n": "n"}
    rows = table[(table["claim"] == "steering") & (table["model"] == run.model)]
    both = held.merge(rows, left_on=["emotion", "metric"], right_on=["emotion", "measure"], suffixes=("_held", ""))
    if len(both) != len(held) or len(rows) != len(held):
        yield f"it has {len(rows)} claims about steering, Phase 5 {len(held)}"
        return
    for name, other in named.items():
        ours = both[name].astype(float)
        theirs = both[f"{other}_held" if f"{other}_held" in both else other].astype(float)
        wrong = ~np.isclose(ours, theirs, rtol=1e-12, atol=1e-15, equal_nan=True)
        if wrong.any():
            at = both[wrong].iloc[0]
            yield f"{name} of {at['emotion']}, {at['measure']} is not Phase 5's"


def _verdict_problems(table: pd.DataFrame, smallest: float) -> Iterator[str]:
    for row in table[table["claim"] != "shift"].to_dict("records"):  # those have Phase 5's verdicts
        told = f"{row['claim']} of {row['emotion']}, {row['measure']}"
        if row["n"] > 2 and not _detects(row["detectable_d"], int(row["n"])):
            yield f"detectable_d of {told} is {row['detectable_d']:.4g}, which {int(row['n'])} scenarios do not detect"
        found = _verdict(row, smallest)
        if row["verdict"] != found:
            yield f"the verdict on {told} is {row['verdict']}, its numbers give {found}"


def _detects(d: float, n: int) -> bool:
    """Whether the two-sided paired t test over n scenarios finds d with a power of 0.8."""
    bar = stats.t.ppf(0.975, n - 1)
    power = stats.nct.sf(bar, n - 1, d * np.sqrt(n)) + stats.nct.cdf(-bar, n - 1, d * np.sqrt(n))
    return bool(abs(power - 0.8) < 1e-3)


def _verdict(row: Mapping[Any, Any], smallest: float) -> str:
    ranked = not pd.isna(row["rank_bar"])
    degenerate = not pd.isna(row["degenerate"]) and str(row["degenerate"]) == "True"
    above = row["low"] > row["reference"]
    reached = not ranked or row["rank_p"] <= row["rank_bar"] + 1e-12
    if row["n"] < 10 or (ranked and 1 / (1 + row["n_controls"]) > row["rank_bar"] + 1e-12):
        return "underpowered"
    if row["p_best"] > 0.025:
        return "underpowered"
    if degenerate:
        above = row["p_sign"] <= 0.025
    by_permutation = not row["p_flip"] > 0.025
    if above and reached and (degenerate or by_permutation):
        return "supported"
    if (degenerate and not above) or not reached:
        return "not_supported"
    if not degenerate and above:
        return "underpowered"
    holds = not (row["low"] > row["reference"] or row["high"] < row["reference"])
    return "underpowered" if holds and row["detectable_d"] > smallest else "not_supported"
