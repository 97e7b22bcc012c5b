"""What a study may claim: every claim of phases 3 and 5 with the bar that was set beforehand, where its numbers lie,
and its verdict by the one rule of `emolib.steering.findings`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from emolib.base import paths, store
from emolib.statistics import intervals
from emolib.steering.effects import control_counts, control_effects, value_of
from emolib.steering.effects import effects as own_effect
from emolib.steering.findings import findings, judged
from emolib.study.phase3_vectors.decoding import chosen_probe_layers
from emolib.study.phase7_claims import study_tables
from emolib.study.run import Run

NORMAL = 1.96
BARS = {
    "stability": "95 % interval of the split-half cosine above the 97.5 % point of shuffled labels",
    "separation": "95 % interval of the vector's test AUC above the 97.5 % points of random directions and of shuffles",
    "readout": "95 % interval of the probe's test AUC above the largest AUC of shuffled labels",
    "beyond_words": "95 % interval of [AUC of the residual stream - AUC of a bag of words] above 0, all texts",
    "beyond_words_implicit": "95 % interval of [AUC of the residual stream - AUC of a bag of words] above 0, implicit",
    "subspace": "best validation excess of the overlap above the 97.5 % point of the largest excess of shuffled labels",
    "steering": "95 % BCa interval of [own vector - other vectors] above 0, and the rank p of the worst control family "
    "at most its bar",
}
JUDGED = ("value", "low", "high", "reference", "n", "rank_p", "rank_bar", "n_controls", "degenerate", "met")
COLUMNS = (
    *("phase", "claim", "model", "emotion", "measure", "bar", "value", "low", "high", "reference", "n"),
    *("detectable_d", "rank_p", "rank_bar", "max_p", "max_family", "max_at", "max_z", "max_left_out", "n_controls"),
    *("degenerate", "verdict", "reason", "artifact"),
)


def claims(run: Run) -> pd.DataFrame:
    """Every claim of every model, the ones that failed included; `statistics/claims.csv`."""

    def compute() -> pd.DataFrame:
        rows = [row for model in study_tables.vector_models(run) for row in _vector_claims(run, model)]
        rows += [row for model in study_tables.models(run) for row in _steering_claims(run, model)]
        return pd.DataFrame([_judged(run, row) for row in rows], columns=list(COLUMNS))

    def written() -> pd.DataFrame:
        data = study_tables.csv_bytes(compute())
        matched = {"claims": store.digest(data.decode()), "smallest_d": run.params.smallest_d}
        return study_tables.read_csv(
            run.artifacts.obtain(run.paths.statistics("claims.csv"), matched, lambda: data, model=False)
        )

    return run.once("claims", written)


def _judged(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    absent = ("rank_p", "rank_bar", "max_p", "max_family", "max_at", "max_z", "n_controls")
    filled = {**dict.fromkeys(absent), "max_left_out": False, **row, "bar": BARS[row["claim"]]}
    return judged(filled, smallest_d=run.params.smallest_d)


# phase 3


def _vector_claims(run: Run, model: str) -> list[dict[str, Any]]:
    """Stability, read-out and what lies beyond words at each emotion's layer (chosen on validation), and subspaces."""
    where = study_tables.places(run, model)
    given = study_tables.record_of(run, model, "phase3").parameters
    files = {name: where.vector_table(name) for name in ("probes_mean", "stability_mean", "information")}
    probes, stability, information = (study_tables.stored(run, path) for path in files.values())
    rows = []
    for emotion, layer in chosen_probe_layers(probes)[["emotion", "layer"]].itertuples(index=False):
        at = stability[(stability["emotion"] == emotion) & (stability["layer"] == layer)].iloc[0]
        found = {"value": at["mean"], "low": at["low"], "high": at["high"], "reference": at["shuffled_high"]}
        row = _row("stability", model, emotion, f"layer {layer}", files["stability_mean"])
        rows.append(row | found | {"n": given["n_train"], "met": bool(at["low"] > at["shuffled_high"])})
        rows += _information_claims(model, emotion, information, files["information"])
    rows += _separation_claims(run, model, given["n_test"])
    return rows + _subspace_claims(run, model, min(given["n_train"], given["n_validation"]))


def _row(claim: str, model: str, emotion: str, measure: str, path: Any, phase: str = "phase3") -> dict[str, Any]:
    named = {"phase": phase, "claim": claim, "model": model, "emotion": emotion, "measure": measure}
    return {**named, "artifact": paths.display(path)}


