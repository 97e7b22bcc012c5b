"""What Phase 5's sweeps say: changes, specificity, claims, dose, rivals, and examples picked by rule."""

from __future__ import annotations

from typing import Any

import pandas as pd

from emolib.directions.controls import FAMILIES
from emolib.scoring import goemotions
from emolib.scoring.measures import agreement, measures
from emolib.statistics import intervals
from emolib.steering import claims as judged
from emolib.steering import robustness
from emolib.steering.claims import (
    claims_table,
    control_effects,
    effects,
    specific_difference,
    success,
)
from emolib.steering.sweeps import control_seed
from emolib.study.phase5_steering import design, other_style
from emolib.study.phase5_steering.rival_sweeps import ahead_of, alternatives_sweep, matching
from emolib.study.phase5_steering.side_effects import of_sweep
from emolib.study.run import Run

__all__ = ["control_effects", "effects"]
RIVALS = ("emotion", "pca", "probe", "subspace", "prompting")


def baseline_broken(sweep: pd.DataFrame) -> float:
    """Share of broken texts among the unpatched ones."""
    return float(sweep.loc[sweep["kind"] == "baseline", "fluency/broken"].mean())


def metrics(run: Run, sweep: pd.DataFrame) -> list[str]:
    """The measures of every emotion, family by family, then what is no emotion: valence and politeness."""
    names = [name for one in measures(sweep, run.emotions).values() for name in one]
    return [*sorted(names, key=lambda name: name.startswith("target/")), "valence", "politeness/score"]


