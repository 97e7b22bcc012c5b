"""What patched heads come to: effects with intervals, shares of the context's effect, ablations, and A/A.

Everything is paired by the text's scenario, which is the unit. Nothing here is corrected for how many there are.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from emolib.base.errors import UserError
from emolib.circuits.head_conditions import ABLATIONS
from emolib.circuits.head_patching import CONDITION, Trials
from emolib.statistics.intervals import paired_effects
from emolib.statistics.ratios import fieller
from emolib.steering.shift_tables import check_columns

ALL = "all"  # every emotion: their mean within each scenario
KEPT = ["n", "mean", "sd", "d_z", "ci_low", "ci_high", "p_t", "p_wilcoxon", "degenerate"]
SHARE = ["share", "share_low", "share_high"]
FEWEST = 3  # scenarios of a share
TOWARDS = {"neutral": 1.0, "emotional": -1.0}  # the sign of Δ where the head carries the context's effect


def context_effects(trials: Trials, *, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The effect of the context on m that heads are to explain, for each emotion and for all.

    Returns:
        emotion, n, mean, sd, d_z, ci_low, ci_high, p_t, p_wilcoxon, degenerate, and `measurable`: whether the interval
        leaves out 0 on the positive side; where not, no share is given anywhere.
    """
    wide = _by_scenario(trials.context, "effect", [])
    found = _effects(wide, n_resamples, seed)
    return found.assign(measurable=(found["ci_low"] > 0) & ~found["degenerate"].astype(bool))


