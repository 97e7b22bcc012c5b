"""Effect sizes of a sweep: every setting against the unpatched texts of the same scenarios, and the correction for
how many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import pandas as pd
from scipy import stats

from emolib.base import arguments
from emolib.base.errors import UserError, nearest, shown
from emolib.base.notices import notice
from emolib.base.signatures import told
from emolib.statistics.intervals import CONFIDENCE, ROUNDING, paired_effects

CONTROL_FAMILIES = ("isotropic", "covariance", "shuffled")
SUCCESS_PREFIXES = ("keywords/", "target")  # metrics that count successes: there a broken text can be none
CELL = ["kind", "emotion", "layer", "alpha"]
DECIMALS = round(-np.log10(ROUNDING))
DIRECTIONS = ("alpha", "greater", "less")


class UnscoredWarning(UserWarning):
    """Texts without a score (NaN), which an effect leaves out."""


@told
def effect_sizes(
    sweep: pd.DataFrame,
    *,
    metrics: Sequence[str],
    success: Callable[[pd.DataFrame, str], pd.Series] | None = None,
    direction: Literal["alpha", "greater", "less"] = "alpha",
    family: str | Sequence[str] = ("kind", "metric"),
    p: str = "p_paired",
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: Literal["counts", "scipy"] = "counts",
) -> pd.DataFrame:
    """The paired effect of every kind × emotion × layer × alpha on every metric, over scenarios.

    Rows of one scenario (several prompts, seeds or random directions) are averaged first; an effect is that mean minus
    the baseline's of the same scenario. A text without a score (NaN) is left out of its scenario's mean, and a scenario
    without any out of the effect, whose n says how many remain; an `UnscoredWarning` counts such texts.

    Args:
        sweep: the sweep table of one split and unit (columns kind, emotion, layer, alpha, index, scenario, metrics).
        metrics: metric columns.
        success: counts broken texts as no success (`emolib.steering.effects.success`), for metrics that count successes
            (names that begin with `keywords/` or `target`); None takes every text as it is.
        direction: the direction of the rank p, stated beforehand: up, down, or that of alpha's sign.
        family: column(s) that name the family within which p values are corrected (see `correct`).
        p: the p value that is corrected.
        resamples: which resamples the intervals take (see `statistics.paired_effects`).

    Returns:
        One row per setting and metric: the setting, metric, counted (broken texts as no success), baseline_mean,
        baseline_sd, the columns of `statistics.paired_effects`, mean_unfiltered (every text as it is), direction, per
        control family in the sweep rank_p_<family> and n_<family> (controls of the same layer and alpha, for rows that
        are no controls), rank_p_worst over the families, and family, family_size, p_bonferroni, p_fdr.

    Raises:
        UserError: columns or baseline rows are missing, infinite scores, or rows of several splits or units.

    Example:
        >>> import pandas as pd
        >>> import emolib
        >>> scores = {"baseline": [0.1, 0.2, 0.1, 0.3], "emotion": [0.6, 0.9, 0.7, 0.8]}
        >>> setting = {"emotion": "gratitude", "layer": 10, "alpha": 0.4}
        >>> rows = [
        ...     {"kind": kind, **setting, "scenario": f"s{i}", "joy": score}
        ...     for kind, values in scores.items()
        ...     for i, score in enumerate(values)
        ... ]
        >>> table = emolib.effect_sizes(pd.DataFrame(rows), metrics=["joy"])
        >>> table[["kind", "metric", "n", "mean"]].round(3).to_dict("records")
        [{'kind': 'emotion', 'metric': 'joy', 'n': 4, 'mean': 0.575}]
    """
    sweep = arguments.instance("sweep", sweep, pd.DataFrame, "residual_sweep (a table)").reset_index(drop=True)
    metrics = arguments.texts(metrics, "metrics")
    arguments.function("success", success)
    _check(sweep, metrics, direction)
    counted = [success is not None and metric.startswith(SUCCESS_PREFIXES) for metric in metrics]
    arguments.float_array("values of 'alpha'", sweep["alpha"])
    for metric in metrics:
        _tell_unscored(arguments.float_array(f"values of {shown(metric)}", sweep[metric]), metric)
    plain = sweep[metrics].astype(float)
    values = plain.assign(
        **{m: _successes(success, sweep, m) for m, c in zip(metrics, counted, strict=True) if success and c}
    )

    base = _Baseline.of(sweep, values)
    cells, differences = base.differences(sweep[sweep["kind"] != "baseline"], values, CELL)
    _, unfiltered = _Baseline.of(sweep, plain).differences(sweep[sweep["kind"] != "baseline"], plain, CELL)
    down = cells["alpha"] < 0 if direction == "alpha" else np.full(len(cells), direction == "less")
    signs = np.where(down, -1, 1)

    table = cells.loc[cells.index.repeat(len(metrics))].reset_index(drop=True)
    mean, sd = base.mean_and_sd()
    for name, column in {"metric": metrics, "counted": counted, "baseline_mean": mean, "baseline_sd": sd}.items():
        table[name] = np.tile(np.asarray(column), len(cells))
    effects = paired_effects(
        differences.reshape(len(table), -1),
        baseline_sd=table["baseline_sd"].to_numpy(),
        n_resamples=n_resamples,
        seed=seed,
        confidence=confidence,
        resamples=resamples,
    )
    table = table.join(effects)
    table["mean_unfiltered"] = pd.DataFrame(unfiltered.reshape(len(table), -1)).mean(axis=1)
    table["direction"] = np.repeat(np.where(signs < 0, "less", "greater"), len(metrics))
    table = table.join(_rank_columns(sweep, values, base, cells, differences, signs))
    return correct(table, family=family, p=p)


def _tell_unscored(scores: np.ndarray, metric: str) -> None:
    """Warns of texts without a score; `UserError` for an infinite one."""
    infinite = np.flatnonzero(np.isinf(scores))
    if infinite.size:
        raise UserError(
            f"expected finite scores (or NaN: not scored) in the column {shown(metric)}, got {scores[infinite[0]]} in "
            f"row {infinite[0]} and in {infinite.size} of {scores.size} altogether; correct the scorer"
        )
    missing = int(np.isnan(scores).sum())
    if missing:
        notice(
            f"{missing} of {scores.size} texts have no score (NaN) in {shown(metric)} and are left out of its effects; "
            "n counts the scenarios that remain",
            UnscoredWarning,
        )


def _successes(success: Callable[[pd.DataFrame, str], pd.Series], sweep: pd.DataFrame, metric: str) -> pd.Series:
    given = success(sweep, metric)
    if arguments.float_array("what success gives", given).shape != (len(sweep),):
        raise UserError(f"expected success to give one number per row of the sweep, got {shown(given)}")
    return given


def _check(sweep: pd.DataFrame, metrics: Sequence[str], direction: str) -> None:
    for name in (*CELL, "scenario", *metrics):
        if name not in sweep:
            raise UserError(f"expected a sweep with a column {shown(name)}, {nearest(name, map(str, sweep))}")
    for name in (*CELL, "scenario"):
        if sweep[name].map(lambda value: isinstance(value, list | dict | set | np.ndarray)).any():
            raise UserError(f"expected names and numbers in the column {shown(name)}, got {shown(sweep[name].iloc[0])}")
    if not metrics or sweep[[*CELL, "scenario"]].isna().any(axis=None):
        raise UserError(f"expected at least one metric, and no missing values in {', '.join(CELL)}, scenario")
    arguments.one_of("direction", direction, DIRECTIONS)
    for name in ("split", "unit"):
        if name in sweep and sweep[name].nunique() > 1:
            raise UserError(f"expected rows of one {name}, got {', '.join(map(str, sweep[name].unique()))}: choose one")
    if set(sweep["kind"]) <= {"baseline"} or "baseline" not in set(sweep["kind"]):
        raise UserError("expected baseline rows and others to compare with them, got only one of the two")
    if sweep["kind"].isin(CONTROL_FAMILIES).any() and "index" not in sweep:
        raise UserError("expected a column 'index' that tells control directions apart")


@dataclass(frozen=True)
class _Baseline:
    """The unpatched texts' metrics.

    Attributes:
        scenarios: `[scenario]`, sorted.
        means: `[metric, scenario]`.
    """

    scenarios: np.ndarray
    means: np.ndarray

    @classmethod
    def of(cls, sweep: pd.DataFrame, values: pd.DataFrame) -> _Baseline:
        rows = sweep["kind"] == "baseline"
        means = values[rows].groupby(sweep.loc[rows, "scenario"]).mean()  # sorted: the order of the rows plays no part
        return cls(means.index.to_numpy(), means.to_numpy().T)

    def mean_and_sd(self) -> tuple[np.ndarray, np.ndarray]:
        """Every metric's mean and standard deviation over scenarios."""
        table = pd.DataFrame(self.means.T)
        return table.mean().to_numpy(), table.std(ddof=1).to_numpy()

    def differences(
        self, rows: pd.DataFrame, values: pd.DataFrame, keys: Sequence[str]
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """The settings in order of appearance, and their means less the baseline's, `[setting, metric, scenario]`.

        NaN where a setting lacks a scenario. Rounded at 1e-12 of the largest of these means: the same numbers added up
        in another order stay equal, and equal differences stay ties.
        """
        groups = [rows[name] for name in (*keys, "scenario")]
        means = values.loc[rows.index].groupby(groups, sort=False).mean()
        wide = cast(pd.DataFrame, means.unstack("scenario", sort=False))  # a table: of the keys one level leaves
        wide = wide.reindex(columns=pd.MultiIndex.from_product([values.columns, self.scenarios]))
        own = wide.to_numpy().reshape(len(wide), *self.means.shape)
        scale = np.fmax(_largest(own), _largest(self.means))[..., None]
        scale[~(scale > 0)] = 1.0
        return wide.index.to_frame(index=False), np.round((own - self.means) / scale, DECIMALS) * scale


def _largest(values: np.ndarray) -> np.ndarray:
    """Largest magnitude over the last axis, NaN left out."""
    return np.max(np.abs(values), axis=-1, initial=0.0, where=~np.isnan(values))


def _rank_columns(
    sweep: pd.DataFrame,
    values: pd.DataFrame,
    base: _Baseline,
    cells: pd.DataFrame,
    differences: np.ndarray,
    signs: np.ndarray,
) -> pd.DataFrame:
    """Rank p and number of controls per control family in the sweep, one row per setting and metric."""
    effects = differences * signs[:, None, None]
    rounding = ROUNDING * np.maximum(_largest(effects), _largest(base.means))
    found: dict[str, np.ndarray] = {}
    for family in (name for name in CONTROL_FAMILIES if (sweep["kind"] == name).any()):
        p, n = np.full(effects.shape[:2], np.nan), np.zeros(effects.shape[:2], int)
        for (layer, alpha), part in sweep[sweep["kind"] == family].groupby(["layer", "alpha"]):
            drawn, controls = base.differences(part, values, ["emotion", "index"])
            same = (cells["layer"] == layer) & (cells["alpha"] == alpha) & ~cells["kind"].isin(CONTROL_FAMILIES)
            for cell in np.flatnonzero(same):
                own = drawn["emotion"].isin(["any", cells["emotion"][cell]]).to_numpy()
                p[cell], n[cell] = _rank_p(effects[cell], controls[own] * signs[cell], rounding[cell])
        found |= {f"rank_p_{family}": p.ravel(), f"n_{family}": n.ravel()}
    ranks = pd.DataFrame(found, index=range(effects.shape[0] * effects.shape[1]))
    return ranks.assign(rank_p_worst=ranks.filter(like="rank_p_").max(axis=1).astype(float))


def _rank_p(effect: np.ndarray, controls: np.ndarray, rounding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1 + #{control ≥ effect}) / (1 + N) and N per metric, of `[metric, scenario]` and `[control, metric, scenario]`.

    Each control is compared over the scenarios that it shares with the effect; one without any is left out.
    """
    above = controls - effect
    shared = (~np.isnan(above)).sum(axis=2)
    n = (shared > 0).sum(axis=0)
    mean = np.nansum(above, axis=2) / np.maximum(shared, 1)
    p = (1 + ((mean >= -rounding) & (shared > 0)).sum(axis=0)) / (1 + n)
    return np.where(n > 0, p, np.nan), n


def correct(table: pd.DataFrame, *, family: str | Sequence[str], p: str = "p_t") -> pd.DataFrame:
    """Corrects p values for the number of tests in their family.

    Args:
        family: column(s) whose values name the family of a row; every combination is a family of its own.
        p: the column of p values. NaN stays NaN and counts as a test with p = 1.

    Returns:
        The table with family (its name), family_size, p_bonferroni and p_fdr (Benjamini & Hochberg 1995).

    Raises:
        UserError: a column is missing, or p values outside [0, 1].
    """
    keys = [family] if isinstance(family, str) else arguments.texts(family, "family")
    p = arguments.text("p", p, hint="; it is the name of a column")
    for name in (*keys, p):
        if name not in table:
            raise UserError(f"expected a column {shown(name)} in the table, {nearest(name, map(str, table))}")
    if not keys:
        raise UserError("expected at least one column that names the family")
    tests = table[p].astype(float)
    if not tests.dropna().between(0, 1).all():
        raise UserError(f"expected p values from 0 to 1 in {shown(p)}, got {tests.min()} to {tests.max()}")
    columns = [table[name].astype(str) if len(keys) == 1 else f"{name}=" + table[name].astype(str) for name in keys]
    names = columns[0].str.cat(columns[1:], sep=", ")  # type: ignore[arg-type]  # pandas takes lists of columns
    groups = tests.fillna(1.0).groupby(names, sort=False)
    size = groups.transform("size")
    bonferroni = (tests * size).clip(upper=1.0)
    fdr = groups.transform(lambda values: stats.false_discovery_control(values, method="bh")).where(tests.notna())
    return table.assign(family=names, family_size=size, p_bonferroni=bonferroni, p_fdr=fdr)
