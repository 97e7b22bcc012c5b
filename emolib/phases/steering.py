"""What Phase 5's sweeps say: changes, specificity, claims, dose, rivals, damage, and examples picked by rule."""

from __future__ import annotations

from typing import Any

import pandas as pd

from emolib import claims as judged
from emolib import statistics, store
from emolib.claims import claims_table, control_effects, effects, specific_difference, success
from emolib.controls import FAMILIES
from emolib.damage import next_token_kl, topic_kept
from emolib.patching import control_cells, steer_cell
from emolib.phases import phase5
from emolib.phases.rivals import alternatives_sweep
from emolib.phases.run import Run
from emolib.phases.scores import agreement, measures
from emolib.scoring import goemotions

__all__ = ["control_effects", "effects"]
N_DAMAGE_CONTROLS = 4  # directions per family whose damage is measured
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

    `own` is the mean change under the emotion's own vector, `vs_others` that minus the other vectors'; broken texts
    count as 0.
    """
    steered = sweep[sweep["kind"] == "emotion"]
    rows = []
    for emotion in run.emotions:
        for family in ("target_lexical", "target_encoder", "target"):
            metric = f"{family}/{emotion}"
            if metric in sweep:
                own = effects(sweep, "emotion", emotion, metric).mean()
                difference = specific_difference(steered, emotion, metric, run.emotions).mean()
                rows.append({"emotion": emotion, "family": family, "own": float(own), "vs_others": float(difference)})
    return pd.DataFrame(rows)


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
    """Every emotion and measure against the other vectors and against every family of controls."""
    params = run.params
    known = measures(sweep, run.emotions)
    return claims_table(sweep, known, families=FAMILIES, n_resamples=params.n_resamples, seed=params.seed)


def family_ranks(claims: pd.DataFrame) -> pd.DataFrame:
    """The rank p and the largest effect of every family, one row per measure and family."""
    rows = []
    for row in claims.to_dict("records"):
        for family in FAMILIES:
            found = {
                "family": family,
                "own": row["own_effect"],
                "largest": row[f"max_{family}"],
                "p": row[f"p_{family}"],
            }
            rows.append({"emotion": row["emotion"], "metric": row["metric"], **found})
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
                row[name], row[f"{name}_se"] = statistics.mean_and_se(part.groupby(unit)[metric].mean())
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
    """
    base = test[test["kind"] == "baseline"]
    steered = pd.concat([test[test["kind"] == "emotion"], dose[dose["kind"] == "emotion"]], ignore_index=True)
    rows = []
    for emotion, names in measures(test, run.emotions).items():
        for metric in (*names, "valence"):
            zero = judged.value_of(base, metric).groupby(base["scenario"]).mean()
            own = pd.concat([steered[steered["emotion"] == emotion], base], ignore_index=True)
            for alpha, part in own.groupby("alpha"):
                values = judged.value_of(part, metric).groupby(part["scenario"]).mean()
                mean, se = statistics.mean_and_se((values - zero).dropna())
                broken = float(part["fluency/broken"].mean())
                row = {"emotion": emotion, "metric": metric, "alpha": float(alpha)}
                rows.append({**row, "effect": mean, "se": se, "broken": broken})
    return pd.DataFrame(rows)