def scorer_effects(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """The effect on an emotion's own probability by each model alone and by the measure that decides, over scenarios.

    Returns:
        The columns of `emolib.steering.robustness.single_scorers`; broken texts count as 0.
    """
    return robustness.single_scorers(sweep, measures(sweep, run.emotions), **_judging(run))


def label_changes(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """Mean change of all 28 GoEmotions probabilities under every emotion's vector, `[steered, label]`."""
    rows = {
        emotion: {
            label: float(effects(sweep, "emotion", emotion, f"goemotions/{label}", counted=False).mean())
            for label in goemotions.LABELS
        }
        for emotion in run.emotions
    }
    return pd.DataFrame(rows).T.rename_axis("steered")


def scorer_agreement(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """How far the two GoEmotions models agree on the unpatched texts and those under the emotions' vectors."""
    return agreement(sweep[sweep["kind"].isin(["baseline", "emotion"])], run.emotions)


def specificity_matrix(run: Run, sweep: pd.DataFrame, *, counted: bool = True) -> pd.DataFrame:
    """Mean change of every metric under every emotion's vector, over test scenarios.

    Args:
        counted: broken texts count as no success (0 words, probability 0); False takes every text as it is.
    """
    rows = []
    for emotion in run.emotions:
        row: dict[str, Any] = {"steered": emotion}
        for metric in metrics(run, sweep):
            row[metric] = float(effects(sweep, "emotion", emotion, metric, counted=counted).mean())
        rows.append(row)
    return pd.DataFrame(rows).set_index("steered")


def claims(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """Every emotion and measure against the other vectors and against every family of controls.

    Returns:
        The columns of `emolib.steering.claims.claims_table` and of `emolib.steering.robustness.with_robustness`.
    """
    known, given = measures(sweep, run.emotions), _judging(run)
    return robustness.with_robustness(claims_table(sweep, known, **given), sweep, known, **given)


def _judging(run: Run) -> dict[str, Any]:
    return {"families": FAMILIES, "n_resamples": run.params.n_resamples, "seed": run.params.seed}


def family_ranks(claims: pd.DataFrame, cosines: pd.DataFrame) -> pd.DataFrame:
    """The rank p, the largest effect and the largest cosine of every family, one row per measure and family."""
    rows, nearest = [], cosines.set_index(["family", "emotion"])["cosine"]
    for row in claims.to_dict("records"):
        for family in FAMILIES:
            found = {
                "family": family,
                "own": row["own_effect"],
                "largest": row[f"max_{family}"],
                "p": row[f"p_{family}"],
                "cosine": float(nearest[family, row["emotion"]]),
            }
            rows.append({"emotion": row["emotion"], "metric": row["metric"], **found})
    return pd.DataFrame(rows)


def control_cosines(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """The largest cosine of a family's control directions with each emotion's vector, over all parts.

    A family whose directions lie close to the vector holds part of what it is to be the control of.

    Returns:
        family, emotion, cosine.
    """
    matched = {**of_sweep(sweep), "settings": [design.settings(run, part).matched() for part in design.parts(run)]}

    def compute() -> pd.DataFrame:
        found = pd.concat([_cosines_of_part(run, part, sweep) for part in design.parts(run)])
        return found.groupby(["family", "emotion"], sort=False, as_index=False)["cosine"].max()

    return run.artifacts.table(run.paths.sweep("control_cosines"), matched, compute)


def _cosines_of_part(run: Run, part: design.Part, sweep: pd.DataFrame) -> pd.DataFrame:
    drawn = sweep[sweep["kind"].isin(FAMILIES) & (sweep["part"] == part.name)]
    drawn = drawn[["kind", "layer", "index"]].drop_duplicates()
    vecs, source = design.vectors(run, part), design.controls(run, part, sorted(set(drawn["layer"].astype(int))))
    rows = []
    for family, layer, index in drawn.astype({"layer": int, "index": int}).itertuples(index=False):
        direction = source.direction(family, layer, control_seed(run.params.seed, family, layer, index))
        for emotion in run.emotions:
            cosine = float(direction @ vecs[emotion][layer].direction)
            rows.append({"family": family, "emotion": emotion, "cosine": cosine})
    return pd.DataFrame(rows)


def broken_table(sweep: pd.DataFrame) -> pd.DataFrame:
    """Share of broken texts and mean fluency per kind and emotion at the operating point."""
    columns = {"fluency/broken": "broken", "fluency/nll": "nll", "fluency/repetition": "repetition"}
    keys = ["kind", "emotion", "layer"]
    table = sweep.groupby(keys, sort=False)[list(columns)].mean().rename(columns=columns)
    return table.assign(n=sweep.groupby(keys, sort=False).size()).reset_index()


def metric_changes(run: Run, sweep: pd.DataFrame) -> pd.DataFrame:
    """Baseline, patched and random means per emotion, for its own measures and what is no emotion; every text as it is.

    Standard errors are over scenarios, for the random directions over directions.
    """
    rows = []
    base = sweep[sweep["kind"] == "baseline"]
    random = sweep[sweep["kind"] == "isotropic"]
    for emotion in run.emotions:
        own = sweep[(sweep["kind"] == "emotion") & (sweep["emotion"] == emotion)]
        for metric in (*measures(sweep, run.emotions)[emotion], "valence", "politeness/score"):
            row: dict[str, Any] = {"emotion": emotion, "metric": metric}
            kinds = {"baseline": (base, "scenario"), "patched": (own, "scenario"), "random": (random, "index")}
            for name, (part, unit) in kinds.items():
                row[name], row[f"{name}_se"] = intervals.mean_and_se(part.groupby(unit)[metric].mean())
            rows.append(row)
    return pd.DataFrame(rows)


def examples(run: Run, sweep: pd.DataFrame, emotion: str) -> pd.DataFrame:
    """Best, median and worst text of an emotion by rule, and the first broken one, beside their baselines.

    Ordered by the effect on the emotion's first measure (broken counted as 0), then on the second, then by scenario:
    nothing is picked by hand.
    """
    metric, *others = measures(sweep, run.emotions)[emotion]
    second = others[0] if others else metric
    base = sweep[sweep["kind"] == "baseline"].set_index(["scenario", "sample"])
    own = sweep[(sweep["kind"] == "emotion") & (sweep["emotion"] == emotion)].set_index(["scenario", "sample"])
    found = {"effect": success(own, metric) - success(base, metric)}
    found["shift"] = success(own, second) - success(base, second)
    own = own.assign(**found, baseline=base["text"]).reset_index()
    ordered = own.sort_values(["effect", "shift", "scenario"], ascending=[False, False, True], kind="stable")
    picks = [("best", ordered.iloc[0]), ("median", ordered.iloc[len(ordered) // 2]), ("worst", ordered.iloc[-1])]
    broken = ordered[ordered["fluency/broken"]]
    if len(broken):
        picks.append(("broken", broken.iloc[0]))
    prompts = run.data[run.data["emotion"] == run.params.neutral].set_index("scenario")["text"]
    return pd.DataFrame(
        [
            {
                "rule": rule,
                "scenario": row["scenario"],
                "prompt": prompts[row["scenario"]],
                "baseline": row["baseline"],
                "patched": row["text"],
                "effect": float(row["effect"]),
                "shift": float(row["shift"]),
                "broken": bool(row["fluency/broken"]),
            }
            for rule, row in picks
        ]
    )


def realised_norms(sweep: pd.DataFrame) -> pd.DataFrame:
    """‖Δh‖/‖h‖ at the patched prompt tokens, per kind: mean, least and most."""
    patched = sweep[sweep["delta_ratio"] > 0]
    return patched.groupby("kind", sort=False)["delta_ratio"].agg(["mean", "min", "max", "size"]).reset_index()


def per_prompt(sweep: pd.DataFrame, emotion: str, metric: str) -> pd.Series:
    """The effect of the emotion's own vector on every test scenario."""
    return effects(sweep, "emotion", emotion, metric)


def doses(run: Run, test: pd.DataFrame, dose: pd.DataFrame) -> pd.DataFrame:
    """Own effect and broken share at every strength on test prompts, with standard errors over scenarios.

    In a cross-fitted design the chosen strength may differ between folds; rows are averaged by strength.

    Returns:
        emotion, metric, alpha, effect (words and probabilities with broken texts as 0) with se, unfiltered (every text
        as it is), broken.
    """
    base = test[test["kind"] == "baseline"]
    steered = pd.concat([test[test["kind"] == "emotion"], dose[dose["kind"] == "emotion"]], ignore_index=True)
    rows = []
    for emotion, names in measures(test, run.emotions).items():
        for metric in (*names, "valence"):
            own = pd.concat([steered[steered["emotion"] == emotion], base], ignore_index=True)
            for alpha, part in own.groupby("alpha"):
                counted, unfiltered = (_changes(part, base, metric, counted=c) for c in (True, False))
                mean, se = intervals.mean_and_se(counted)
                row = {"emotion": emotion, "metric": metric, "alpha": float(alpha), "effect": mean, "se": se}
                row |= {"unfiltered": float(unfiltered.mean()), "broken": float(part["fluency/broken"].mean())}
                rows.append(row)
    return pd.DataFrame(rows)


def _changes(part: pd.DataFrame, base: pd.DataFrame, metric: str, *, counted: bool) -> pd.Series:
    """Per scenario what the measure is in `part` minus what it is in `base`."""
    values, zero = (
        judged.value_of(table, metric, counted=counted).groupby(table["scenario"]).mean() for table in (part, base)
    )
    return (values - zero).dropna()


def rivals(run: Run, test: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The mean difference beside PCA, probe, subspace and prompting, each against its own unpatched text.

    Returns:
        kind, emotion, alpha, metric; base and level (mean of the measure over scenarios without and with the method,
        broken texts as 0), effect (their difference) with low and high (95 % BCa over scenarios), degenerate; ahead
        (the vector's effect minus this one's on the same scenarios) with its interval, NaN for the vector itself and
        for prompting, whose unpatched texts are others; vs_others (its effect on the emotion minus the mean effect of
        the same kind for the other emotions); broken, broken_gap and validation_gap (share of broken texts minus the
        vector's, on test and on validation); delta_ratio; n.
    """
    rows = []
    for kind in RIVALS:
        table = test if kind == "emotion" else others
        for emotion, names in measures(test, run.emotions).items():
            part = table[(table["kind"] == kind) & (table["emotion"] == emotion)]
            if part.empty:
                continue
            shared = {"kind": kind, "emotion": emotion, "alpha": float(part["alpha"].mean())}
            shared |= {"broken": float(part["fluency/broken"].mean()), "delta_ratio": float(part["delta_ratio"].mean())}
            rows += [{**shared, "metric": metric, **_rival(run, test, table, shared, metric)} for metric in names]
    found = pd.DataFrame(rows)
    own = found[found["kind"] == "emotion"].set_index("metric")["broken"]
    gaps = matching(run).groupby(["kind", "emotion"], as_index=False)["gap"].mean()
    found["broken_gap"] = found["broken"] - found["metric"].map(own)
    return found.merge(gaps.rename(columns={"gap": "validation_gap"}), on=["kind", "emotion"], how="left")


def _rival(run: Run, test: pd.DataFrame, table: pd.DataFrame, shared: dict, metric: str) -> dict[str, Any]:
    """One method's level, effect, lead of the vector and specificity on one measure."""
    kind, emotion = shared["kind"], shared["emotion"]
    baseline = "prompting_baseline" if kind == "prompting" else "baseline"
    own = effects(table, kind, emotion, metric, baseline=baseline)
    base = success(table[table["kind"] == baseline], metric)
    zero = base.groupby(table["scenario"]).mean()[own.index]
    interval = intervals.bootstrap_mean(
        own.to_numpy(),
        n_resamples=run.params.n_resamples,
        seed=run.params.seed,
        reference_sd=float(base.std(ddof=1)) or None,
    )
    found = {"base": float(zero.mean()), "level": float((zero + own).mean()), "effect": interval.mean}
    found |= {"low": interval.low, "high": interval.high, "degenerate": interval.degenerate, "n": interval.n}
    if kind not in ("emotion", "prompting"):
        found |= ahead_of(run, effects(test, "emotion", emotion, metric), own, base)
    specific = specific_difference(table[table["kind"] == kind], emotion, metric, run.emotions)
    return {**found, "vs_others": float(specific.mean())}


def pareto(run: Run, validation: pd.DataFrame) -> pd.DataFrame:
    """Success and broken share of every candidate on validation: emotion, layer, alpha, specific effect, broken."""
    steered = validation[validation["kind"] == "emotion"]
    rows = []
    for (layer, alpha), cell in steered.groupby(["layer", "alpha"]):
        for emotion, names in measures(validation, run.emotions).items():
            broken = float(cell.loc[cell["emotion"] == emotion, "fluency/broken"].mean())
            effect = float(specific_difference(cell, emotion, names[-1], run.emotions).mean())
            row = {"emotion": emotion, "layer": int(layer), "alpha": float(alpha), "metric": names[-1]}
            rows.append({**row, "effect": effect, "broken": broken})
    return pd.DataFrame(rows)


def save_results(run: Run, claims: pd.DataFrame, other: pd.DataFrame | None) -> None:
    """The whole sweeps and the claims as artifacts beside their shards."""
    matched = {"shards": sorted(sha for path, sha in run.artifacts.made.items() if "_sweep_" in path.name)}
    tables = {
        "validation": design.validation_sweep(run),
        "test": design.test_sweep(run),
        "dose": design.dose_sweep(run),
        "alternatives": alternatives_sweep(run, "test"),
        "claims": claims,
    }
    if other is not None:
        tables |= {"other_style": other_style.sweep(run), "other_style_claims": other}
    for name, table in tables.items():
        columns = {"columns": list(table)} if name == "claims" else {}
        run.artifacts.table(run.paths.sweep(name), {**matched, **columns}, lambda table=table: table)
