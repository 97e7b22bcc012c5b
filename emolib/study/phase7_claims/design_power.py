"""Power of the paired t test at each model's number of scenarios; `statistics/power_analysis.csv` and `.json`."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd

from emolib.base import store
from emolib.statistics.power import achieved_power, power_table, required_scenarios
from emolib.steering.findings import POWER, detectable
from emolib.study.phase7_claims.claim_sources import steered_models
from emolib.study.phase7_claims.effect_table import effects, own_effects, resampling, sweep_files
from emolib.study.phase7_claims.statistics_files import statistics_table
from emolib.study.run import Run, kept

POST_HOC = "post_hoc_power_descriptive"
POST_HOC_NOTE = "describes only: it restates the p value and decides nothing (Hoenig & Heisey 2001)"
COLUMNS = (
    *("d", "power", "alpha", "n_required", "n", "detectable_d", "power_at_n", "underpowered", "observed_d"),
    POST_HOC,
)


@kept
def power(run: Run) -> pd.DataFrame:
    """Scenarios that assumed effects need, and what the present number detects.

    Returns:
        Per model, emotion, measure (its own), d and power: the columns of `emolib.statistics.power.power_table`,
        observed_d, and the post-hoc power under a name that says that it only describes.
    """
    params, models = run.params, steered_models(run)
    settings = {"ds": params.ds, "powers": params.powers, "alpha": params.significance}
    matched = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    table = statistics_table(
        run,
        "power_analysis",
        mode="power",
        made_from=[path for model in models for path in sweep_files(run, model)],
        settings=matched | {"resampling": {model: resampling(run, model) for model in models}},
        compute=lambda: _power(own_effects(effects(run)), settings),
    )
    if "power" in params.modes:
        data = store.json_bytes(_as_json(table, params.significance))
        path = run.paths.statistics("power_analysis.json")
        run.artifacts.obtain(path, {"table": store.digest(data.decode())}, lambda: data, model=False)
    return table


def _power(own: pd.DataFrame, settings: dict[str, Any]) -> pd.DataFrame:
    """One design per number of scenarios, beside every observed effect."""
    design = cache(lambda n: power_table(**settings, n=n).drop(columns="post_hoc_power"))
    parts = []
    for row in own.to_dict("records"):
        observed = {name: row[name] for name in ("model", "emotion", "metric")} | {"observed_d": row["d_z"]}
        reached = float(achieved_power(row["d_z"], row["n"], alpha=settings["alpha"]))
        parts.append(design(row["n"]).assign(**observed, **{POST_HOC: reached}))
    named = ["model", "emotion", "metric"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*named, *COLUMNS])
    return table[[*named, *(name for name in table if name not in named)]]


def _as_json(table: pd.DataFrame, significance: float) -> dict[str, Any]:
    """The same as JSON: the designs once, then every observed effect."""
    design = ["d", "power", "n_required", "n", "detectable_d", "power_at_n", "underpowered"]
    seen = ["model", "emotion", "metric", "n", "observed_d", POST_HOC]
    return {
        "test": "two-sided paired t test over scenarios",
        "alpha": significance,
        "designs": _records(table[design].drop_duplicates()),
        "observed": _records(table[seen].drop_duplicates()),
        POST_HOC: POST_HOC_NOTE,
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON holds them: null where there is no number."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def detectable_effects(table: pd.DataFrame, *, smallest_d: float, significance: float) -> pd.DataFrame:
    """Whether each model's number of scenarios detects the smallest effect of interest, with power 0.8.

    Args:
        table: see `power`.

    Returns:
        model, n, detectable_d, detects, n_required (for `smallest_d`).
    """
    rows = table.drop_duplicates(["model", "n"])[["model", "n"]].reset_index(drop=True)
    found = rows.assign(detectable_d=[detectable(int(n), level=significance) for n in rows["n"]])
    needed = required_scenarios(smallest_d, power=POWER, alpha=significance)
    return found.assign(detects=found["detectable_d"] <= smallest_d, n_required=needed)