def patch_effects(trials: Trials, *, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Δ of every condition, and its share of the context's effect.

    Args:
        trials: as `emolib.circuits.head_patching.head_trials` gives them; ablations are left out (`ablation_effects`).

    Returns:
        `CONDITION`, emotion, the columns `KEPT` of Δ in nat per token, and share with share_low and share_high: Δ (into
        the emotional run −Δ) over the context's effect, by Fieller; NaN where that effect is not told from 0.
    """
    patched = _with_totals(trials.patched[~trials.patched["mode"].isin(ABLATIONS)], trials.context)
    wide, total = (_by_scenario(patched, value, CONDITION) for value in ("delta", "effect"))
    signs = np.array([TOWARDS[target] for target in wide.index.get_level_values("target")])
    return _with_shares(_effects(wide, n_resamples, seed), _times(wide, signs), total)


def ablation_effects(trials: Trials, *, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """What is lost of the context's effect when heads are ablated in both runs.

    `resample` (another scenario's neutral activations, the primary ablation) is the source `neutral` by `result`.

    Returns:
        heads, mode (`resample`, `zero`, `mean`), emotion, `KEPT` of the change of the context's effect (nat per token),
        and share with share_low and share_high: the part of it that is lost; negative where it grows.
    """
    patched = trials.patched
    resampled = (patched["mode"] == "result") & (patched["source"] == "neutral") & (patched["extent"] == "whole")
    some = patched[patched["mode"].isin(ABLATIONS) | resampled]
    some = some.assign(mode=np.where(some["mode"].isin(ABLATIONS), some["mode"], "resample"))
    some = _with_totals(some, trials.context)
    wide, total = (_by_scenario(some, value, ["heads", "mode", "target"]) for value in ("delta", "effect"))
    if not {"neutral", "emotional"} <= set(wide.index.get_level_values("target")):
        return pd.DataFrame(columns=["heads", "mode", "emotion", *KEPT, *SHARE])
    change = _less(wide, "target", "emotional", "neutral")
    lost = _times(change, -np.ones(len(change)))
    return _with_shares(_effects(change, n_resamples, seed), lost, pd.DataFrame(total.xs("neutral", level="target")))


def null_p_values(trials: Trials) -> pd.DataFrame:
    """A/A: p of the difference between two neutral sources of other scenarios, which are exchangeable.

    Returns:
        heads, mode, emotion, n, mean (nat per token), p_t: uniform where p values are what they say.

    Raises:
        UserError: trials without both sources.
    """
    patched = trials.patched
    wanted = (patched["target"] == "neutral") & patched["source"].isin(["neutral", "neutral_again"])
    some = patched[wanted & (patched["extent"] == "whole")]
    wide = _by_scenario(some, "delta", ["heads", "mode", "source"], whole=False)
    if not {"neutral", "neutral_again"} <= set(wide.index.get_level_values("source")):
        raise UserError("expected trials with the sources neutral and neutral_again, some are missing")
    found = _effects(_less(wide, "source", "neutral", "neutral_again"), 50, 0)
    return found[["heads", "mode", "emotion", "n", "mean", "p_t"]]


def uniformity(p: np.ndarray) -> dict[str, float]:
    """Whether p values are uniform: Kolmogorov and Smirnov's test, and the share at most 0.05.

    Heads of the same scenarios are not independent, so its p is only a guide.

    >>> found = uniformity(np.linspace(0.025, 0.975, 20))
    >>> found["n"], found["share_05"], found["p_ks"] > 0.99
    (20, 0.05, True)
    """
    known = np.asarray(p, float)[np.isfinite(p)]
    if not len(known):
        return {"n": 0, "share_05": float("nan"), "d_ks": float("nan"), "p_ks": float("nan")}
    found = stats.kstest(known, "uniform")
    return {
        "n": len(known),
        "share_05": float((known <= 0.05).mean()),
        "d_ks": float(found.statistic),
        "p_ks": float(found.pvalue),
    }


def contrast_of_sources(
    trials: Trials, one: str, other: str, *, n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Δ with one source less Δ with another, in the same cells: what the two sources carry differently.

    Returns:
        heads, mode, target, emotion, `KEPT` of the difference (nat per token).

    Raises:
        UserError: trials without one of the sources.
    """
    patched = trials.patched[trials.patched["extent"] == "whole"]
    wide = _by_scenario(patched[patched["source"].isin([one, other])], "delta", ["heads", "mode", "target", "source"])
    if not {one, other} <= set(wide.index.get_level_values("source")):
        raise UserError(f"expected trials with the sources {one} and {other}, some are missing")
    return _effects(_less(wide, "source", one, other), n_resamples, seed)


def _by_scenario(table: pd.DataFrame, value: str, by: list[str], *, whole: bool = True) -> pd.DataFrame:
    """Rows by `by` and emotion (`ALL` too), columns the texts' scenarios."""
    check_columns(table, [*by, "emotion", "text", value], "trials")
    wide = table.pivot_table(index=[*by, "emotion"], columns="text", values=value, aggfunc="mean", sort=False)
    if not whole or table["emotion"].nunique() < 2:
        return wide
    keys = [*by, "text"]
    mean = table.groupby(keys, sort=False)[value].mean().reset_index().assign(emotion=ALL)
    of_all = mean.pivot_table(index=[*by, "emotion"], columns="text", values=value, aggfunc="mean", sort=False)
    return pd.concat([wide, of_all])


def _less(wide: pd.DataFrame, level: str, one: str, other: str) -> pd.DataFrame:
    """The rows of one value of an index level less those of another, where both are."""
    parts = [pd.DataFrame(wide.xs(name, level=level)) for name in (one, other)]
    difference: pd.DataFrame = parts[0] - parts[1]
    return difference.dropna(how="all")


def _times(wide: pd.DataFrame, signs: np.ndarray) -> pd.DataFrame:
    """Every row times its sign."""
    return pd.DataFrame(wide.to_numpy(float) * signs[:, None], wide.index, wide.columns)


def _effects(wide: pd.DataFrame, n_resamples: int, seed: int) -> pd.DataFrame:
    found = paired_effects(wide, n_resamples=n_resamples, seed=seed)
    return found[KEPT].reset_index()


def _with_shares(found: pd.DataFrame, carried: pd.DataFrame, total: pd.DataFrame) -> pd.DataFrame:
    """The effects with what is carried over the context's effect in the same cells, both `[row, scenario]`."""
    ratios = []
    for key, x in zip(carried.index, carried.to_numpy(float), strict=True):
        y = total.loc[key].reindex(carried.columns).to_numpy(float)
        both = np.isfinite(x) & np.isfinite(y)
        n = int(both.sum())
        if n < FEWEST:
            ratios.append((np.nan,) * 3)
            continue
        covariance = np.cov(x[both], y[both]) / n
        ratio = fieller(
            x[both].mean(),
            y[both].mean(),
            var_x=covariance[0, 0],
            var_y=covariance[1, 1],
            covariance=covariance[0, 1],
            df=n - 1,
        )
        ratios.append((ratio.value, ratio.low, ratio.high))
    return found.assign(**dict(zip(SHARE, np.array(ratios, float).reshape(-1, 3).T, strict=True)))


def _with_totals(patched: pd.DataFrame, context: pd.DataFrame) -> pd.DataFrame:
    """The trials with the context's effect in the same cell and emotion."""
    return patched.merge(context[["text", "emotion", "effect"]], on=["text", "emotion"], how="left", validate="m:1")