def _information_claims(model: str, emotion: str, table: pd.DataFrame, path: Any) -> list[dict[str, Any]]:
    own = table[table["emotion"] == emotion].set_index(["source", "style"])
    wanted = {
        "readout": ("residual", "all", ("auc", "low", "high"), "shuffled_max"),
        "beyond_words": ("words", "all", ("advantage", "advantage_low", "advantage_high"), None),
        "beyond_words_implicit": ("words", "implicit", ("advantage", "advantage_low", "advantage_high"), None),
    }
    rows = []
    for claim, (source, style, columns, null) in wanted.items():
        if (source, style) not in own.index:
            continue
        at = own.loc[(source, style)]
        value, low, high = (float(at[column]) for column in columns)
        reference = float(at[null]) if null else 0.0
        row = _row(claim, model, emotion, "auc" if null else "auc_difference", path)
        row |= {"value": value, "low": low, "high": high, "reference": reference, "met": low > reference}
        rows.append({**row, "n": int(at["n"]) // 2})  # a scenario gives two texts, the emotion's and the neutral one
    return rows


def _separation_claims(run: Run, model: str, n: int) -> list[dict[str, Any]]:
    """The raw vector at the mean position, where Phase 3 has stored what it chose and tested."""
    path = study_tables.places(run, model).vector_table("chosen_separation")
    if not path.exists():
        return []
    table = study_tables.stored(run, path)
    rows = []
    for at in table[(table["position"] == "mean") & (table["variant"] == "raw")].to_dict("records"):
        null = max(at["random_high"], at["shuffled_high"])
        row = _row("separation", model, at["emotion"], f"layer {at['layer']}", path)
        row |= {"value": at["auc"], "low": at["low"], "high": at["high"], "reference": null, "n": n}
        rows.append({**row, "met": bool(at["low"] > null)})
    return rows


def _subspace_claims(run: Run, model: str, n: int) -> list[dict[str, Any]]:
    table = study_tables.k_selection(run)
    rows = []
    for at in table[(table["model"] == model) & (table["k"] == table["best_k"])].to_dict("records"):
        path = study_tables.places(run, model).subspace_table("overlap_validation")
        row = _row("subspace", model, at["emotion"], f"k = {at['best_k']}", path)
        reach = NORMAL * at["best_se"]
        found = {"value": at["best_excess"], "low": at["best_excess"] - reach, "high": at["best_excess"] + reach}
        rows.append(row | found | {"reference": at["null_max"], "n": n, "met": bool(at["found"])})
    return rows


# phase 5


def _steering_claims(run: Run, model: str) -> list[dict[str, Any]]:
    """Each emotion × measure: Phase 5's own numbers, and the rank p corrected for how many are looked at."""
    path = study_tables.places(run, model).sweep("claims")
    table, sweep = study_tables.stored(run, path), study_tables.test_sweep(run, model)
    corrected = family_p(sweep, list(zip(table["emotion"], table["metric"], strict=True))).to_dict("records")
    found = findings(table, sweep, smallest_d=run.params.smallest_d).to_dict("records")
    rows = []
    for at, over_all in zip(found, corrected, strict=True):
        row = _row("steering", model, at["emotion"], at["metric"], path, "phase5")
        rows.append(row | {name: at[name] for name in JUDGED} | over_all)
    return rows


def family_p(sweep: pd.DataFrame, cells: list[tuple[str, str]]) -> pd.DataFrame:
    """The worst control family's rank p of every (emotion, measure), against the largest over all of them.

    Each direction's effects are studentised, then its largest is compared (Westfall & Young 1993): what is left is
    corrected for the number of emotions and measures. Cells whose own effect is degenerate (`statistics.is_degenerate`)
    take no part: where next to nothing moves, one word in one text is many standard deviations.

    Returns:
        Per cell: max_p (NaN where left out, or without control directions), max_family (the family whose p it is; of
        equals that with the larger maximum), max_at and max_z (the measure at which the largest effect of any of that
        family's directions lies, and that effect in standard deviations), max_left_out.
    """
    kept = [number for number, cell in enumerate(cells) if not _hardly_moves(sweep, *cell)]
    found: list[dict[str, Any]] = [
        {"max_p": np.nan, "max_family": None, "max_at": None, "max_z": np.nan, "max_left_out": number not in kept}
        for number in range(len(cells))
    ]
    for family in control_counts(sweep) if kept else ():
        chosen = [cells[number] for number in kept]
        own = np.array([own_effect(sweep, "emotion", emotion, metric).mean() for emotion, metric in chosen])
        drawn = [control_effects(sweep, emotion, metric, family=family) for emotion, metric in chosen]
        own, nulls = intervals.studentise(own, pd.concat(drawn, axis=1).dropna().to_numpy())
        place = int(np.unravel_index(nulls.argmax(), nulls.shape)[1])
        at = {"max_family": family, "max_at": chosen[place][1], "max_z": float(nulls.max())}
        for number, p in zip(kept, intervals.max_statistic_p(own, nulls), strict=True):
            before = found[number]
            if before["max_family"] is None or (p, at["max_z"]) > (before["max_p"], before["max_z"]):
                found[number] = {**before, "max_p": float(p), **at}
    return pd.DataFrame(found)


def _hardly_moves(sweep: pd.DataFrame, emotion: str, metric: str) -> bool:
    """Whether the effect of an emotion's own vector is degenerate, beside the unpatched texts' spread."""
    base = sweep[sweep["kind"] == "baseline"]
    spread = value_of(base, metric).groupby(base["scenario"]).mean().std(ddof=1)
    own = own_effect(sweep, "emotion", emotion, metric).to_numpy()
    return bool(intervals.is_degenerate(own[None], np.array([spread]))[0])


# what the claims rest on


def grounds(run: Run) -> pd.DataFrame:
    """What qualifies the claims about texts: how many test texts name the emotion, and what words alone tell.

    Returns:
        Per model of Phase 3 and emotion: explicit_share (of the test texts, those of explicit style), words and
        words_implicit (AUC of a bag of words on all and on implicit test texts), residual_implicit (AUC of the
        residual stream on implicit ones); NaN where a style has no texts.
    """
    rows = []
    for model in study_tables.vector_models(run):
        table = study_tables.stored(run, study_tables.places(run, model).vector_table("information"))
        for emotion, part in table.groupby("emotion", sort=False):
            at = part.drop_duplicates(["source", "style"]).set_index(["source", "style"])
            n, auc = at["n"].to_dict(), at["auc"].to_dict()
            row = {"model": model, "emotion": emotion}
            row["explicit_share"] = n.get(("residual", "explicit"), np.nan) / n.get(("residual", "all"), np.nan)
            wanted = {"words": ("words", "all"), "words_implicit": ("words", "implicit")}
            wanted["residual_implicit"] = ("residual", "implicit")
            rows.append(row | {name: auc.get(key, np.nan) for name, key in wanted.items()})
    return pd.DataFrame(rows)
