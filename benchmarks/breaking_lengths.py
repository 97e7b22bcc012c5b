"""Where texts break as a steer grows, and how evenly a ruler measures it: plain arithmetic on broken rows.

The breaking length of a cell is the length at which its broken share passes half of what is left above the unpatched
texts': the shares over length are made monotone (isotonic regression) and interpolated in log length. A ruler gives
every row a strength, its length over the ruler's at the row's model, layer and direction; the breaking strength is the
same in that scale. A ruler is the better the less log2(breaking strength) varies over layers, and over models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import roc_auc_score

N_RESAMPLES = 400
LEVEL = 0.95

Rulers = Mapping[str, Mapping[tuple[str, int, str], float]]  # ruler → (model, layer, direction) → its length


def half_broken(baseline: float) -> float:
    """The broken share that counts as the break: half of what the unpatched texts leave."""
    return baseline + 0.5 * (1 - baseline)


def breaking_length(lengths: np.ndarray, shares: np.ndarray, weights: np.ndarray, baseline: float) -> float:
    """Where the share passes `half_broken`, interpolated in log length; NaN where the lengths do not bracket it.

    Args:
        lengths: ascending, `[length]`.
        weights: rows behind every share.

    >>> lengths = np.array([1.0, 2.0, 4.0])
    >>> round(breaking_length(lengths, np.array([0.0, 0.25, 0.75]), np.ones(3), 0.0), 3)
    2.828
    """
    wanted, fitted = half_broken(baseline), isotonic_regression(shares, sample_weight=weights)
    above = np.flatnonzero(fitted >= wanted)
    if not len(above) or above[0] == 0 or not np.isfinite(wanted):
        return float("nan")
    i = above[0]
    part = (wanted - fitted[i - 1]) / (fitted[i] - fitted[i - 1])
    low, high = np.log2(lengths[i - 1 : i + 1])
    return float(2 ** (low + part * (high - low)))


def strengths(rows: pd.DataFrame, lengths: Mapping[tuple[str, int, str], float]) -> np.ndarray:
    """Every row's length over that of a ruler, `[row]`."""
    places = zip(rows["model"], rows["layer"], rows["direction"], strict=True)
    return rows["length"].to_numpy(float) / np.array([lengths[place] for place in places])


def breaking_table(
    rows: pd.DataFrame,
    baseline: pd.Series,
    keys: Sequence[str],
    counts: pd.Series | None = None,
    *,
    scale: str = "length",
) -> pd.DataFrame:
    """The breaking length of every cell.

    Args:
        rows: prompt, broken, the keys and the scale, one row per steered text.
        baseline: by prompt, whether (or how often) the unpatched text is broken.
        counts: by prompt, how often it was drawn; None once each.
        scale: the column that the break is looked for in, `length` or a strength.
    """
    counts = pd.Series(1.0, index=baseline.index) if counts is None else counts
    weight = rows["prompt"].map(counts).to_numpy(float)
    counted = rows.assign(weight=weight, hits=weight * rows["broken"].to_numpy(float))
    unpatched = float(np.average(baseline.to_numpy(float), weights=counts[baseline.index]))
    sums = counted.groupby([*keys, scale], sort=True)[["weight", "hits"]].sum().reset_index()
    sums = sums[sums["weight"] > 0]
    found = []
    for key, cell in sums.groupby(list(keys), sort=False):
        weights = cell["weight"].to_numpy(float)
        at = breaking_length(cell[scale].to_numpy(), cell["hits"].to_numpy() / weights, weights, unpatched)
        found.append({**dict(zip(keys, key, strict=True)), "breaking": at})
    return pd.DataFrame(found)


def spread(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Per family and ruler: SD over layers of log2(breaking strength), and how far the models' means lie apart.

    Args:
        tables: by ruler model, layer, family, breaking (in that ruler).

    Returns:
        family, ruler, scope (a model's name, `pooled`: of all models' layers about their common mean, `between`: the
        SD of the models' means; only with several models), sd, layers (those that broke within the lengths tried).
    """
    out = []
    for ruler, table in tables.items():
        for family, part in table.groupby("family", sort=False):
            known = part.assign(log=np.log2(part["breaking"].to_numpy())).dropna(subset=["log"])
            scopes = [(str(model), rows["log"].to_numpy()) for model, rows in known.groupby("model", sort=False)]
            if len(scopes) > 1:
                scopes += [
                    ("pooled", known["log"].to_numpy()),
                    ("between", known.groupby("model", sort=False)["log"].mean().to_numpy()),
                ]
            for scope, values in scopes:
                sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
                out.append({"family": family, "ruler": ruler, "scope": scope, "sd": sd, "layers": len(values)})
    return pd.DataFrame(out)


def dispersions(
    rows: pd.DataFrame,
    baselines: Mapping[str, pd.Series],
    rulers: Rulers,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """`spread` of the breaking strengths by layer and family, with percentile intervals over resampled prompts.

    A resample draws every model's prompts anew, with all texts of a prompt; what breaks in none of its lengths is left
    out of it.
    """
    scaled = rows.assign(**{ruler: strengths(rows, lengths) for ruler, lengths in rulers.items()})
    models = dict(list(scaled.groupby("model", sort=False)))

    def of(counts: Mapping[str, pd.Series] | None) -> pd.DataFrame:
        def table(ruler: str) -> pd.DataFrame:
            parts = [
                breaking_table(
                    part,
                    baselines[model],
                    ["layer", "family"],
                    None if counts is None else counts[model],
                    scale=ruler,
                ).assign(model=model)
                for model, part in models.items()
            ]
            return pd.concat(parts)

        return spread({ruler: table(ruler) for ruler in rulers})

    rng, drawn = np.random.default_rng(seed), []
    for _ in range(n_resamples):
        counts = {}
        for model, baseline in baselines.items():
            picked = np.bincount(rng.integers(len(baseline), size=len(baseline)), minlength=len(baseline))
            counts[model] = pd.Series(picked.astype(float), index=baseline.index)
        drawn.append(of(counts))
    table, keys = of(None), ["family", "ruler", "scope"]
    if drawn:
        ends = pd.concat(drawn).groupby(keys)["sd"].quantile([(1 - LEVEL) / 2, (1 + LEVEL) / 2]).unstack()
        ends.columns = ["low", "high"]
        return table.merge(ends.reset_index(), on=keys, how="left")
    return table.assign(low=np.nan, high=np.nan)


def predictions(rows: pd.DataFrame, rulers: Rulers) -> list[dict[str, Any]]:
    """Per family and ruler: the AUC of a row's strength in that ruler for whether it is broken, over all cells."""
    out = []
    for family, part in rows.groupby("family", sort=False):
        broken = part["broken"].to_numpy(bool)
        for ruler, lengths in rulers.items():
            value = float(roc_auc_score(broken, strengths(part, lengths))) if 0 < broken.mean() < 1 else np.nan
            out.append({"family": family, "ruler": ruler, "auc": value, "rows": len(part)})
    return out