def rivals(run: Run, test: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The mean difference beside PCA, probe, subspace and prompting, each against its own unpatched text.

    Returns:
        kind, emotion, alpha, metric, effect with low and high (95 % BCa over scenarios), degenerate, vs_others (its
        effect on the emotion minus the mean effect of the same kind for the other emotions), broken, delta_ratio, n.
    """
    rows = []
    for kind in RIVALS:
        table = test if kind == "emotion" else others
        baseline = "prompting_baseline" if kind == "prompting" else "baseline"
        own_rows = table[table["kind"] == kind]
        for emotion, names in measures(test, run.emotions).items():
            part = own_rows[own_rows["emotion"] == emotion]
            if part.empty:
                continue
            for metric in names:
                own = effects(table, kind, emotion, metric, baseline=baseline)
                base = success(table[table["kind"] == baseline], metric)
                interval = statistics.bootstrap_mean(
                    own.to_numpy(),
                    n_resamples=run.params.n_resamples,
                    seed=run.params.seed,
                    reference_sd=float(base.std(ddof=1)) or None,
                )
                specific = specific_difference(own_rows, emotion, metric, run.emotions)
                found = {"effect": interval.mean, "low": interval.low, "high": interval.high}
                found |= {"degenerate": interval.degenerate, "vs_others": float(specific.mean())}
                found |= {"broken": float(part["fluency/broken"].mean()), "n": interval.n}
                found |= {"delta_ratio": float(part["delta_ratio"].mean())}
                rows.append(
                    {"kind": kind, "emotion": emotion, "alpha": float(part["alpha"].mean()), "metric": metric, **found}
                )
    return pd.DataFrame(rows)


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


def damage(run: Run, test: pd.DataFrame) -> pd.DataFrame:
    """What steering does beside its aim: the next-token distribution, and whether the text keeps to its topic.

    Returns:
        kind, emotion, kl (mean over prompts of KL(unpatched ‖ patched) in nats, along the unpatched continuation),
        kl_se, topic (mean similarity of prompt and continuation), topic_change (against the unpatched text of the same
        prompt), topic_se, n. Controls: the first directions of every family, averaged.
    """
    matched = {"test": store.digest(test[["row_id", "text", "part"]].to_dict("list")), "controls": N_DAMAGE_CONTROLS}
    matched["settings"] = [phase5.settings(run, part).matched() for part in phase5.parts(run)]

    def compute() -> pd.DataFrame:
        rows = []
        for part in phase5.parts(run):
            table = test[test["part"] == part.name]
            rows.append(_damage_rows(run, part, table))
        return pd.concat(rows, ignore_index=True)

    table = run.table(run.paths.sweep("damage"), matched, compute)
    return _damage_means(table)


def _damage_rows(run: Run, part: phase5.Part, test: pd.DataFrame) -> pd.DataFrame:
    """KL and topic of every chosen test row: scenario, kind, emotion, kl, topic, topic_base."""
    prompts = phase5.prompts(run, part, "test").set_index("scenario")["text"]
    given = phase5.settings(run, part)
    few = test[~test["kind"].isin(FAMILIES) | (test["index"] < N_DAMAGE_CONTROLS)]
    few = few[(few["sample"] == 0)].reset_index(drop=True)
    acts = _acts(run, part, few, given)
    base = few[few["kind"] == "baseline"].set_index("scenario")
    written = dict(zip(base.index, base["text"], strict=True))
    full = [given.template.replace("{text}", prompts[scenario]) for scenario in few["scenario"]]
    ids = [run.lm.tokenizer(written[s], add_special_tokens=False).input_ids for s in few["scenario"]]
    topic = pd.Series(topic_kept([prompts[s] for s in few["scenario"]], few["text"].tolist()))
    return pd.DataFrame(
        {
            "scenario": few["scenario"],
            "kind": few["kind"],
            "emotion": few["emotion"],
            "kl": next_token_kl(run.lm, full, ids, acts),
            "topic": topic,
            "topic_base": few["scenario"].map(topic[few["kind"] == "baseline"].set_axis(base.index)),
        }
    )


def _acts(run: Run, part: phase5.Part, rows: pd.DataFrame, given: Any) -> list[Any]:
    """The intervention of every row, made again from what the row says."""
    vecs, made = phase5.vectors(run, part), {}
    layers = [int(layer) for layer in sorted(set(rows.loc[rows["kind"].isin(FAMILIES), "layer"]))]
    source = phase5.controls(run, part, layers) if layers else None
    acts = []
    for row in rows[["kind", "emotion", "layer", "alpha", "index"]].to_dict("records"):
        key = tuple(row.values())
        if key not in made:
            made[key] = _act(row, vecs, source, given)
        acts.append(made[key])
    return acts


def _act(row: dict, vecs: Any, source: Any, given: Any) -> Any:
    kind, layer, alpha = row["kind"], int(row["layer"]), float(row["alpha"])
    if kind == "baseline":
        return None
    if kind in FAMILIES:
        cells = control_cells(vecs, layer, alpha, int(row["index"]), given, kind, source)
        return next(cell.act for cell in cells if cell.emotion == row["emotion"])
    return steer_cell(kind, vecs, row["emotion"], layer, alpha, given).act


def _damage_means(rows: pd.DataFrame) -> pd.DataFrame:
    found = []
    for (kind, emotion), part in rows.groupby(["kind", "emotion"], sort=False):
        by_scenario = part.assign(change=part["topic"] - part["topic_base"]).groupby("scenario")
        means = by_scenario[["kl", "topic", "change"]].mean()
        row = {"kind": kind, "emotion": emotion, "n": len(means), "topic": float(means["topic"].mean())}
        row["kl"], row["kl_se"] = statistics.mean_and_se(means["kl"].dropna())
        row["topic_change"], row["topic_se"] = statistics.mean_and_se(means["change"].dropna())
        found.append(row)
    return pd.DataFrame(found)


def save_results(run: Run, claims: pd.DataFrame) -> None:
    """The whole sweeps and the claims as artifacts beside their shards."""
    matched = {"shards": sorted(sha for path, sha in run.made.items() if "_sweep_" in path.name)}
    tables = {
        "validation": phase5.validation_sweep(run),
        "test": phase5.test_sweep(run),
        "dose": phase5.dose_sweep(run),
        "alternatives": alternatives_sweep(run, "test"),
        "claims": claims,
    }
    for name, table in tables.items():
        run.table(run.paths.sweep(name), matched, lambda table=table: table)
